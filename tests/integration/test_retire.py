"""healer retire: what one healer that was deleted has left is taken back, and nothing of others, or that somebody has changed."""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from healer.lab import Lab
from healer.lab.objects import Object
from tests.integration.conftest import Run
from tests.integration.test_scale import busy, change, slow
from tests.integration.world import NAMESPACE, patch, serve, serves
from tests.support.healer import Healer, verb
from tests.support.processes import PATIENCE

HOME = ("--healer-namespace", "default")
FRESH, STALE = "2199-01-01T00:00:00.000000Z", "2001-01-01T00:00:00.000000Z"
ELSEWHERE = ("--healer-namespace", "ml-team")

Retire = Callable[..., Any]


@pytest.fixture
def retire(tmp_path: Path, settings: dict[str, str | Path]) -> Retire:
    async def run(*arguments: str) -> tuple[int, str]:
        return await verb("retire", *arguments, home=tmp_path, KUBECONFIG=settings["KUBECONFIG"])

    return run


async def _scaled(lab: Lab, run: Run) -> Healer:
    """A healer that has added two replicas for a time."""
    await serve(lab)
    healer = await run(busy())
    await healer.post(slow())
    await lab.wait_for(serves(5), PATIENCE)
    await healer.says("incident verifying", reason="Scaled")
    return healer


async def _left(lab: Lab, run: Run) -> Healer:
    """The same, after the healer has ended."""
    healer = await _scaled(lab, run)
    healer.send(signal.SIGTERM)
    assert await healer.ended() == 0
    return healer


def incident(lab: Lab) -> tuple[Object, str]:
    """The one incident, and its path."""
    (found,) = lab.objects("incidents.healer.dev", NAMESPACE)
    return found, f"/apis/healer.dev/v1alpha1/namespaces/{NAMESPACE}/incidents/{found['metadata']['name']}"


def renewed(lab: Lab, at: str, namespace: str = "default") -> None:
    """A healer has renewed its Lease, which exists, at that time."""
    spec = {"holderIdentity": "pod-1@10.0.0.1:8080", "leaseDurationSeconds": 10, "renewTime": at}
    lab.api.modify(lab.api.kinds.named("leases"), namespace, "healer", lambda obj: obj["spec"].update(spec))


def pauses(lab: Lab) -> list[str]:
    """The annotations of pauses that stand."""
    kinds = ("deployments", "namespaces", "leases")
    marks = [each["metadata"].get("annotations", {}) for kind in kinds for each in lab.objects(kind)]
    return [key for each in marks for key in each if key.startswith("healer.dev/paused")]


async def test_changes_that_stand_and_pauses_are_taken_back_when_no_healer_is_left(
    lab: Lab, run: Run, tmp_path: Path, settings: dict[str, str | Path], retire: Retire
) -> None:
    healer = await _scaled(lab, run)
    code, said = await retire(*HOME)
    assert (code, "a healer leads" in said) == (2, True)
    for what in ("deployment/tensorflow-serving", f"namespace/{NAMESPACE}", "everything"):
        code, said = await verb("pause", what, "-n", NAMESPACE, *HOME, home=tmp_path, KUBECONFIG=settings["KUBECONFIG"])
        assert code == 0, said
    healer.send(signal.SIGTERM)
    assert await healer.ended() == 0
    code, said = await retire(*HOME)
    assert code == 0, said
    assert "taken back: incident" in said
    assert "replicas of deployment/tensorflow-serving: 5 -> 3" in said
    await lab.wait_for(serves(3), PATIENCE)
    assert pauses(lab) == []
    notes = [each["message"] for each in lab.objects("events") if each["reason"] == "TakenBack"]
    assert notes
    assert "has retired the healer default/healer: taken back: replicas of deployment/tensorflow-serving: 5 -> 3" in notes[0]
    assert len([each for each in lab.objects("events") if each["reason"] == "Resumed"]) == 3
    code, said = await retire(*HOME, "-o", "json")
    assert (code, json.loads(said)) == (0, {"changes": [], "pauses": [], "notes": []})


