"""The failures that operators of model servers know, with the shipped packs and the real daemon: each with its right answer, and
with the wrong one close at hand.

Each test begins with what is tempting, goes on with what must be done, and looks at the end that nothing else was done. The times
of the rules run 600 times as fast as in production.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from aiohttp import web

from healer.daemon.rulefiles import load_rules, vocabulary
from healer.engine.tuning import EngineSettings
from healer.lab import Lab, serving
from healer.lab.kinds import POD
from healer.lab.objects import Object, condition, timestamp
from healer.model.effects import Verb
from healer.model.incident import State
from healer.rules.pod_detectors import PodsSettings
from healer.rules.rulebook import BoundRule, Rulebook, scaled
from healer.rules.triggers import MODEL
from healer.settings.sections import Cluster
from tests.integration.test_groups import have, members, replaced
from tests.integration.world import evictions, pods, serve, serves
from tests.seams.house import House, house
from tests.support.healer import alert
from tests.support.model_servers import Engine, Servers, model_servers
from tests.support.operators import predictor
from tests.support.processes import PATIENCE

pytestmark = pytest.mark.slow

RULES = Path(__file__).parents[2] / "rules"
SPEED = 600
ADDRESSES = ("127.0.0.1", "127.0.0.2", "127.0.0.3")
MODEL_NAME = "my-model"
"""The name that the shipped rules have for the model."""


def pack(*files: str, port: int = 0) -> Rulebook:
    """Shipped rules at their speed; those that ask model servers ask them at that port, and more often."""
    rulebook = scaled(load_rules([RULES / file for file in files], vocabulary()), 1 / SPEED)
    return Rulebook(_asked_at(bound, port) for bound in rulebook.rules)


def _asked_at(bound: BoundRule, port: int) -> BoundRule:
    served = bound.rule.when.get(MODEL)
    if served is None:
        return bound
    when = bound.rule.when.model_copy(update={"model": served.model_copy(update={"port": port, "every": 0.1})})
    return replace(bound, rule=bound.rule.model_copy(update={"when": when}))


def daemon(lab: Lab, folder: Path, rulebook: Rulebook, *, nodes: bool = False) -> AbstractAsyncContextManager[House]:
    """The real daemon with these rules, its own times as fast as theirs."""
    return house(
        lab,
        folder,
        rulebook=rulebook,
        cluster=Cluster(nodes=nodes),
        pods=PodsSettings(settle=0.5, starting=1.0, restarts_within=60),
        engine=EngineSettings(retry=0.1, recheck=0.1, max_wait=60),
    )


@asynccontextmanager
async def engines(lab: Lab) -> AsyncIterator[tuple[Servers, dict[str, Engine]]]:
    """Three pods of vLLM whose engines work; the engines by the pods' names."""
    async with model_servers(*ADDRESSES) as servers:
        await serve(lab, name="vllm", addresses=ADDRESSES, min_available=None)
        made = {}
        for name, pod in pods(lab).items():
            made[name] = Engine(MODEL_NAME)
            made[name].running = 8
            servers.says[pod["status"]["podIP"]] = made[name].vllm
        yield servers, made


async def restarted(lab: Lab, pod: str) -> None:
    """Wait until its container has been restarted once."""

    def once(lab: Lab) -> bool:
        (status,) = pods(lab)[pod]["status"]["containerStatuses"]
        return int(status["restartCount"]) >= 1

    await lab.wait_for(once, PATIENCE)


async def test_a_dead_engine_is_left_to_the_kubelet_until_it_dies_again_and_again(lab: Lab, tmp_path: Path) -> None:
    """vLLM ends its process when its engine is dead: at the first exit the kubelet is the better answer."""
    once, again, _ = await serve(lab, name="vllm", min_available=None)
    async with daemon(lab, tmp_path, pack("vllm.yaml")) as healer:
        await lab.behave("production", once, "crash")
        await restarted(lab, once)
        await lab.behave("production", once, "ok")
        await lab.wait_for(serves(3), PATIENCE)
        await lab.behave("production", again, "crash")
        healed = await healer.told.until(State.HEALED)
    assert healed.rule == "vllm/engine-dead"
    assert evictions(lab) == [again]


