"""The seam of actions: one of the tests' own, added from one file, heals, is granted, explained and undone."""

from pathlib import Path
from typing import Any

import pytest

from healer.actions.registry import ACTIONS
from healer.cluster.api import Api
from healer.daemon.rulefiles import vocabulary
from healer.lab import Lab
from healer.model.incident import State
from healer.operate.rbac import needed
from healer.operate.undo import Undoing, plain, undo
from healer.rules.loading import load
from healer.rules.reference import tables
from healer.rules.rulebook import Rulebook
from healer.settings.sections import JournalSettings
from tests.integration.conftest import ROOT
from tests.integration.world import NAMESPACE, pods, rule, ruleset, serve, serves
from tests.seams.add_replica import AddReplica
from tests.seams.house import house
from tests.support.healer import alert
from tests.support.processes import PATIENCE

pytestmark = pytest.mark.slow

STEP: dict[str, Any] = {"addReplica": {"by": 1}, "verify": {"within": "30s", "stable": "300ms"}}
SLOW = rule("slow", when={"alert": ["HighLatency"]}, heal=[STEP])


@pytest.fixture(autouse=True)
def added(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one line that the registry needs."""
    monkeypatch.setitem(ACTIONS, AddReplica.spec.name, AddReplica())


async def test_it_heals_and_is_undone(lab: Lab, tmp_path: Path) -> None:
    """A rule names it, the daemon takes it, people read what it did, and `healer undo` puts back what it changed."""
    await lab.apply_yaml((ROOT / "deploy" / "healer" / "crd.yaml").read_text("utf-8"))
    await serve(lab)
    slow = alert("HighLatency", deployment="tensorflow-serving")
    async with house(lab, tmp_path, SLOW, journal=JournalSettings()) as healer:
        await healer.post(slow)
        await healer.told.until(State.VERIFYING)
        await lab.wait_for(serves(4), PATIENCE)
        await healer.post(slow | {"status": "resolved", "endsAt": slow["startsAt"]})
        healed = await healer.told.until(State.HEALED)
    assert any(entry.reason.text == "deployment/tensorflow-serving has 4 replicas" for entry in healed.history)
    shown: list[Undoing] = []
    api = await Api.connect(kubeconfig=str(tmp_path / "kubeconfig"))
    try:
        undone = await undo(api, NAMESPACE, healed.id, "ann", shown.append)
    finally:
        await api.aclose()
    await lab.wait_for(serves(3), PATIENCE)
    assert str(undone).splitlines()[1] == "  deployment/tensorflow-serving: 4 -> 3 replicas"
    assert plain(undone, undone=True)["scales"] == [{"name": "tensorflow-serving", "found": 4, "before": 3}]
    assert len(pods(lab)) == 3


def test_rbac_and_the_reference_follow() -> None:
    """`healer rbac` grants what it needs, and docs/rules.md lists it with its parameters."""
    bound, problems = load(ruleset(SLOW), "f.yaml", vocabulary())
    assert problems == []
    assert ("apps", "deployments/scale", "patch") in needed(Rulebook(bound), ACTIONS)
    made = tables(vocabulary())
    assert "| `addReplica` | a workload | every trigger | gives the workload more replicas |" in made["actions"]
    parameter = "| `addReplica` | `by` | whole number, at least 1 | `1` | So many replicas more than there are. |"
    assert parameter in made["parameters"]


def test_a_misspelt_parameter_is_an_error_with_its_hint() -> None:
    """What it takes is checked when the rules are read."""
    text = ruleset(rule("slow", when={"alert": ["HighLatency"]}, heal=[{"addReplica": {"bye": 1}}]))
    _, (problem,) = load(text, "f.yaml", vocabulary())
    assert (problem.message, problem.hint) == ("the action 'addReplica' has no parameter 'bye'", "did you mean by?")
