"""The model source: what servers say over time -> signals, without I/O; and one look of it, over HTTP."""

import asyncio
from typing import Any

import msgspec
import pytest
from aiohttp import web
from structlog.testing import capture_logs

from healer.model.kube import Pod
from healer.model.signal import Report, Signal, Unanswered
from healer.model_servers.asking import TokenSlots
from healer.model_servers.registry import SERVERS
from healer.model_servers.status import ModelStatus, VersionState, VersionStatus
from healer.rules.triggers import MODEL
from healer.sources.model import ModelMemory, ModelProbe
from tests.support.tensorflow_serving import status_servers
from tests.support.world import NAMESPACE, START, World, moment, rule, rulebook

AVAILABLE, LOADING, BEGUN, UNLOADING, END = (
    VersionState.AVAILABLE,
    VersionState.LOADING,
    VersionState.START,
    VersionState.UNLOADING,
    VersionState.END,
)
ALL = ["ModelNotAvailable", "ModelStuckLoading", "ModelVersionMissing"]


def bound(**model: Any) -> Any:
    asked = {"name": "ranker", "conditions": ALL, "version": 2, "loading": "5m"} | model
    when = {"model": {key: value for key, value in asked.items() if value is not None}}
    (one,) = rulebook(rule("status", when=when, heal=[{"page": {}}])).rules
    return one


def memory(**model: Any) -> ModelMemory:
    one = bound(**model)
    served = one.rule.when.get(MODEL)
    assert served is not None
    return ModelMemory(one.name, served, SERVERS["tensorflow"])


def a_pod(restarts: int = 0, uid: str = "pod-1") -> Pod:
    status = {"phase": "Running", "containerStatuses": [{"name": "c", "restartCount": restarts}]}
    return msgspec.convert({"metadata": {"name": "serving-1", "namespace": NAMESPACE, "uid": uid}, "status": status}, Pod)


def versions(*states: tuple[Any, ...]) -> ModelStatus:
    return ModelStatus.of(tuple(VersionStatus(*one) for one in states))


def brief(signals: list[Signal]) -> list[str]:
    return [f"{'+' if signal.firing else '-'}{signal.name}" for signal in signals]


def test_all_well_is_told_once() -> None:
    looks = memory()
    assert brief(looks.answered(a_pod(), versions((2, AVAILABLE)), START)) == [f"-{name}" for name in ALL]
    assert looks.answered(a_pod(), versions((2, AVAILABLE)), START + 30) == []


def test_a_signal_says_all_that_the_engine_needs() -> None:
    looks = memory()
    first, again = (
        looks.answered(a_pod(), versions((1, AVAILABLE), (2, END, "NOT_FOUND", "no such file")), START + after)[-1]
        for after in (0, 30)
    )
    assert (first.source, first.name, first.rule, first.firing, first.at) == ("model", ALL[2], "test/status", True, START)
    assert first.target.uid == "pod-1"
    assert first.key == "model/test/status/pod-1/ModelVersionMissing"
    assert first.message == "model ranker: version 2 is not AVAILABLE (2 END (NOT_FOUND: no such file), 1 AVAILABLE)"
    assert (again.key, again.occurrence, again.at) == (first.key, first.occurrence, START + 30)


@pytest.mark.parametrize(
    ("said", "fires"),
    [
        ([], True),
        ([(2, END)], True),
        ([(1, UNLOADING), (2, END)], True),
        ([(1, END), (2, LOADING)], False),
        ([(2, BEGUN)], False),
        ([(1, AVAILABLE), (2, END)], False),
    ],
)
def test_not_available_is_none_available_and_none_on_its_way(said: list[tuple[Any, ...]], fires: bool) -> None:
    signals = memory().answered(a_pod(), versions(*said), START)
    assert ("+ModelNotAvailable" in brief(signals)) is fires


def test_a_model_that_the_server_does_not_know() -> None:
    signals = memory().answered(a_pod(), versions(), START)
    assert signals[0].message == "model ranker: no version is AVAILABLE, and none on its way (the server knows no version of it)"


