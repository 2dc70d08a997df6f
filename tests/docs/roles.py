"""The roles in deploy/healer, from the rules that they are for: what `healer rbac` prints."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import yaml

from healer.actions.registry import ACTIONS
from healer.daemon.rulefiles import load_rules, vocabulary
from healer.daemon.rulefiles import read as read_rules
from healer.operate.rbac import apart, needed, rule_roles
from healer.rules.loading import load
from healer.rules.rulebook import Rulebook

ROOT = Path(__file__).parents[2]
CANARY = "rules/canary/tensorflow-serving.yaml"
MODELS = "deploy/healer/components/models/models.yaml"
SPLITTERS = ("Ingress", "HTTPRoute", "VirtualService")
"""The kinds of route that split traffic between two Deployments, as that rule has them."""
_HEAD = "# Made by `make docs`, as by `healer rbac {rules} --roles-only --name {name}{within}`; do not edit.\n"


class _Plain(yaml.SafeDumper):
    """Without anchors."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def page(rules: str, name: str, *within: str) -> str:
    """The manifests with the roles for these rules."""
    return _page(load_rules([ROOT / rules], vocabulary()), rules, name, within)


def canary(kind: str, name: str) -> str:
    """The same for the shipped canary rule with a route of this kind."""
    (text,) = read_rules([ROOT / CANARY]).values()
    bound, problems = load(text.replace("route: {kind: Ingress,", f"route: {{kind: {kind},"), CANARY, vocabulary())
    if problems:
        raise ValueError(f"{CANARY} with a route of kind {kind}: {problems}")
    return _page(Rulebook(bound), "deploy/healer/components/canary/canary.yaml", name, ())


def _page(rulebook: Rulebook, rules: str, name: str, within: Sequence[str]) -> str:
    roles = rule_roles(needed(rulebook, ACTIONS), "healer", within=within, routes=apart(rulebook, ACTIONS), name=name)
    head = _HEAD.format(rules=rules, name=name, within="".join(f" --namespace {each}" for each in within))
    return head + yaml.dump_all(roles, Dumper=_Plain, sort_keys=False)


PAGES = {
    "deploy/healer/base/packs.yaml": partial(page, "rules", "healer-packs"),
    "deploy/healer/overlays/namespaced/roles.yaml": partial(page, "rules", "healer-packs", "production"),
    "deploy/healer/components/models/role.yaml": partial(page, MODELS, "healer-models"),
} | {
    f"deploy/healer/components/canary-{kind.lower()}/role.yaml": partial(canary, kind, f"healer-canary-{kind.lower()}")
    for kind in SPLITTERS
}
"""What makes each file."""