async def test_an_engine_that_hangs_is_taken_and_a_saturated_one_is_not(lab: Lab, tmp_path: Path) -> None:
    """Both answer 200 at /health. One makes steps with a full cache and a long queue, the other makes none."""
    async with engines(lab) as (servers, made):
        hangs, full, _ = made
        made[full].running, made[full].waiting, made[full].cache = 64, 300, 0.99
        async with daemon(lab, tmp_path, pack("models/vllm.yaml", port=servers.port)) as healer:
            await servers.looks(4, "/metrics", pods(lab)[full]["status"]["podIP"])
            made[hangs].moves = False
            await lab.wait_for(lambda lab: hangs not in pods(lab), PATIENCE)
            fresh = Engine(MODEL_NAME)
            fresh.running = 8
            for name, pod in pods(lab).items():
                servers.says[pod["status"].get("podIP", "")] = made.setdefault(name, fresh).vllm
            await healer.told.until(State.HEALED)
    assert evictions(lab) == [hangs]


async def test_a_saturated_workload_waits_for_a_human_and_loses_no_pod(lab: Lab, tmp_path: Path) -> None:
    """More replicas are the answer, and cost a GPU. A pod less would give its load to the others."""
    names = await serve(lab, name="vllm", min_available=None)
    async with daemon(lab, tmp_path, pack("vllm.yaml")) as healer:
        await healer.post(alert("VllmSaturated", deployment="vllm"))
        waiting = await healer.told.until(State.WAITING)
    assert waiting.reason.code == "NeedsApproval"
    assert (evictions(lab), list(pods(lab))) == ([], names)


async def test_an_xid_of_the_process_takes_the_pod_and_one_of_the_device_calls_people(lab: Lab, tmp_path: Path) -> None:
    """A GPU that fell off the bus (79) is not cured by a new pod on the same node, and healer does not see nodes here."""
    device, process, _ = await serve(lab, name="vllm", min_available=None)
    async with daemon(lab, tmp_path, pack("gpu.yaml")) as healer:
        await healer.post(alert("GpuXidDevice", pod=device, xid="79"))
        paged = await healer.told.until(State.ESCALATED)
        await healer.post(alert("GpuXidError", pod=process, xid="31"))
        healed = await healer.told.until(State.HEALED)
    assert (paged.rule, paged.reason.code) == ("gpu/xid-device", "NodeUnseen")
    assert healed.rule == "gpu/xid-application"
    assert evictions(lab) == [process]


async def test_an_ill_gpu_loses_its_pod_only_when_no_pod_can_come_to_it_any_more(lab: Lab, tmp_path: Path) -> None:
    """People are paged at once. While a remediator is at work, or the node takes a replacement as well, the pod stays."""
    treated, ill, _ = await serve(lab, name="vllm", min_available=None)
    node, other = (str(pods(lab)[pod]["spec"]["nodeName"]) for pod in (ill, treated))
    lab.taint_node(other, "dgxc.nvidia.com/nvsentinel-state")
    async with daemon(lab, tmp_path, pack("gpu.yaml"), nodes=True) as healer:
        draining = alert("GpuXidDevice", pod=treated, xid="95")
        await healer.post(draining)
        await healer.decisions.until(lambda each: each.reason.code == "NodeRemediated")
        await healer.post(draining | {"status": "resolved", "endsAt": draining["startsAt"]})
        await healer.told.until(State.CLOSED)
        lab.taint_node(other)
        await healer.post(alert("GpuXidDevice", pod=ill, xid="79"))
        await healer.decisions.until(lambda each: each.reason.code == "SameNode")
        assert evictions(lab) == []
        lab.taint_node(node, "example.com/gpu-broken")
        healed = await healer.told.until(State.HEALED)
    assert [entry.reason.code for entry in healed.history if entry.reason.code in ("Paged", "Evicted")] == ["Paged", "Evicted"]
    assert evictions(lab) == [ill]
    assert node not in {pod["spec"]["nodeName"] for name, pod in pods(lab).items() if name != treated}