@pytest.mark.parametrize(
    ("said", "fires"),
    [
        ([(1, AVAILABLE), (2, END, "NOT_FOUND", "no such file")], True),
        ([(1, END, "INTERNAL"), (2, AVAILABLE)], False),
        ([(1, AVAILABLE), (2, END)], False),
        ([(1, END), (2, END, "INTERNAL")], False),
        ([(1, AVAILABLE), (2, LOADING)], False),
        ([(1, AVAILABLE), (2, END, "INTERNAL"), (3, AVAILABLE)], False),
    ],
)
def test_a_version_failed_when_a_newer_one_than_that_which_serves_has_an_error(said: list[tuple[Any, ...]], fires: bool) -> None:
    """An older version with an error is past; without one that serves it is no version's fault alone."""
    looks = memory(conditions=["ModelVersionFailed"], version=None)
    assert brief(looks.answered(a_pod(), versions(*said), START)) == [f"{'+' if fires else '-'}ModelVersionFailed"]


def test_stuck_loading_after_that_long_and_not_before() -> None:
    looks = memory(conditions=["ModelStuckLoading"], version=None)
    told = [
        brief(looks.answered(a_pod(), versions((2, state)), START + at))
        for at, state in ((0, BEGUN), (299, LOADING), (300, LOADING))
    ]
    assert told == [["-ModelStuckLoading"], [], []]
    (signal,) = looks.answered(a_pod(), versions((1, AVAILABLE), (2, LOADING)), START + 301)
    assert signal.message == "model ranker: version 2 has been LOADING for 5 m 1 s (2 LOADING, 1 AVAILABLE)"
    assert brief(looks.answered(a_pod(), versions((2, AVAILABLE)), START + 330)) == ["-ModelStuckLoading"]


def test_a_new_process_and_a_new_version_begin_anew() -> None:
    looks = memory(conditions=["ModelStuckLoading"], version=None)
    looks.answered(a_pod(), versions((2, LOADING)), START)
    assert looks.answered(a_pod(restarts=1), versions((2, LOADING)), START + 301) == []
    assert looks.answered(a_pod(restarts=1), versions((3, LOADING)), START + 602) == []
    assert brief(looks.answered(a_pod(restarts=1), versions((3, LOADING)), START + 903)) == ["+ModelStuckLoading"]


def test_each_time_is_an_occurrence_of_its_own() -> None:
    looks = memory(conditions=["ModelNotAvailable"], version=None)
    (first,) = looks.answered(a_pod(), versions(), START)
    (over,) = looks.answered(a_pod(), versions((1, AVAILABLE)), START + 30)
    (second,) = looks.answered(a_pod(), versions(), START + 60)
    assert over.key == first.key == second.key
    assert (over.firing, over.occurrence) == (False, first.occurrence)
    assert second.occurrence != first.occurrence


def test_silence_changes_nothing_and_is_news_once() -> None:
    looks = memory(conditions=["ModelNotAvailable"], version=None)
    looks.answered(a_pod(), versions(), START)
    assert [looks.unanswered(a_pod()) for _ in range(3)] == [True, False, False]
    (still,) = looks.answered(a_pod(), versions(), START + 60)
    assert still.occurrence == f"{START:.3f}", "it has gone on meanwhile"
    assert looks.unanswered(a_pod()), "it had answered"


def test_a_pod_that_is_gone_has_nothing_any_more() -> None:
    looks = memory()
    looks.answered(a_pod(), versions(), START)
    looks.answered(a_pod(uid="pod-2"), versions((2, AVAILABLE)), START)
    assert looks.uids == {"pod-1", "pod-2"}
    gone = looks.gone(["pod-1", "pod-2"], START + 30)
    assert brief(gone) == ["-ModelNotAvailable", "-ModelVersionMissing"]
    assert {signal.target.uid for signal in gone} == {"pod-1"}
    assert looks.uids == set()


# with I/O


class Fleet(World):
    """Three pods, with addresses."""

    def __init__(self) -> None:
        super().__init__(3)
        for number, pod in enumerate(sorted(self.view.pods(), key=lambda pod: pod.metadata.name), 1):
            self.set(pod, pod_ip=f"127.0.0.{number}", phase="Running")

    def set(self, pod: Pod, **status: Any) -> Pod:
        changed = msgspec.structs.replace(pod, status=msgspec.structs.replace(pod.status, **status))
        self.view.put(changed)
        return changed

    def numbered(self, number: int) -> Pod:
        found = self.view.pod_named(NAMESPACE, f"serving-{number}")
        assert found is not None
        return found


