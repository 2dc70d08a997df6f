"""The demo with the rights that deploy/healer grants, and with one of them taken away: the lab refuses what RBAC would refuse."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, Self

import pytest

from healer import shipped
from healer.demo import show
from healer.lab import Lab
from healer.lab.faults import SeenRequest
from healer.model.action import Permission
from tests.support.kustomize import built
from tests.support.rbac import Authorizer

pytestmark = pytest.mark.slow

EXAMPLE = Path(__file__).parents[2] / "deploy" / "healer" / "examples" / "canary"
"""The packs, and the canary of the demo."""
SHOWN = (shipped.RULES, shipped.RULES / "models" / "vllm.yaml", shipped.RULES / "canary" / "tensorflow-serving.yaml")
HOME = {"healer": "default"}
"""The demo's healer is at home in another namespace than that of deploy/healer."""


async def performed(allows: Callable[[SeenRequest], bool], monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether everything healed on a server with these rights. The watch of what is refused begins again and again."""

    class Guarded(Lab):
        async def __aenter__(self) -> Self:
            lab = await super().__aenter__()
            lab.faults.answer(403, match=lambda seen: seen.user_agent == "healer" and not allows(seen), times=None)
            return lab

    monkeypatch.setattr(import_module("healer.demo.show"), "Lab", Guarded)
    return await show(SHOWN, shipped.DEFINITION.read_text("utf-8"), None)


def at_home(roles: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The manifests with the namespace in which the demo's healer is."""
    for each in roles:
        if each["kind"] in ("Role", "RoleBinding"):
            each["metadata"]["namespace"] = HOME[each["metadata"]["namespace"]]
    return roles


async def test_the_demo_heals_with_the_deployed_rights_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await performed(Authorizer(at_home(built(EXAMPLE))).allows, monkeypatch)


@pytest.mark.parametrize(
    "missing", [Permission("", "pods/eviction", "create"), Permission("networking.k8s.io", "ingresses", "patch")]
)
async def test_without_a_right_something_does_not_heal(missing: Permission, monkeypatch: pytest.MonkeyPatch) -> None:
    deployed = Authorizer(at_home(built(EXAMPLE)))

    def allows(seen: SeenRequest) -> bool:
        return deployed.allows(seen) and Permission(seen.group, seen.permission, seen.verb) != missing

    assert not await performed(allows, monkeypatch)