async def test_an_ill_gpu_of_a_node_that_healer_does_not_see_keeps_its_pod(lab: Lab, tmp_path: Path) -> None:
    """The watch of nodes is refused, and the node is newer than that: it is open, and a replacement would come to it again."""
    old = [each["metadata"]["name"] for each in lab.objects("nodes")]
    status = dict(lab.objects("nodes")[0]["status"])
    async with daemon(lab, tmp_path, pack("gpu.yaml"), nodes=True) as healer:
        for verb in ("list", "watch", "get"):
            lab.forbid(verb, "nodes")
        lab.faults.end_watch(resource="nodes")
        for name in old:
            lab.taint_node(name, "full")
        await lab.apply({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "fresh"}, "spec": {}, "status": status})
        ill, *_ = await serve(lab, name="vllm", min_available=None)
        assert pods(lab)[ill]["spec"]["nodeName"] == "fresh"
        await healer.post(alert("GpuXidDevice", pod=ill, xid="79"))
        waits = await healer.decisions.until(lambda each: each.reason.code in ("NodeUnseen", "Allowed") and each.target.is_pod)
    assert (waits.reason.code, waits.verb, "node/fresh" in waits.reason.text) == ("NodeUnseen", Verb.DEFER, True)
    assert evictions(lab) == []


async def test_a_download_that_is_stuck_is_tried_once_with_a_new_pod(lab: Lab, tmp_path: Path) -> None:
    """A download that is only slow ends by itself, and its pod keeps what it has."""
    await lab.apply(serving("vllm", min_available=None, behaviour="initializing"))
    await lab.wait_for(_initializing(3), PATIENCE)
    fast, slow, stuck = pods(lab)
    await lab.behave("production", fast, "ok")
    async with daemon(lab, tmp_path, pack("vllm.yaml")) as healer:
        await healer.decisions.until(lambda each: (each.verb, each.target.name) == (Verb.PEND, slow))
        await lab.behave("production", slow, "ok")
        await lab.wait_for(lambda lab: stuck not in pods(lab) and _initializing(1)(lab), PATIENCE)
        (fresh,) = set(pods(lab)) - {fast, slow}
        await lab.behave("production", fresh, "ok")
        healed = await healer.told.until(State.HEALED)
    assert healed.rule == "vllm/weights-stuck"
    assert evictions(lab) == [stuck]


def _initializing(wanted: int) -> Callable[[Lab], bool]:
    """Whether so many pods are on their way, and run no container yet."""
    return lambda lab: (
        sum(pod["status"].get("phase") == "Pending" and "podIP" in pod["status"] for pod in pods(lab).values()) == wanted
    )


async def test_a_cuda_fault_of_one_pod_takes_it_and_one_of_all_pods_takes_none(lab: Lab, tmp_path: Path) -> None:
    """Triton stays ready after a CUDA fault. When all pods fail, the model or the image is at fault."""
    names = await serve(lab, name="triton", min_available=None)
    async with daemon(lab, tmp_path, pack("triton.yaml")) as healer:
        await healer.post(*(alert("TritonFailuresHigh", pod=name) for name in names))
        await healer.decisions.until(lambda each: each.reason.code == "Storm")
        assert evictions(lab) == []
        await healer.post(*(alert("TritonFailuresHigh", pod=name, resolved=True) for name in names))
        await healer.told.until(State.CLOSED)
        await healer.post(alert("TritonFailuresHigh", pod=names[0]))
        await lab.wait_for(lambda lab: names[0] not in pods(lab), PATIENCE)
    assert evictions(lab) == [names[0]]


GROUP_HANG = "VllmEngineStalled"


