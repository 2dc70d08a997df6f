"""More replicas for a time, the real process against the lab: taken back when the incident is healed, or left alone."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from healer.lab import Lab, serving
from healer.lab.apiserver.store import StoreEvent
from healer.lab.kinds import AUTOSCALER, DEPLOYMENT, NODE
from tests.integration.conftest import Run
from tests.integration.test_rollback import NAME, deployment
from tests.integration.world import CHANNEL, NAMESPACE, Floor, pods, rule, ruleset, serve, serves, told
from tests.support.healer import alert, verb
from tests.support.processes import PATIENCE
from tests.support.slack import FakeSlack


def slow() -> dict[str, Any]:
    """The alert, beginning now: one that began before the Deployment was made is not about it."""
    firing: dict[str, Any] = alert("HighLatency", deployment=NAME)
    return firing


def resolved(firing: dict[str, Any]) -> dict[str, Any]:
    """Its end."""
    return {**firing, "status": "resolved", "endsAt": firing["startsAt"]}


def busy(**params: Any) -> str:
    """The rule: two replicas more while it is slow."""
    step = {"scale": {"by": 2, "max": 5, "keepFor": "0s"} | params, "verify": {"within": "30s", "stable": "300ms"}}
    return ruleset(rule("busy", when={"alert": ["HighLatency"]}, heal=[step]))


def change(lab: Lab, **spec: Any) -> None:
    """Somebody else changes the Deployment."""
    lab.api.modify(DEPLOYMENT, NAMESPACE, NAME, lambda obj: obj["spec"].update(spec))


def says(text: str) -> Callable[[FakeSlack], bool]:
    """Whether a thread of the channel has a line with that text."""
    return lambda slack: any(text in line for thread in slack.threads(CHANNEL) for line in thread)


def history(lab: Lab) -> list[str]:
    """The reasons of the one incident, in their order."""
    (incident,) = lab.objects("incidents.healer.dev", NAMESPACE)
    return [entry["reason"]["code"] for entry in incident["status"]["history"]]


async def test_replicas_are_added_and_taken_back_when_the_incident_is_healed(lab: Lab, run: Run, slack: FakeSlack) -> None:
    """The replicas come, the alert ends, and the workload has what it had before."""
    await serve(lab)
    healer, floor = await run(busy()), Floor(lab)
    firing = slow()
    await healer.post(firing)
    await lab.wait_for(serves(5), PATIENCE)
    await healer.post(resolved(firing))

    await healer.says("incident healed", rule="test/busy")
    await lab.wait_for(serves(3), PATIENCE)
    await slack.wait_for(
        lambda s: any("*Taken back*: replicas of" in line for thread in s.threads(CHANNEL) for line in thread), PATIENCE
    )

    assert history(lab)[-1] == "TakenBack"
    assert floor.lowest == 3
    metrics = await healer.metrics()
    assert metrics["healer_taken_back_total{action=scale,result=TakenBack}"] == 1
    assert metrics["healer_taken_back_total{action=scale,result=failed}"] == 0


async def test_a_healer_that_is_told_to_observe_writes_nothing_not_even_its_own_changes_back(
    lab: Lab, run: Run, tmp_path: Path, settings: dict[str, str | Path]
) -> None:
    """It says which change stands and how a human takes it back; `healer status` says that the rules are capped."""
    await serve(lab)
    acting = await run(busy())
    firing = slow()
    await acting.post(firing)
    await lab.wait_for(serves(5), PATIENCE)
    acting.send(signal.SIGTERM)
    assert await acting.ended() == 0
    lab.requests.clear()
    observing = await run(busy(), HEALER_MODE="observe")
    await observing.post(resolved(firing))
    said = await observing.says("a change is not taken back yet", action="scale")
    undo = f"healer undo incident/{said['incident']} -n {NAMESPACE}"
    assert f"`{undo}`" in said["reason"]
    assert (await observing.metrics())["healer_mode{mode=observe}"] == 1
    kubeconfig = {"KUBECONFIG": settings["KUBECONFIG"]}
    code, printed = await verb(
        "status", "--url", await observing.listens(), "--healer-namespace", "default", COLUMNS="400", home=tmp_path, **kubeconfig
    )
    assert code == 0, printed
    assert "observe (its file says enforce; healer's setting `mode` caps it)" in printed
    changed = {seen.permission for seen in lab.requests if seen.verb not in ("get", "list", "watch")}
    assert changed <= {"incidents", "incidents/status", "leases"}
    assert serves(5)(lab)
    code, printed = await verb(*undo.split()[1:], "--yes", home=tmp_path, **kubeconfig)
    assert code == 0, printed
    await lab.wait_for(serves(3), PATIENCE)


async def test_a_number_that_somebody_has_changed_since_is_left_alone_and_said(lab: Lab, run: Run, slack: FakeSlack) -> None:
    """Four replicas are somebody's decision: healer takes none of them."""
    await serve(lab)
    healer = await run(busy())
    firing = slow()
    await healer.post(firing)
    await lab.wait_for(serves(5), PATIENCE)
    change(lab, replicas=4)
    await lab.wait_for(serves(4), PATIENCE)
    await healer.post(resolved(firing))

    await slack.wait_for(told("healed"), PATIENCE)
    await slack.wait_for(says("somebody has changed them since"), PATIENCE)
    assert history(lab)[-1] == "LeftAlone"
    assert deployment(lab)["spec"]["replicas"] == 4


