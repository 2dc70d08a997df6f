"""deploy/pipelines/rollout.sh where something is not as it should be: no pods, odd weights, notes of others, pauses, signals."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from healer.lab.canary import CANARY, ROUTE, STABLE
from healer.lab.objects import Object
from tests.deploy.test_pipeline import GUARDED, NEW, OLD, ROW, Open, Site, gate, hurry
from tests.integration.world import NAMESPACE
from tests.support.kustomize import KUBECTL

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

GIVEN, REPLACED = "rollout.healer.dev/given", "rollout.healer.dev/replaced"
OTHER = "registry.example/other@sha256:" + "1" * 64
NGINX = "nginx.ingress.kubernetes.io/"
ALL, SOME = [[100, 0]] * 2, [[80, 20]] * 2
BLOCKING = """#!/usr/bin/env bash
# kubectl, but a command that the file `block` describes waits until that file is gone. A rollout does not end by itself.
block=$(dirname "$0")/block
if [[ -e $block && $* =~ $(<"$block") ]]; then
  echo "kubectl waits" >&2
  [[ $* != *"rollout status"* ]] || exec sleep 600
  while [[ -e $block ]]; do kill -0 $PPID || exit; sleep 0.05; done
fi
exec REAL "$@"
"""
LINGERING = """#!/usr/bin/env bash
# healer, but the gate that is told to end does so when the file `end` is there, and calls the canary good.
home=$(dirname "$0")
[[ $1 == gate ]] || exec "$home/plain" "$@"
trap 'echo "the gate ends" >&2; until [[ -e $home/end ]]; do sleep 0.05; done; exit 0' TERM
echo "healer gate was asked" >&2
while kill -0 $PPID; do sleep 0.05; done
"""


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Open]:
    async with AsyncExitStack() as stack:
        yield Open(stack, tmp_path)


def program(here: Site, name: str, text: str) -> None:
    """Have the script use this one as kubectl or healer."""
    (here.home / name).write_text(text.replace("REAL", str(KUBECTL)), "utf-8")
    (here.home / name).chmod(0o755)
    here.environ[name.upper()] = str(here.home / name)


def scale(here: Site, replicas: int) -> None:
    here.change("deployments", CANARY, lambda each: each["spec"].update(replicas=replicas))


def annotate(here: Site, collection: str, name: str, **values: str | None) -> None:
    """`given`, `replaced`: the annotations of the script; None takes one away."""

    def annotated(obj: Object) -> None:
        annotations = obj["metadata"].setdefault("annotations", {})
        for key, value in values.items():
            annotations[f"rollout.healer.dev/{key}"] = value
            if value is None:
                del annotations[f"rollout.healer.dev/{key}"]

    here.change(collection, name, annotated)


def note(here: Site) -> str | None:
    """Which image stable had, by its annotation."""
    (found,) = [each for each in here.lab.objects("deployments", NAMESPACE) if each["metadata"]["name"] == STABLE]
    replaced: str | None = found["metadata"].get("annotations", {}).get(REPLACED)
    return replaced


def rolled(here: Site, name: str, image: str) -> None:
    """As somebody else, or an earlier run, gives a Deployment an image."""
    here.change("deployments", name, lambda each: each["spec"]["template"]["spec"]["containers"][0].update(image=image))


async def test_a_canary_without_a_ready_pod_gets_no_requests(site: Open) -> None:
    """`kubectl rollout status` calls a Deployment of no pods rolled out."""
    here = await site()
    here.says("gate", 2)
    scale(here, 0)
    code, printed = await here.run()
    assert (code, here.weights(), here.asked) == (3, ALL, [])
    assert f"{CANARY} has no ready pod (of 0 that are wanted): it gets no requests" in printed.splitlines()[-1]

    scale(here, 2)
    code, printed = await here.run()
    assert (code, here.weights()) == (2, SOME), printed
    scale(here, 0)
    await here.lab.wait_for(lambda lab: len(lab.objects("pods", NAMESPACE)) == 2, 60)
    code, printed = await here.run()
    assert (code, here.weights()) == (3, ALL), "those that it has are taken"

    scale(here, 2)
    here.says("gate", 0)
    code, printed = await here.run()
    assert (code, here.images()[STABLE]) == (0, NEW), printed


async def test_a_note_of_another_roll_out_restores_no_image(site: Open) -> None:
    here = await site()
    here.change("deployments", STABLE, hurry)
    for node in here.lab.objects("nodes"):
        here.change("nodes", node["metadata"]["name"], lambda each: each["spec"].update(unschedulable=True))
    rolled(here, STABLE, NEW)
    for stale in ("ancient:1", f"ancient:1 for {OTHER}"):
        annotate(here, "deployments", STABLE, replaced=stale)
        code, printed = await here.run("promote")
        assert (code, here.images()[STABLE]) == (3, NEW)
        assert f"the annotation {REPLACED} of deployment/{STABLE} is of another roll-out" in printed
        assert f"kubectl rollout undo deployment/{STABLE}" in printed.splitlines()[-1]


async def test_the_note_of_the_replaced_image_is_gone_with_the_promotion(site: Open) -> None:
    here = await site()
    here.says("gate", 0)
    notes: list[str | None] = []
    here.lab.store.listeners.append(lambda kind, _: notes.append(note(here)) if "deployments" in kind else None)
    assert (await here.run())[0] == 0
    assert f"{OLD} for {NEW}" in notes
    assert note(here) is None


def _httproute(route: Object) -> None:
    for rule in route["spec"]["rules"]:
        rule["backendRefs"][0]["weight"], rule["backendRefs"][1]["weight"] = 9990, 10


def _virtualservice(route: Object) -> None:
    for rule in route["spec"]["http"]:
        rule["route"][0]["weight"], rule["route"][1]["weight"] = 999, 1


def _ingress(route: Object) -> None:
    route["metadata"]["annotations"] |= {f"{NGINX}canary-weight": "1", f"{NGINX}canary-weight-total": "1000"}


@pytest.mark.parametrize(
    ("name", "collection", "change", "left"),
    [
        ("httproute", "httproutes", _httproute, ALL),
        ("istio", "virtualservices", _virtualservice, ALL),
        ("nginx-canary", "ingresses", _ingress, [[0]]),
    ],
)
async def test_no_remainder_of_the_requests_stays_on_a_canary(
    name: str, collection: str, change: Callable[[Object], None], left: list[list[int]], site: Open
) -> None:
    """A tenth of a percent is more than nothing."""
    here = await site(name)
    here.change(collection, ROUTE, change)
    code, printed = await here.run("status")
    assert f"{CANARY}: {here.images()[CANARY]}, 0.1 % of the requests" in printed
    rolled(here, CANARY, NEW)
    code, printed = await here.run("rollback")
    assert (code, here.weights()) == (0, left), printed


async def test_a_share_of_a_larger_total_is_given_and_seen_exactly(site: Open) -> None:
    here = await site("nginx-canary")
    here.change("ingresses", ROUTE, lambda each: each["metadata"]["annotations"].update({f"{NGINX}canary-weight-total": "333"}))
    here.says("gate", 2)
    code, printed = await here.run("--weight", "7")
    assert (code, here.weights()) == (2, [[24]]), "7 % of 333 is 23.31: not less"
    here.says("gate", 0)
    here.change("ingresses", ROUTE, lambda each: each["metadata"]["annotations"].update({f"{NGINX}canary-weight": "23"}))
    code, printed = await here.run("--weight", "7")
    assert (code, here.weights(), here.images()[STABLE]) == (1, [[0]], OLD), printed

    here.change("ingresses", ROUTE, lambda each: each["metadata"]["annotations"].update({f"{NGINX}canary-weight": "0.4"}))
    code, printed = await here.run("rollback")
    assert code == 3
    assert 'canary-weight is "0.4", which is no whole number' in printed


async def test_kubectl_and_healer_ask_the_cluster_of_one_context(site: Open) -> None:
    here = await site()
    here.says("gate", 0)
    path = here.home / "kubeconfig"
    config = yaml.safe_load(path.read_text("utf-8"))
    right = config["current-context"]
    config["clusters"].append({"name": "wrong", "cluster": {"server": "http://127.0.0.1:1"}})
    config["contexts"].append({"name": "wrong", "context": {"cluster": "wrong", "user": config["users"][0]["name"]}})
    config["current-context"] = "wrong"
    path.write_text(yaml.safe_dump(config), "utf-8")

    code, printed = await here.run("--context", "absent")
    assert (code, printed) == (64, "rollout.sh: --context absent is not in the kubeconfig; rollout.sh --help tells more")
    here.environ["KUBECTL"] = f"{KUBECTL} --kubeconfig {path}"
    code, printed = await here.run("--context", right)
    assert code == 64
    assert "--kubeconfig in KUBECTL: healer would ask another cluster than kubectl" in printed

    here.environ["KUBECTL"] = f"{KUBECTL} --context {right}"
    code, printed = await here.run()
    assert (code, here.images()[STABLE]) == (0, NEW), printed
    asked = (here.home / "asked").read_text("utf-8").splitlines()
    assert len(asked) == 3
    assert all(f"--context {right}" in line for line in asked)
    here.environ["KUBECTL"] = str(KUBECTL)
    code, printed = await here.run("status", "--context", right)
    assert (code, printed.splitlines()[0]) == (0, f"{STABLE}: {NEW}")


def on(kind: str, namespace: str, name: str) -> dict[str, Any]:
    return GUARDED | {
        "pauses": [{"on": {"kind": kind, "namespace": namespace, "name": name}, "by": "ann", "reason": "a move", "until": ""}]
    }


async def test_a_canary_on_which_healer_is_paused_or_has_no_rule_gets_no_requests(site: Open) -> None:
    here = await site()
    here.says("gate", 0)
    answers: list[tuple[dict[str, Any], str]] = [
        (on("Namespace", "", NAMESPACE), f"healer is paused on namespace/{NAMESPACE} by ann (a move)"),
        (on("Deployment", NAMESPACE, CANARY), f"healer is paused on deployment/{CANARY} by ann (a move)"),
        (on("Lease", "healer", "healer"), "healer is paused on lease/healer by ann (a move)"),
        (GUARDED | {"rules": [ROW | {"scope": {"namespaces": ["staging"]}}]}, f"has not the namespace {NAMESPACE}"),
        (
            GUARDED | {"rules": [ROW | {"workloads": 0, "doubts": ["it is not watched"]}]},
            "covers no workload (it is not watched)",
        ),
    ]
    for answer, said in answers:
        here.says("status", 0, answer)
        code, printed = await here.run()
        assert (code, here.weights()) == (3, ALL), said
        assert said in printed.splitlines()[-1]
    here.says(
        "status",
        0,
        on("Deployment", NAMESPACE, STABLE) | {"pausesUnread": ["LeaderWorkerSet"], "notes": ["leaderworkersets: 403"]},
    )
    code, printed = await here.run()
    assert (code, here.images()[STABLE]) == (0, NEW), "a pause elsewhere is none here"
    assert "healer status: leaderworkersets: 403" in printed


async def test_a_canary_gets_no_requests_while_nobody_knows_whether_it_is_guarded(site: Open) -> None:
    here = await site()
    here.says("gate", 2)
    unknown: list[dict[str, Any]] = [
        {"rules": None, "notes": ["the rules, workloads, canaries and limits are not known: 403"]},
        {"rules": [ROW | {"workloads": None}]},
        {"pausesUnread": ["Deployment"]},
        {"pausesUnread": ["LeaderWorkerSet", "Namespace"]},
        {"pausesUnread": ["Lease"]},
        {"pausesUnread": None},
    ]
    for each in unknown:
        here.says("status", 0, GUARDED | each)
        code, printed = await here.run()
        assert (code, here.weights()) == (3, ALL), printed
        assert f"so that nobody knows whether healer guards {CANARY}: it gets no requests" in printed.splitlines()[-1]
        assert "guards it" not in printed
    for _ in range(2):  # the second run finds the share given
        code, printed = await here.run("--unguarded")
        assert (code, here.weights()) == (2, SOME), printed
        assert "this run has not seen whether healer guards it" in printed.splitlines()[-1]


async def test_a_run_that_saw_the_guard_says_so_at_its_end(site: Open) -> None:
    here = await site()
    here.says("gate", 2)
    code, printed = await here.run()
    assert (code, here.weights()) == (2, SOME), printed
    assert f"{CANARY} keeps 20 % of the requests on httproute/{ROUTE}, and healer's rule guards it." in printed.splitlines()[-1]


INCIDENT = {
    "apiVersion": "healer.dev/v1alpha1",
    "kind": "Incident",
    "metadata": {"name": "bad-canary-1", "namespace": NAMESPACE},
    "spec": {
        "rule": "canary/bad-canary",
        "workload": {"kind": "Deployment", "namespace": NAMESPACE, "name": CANARY, "uid": "u"},
        "severity": "critical",
        "mode": "enforce",
        "notify": [],
        "steps": [],
        "openedAt": "2126-01-01T00:00:00Z",
    },
}


@pytest.mark.parametrize("taker", ["a person", "healer", "unknown"])
async def test_a_promotion_whose_traffic_was_taken_meanwhile(taker: str, site: Open) -> None:
    """Its run was ended. A person who set the weight to 0 has finished it; healer has found the image bad."""
    here = await site()
    here.says("gate", 2)
    assert (await here.run())[0] == 2
    rolled(here, STABLE, NEW)
    annotate(here, "deployments", STABLE, replaced=f"{OLD} for {NEW}")
    here.shift()
    if taker == "healer":
        definition = yaml.safe_load((Path(__file__).parents[2] / "deploy/healer/crd.yaml").read_text("utf-8"))
        version = definition["spec"]["versions"][0]["name"]
        await here.lab.apply(INCIDENT | {"apiVersion": f"{definition['spec']['group']}/{version}"})
    if taker == "unknown":
        program(
            here,
            "kubectl",
            '#!/usr/bin/env bash\n[[ $* != *"get incidents"* ]] || { echo Forbidden >&2; exit 1; }\nexec REAL "$@"\n',
        )
    code, printed = await here.run()
    ends = {"a person": (0, NEW, ALL), "healer": (1, OLD, ALL), "unknown": (3, NEW, ALL)}
    assert (code, here.images()[STABLE], here.weights()) == ends[taker], printed
    said = {
        "a person": "that was done by hand",
        "healer": f"rolled back: healer took traffic from {CANARY}",
        "unknown": f"If healer took them: rollout.sh rollback. If it was you: kubectl annotate httproute/{ROUTE} {GIVEN}-",
    }
    assert said[taker] in printed
    assert note(here) == (f"{OLD} for {NEW}" if taker == "unknown" else None)
    if taker == "unknown":
        code, printed = await here.run("rollback")
        assert (code, here.images()[STABLE], note(here)) == (0, OLD, None), printed


async def test_a_note_that_is_not_the_scripts_is_refused_and_never_evaluated(site: Open) -> None:
    """bash would run a command that stands in a number which it compares."""
    here = await site()
    here.says("gate", 0)
    before = here.images()
    ran = here.home / "ran"
    texts = [f"x[$(touch {ran})] {NEW}", f"08 {NEW}", "20", f"20 {NEW} now or never", f"20 {NEW}\nstable:evil"]
    for text in texts:
        annotate(here, "httproutes", ROUTE, given=text)
        code, printed = await here.run()
        assert (code, here.weights(), here.images()) == (3, ALL, before), text
        assert f"kubectl annotate httproute/{ROUTE} {GIVEN}-" in printed.splitlines()[-1]
    here.shift(20)
    rolled(here, CANARY, NEW)
    annotate(here, "httproutes", ROUTE, given=texts[0])
    code, printed = await here.run("rollback")
    assert (code, here.weights()) == (0, ALL), "traffic is taken whatever the note says"
    assert not ran.exists()


async def test_traffic_that_is_given_back_while_the_gate_ends_promotes_nothing(site: Open) -> None:
    """The gate was told to end because the traffic was taken: its code is no verdict, and neither is that of the pause."""
    here = await site()
    (here.home / "healer").rename(here.home / "plain")
    program(here, "healer", LINGERING)
    async with here.rollout() as process:
        await gate(process)
        here.shift()
        await process.until(lambda: "the gate ends" in process.lines, "the end of the gate")
        here.shift(20)
        (here.home / "end").touch()
        assert await process.ended() == 1
    assert (here.images()[STABLE], here.weights()) == (OLD, ALL)


async def test_a_good_verdict_promotes_no_canary_without_requests(site: Open) -> None:
    """Somebody took them, and the note which says that it had some."""
    here = await site()
    async with here.rollout("--watch", "600") as process:
        await gate(process)
        here.shift()
        annotate(here, "httproutes", ROUTE, given=None)
        here.says("gate", 0)
        assert await process.ended() == 3
    assert f"{CANARY} has none of the requests" in process.lines[-1]
    assert here.images()[STABLE] == OLD


async def test_a_cluster_that_cannot_be_read_is_no_verdict(site: Open) -> None:
    """kubectl ends with 1, which says of this script that it has rolled back."""
    here = await site()
    program(here, "kubectl", '#!/usr/bin/env bash\n[[ $* != *" get "* ]] || { echo gone >&2; exit 1; }\nexec REAL "$@"\n')
    code, printed = await here.run()
    assert code == 3
    assert "cannot be read (the error is above)" in printed


STAGES = [
    (f"patch deployment/{CANARY}", ALL, OLD),
    (f"rollout status deployment/{CANARY}", ALL, OLD),
    (f"patch httproute/{ROUTE}", SOME, OLD),
    ("the gate", SOME, OLD),
    (f"patch deployment/{STABLE}", SOME, NEW),
    (f"rollout status deployment/{STABLE}", SOME, NEW),
    (f"patch httproute/{ROUTE}", ALL, NEW),
]
"""What the script does when it is stopped, and what it leaves: a write that is under way is made, and then it ends."""


async def stopped(here: Site, stage: str, number: signal.Signals) -> None:
    """Run it until this stage, send it the signal, and see that it ends with what it says."""
    block = here.home / "block"
    block.write_text(stage, "utf-8")
    async with here.rollout() as process:
        asked = "healer gate was asked" if stage == "the gate" else "kubectl waits"
        await process.until(lambda: asked in process.lines, stage)
        process.send(number)
        if stage.startswith("patch"):
            block.unlink()  # bash waits for the command that it runs
        assert await process.ended() == 128 + number, stage
    block.unlink(missing_ok=True)
    last = process.lines[-1]
    assert last.startswith(f"ended with exit code {128 + number}: {CANARY} keeps {here.weights()[0][1]} % "), stage
    assert f"{STABLE} has {here.images()[STABLE]}" in last


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_it_goes_on_from_every_stage_where_a_signal_stopped_it(number: signal.Signals, site: Open) -> None:
    here = await site()
    program(here, "kubectl", BLOCKING)
    for stage, weights, image in STAGES:
        if stage == f"patch deployment/{STABLE}":
            here.says("gate", 0)
        await stopped(here, stage, number)
        assert (here.weights(), here.images()[STABLE]) == (weights, image), stage
    code, printed = await here.run()
    assert (code, here.images(), here.weights(), note(here)) == (0, {STABLE: NEW, CANARY: NEW}, ALL, None), printed


@pytest.mark.parametrize("stage", [f"patch httproute/{ROUTE}", "the gate", f"rollout status deployment/{STABLE}"])
async def test_rollback_takes_back_what_a_stopped_run_has_done(stage: str, site: Open) -> None:
    here = await site()
    program(here, "kubectl", BLOCKING)
    if "deployment" in stage:
        here.says("gate", 0)
    await stopped(here, stage, signal.SIGTERM)
    code, printed = await here.run("rollback")
    assert (code, here.weights(), here.images()[STABLE], note(here)) == (0, ALL, OLD, None), printed
    code, printed = await here.run()
    assert (code, here.images()[STABLE]) == (1, OLD), "what was taken is not given again"
    assert here.weights() == ALL