def look_of(fleet: Fleet, port: int, **model: Any) -> ModelProbe:
    return ModelProbe(
        bound(port=port, conditions=["ModelNotAvailable"], version=None, **model), fleet.view, asyncio.Semaphore(4), TokenSlots(4)
    )


def signals_of(reports: list[Report]) -> list[Signal]:
    return [report for report in reports if isinstance(report, Signal)]


def places(reports: list[Report]) -> list[str]:
    return [f"{'+' if signal.firing else '-'}{signal.target.name}" for signal in signals_of(reports)]


def unknown(reports: list[Report]) -> set[str]:
    """The uids of the pods of which nothing is known."""
    return {key.split("/")[-2] for report in reports if isinstance(report, Unanswered) for key in report.keys or ()}


async def test_every_running_pod_of_the_scope_is_asked_and_no_other() -> None:
    fleet = Fleet()
    async with status_servers("127.0.0.1", "127.0.0.2", "127.0.0.3") as servers:
        servers.say("127.0.0.1", (1, "AVAILABLE"))
        looks = look_of(fleet, servers.port)
        assert sorted(places(await looks.ask(START))) == ["+serving-2", "+serving-3", "-serving-1"]
        assert servers.asked == ["/v1/models/ranker"] * 3
        elsewhere = msgspec.structs.replace(fleet.numbered(1).metadata, namespace="elsewhere", name="x", uid="x")
        fleet.view.put(msgspec.structs.replace(fleet.numbered(1), metadata=elsewhere))
        fleet.set(fleet.numbered(2), phase="Pending")
        fleet.set(fleet.numbered(3), pod_ip="")
        going = msgspec.structs.replace(fleet.numbered(1).metadata, name="going", uid="going", deletion_timestamp=moment(START))
        fleet.view.put(msgspec.structs.replace(fleet.numbered(1), metadata=going))
        servers.asked.clear()
        with capture_logs() as logged:
            reports = await looks.ask(START + 30)
            assert signals_of(reports) == [], "nothing says that it is over"
            assert unknown(reports) == {"pod-2", "pod-3"}, "nor that it is not"
        assert (len(servers.asked), logged) == (1, [])
        fleet.view.drop(Pod, fleet.numbered(2).metadata.uid)
        (gone,) = signals_of(await looks.ask(START + 60))
        assert places([gone]) == ["-serving-2"]


async def test_a_server_that_talks_nonsense_is_unknown_and_logged_until_it_answers() -> None:
    fleet = Fleet()
    async with status_servers("127.0.0.1", "127.0.0.2") as servers:
        servers.say("127.0.0.1", (1, "AVAILABLE"))
        servers.say("127.0.0.2", raw=web.Response(text="<html>nginx</html>"))
        looks = look_of(fleet, servers.port)
        with capture_logs() as logged:
            assert places(await looks.ask(START)) == ["-serving-1"]
            assert signals_of(await looks.ask(START + 30)) == []
        assert sorted((line["pod"], line["log_level"]) for line in logged) == [("serving-2", "warning"), ("serving-3", "warning")]
        assert any("nginx" in line["why"] for line in logged)
        servers.say("127.0.0.2", (1, "AVAILABLE"))
        await looks.ask(START + 60)
        servers.say("127.0.0.2", raw=web.Response(status=500))
        with capture_logs() as logged:
            await looks.ask(START + 90)
        assert [line["pod"] for line in logged] == ["serving-2"], "again, since it had answered"


async def test_a_look_that_is_cancelled_leaves_nothing_behind() -> None:
    fleet = Fleet()
    async with status_servers("127.0.0.1", "127.0.0.2", "127.0.0.3") as servers:
        servers.together = asyncio.Barrier(4)  # one more than come: nobody is answered
        looks = look_of(fleet, servers.port)
        task = asyncio.create_task(looks.ask(START))
        for _ in range(3):
            await servers.arrived.get()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        servers.together = None
        servers.say("127.0.0.1", (1, "AVAILABLE"))
        assert sorted(places(await looks.ask(START))) == ["+serving-2", "+serving-3", "-serving-1"]


def test_a_rule_about_no_model() -> None:
    (other,) = rulebook(rule()).rules
    with pytest.raises(ValueError, match="about no model"):
        ModelProbe(other, Fleet().view, asyncio.Semaphore(1), TokenSlots(1))
