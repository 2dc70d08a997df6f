"""The seam of routers: one of the tests' own, added from one file; its traffic is shifted off a sick canary, and put back."""

from pathlib import Path
from typing import Any

import pytest

from healer.actions.registry import ACTIONS
from healer.cluster.api import Api
from healer.daemon.rulefiles import vocabulary
from healer.lab import Lab
from healer.lab.canary import CANARY, STABLE, versions
from healer.model.incident import State
from healer.operate.rbac import apart, needed
from healer.operate.undo import undo
from healer.routes.registry import ROUTERS
from healer.rules.loading import load
from healer.rules.reference import tables
from healer.rules.rulebook import Rulebook
from healer.settings.sections import JournalSettings
from tests.integration.conftest import ROOT
from tests.integration.world import NAMESPACE, rule, ruleset, serves
from tests.seams.house import house
from tests.seams.traffic_split import DEFINITION, GROUP, ROUTER
from tests.support.healer import alert
from tests.support.processes import PATIENCE

pytestmark = pytest.mark.slow

NAME = "model"
SPLIT = {
    "apiVersion": f"{GROUP}/v1alpha2",
    "kind": "TrafficSplit",
    "metadata": {"name": NAME, "namespace": NAMESPACE},
    "spec": {"service": NAME, "backends": [{"service": STABLE, "weight": 80}, {"service": CANARY, "weight": 20}]},
}


def shift(**route: Any) -> dict[str, Any]:
    """A rule that takes the traffic off the canary; `route` has further keys of the route."""
    sides = {"stable": {"deployment": STABLE}, "canary": {"deployment": CANARY}}
    params = {"to": 0, "route": {"kind": "TrafficSplit", "name": NAME} | route, **sides}
    step = {"shiftTraffic": params, "verify": {"within": "30s", "stable": "300ms"}}
    return rule("bad-canary", when={"alert": ["BadAnswers"]}, heal=[step])


@pytest.fixture(autouse=True)
def added(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one line that the registry needs."""
    monkeypatch.setitem(ROUTERS, ROUTER.spec.kind, ROUTER)


def weights(lab: Lab) -> list[int]:
    """Those of stable and of the canary."""
    (split,) = lab.objects(f"trafficsplits.{GROUP}", NAMESPACE)
    return [backend["weight"] for backend in split["spec"]["backends"]]


async def test_its_traffic_is_shifted_and_put_back(lab: Lab, tmp_path: Path) -> None:
    """Only the weights change, they are verified, and `healer undo` sets those from before."""
    await lab.apply_yaml((ROOT / "deploy" / "healer" / "crd.yaml").read_text("utf-8"))
    await lab.apply_yaml(DEFINITION)
    await lab.apply([*versions(NAMESPACE, replicas=(2, 2)), SPLIT])
    await lab.wait_for(serves(4), PATIENCE)
    bad = alert("BadAnswers", deployment=CANARY)
    async with house(lab, tmp_path, shift(), journal=JournalSettings()) as healer:
        await healer.post(bad)
        await healer.told.until(State.VERIFYING)
        assert weights(lab) == [100, 0]
        await healer.post(bad | {"status": "resolved", "endsAt": bad["startsAt"]})
        healed = await healer.told.until(State.HEALED)
    said = [entry.reason.text for entry in healed.history]
    assert any(f"traffic of trafficsplit/{NAME}: canary 20 % -> 0 %, all to {STABLE}" in text for text in said)
    api = await Api.connect(kubeconfig=str(tmp_path / "kubeconfig"))
    try:
        await undo(api, NAMESPACE, healed.id, "ann", lambda _: None)
    finally:
        await api.aclose()
    assert weights(lab) == [80, 20]


def test_rbac_and_the_reference_follow() -> None:
    """`healer rbac` grants reading and patching it, also in a namespace of its own, and docs/rules.md lists it."""
    bound, problems = load(ruleset(shift(namespace="infra")), "f.yaml", vocabulary())
    assert problems == []
    wanted = ROUTER.reads | ROUTER.writes
    assert wanted <= needed(Rulebook(bound), ACTIONS)
    assert apart(Rulebook(bound), ACTIONS) == {"infra": wanted}
    row = "| `TrafficSplit` | of the Service Mesh Interface | Services | its own or another namespace |"
    assert row in tables(vocabulary())["routers"]


def test_what_it_cannot_lead_to_is_an_error_with_its_line() -> None:
    """Its declaration says that its backends are whole Services."""
    written = shift()
    written["heal"][0]["shiftTraffic"]["stable"] = {"deployment": STABLE, "subset": "v1"}
    _, (problem,) = load(ruleset(written), "f.yaml", vocabulary())
    assert problem.message.startswith("a route of kind TrafficSplit has no subsets; VirtualService has them")