async def test_a_hang_on_all_ranks_restarts_their_group_once_and_one_of_two_groups_none(lab: Lab, tmp_path: Path) -> None:
    """Collectives (NCCL) hang on every rank, and rank after rank would take their group down again and again. Two groups of three
    are the network's fault, or the model's."""
    await have(lab, groups=3, size=3)
    ranks = {group: members(lab, group) for group in range(3)}
    async with daemon(lab, tmp_path, pack("vllm.yaml")) as healer:
        await healer.post(*(alert(GROUP_HANG, pod=name) for group in (0, 2) for name in ranks[group]))
        await healer.decisions.until(lambda each: each.reason.code == "Storm")
        assert evictions(lab) == []
        await healer.post(*(alert(GROUP_HANG, pod=name, resolved=True) for group in (0, 2) for name in ranks[group]))
        await healer.told.until(State.CLOSED)
        hung = [alert(GROUP_HANG, pod=name) for name in ranks[1]]
        await healer.post(*hung)
        await healer.told.until(State.VERIFYING)
        await healer.post(*hung)  # while the group goes: they are about pods that healer has taken
        await lab.wait_for(replaced(1, ranks[1]), PATIENCE)
        await healer.post(*hung)
        await healer.post(*(each | {"status": "resolved", "endsAt": each["startsAt"]} for each in hung))
        await healer.told.until(State.HEALED)
    (evicted,) = evictions(lab)
    assert evicted in ranks[1]
    assert (members(lab, 0), members(lab, 2)) == (ranks[0], ranks[2])


async def test_a_group_whose_leader_makes_no_step_is_restarted_once(lab: Lab, tmp_path: Path) -> None:
    """Only the leaders answer: a worker has no server, which is not known to be bad. No Prometheus is needed."""
    places = [f"127.0.0.{number}" for number in range(1, 9)]
    async with model_servers(*places) as servers:
        await have(lab, groups=2, size=2, addresses=places)
        before = {group: members(lab, group) for group in range(2)}
        well, hung = Engine(MODEL_NAME), Engine(MODEL_NAME)
        well.running = hung.running = 8

        def answer(address: str, request: web.Request) -> web.StreamResponse:
            (pod,) = [pod["metadata"] for pod in pods(lab).values() if pod["status"].get("podIP") == address]
            if pod["name"] not in ("vllm-0", "vllm-1"):
                return web.Response(status=404)
            return (hung if pod["uid"] == before[1]["vllm-1"] else well).vllm(request)

        servers.says |= {place: partial(answer, place) for place in places}
        async with daemon(lab, tmp_path, pack("models/vllm.yaml", port=servers.port)) as healer:
            await servers.looks(3, "/health", *(pod["status"]["podIP"] for pod in pods(lab).values()))
            assert evictions(lab) == []
            hung.moves = False
            await lab.wait_for(replaced(1, before[1]), PATIENCE)
            healed = await healer.told.until(State.HEALED)
    assert healed.rule == "models-vllm/engine-hangs"
    assert evictions(lab) == ["vllm-1"]
    assert members(lab, 0) == before[0]


async def test_a_storage_initializer_that_runs_out_of_memory_is_a_matter_of_people(lab: Lab, tmp_path: Path) -> None:
    """A new pod has the same limit, and begins the same download. To evict it, as in a crash loop, looks like the cure."""
    await predictor(lab, behaviour="init-oom")
    await lab.wait_for(_restarted(3), PATIENCE)
    sick, *others = pods(lab)
    for name in others:
        await lab.behave("production", name, "ok")
    async with daemon(lab, tmp_path, pack("kserve.yaml")) as healer:
        paged = await healer.told.until(State.ESCALATED)
        await lab.wait_for(_restarted(1, times=4), PATIENCE)
        assert (paged.rule, len(healer.told.incidents)) == ("kserve/oom-killed", 1)
        await lab.behave("production", sick, "ok")  # people have raised the limit
        await healer.told.until(State.CLOSED)
    assert evictions(lab) == []
    assert sick in pods(lab)


def _restarted(count: int, times: int = 1) -> Callable[[Lab], bool]:
    """Whether the init containers of so many pods were restarted so often."""

    def holds(lab: Lab) -> bool:
        statuses = [status for pod in pods(lab).values() for status in pod["status"].get("initContainerStatuses") or ()]
        return sum(int(status["restartCount"]) >= times for status in statuses) >= count

    return holds