async def test_with_an_autoscaler_its_minimum_is_raised_and_put_back(lab: Lab, run: Run, slack: FakeSlack) -> None:
    """The autoscaler adds the replicas, and takes them: healer never writes the Deployment's."""
    await serve(lab)
    scaler = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "serving", "namespace": NAMESPACE},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": NAME},
            "minReplicas": 3,
            "maxReplicas": 9,
        },
    }
    await lab.apply(scaler)

    def follow(collection: str, _: StoreEvent) -> None:
        """What the autoscaler's controller does with its minimum."""
        (found,) = lab.objects("horizontalpodautoscalers", NAMESPACE)
        if collection == AUTOSCALER.stored_in and deployment(lab)["spec"]["replicas"] != found["spec"]["minReplicas"]:
            change(lab, replicas=found["spec"]["minReplicas"])

    lab.store.listeners.append(follow)
    healer = await run(busy())
    firing = slow()
    await healer.post(firing)
    await lab.wait_for(serves(5), PATIENCE)
    await healer.post(resolved(firing))
    await lab.wait_for(serves(3), PATIENCE)
    await slack.wait_for(says("*Taken back*: minReplicas of horizontalpodautoscaler/serving: 5 -"), PATIENCE)
    written = [seen.permission for seen in lab.requests if seen.verb == "patch"]
    assert written == ["horizontalpodautoscalers", "horizontalpodautoscalers"]


async def test_what_finds_no_room_is_told_and_taken_back_and_nothing_stronger_is_done(
    lab: Lab, run: Run, slack: FakeSlack
) -> None:
    """The alert is over, and only what healer has added is not ready: that is no reason to roll back."""
    await serve(lab)
    for node in lab.objects("nodes"):
        lab.api.modify(NODE, "", node["metadata"]["name"], lambda obj: obj["spec"].update(unschedulable=True))
    step = {"scale": {"by": 2, "max": 5, "keepFor": "0s"}, "verify": {"within": "1s", "stable": "300ms"}}
    worse = {"rolloutRestart": {}, "verify": {"within": "5s", "stable": "300ms"}}
    healer = await run(ruleset(rule("busy", when={"alert": ["HighLatency"]}, heal=[step, worse])))
    firing = slow()
    await healer.post(firing)
    await lab.wait_for(lambda lab: len(pods(lab)) == 5, PATIENCE)
    await healer.post(resolved(firing))

    await slack.wait_for(says("what healer has added is not all ready"), PATIENCE)
    await lab.wait_for(serves(3), PATIENCE)
    await slack.wait_for(told("closed"), PATIENCE)
    assert history(lab)[-2:] == ["TakenBack", "Recovered"]
    assert "RolloutRestarted" not in history(lab)


async def test_a_statefulset_is_scaled_by_its_scale_too(lab: Lab, run: Run, slack: FakeSlack) -> None:
    """And gets back to what it had."""
    deployment_, *_ = serving()
    spec = {key: deployment_["spec"][key] for key in ("selector", "template")}
    head = {"apiVersion": "apps/v1", "metadata": {"name": "ranker", "namespace": NAMESPACE, "labels": {"app": NAME}}}
    await lab.apply([head | {"kind": "StatefulSet", "spec": spec | {"replicas": 2, "serviceName": "ranker"}}])
    await lab.wait_for(serves(2), PATIENCE)
    healer = await run(busy(by=1))
    firing = alert("HighLatency", statefulset="ranker")
    await healer.post(firing)
    await lab.wait_for(serves(3), PATIENCE)
    await healer.post(resolved(firing))
    await lab.wait_for(serves(2), PATIENCE)
    await slack.wait_for(says("*Taken back*: replicas of statefulset/ranker: 3 -"), PATIENCE)
