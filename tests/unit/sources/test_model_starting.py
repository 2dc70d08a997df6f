"""The model source and servers that start: they open their port when their models are loaded, and refuse connections before."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from aiohttp import web
from structlog.testing import capture_logs

from healer.model.kube import Condition, ContainerState, ContainerStatus, PodStatus, Running, Waiting
from healer.model.signal import Report, Unanswered
from healer.model_servers.asking import TokenSlots
from healer.sources.model import ModelProbe
from tests.support.model_servers import Answer, Readiness, Servers, model_servers
from tests.support.tensorflow_serving import status as answer
from tests.support.world import START, moment
from tests.unit.sources.test_model import Fleet, bound, places, signals_of, unknown

ADDRESSES = ("127.0.0.1", "127.0.0.2", "127.0.0.3")
STUCK, LOADING = "ModelStuckStarting", "ModelStuckLoading"
BEGAN = START - 60
"""When the containers were started."""


def pod_status(*, ready: bool = False, turned: float = BEGAN - 1, runs: bool = True, restarts: int = 0) -> PodStatus:
    """Of a pod of which Ready turned to what it is at `turned`."""
    state = ContainerState(running=Running(moment(BEGAN))) if runs else ContainerState(waiting=Waiting("CrashLoopBackOff"))
    container = ContainerStatus("c", ready, restarts, state)
    return PodStatus(
        "Running", conditions=(Condition("Ready", str(ready), "", "", moment(turned)),), container_statuses=(container,)
    )


class Stand:
    """Three pods. The server of the first serves, and at the other addresses nothing listens. The rule allows five minutes."""

    def __init__(self, servers: Servers, **model: Any) -> None:
        self.fleet, self.servers = Fleet(), servers
        served = {"conditions": [STUCK, LOADING], "version": None, "port": servers.port} | model
        self.probe = ModelProbe(bound(**served), self.fleet.view, asyncio.Semaphore(4), TokenSlots(1))
        for number in (2, 3):
            self.becomes(number, pod_status())
        for address in ADDRESSES:
            self.says(address, (1, "AVAILABLE"))

    def says(self, address: str, *versions: tuple[Any, ...]) -> None:
        self.servers.says[address] = lambda request: answer(request, *versions)

    def becomes(self, number: int, status: PodStatus) -> None:
        """The pod of that number has this status; its address stays."""
        pod = self.fleet.numbered(number)
        kept = msgspec.structs.replace(status, pod_ip=pod.status.pod_ip)
        self.fleet.view.put(msgspec.structs.replace(pod, status=kept))

    async def look(self, after: float) -> list[Report]:
        """A look so many seconds after the beginning."""
        return await self.probe.ask(START + after)


@asynccontextmanager
async def stand(**model: Any) -> AsyncIterator[Stand]:
    async with model_servers(*ADDRESSES) as servers:
        await servers.close(*ADDRESSES[1:])
        yield Stand(servers, **model)


def stuck(reports: list[Report]) -> list[str]:
    """The pods that are stuck, or are no longer."""
    return places([each for each in signals_of(reports) if each.name == STUCK])


async def test_a_server_that_opens_no_port_is_stuck_after_that_long_and_not_before() -> None:
    """What it loads is not known; and nobody has to be told that a server starts."""
    async with stand() as on:
        with capture_logs() as logged:
            first, early, late = [await on.look(after) for after in (0, 300, 301)]
    assert stuck(first) == ["-serving-1"], "its port is open"
    assert [unknown(each) for each in (first, early)] == [{"pod-2", "pod-3"}] * 2
    assert [signal.name for signal in signals_of(early)] == []
    assert stuck(late) == ["+serving-2", "+serving-3"]
    assert signals_of(late)[0].message == (
        "model ranker: its port has refused connections for 5 m 1 s, since healer looks at this process"
    )
    open_ = {key for report in late if isinstance(report, Unanswered) for key in report.keys or ()}
    assert open_ == {f"model/test/status/{uid}/{LOADING}" for uid in ("pod-2", "pod-3")}
    assert logged == []


async def test_a_slow_load_that_ends_is_well_and_a_port_that_closes_again_is_another_matter() -> None:
    """It has answered in this process: whatever it does now, it does not start."""
    async with stand() as on:
        await on.look(0)
        await on.servers.open(ADDRESSES[1])
        assert stuck(await on.look(299)) == ["-serving-2"]
        await on.servers.close(ADDRESSES[1])
        assert [stuck(await on.look(after)) for after in (330, 900)] == [["+serving-3"]] * 2


async def test_one_that_was_stuck_and_opens_its_port_is_over() -> None:
    async with stand() as on:
        for after in (0, 301):
            await on.look(after)
        await on.servers.open(ADDRESSES[1])
        assert stuck(await on.look(330)) == ["-serving-2", "+serving-3"]


async def test_a_look_that_nothing_answers_says_neither() -> None:
    """A pod that cannot be asked for a while has not opened its port, and has not refused."""
    async with stand() as on:
        await on.look(0)
        on.fleet.set(on.fleet.numbered(2), pod_ip="")  # it cannot be asked
        assert stuck(await on.look(301)) == ["+serving-3"]
        on.fleet.set(on.fleet.numbered(2), pod_ip=ADDRESSES[1])
        assert stuck(await on.look(330)) == ["+serving-2", "+serving-3"]


def with_ready(status: PodStatus, says: str) -> PodStatus:
    """With another status of the condition Ready."""
    (ready,) = status.conditions
    return msgspec.structs.replace(status, conditions=(msgspec.structs.replace(ready, status=says),))


HELD: dict[str, Callable[[float], PodStatus]] = {
    "Kubernetes calls it ready": lambda after: pod_status(ready=True),
    "its node is away": lambda after: with_ready(pod_status(turned=BEGAN + 30), "Unknown"),
    "it was ready in this process": lambda after: pod_status(turned=BEGAN + 30),
    "its container waits": lambda after: pod_status(runs=False),
    "its container restarts": lambda after: pod_status(restarts=int(after // 120)),
    "no container is reported": lambda after: msgspec.structs.replace(pod_status(), container_statuses=()),
}


@pytest.mark.parametrize("why", HELD)
async def test_what_only_looks_like_a_start_that_is_stuck(why: str) -> None:
    async with stand() as on:
        for after in range(0, 1200, 60):
            on.becomes(2, HELD[why](after))
            reports = await on.look(after)
            assert "+serving-2" not in stuck(reports)
            assert "pod-2" in unknown(reports)
        assert "+serving-3" in stuck(reports)


async def test_a_process_that_stays_after_a_restart_is_stuck_by_its_own_time() -> None:
    async with stand() as on:
        await on.look(0)
        on.becomes(2, pod_status(restarts=1))
        assert stuck(await on.look(301)) == ["+serving-3"]
        assert stuck(await on.look(601)) == ["+serving-3"]
        assert stuck(await on.look(602)) == ["+serving-2", "+serving-3"]


async def test_refusals_say_nothing_where_ready_pods_refuse_and_none_answers() -> None:
    """The rule names a port that the servers do not have, or the network rejects healer."""
    async with stand() as on:
        on.becomes(3, pod_status(ready=True))
        await on.servers.close(ADDRESSES[0])
        for after in (0, 600):
            reports = await on.look(after)
            assert (stuck(reports), unknown(reports)) == ([], {"pod-1", "pod-2", "pod-3"})
        await on.servers.open(ADDRESSES[0])
        assert stuck(await on.look(630)) == ["-serving-1"], "the time of a start is counted from a refusal that says something"
        assert stuck(await on.look(931)) == ["+serving-2"]


async def test_the_ready_pods_of_another_workload_say_nothing_of_a_refusal() -> None:
    async with stand() as on:
        on.becomes(3, pod_status(ready=True))
        on.fleet.own("serving-3")
        await on.servers.close(ADDRESSES[0])
        on.becomes(1, pod_status())
        for after in (0, 301):
            reports = await on.look(after)
        assert stuck(reports) == ["+serving-1", "+serving-2"]


@pytest.mark.parametrize(
    ("server", "condition"),
    [("v2", LOADING), ("sglang", "EngineStuckStarting"), ("vllm", "EngineStuckStarting"), ("triton", STUCK)],
)
async def test_each_server_opens_its_port_when_its_model_is_loaded(server: str, condition: str) -> None:
    async with stand(server=server, conditions=[condition]) as on:
        told = [places(await on.look(after)) for after in (0, 300, 301)]
    assert [[each for each in found if each[-1] in "23"] for found in told] == [[], [], ["+serving-2", "+serving-3"]]


@pytest.mark.parametrize(
    ("server", "condition", "unready"),
    [("v2", LOADING, Readiness(ready=False).kserve), ("sglang", "EngineStuckStarting", lambda _: web.Response(status=503))],
)
async def test_a_server_whose_port_opens_before_its_model_is_ready_goes_on_starting(
    server: str, condition: str, unready: Answer
) -> None:
    async with stand(server=server, conditions=[condition]) as on:
        await on.look(0)
        on.servers.says[ADDRESSES[1]] = unready
        await on.servers.open(ADDRESSES[1])
        assert [place for place in places(await on.look(200)) if place.endswith("2")] == []
        assert [place for place in places(await on.look(301)) if place.endswith("2")] == ["+serving-2"]
