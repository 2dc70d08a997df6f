"""Each permission of each role that deploy/healer ships: with the roles everything is done, without any one something is not.

The lab enforces RBAC: it answers as the API server does, by the roles as kustomize renders them. `deeds` has what is done.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from structlog.testing import capture_logs

from healer.cluster.api import Api, ClusterError
from healer.http.reviews import Reviewer
from healer.journal.base import JournalError
from healer.lab import Lab
from healer.model.action import Permission
from healer.operate.objects import OperateError
from tests.deploy.deeds.acting import EVICTIONS, PACKS, PIN, READ_NODE, SHIFTS
from tests.deploy.deeds.always import ALWAYS, AUDIENCE, JUDGE, POLL, REVIEW, TOKEN, WATCH_NODES, WATCH_RULESETS, WATCHES
from tests.deploy.deeds.people import CONTROLS, PEOPLE, ROOT
from tests.deploy.deeds.trials import Deed, trial
from tests.support.kustomize import built
from tests.support.processes import PATIENCE
from tests.support.rbac import Authorizer

pytestmark = pytest.mark.slow

FOLDER = ROOT / "deploy/healer"
COMPONENT = "app.kubernetes.io/component"
SENDERS = "healer-webhook"
TENANTS = ("healer-rulesets-edit", "healer-rulesets-view")
"""Its rule is for no resource: `test_without_the_verb_on_the_path_a_sender_is_kept_out`."""

Manifest = dict[str, Any]
RoleKey = tuple[str, str, str]


def _key(role: Manifest) -> RoleKey:
    return role["kind"], role["metadata"].get("namespace", ""), role["metadata"]["name"]


def _roles(manifests: list[Manifest]) -> list[Manifest]:
    return [each for each in manifests if each["kind"] in ("Role", "ClusterRole") and "$patch" not in each]


def _only(manifests: list[Manifest], *without: str) -> list[Manifest]:
    """What says who may do what, except roles of these names."""
    kinds = ("Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding")
    return [each for each in manifests if each["kind"] in kinds and each["metadata"]["name"] not in without]


def _approvers() -> list[Manifest]:
    """The role of people, bound as its comment says."""
    (role,) = [each for each in built(FOLDER) if each["metadata"]["name"] == "healer-approver"]
    del role["metadata"]["labels"][COMPONENT]
    ref = {"kind": "ClusterRole", "name": "healer-approver"}
    return [role, {"kind": "ClusterRoleBinding", "metadata": {"name": "approvers"}, "roleRef": ref}]


def _beside(role: str) -> list[Manifest]:
    """What a component adds, without what the packs have; the sum of roles is as the base has it."""
    return [*_only(built(FOLDER), "healer-packs"), *yaml.safe_load_all((FOLDER / "components" / role).read_text("utf-8"))]


def _apart(roles: str) -> list[Manifest]:
    """What a component adds, with bindings of its own."""
    return _only(list(yaml.safe_load_all((FOLDER / "components" / roles).read_text("utf-8"))), SENDERS, *TENANTS)


@dataclass(frozen=True)
class Installation:
    """Roles that are applied together, and all that is done by them."""

    name: str
    manifests: list[Manifest]
    deeds: tuple[Deed, ...]
    within: str = ""

    def allowing(self, lacking: tuple[RoleKey, Permission] | None = None) -> Authorizer:
        """What the roles allow, without one permission of one of them."""
        manifests = copy.deepcopy(self.manifests)
        for role in _roles(manifests):
            if "rules" in role:
                role["rules"] = [rule for rule, each in _single(role) if (_key(role), each) != lacking]
        return Authorizer(manifests)


def _single(role: Manifest) -> Iterator[tuple[Manifest, Permission]]:
    """The rules of a role, one for each permission."""
    for rule in role["rules"]:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                for verb in rule["verbs"]:
                    one = {"apiGroups": [group], "resources": [resource], "verbs": [verb]}
                    yield rule | one, Permission(group, resource, verb)


_BASE = tuple(WATCHES.values()) + ALWAYS
_CONFINED = (*(each for name, each in WATCHES.items() if name != "namespaces"), POLL, *ALWAYS)
INSTALLATIONS = (
    Installation("base", _only(built(FOLDER)), _BASE + PACKS),
    *(
        Installation(f"canary-{kind.lower()}", _beside(f"canary-{kind.lower()}/role.yaml"), (*_BASE, shift))
        for kind, shift in SHIFTS.items()
    ),
    Installation("models", _beside("models/role.yaml"), (*_BASE, *EVICTIONS, PIN)),
    Installation("nodes", _apart("nodes/roles.yaml"), (WATCH_NODES, READ_NODE)),
    Installation("namespaced", _only(built(FOLDER / "overlays/namespaced")), _CONFINED + PACKS, "production"),
    Installation("token-review", _apart("token-review/roles.yaml"), (REVIEW,)),
    Installation("rulesets", _apart("rulesets/roles.yaml"), (WATCH_RULESETS, JUDGE)),
    Installation("control", _apart("control/roles.yaml"), CONTROLS),
    Installation("approver", _approvers(), PEOPLE),
)


def _granted() -> Iterator[tuple[Installation, RoleKey, Permission]]:
    """Each permission of each role, except those of a Role that a ClusterRole of the same installation grants everywhere."""
    for installation in INSTALLATIONS:
        roles = [each for each in _roles(installation.manifests) if each.get("rules")]
        roles = [each for each in roles if not each["metadata"].get("labels", {}).get(COMPONENT)]
        everywhere = {each for role in roles if role["kind"] == "ClusterRole" for _, each in _single(role)}
        for role in roles:
            for _, permission in _single(role):
                if role["kind"] == "ClusterRole" or permission not in everywhere:
                    yield installation, _key(role), permission


GRANTED = list(_granted())


async def attempt(deed: Deed, allowed: Authorizer, within: str, folder: Path) -> tuple[str, set[Permission], set[Permission]]:
    """What is said of why it was not done, what was asked for, and what the client told to be missing."""
    async with trial(folder, within) as tried:
        if deed.prepare is not None:
            await deed.prepare(tried)
        tried.begin(allowed.allows)
        try:
            async with asyncio.timeout(PATIENCE):
                said = await deed.run(tried)
        except (ClusterError, JournalError, OperateError) as error:
            said = str(error)
        return said, tried.asked, tried.missing


@pytest.mark.parametrize(
    ("installation", "deed"), [pytest.param(i, d, id=f"{i.name}-{d.name}") for i in INSTALLATIONS for d in i.deeds]
)
async def test_with_the_roles_it_is_done_and_asks_for_no_more(installation: Installation, deed: Deed, tmp_path: Path) -> None:
    said, asked, missing = await attempt(deed, installation.allowing(), installation.within, tmp_path)
    assert (said, missing) == ("", set())
    assert asked == deed.asks


@pytest.mark.parametrize(
    ("installation", "role", "lacking"),
    [pytest.param(i, r, p, id=f"{i.name}-{'/'.join(r[1:])}-{p.verb}-{p.resource}.{p.group}") for i, r, p in GRANTED],
)
async def test_without_a_permission_something_is_not_done_and_that_is_told(
    installation: Installation, role: RoleKey, lacking: Permission, tmp_path: Path
) -> None:
    allowed = installation.allowing((role, lacking))
    for number, deed in enumerate(each for each in installation.deeds if lacking in each.asks):
        (folder := tmp_path / str(number)).mkdir()
        said, _, missing = await attempt(deed, allowed, installation.within, folder)
        if said:
            named = f"the verb {lacking.verb} on {lacking.resource}.{lacking.group}" in said
            assert missing == {lacking} or named, f"{deed.name}: {said}"
            return
    pytest.fail(f"{role} grants {lacking}, and all is done without it: delete it, or add what needs it to `deeds`")


def test_each_permission_of_each_role_that_is_shipped_is_tried() -> None:
    """Except of those of senders and of tenants, and of the sum of the others, which has no rules of its own."""
    files = [path.read_text("utf-8") for path in FOLDER.rglob("*.yaml")]
    objects = [each for text in files if "Role" in text for each in yaml.safe_load_all(text) if each and "kind" in each]
    shipped = [role for role in _roles(objects) if role.get("rules") and role["metadata"]["name"] not in (SENDERS, *TENANTS)]
    assert {(_key(role), each) for role in shipped for _, each in _single(role)} == {(key, each) for _, key, each in GRANTED}


async def test_without_the_verb_on_the_path_a_sender_is_kept_out(tmp_path: Path) -> None:
    """healer-webhook is for no resource: RBAC compares the path."""
    roles = yaml.safe_load_all((FOLDER / "components/token-review/roles.yaml").read_text("utf-8"))
    (rule,) = next(each["rules"] for each in roles if each["metadata"]["name"] == SENDERS)
    ((path,), (verb,)) = rule["nonResourceURLs"], rule["verbs"]
    async with Lab() as lab:
        lab.reviews.add_token(TOKEN, "alertmanager", AUDIENCE)
        lab.write_kubeconfig(tmp_path / "config")
        async with aclosing(await Api.connect(kubeconfig=str(tmp_path / "config"))) as api:
            with capture_logs() as logs:
                assert not await let_in(api, verb, path)
            (said,) = [each for each in logs if each["event"] == "a user of Kubernetes may not do this"]
            assert (said["user"], said["verb"], said["path"]) == ("alertmanager", verb, path)
            lab.reviews.grant("alertmanager", verb, path)
            assert await let_in(api, verb, path)


async def let_in(api: Api, verb: str, path: str) -> str:
    """The user of the token, if it may do that."""
    async with aclosing(Reviewer(api, AUDIENCE, 0.0, 1, api.clock.steady)) as reviewer:
        return await reviewer.user(TOKEN, verb, path, "here")
