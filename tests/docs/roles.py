"""The roles in deploy/healer, from the rules that they are for: what `healer rbac` prints."""

from functools import partial
from pathlib import Path

import yaml

from healer.actions.registry import ACTIONS
from healer.daemon.rulefiles import load_rules, vocabulary
from healer.operate.rbac import apart, needed, rule_roles

ROOT = Path(__file__).parents[2]
_HEAD = "# Made by `make docs`, as by `healer rbac {rules} --roles-only --name {name}{within}`; do not edit.\n"


class _Plain(yaml.SafeDumper):
    """Without anchors."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def page(rules: str, name: str, *within: str) -> str:
    """The manifests with the roles for these rules."""
    rulebook = load_rules([ROOT / rules], vocabulary())
    roles = rule_roles(needed(rulebook, ACTIONS), "healer", within=within, routes=apart(rulebook, ACTIONS), name=name)
    head = _HEAD.format(rules=rules, name=name, within="".join(f" --namespace {each}" for each in within))
    return head + yaml.dump_all(roles, Dumper=_Plain, sort_keys=False)


PAGES = {
    "deploy/healer/base/packs.yaml": partial(page, "rules", "healer-packs"),
    "deploy/healer/overlays/namespaced/roles.yaml": partial(page, "rules", "healer-packs", "production"),
    "deploy/healer/examples/canary/role.yaml": partial(page, "rules/canary/tensorflow-serving.yaml", "healer-canary"),
}
"""What makes each file."""