@pytest.mark.parametrize(
    ("knative", "failing"), [(False, "VllmErrorsHigh"), (True, "KServeErrorsHigh")], ids=["RawDeployment", "Serverless"]
)
async def test_a_cuda_fault_under_kserve_takes_the_pod_and_changes_nothing_that_kserve_owns(
    lab: Lab, tmp_path: Path, knative: bool, failing: str
) -> None:
    """Its readiness is always true. The same fault is seen as 5xx and as an Xid, and costs one pod. All pods at once, or an Xid
    of the device, cost none. Without Knative there is no queue-proxy that counts errors: the server inside does."""
    await predictor(lab, knative=knative)
    await lab.wait_for(serves(3), PATIENCE)
    faulty, device, _ = names = list(pods(lab))
    owned = _specs(lab)
    async with daemon(lab, tmp_path, pack("kserve.yaml", "gpu.yaml")) as healer:
        await healer.post(*(alert(failing, pod=name) for name in names))
        await healer.decisions.until(lambda each: each.reason.code == "Storm")
        assert evictions(lab) == []
        await healer.post(*(alert(failing, pod=name, resolved=True) for name in names))
        await healer.told.until(State.CLOSED)
        await healer.post(alert("GpuXidDevice", pod=device, xid="79"))
        await healer.told.until(State.ESCALATED)
        both = [alert(failing, pod=faulty), alert("GpuXidError", pod=faulty, xid="31")]
        await healer.post(*both)
        await lab.wait_for(lambda lab: faulty not in pods(lab), PATIENCE)
        await healer.post(*(each | {"status": "resolved", "endsAt": each["startsAt"]} for each in both))
        await healer.told.until(State.HEALED)
    assert evictions(lab) == [faulty]
    assert _specs(lab) == owned


def _specs(lab: Lab) -> list[object]:
    """What KServe owns: its own objects and the Deployments."""
    found = [each for kind in ("inferenceservices", "deployments") for each in lab.objects(kind, "production")]
    return [(each["metadata"]["name"], each["metadata"]["generation"], each["spec"]) for each in found]


async def test_a_retired_rank_is_its_orchestrators_business(lab: Lab, tmp_path: Path) -> None:
    """It answers 503 to all but /health. What healer cannot read is unknown, and not bad."""
    async with engines(lab) as (servers, made):
        retired, hangs, _ = made
        address = pods(lab)[retired]["status"]["podIP"]
        servers.says[address] = lambda request: web.Response(status=200 if request.path == "/health" else 503)
        async with daemon(lab, tmp_path, pack("models/vllm.yaml", port=servers.port)):
            await servers.looks(6, "/metrics", address)
            made[hangs].moves = False
            await lab.wait_for(lambda lab: hangs not in pods(lab), PATIENCE)
    assert evictions(lab) == [hangs]


async def test_a_retired_rank_that_is_not_ready_is_asked_about_and_not_taken(lab: Lab, tmp_path: Path) -> None:
    """Prometheus calls it down, and Kubernetes not ready where the probe asks another path than /health."""
    retired, *_ = names = await serve(lab, name="vllm", min_available=None)
    await lab.behave("production", retired, "manual")
    lab.api.modify(POD, "production", retired, retire, subresource="status")
    async with daemon(lab, tmp_path, pack("vllm.yaml")) as healer:
        await healer.post(alert("VllmDown", pod=retired))
        await healer.decisions.until(lambda each: (each.rule, each.reason.code) == ("vllm/down", "ConditionUnmet"))
        waiting = await healer.told.until(State.WAITING)
    assert (waiting.rule, waiting.reason.code) == ("vllm/no-longer-ready", "NeedsApproval")
    assert (evictions(lab), list(pods(lab))) == ([], names)


def retire(pod: Object) -> None:
    """It was ready for an hour, and is not."""
    pod["status"]["containerStatuses"][0] |= {"ready": False, "state": {"running": {"startedAt": timestamp(-3600)}}}
    ready = condition(pod, "Ready")
    assert ready is not None
    ready |= {"status": "False", "reason": "ContainersNotReady", "lastTransitionTime": timestamp()}