async def test_what_is_of_another_healer_is_left_to_it_and_what_is_of_none_until_it_is_asked_for(
    lab: Lab, run: Run, tmp_path: Path, settings: dict[str, str | Path], retire: Retire
) -> None:
    await _left(lab, run)
    code, said = await verb("pause", f"namespace/{NAMESPACE}", *HOME, home=tmp_path, KUBECONFIG=settings["KUBECONFIG"])
    assert code == 0, said
    code, said = await retire(*ELSEWHERE)
    assert code == 0, said
    assert "1 more may stand that the healer default/healer has made" in said
    assert f"the pause namespace/{NAMESPACE} by" in said
    assert (serves(5)(lab), bool(pauses(lab))) == (True, True)

    _, place = incident(lab)
    await patch(lab, f"{place}/status", {"status": {"healer": None}})
    await patch(lab, f"/api/v1/namespaces/{NAMESPACE}", {"metadata": {"annotations": {"healer.dev/paused-healer": None}}})
    code, said = await retire(*HOME, "-o", "json")
    left = json.loads(said)
    assert (code, [each["takenBack"] for each in left["changes"]]) == (1, [None])
    assert all("--unmarked takes it back too" in each["leftAlone"] for each in (*left["changes"], *left["pauses"]))
    assert (serves(5)(lab), bool(pauses(lab))) == (True, True)

    labels = {"app.kubernetes.io/name": "healer"}
    meta = {"name": "healer", "namespace": "kube-system", "labels": labels}
    await lab.apply({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": meta, "spec": {}})
    renewed(lab, FRESH, "kube-system")
    code, said = await retire(*HOME, "--unmarked")
    assert (code, "another healer leads (Lease healer in namespace kube-system" in said) == (2, True), said
    renewed(lab, STALE, "kube-system")
    code, said = await retire(*HOME, "--unmarked", "-n", NAMESPACE)
    assert code == 0, said
    await lab.wait_for(serves(3), PATIENCE)
    assert pauses(lab) == []


async def test_a_lease_that_is_fresh_or_cannot_be_read_stops_it(lab: Lab, run: Run, retire: Retire) -> None:
    """A healer that was killed has released nothing, and one whose Lease is unreadable may lead."""
    await _left(lab, run)
    renewed(lab, FRESH)
    code, said = await retire(*HOME)
    assert (code, "Lease healer in namespace default: pod-1@10.0.0.1:8080 holds it" in said) == (2, True), said
    renewed(lab, STALE)
    lab.forbid("get", "leases")
    code, said = await retire(*HOME)
    assert (code, "whether a healer leads is not known: Lease healer in namespace default" in said) == (2, True), said
    assert "it takes `get` on leases in that namespace" in said
    assert serves(5)(lab)


async def test_a_healer_that_begins_to_lead_meanwhile_stops_what_is_left(lab: Lab, run: Run, retire: Retire) -> None:
    """Between the look and the first change: the Lease is read again before each."""
    await _left(lab, run)

    def begins(_: object) -> bool:
        renewed(lab, FRESH)
        return False

    lab.faults.delay(0.0, verb="list", resource="incidents", match=begins)
    code, said = await retire(*HOME)
    assert (code, "left alone: replicas of deployment/tensorflow-serving: 5 -> 3: a healer leads" in said) == (1, True), said
    assert serves(5)(lab)


async def test_what_was_changed_on_top_of_another_change_is_taken_back_before_it(lab: Lab, run: Run, retire: Retire) -> None:
    """A second incident has added two replicas to the five of the first; and what fails with one change harms no other."""
    await _left(lab, run)
    found, place = incident(lab)
    ((key, note),) = found["status"]["notices"]["scale"].items()
    above = json.loads(note) | {"before": "5", "after": "7"}
    later = {
        **found,
        "metadata": {"name": "later", "namespace": NAMESPACE},
        "spec": found["spec"] | {"openedAt": "2026-01-01T00:00:00Z"},
    }
    await lab.apply(later)
    (made,) = [each for each in lab.objects("incidents.healer.dev") if each["metadata"]["name"] == "later"]
    status = found["status"] | {"uid": made["metadata"]["uid"], "notices": {"scale": {key: json.dumps(above)}}}
    await patch(lab, f"{place.rpartition('/')[0]}/later/status", {"status": status})
    change(lab, replicas=7)
    await lab.wait_for(serves(7), PATIENCE)
    code, said = await retire(*HOME)
    assert code == 0, said
    assert "5 -> 3, after what was changed on top of it" in said
    done = [line for line in said.splitlines() if line.startswith("taken back:")]
    assert [line.rpartition(": ")[2] for line in done] == ["7 -> 5", "5 -> 3"]
    await lab.wait_for(serves(3), PATIENCE)
    code, said = await retire(*HOME, "-o", "json")
    assert (code, json.loads(said)["changes"]) == (0, [])


async def test_what_somebody_has_changed_since_is_left_alone_and_named(lab: Lab, run: Run, retire: Retire) -> None:
    """Nor is an incident believed that healer did not write."""
    await _left(lab, run)
    change(lab, replicas=4)
    code, said = await retire(*HOME)
    assert code == 1
    assert "left alone: scale of" in said
    await lab.wait_for(serves(4), PATIENCE)
    _, place = incident(lab)
    change(lab, replicas=5)
    await patch(lab, f"{place}/status", {"status": {"uid": "another"}})
    code, said = await retire(*HOME)
    assert (code, "was not made by healer" in said) == (0, True)
    await lab.wait_for(serves(5), PATIENCE)
