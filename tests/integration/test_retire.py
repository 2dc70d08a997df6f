"""healer retire: what a healer that was deleted has left is taken back, and nothing that somebody has changed since."""

import json
import signal
from pathlib import Path

from healer.lab import Lab
from tests.integration.conftest import Run
from tests.integration.test_scale import busy, change, slow
from tests.integration.world import NAMESPACE, patch, serve, serves
from tests.support.healer import Healer, verb
from tests.support.processes import PATIENCE

HOME = ("--healer-namespace", "default")


async def _scaled(lab: Lab, run: Run) -> Healer:
    """A healer that has added two replicas for a time."""
    await serve(lab)
    healer = await run(busy())
    await healer.post(slow())
    await lab.wait_for(serves(5), PATIENCE)
    await healer.says("incident verifying", reason="Scaled")
    return healer


async def test_changes_that_stand_and_pauses_are_taken_back_when_no_healer_is_left(
    lab: Lab, run: Run, tmp_path: Path, settings: dict[str, str | Path]
) -> None:
    healer = await _scaled(lab, run)
    kubeconfig = {"KUBECONFIG": settings["KUBECONFIG"]}
    code, said = await verb("retire", *HOME, home=tmp_path, **kubeconfig)
    assert (code, "a healer leads" in said) == (2, True)
    for what in ("deployment/tensorflow-serving", f"namespace/{NAMESPACE}", "everything"):
        code, said = await verb("pause", what, "-n", NAMESPACE, *HOME, home=tmp_path, **kubeconfig)
        assert code == 0, said
    healer.send(signal.SIGTERM)
    assert await healer.ended() == 0
    code, said = await verb("retire", *HOME, home=tmp_path, **kubeconfig)
    assert code == 0, said
    assert "replicas of deployment/tensorflow-serving: 5 -> 3" in said
    await lab.wait_for(serves(3), PATIENCE)
    marks = [
        each["metadata"].get("annotations", {}) for kind in ("deployments", "namespaces", "leases") for each in lab.objects(kind)
    ]
    assert not [key for each in marks for key in each if key.startswith("healer.dev/paused")]
    code, said = await verb("retire", *HOME, "-o", "json", home=tmp_path, **kubeconfig)
    assert (code, json.loads(said)) == (0, {"changes": [], "pauses": [], "notes": []})


async def test_what_somebody_has_changed_since_is_left_alone_and_named(
    lab: Lab, run: Run, tmp_path: Path, settings: dict[str, str | Path]
) -> None:
    """Nor is an incident believed that healer did not write."""
    healer = await _scaled(lab, run)
    healer.send(signal.SIGTERM)
    assert await healer.ended() == 0
    change(lab, replicas=4)
    code, said = await verb("retire", *HOME, home=tmp_path, KUBECONFIG=settings["KUBECONFIG"])
    assert code == 1
    assert "left alone: scale of" in said
    await lab.wait_for(serves(4), PATIENCE)
    (incident,) = lab.objects("incidents.healer.dev", NAMESPACE)
    place = f"/apis/healer.dev/v1alpha1/namespaces/{NAMESPACE}/incidents/{incident['metadata']['name']}"
    change(lab, replicas=5)
    await patch(lab, f"{place}/status", {"status": {"uid": "another"}})
    code, said = await verb("retire", *HOME, home=tmp_path, KUBECONFIG=settings["KUBECONFIG"])
    assert (code, "was not made by healer" in said) == (0, True)
    await lab.wait_for(serves(5), PATIENCE)
