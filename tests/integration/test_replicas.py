"""Two healers, each a real process, in front of one cluster: whatever befalls the one that leads, nothing is done twice."""

import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import aiohttp
import pytest
import yaml
from aiohttp import web

from healer.http.decisions import read_decisions
from healer.http.passing import FROM, WHY
from healer.http.state import read_state
from healer.lab import Lab
from healer.lab.apiserver.store import StoreEvent
from tests.crash.gate import Gate, Point
from tests.integration.conftest import ROOT
from tests.integration.world import CRASH_LOOP, LAB_TOKEN, NAMESPACE, SLOW, ruleset, serve, serves, uid
from tests.support.healer import Healer, alert, environment
from tests.support.processes import PATIENCE
from tests.support.slack import FakeSlack

Settings = dict[str, str | Path]

QUICK: Settings = {
    "HEALER_LEADER__DURATION": "3",
    "HEALER_LEADER__DEADLINE": "1.5",
    "HEALER_LEADER__RENEW": "0.3",
    "HEALER_LEADER__RETRY": "0.1",
}
"""Whoever is dead is followed soon; between a leader's end by its own clock and its follower's beginning lie 1.5 s."""
FOR_EVER: Settings = QUICK | {"HEALER_LEADER__DURATION": "100000", "HEALER_LEADER__DEADLINE": "90000"}
"""Nothing expires while a test runs."""
_WRITES = ("create", "update", "patch", "delete")


class Door:
    """Where a replica says that it is reached: an address that is known before the replica has a port."""

    def __init__(self) -> None:
        self._to = ""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._runner.cleanup()

    @property
    def address(self) -> str:
        """host:port."""
        return f"127.0.0.1:{self._runner.addresses[0][1]}"

    def lead_to(self, url: str) -> None:
        """From now on, what comes goes there."""
        self._to = url

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        headers = {"Content-Type": request.content_type}
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.request(request.method, self._to + request.path_qs, data=await request.read()) as answer,
        ):
            passed = web.StreamResponse(status=answer.status, headers={"Content-Type": answer.headers["Content-Type"]})
            await passed.prepare(request)
            async for chunk in answer.content.iter_any():
                await passed.write(chunk)
            return passed


@dataclass(frozen=True, slots=True)
class Replica:
    """A healer, and its own way to the API server."""

    healer: Healer
    gate: Gate

    async def leads(self) -> None:
        """Until it acts for all."""
        await self.healer.says("lease acquired")
        await self.gate.passed("watch incidents")  # the last that it does to begin

    @property
    def writes(self) -> list[str]:
        """What it has asked the API server to change, the Lease and dry runs apart, in that order."""
        asked = [name for name, _, moment in self.gate.points if moment == "before"]
        return [name for name in asked if name.startswith(_WRITES) and not name.endswith((" leases", " (dry run)"))]

    @property
    def lists(self) -> int:
        """How often it has listed the pods."""
        return sum(name == "list pods" for name, _, moment in self.gate.points if moment == "before")


class Pair:
    """A cluster with a serving workload, a leader and its follower."""

    def __init__(self, lab: Lab, slack: FakeSlack, settings: Settings, folder: Path) -> None:
        self.holders: list[str] = []
        """Who has held the Lease, one after the other; empty for nobody, after a release."""
        self._lab = lab
        self._slack = slack
        self._settings = settings
        self._folder = folder
        lab.store.listeners.append(self._look)

    @asynccontextmanager
    async def started(
        self, *, at: Callable[[Point, Healer], bool] = lambda *_: False, **more: str | Path
    ) -> AsyncIterator[tuple[Replica, Replica]]:
        """The leader and the follower, both ready. `at` is told every point the leader comes by; True cuts it off for ever."""
        async with self._replica("old", at, more) as old:
            await old.leads()
            async with self._replica("new", lambda *_: False, more) as new:
                ready = await new.healer.says("healer is ready")
                assert ready["role"] == "follower"
                yield old, new

    async def sicken(self, pod: str) -> str:
        """Have it crash; returns its uid."""
        sick = uid(self._lab, pod)
        await self._lab.behave(NAMESPACE, pod, "crash")
        return sick

    async def healed(self) -> None:
        """Until every incident is healed, and there is one."""
        await self._lab.wait_for(lambda lab: set(self.states) == {"healed"}, PATIENCE)

    @property
    def states(self) -> list[str]:
        """The states of the incidents in the journal."""
        incidents = self._lab.objects("incidents.healer.dev", NAMESPACE)
        return [incident.get("status", {}).get("state", "") for incident in incidents]

    def verify(self, sick: str, *replicas: Replica, frozen: bool = False) -> None:
        """What holds in the end: one eviction, one incident, each line told once.

        A process that was `frozen` may have had a message on its way: Slack has no compare-and-swap (docs/safety.md, 3).
        """
        assert sum((replica.gate.evicted for replica in replicas), Counter()) == {sick: 1}
        assert serves(3, without=sick)(self._lab)
        assert self.states == ["healed"]
        assert frozen or self._slack.twice == []

    @asynccontextmanager
    async def _replica(self, name: str, at: Callable[[Point, Healer], bool], more: Settings) -> AsyncIterator[Replica]:
        async with Door() as door:
            kubeconfig = self._folder / f"kubeconfig-{name}"
            own: Settings = {"KUBECONFIG": kubeconfig, "HEALER_LEADER__ADDRESS": door.address}
            healer = Healer(
                ["--rules", str(self._folder / "rules.yaml")], environment(self._folder, self._settings | QUICK | more | own)
            )
            async with Gate(self._lab.url, self._lab.api.kinds, lambda point: at(point, healer)) as gate:
                self._lab.write_kubeconfig(kubeconfig)
                config = yaml.safe_load(kubeconfig.read_text("utf-8"))
                config["clusters"][0]["cluster"]["server"] = gate.url
                kubeconfig.write_text(yaml.safe_dump(config), "utf-8")
                async with healer:
                    door.lead_to(await healer.listens())
                    yield Replica(healer, gate)

    def _look(self, collection: str, change: StoreEvent) -> None:
        for lease in self._lab.objects("leases", "default"):
            holder = str(lease["spec"].get("holderIdentity") or "")
            if self.holders[-1:] != [holder]:
                self.holders.append(holder)


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    """A cluster in which a crash loop's first back-off lasts five minutes: whenever healer looks, the pod is in it."""
    async with Lab(time_scale=30, token=LAB_TOKEN) as lab:
        await lab.apply_yaml((ROOT / "deploy" / "healer" / "crd.yaml").read_text("utf-8"))
        yield lab


@pytest.fixture
def pair(lab: Lab, slack: FakeSlack, settings: Settings, tmp_path: Path) -> Pair:
    (tmp_path / "rules.yaml").write_text(ruleset(CRASH_LOOP, SLOW), "utf-8")
    return Pair(lab, slack, settings, tmp_path)


def sends(number: signal.Signals, *points: Point) -> Callable[[Point, Healer], bool]:
    """Send the leader this signal when it comes by one of these points, the first time. The request goes on."""
    left = [points]

    def at(point: Point, healer: Healer) -> bool:
        if left and point in left[0]:
            left.clear()
            healer.send(number)
        return False

    return at


async def test_only_one_acts(lab: Lab, pair: Pair) -> None:
    sick, *_ = await serve(lab)
    async with pair.started() as (old, new):
        before = await pair.sicken(sick)
        await pair.healed()
    pair.verify(before, old, new)
    assert "create pods/eviction" in old.writes
    assert new.writes == []


async def test_a_webhook_may_be_sent_to_the_follower(lab: Lab, pair: Pair) -> None:
    slow, *_ = await serve(lab)
    before = uid(lab, slow)
    async with pair.started() as (old, new):
        status, answer = await new.healer.post(alert("HighLatency", pod=slow))
        assert (status, answer) == (200, {"accepted": 1, "untargeted": 0, "truncated": 0})
        assert len(pair.states) == 1  # by now, since it is answered when it is decided and kept
        await lab.wait_for(serves(3, without=before), PATIENCE)
        status, _ = await new.healer.post(alert("HighLatency", pod=slow, resolved=True))
        assert status == 200
        await pair.healed()
    pair.verify(before, old, new)
    assert new.writes == []
    assert old.healer.find("open", rule="test/slow")
    assert not new.healer.find("open")


async def test_the_follower_shows_what_the_leader_knows(lab: Lab, pair: Pair) -> None:
    sick, *_ = await serve(lab)
    async with pair.started() as (old, new), aiohttp.ClientSession(await new.healer.listens()) as session:
        await pair.sicken(sick)
        await old.healer.says("incident acting")
        async with session.get("/state") as answer:
            assert answer.headers[FROM] == "leader"
            state = read_state(await answer.read())
        assert state.leads
        assert state.limits
        (incident,) = state.incidents
        async with session.get(f"/state/incidents/{NAMESPACE}/{incident.name}") as answer:
            assert answer.headers[FROM] == "leader"
            assert (await answer.json())["history"]
        async with session.get("/decisions", params={"incident": incident.name}) as answer:
            assert read_decisions(await answer.read())
        async with session.get("/state/stream") as answer:
            assert answer.headers[FROM] == "leader"
            assert await answer.content.readline() == b"event: whole\n"
            old.healer.send(signal.SIGKILL)
            await answer.content.read()  # it ends with its leader
        await new.leads()
        async with session.get("/state") as answer:
            assert FROM not in answer.headers
            assert read_state(await answer.read()).leads


async def test_a_follower_that_cannot_ask_its_leader_shows_what_it_knows_itself(lab: Lab, pair: Pair) -> None:
    await serve(lab)
    async with pair.started(at=lambda *_: False, **FOR_EVER) as (old, new):
        old.healer.send(signal.SIGSTOP)
        try:
            async with aiohttp.ClientSession(await new.healer.listens()) as session, session.get("/state") as answer:
                assert answer.headers[FROM] == "follower"
                assert "cannot be asked" in answer.headers[WHY]
                state = read_state(await answer.read())
            assert (state.leads, state.limits) == (False, [])
            assert state.leader
            assert [row.target.name for row in state.workloads] == ["tensorflow-serving"]
        finally:
            old.healer.send(signal.SIGCONT)


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_leader_that_is_killed_while_it_acts_is_followed_by_one_that_looks_first(
    lab: Lab, pair: Pair, moment: str
) -> None:
    sick, *_ = await serve(lab)

    def at(point: Point, healer: Healer) -> bool:
        if point[0] == "create pods/eviction" and point[2] == moment:
            healer.send(signal.SIGKILL)
            return True
        return False

    async with pair.started(at=at) as (old, new):
        before = await pair.sicken(sick)
        assert await old.healer.ended() == -signal.SIGKILL
        await new.leads()
        await pair.healed()
    pair.verify(before, old, new)
    assert old.gate.dead
    assert new.lists == 1  # it knew the pods


@pytest.mark.parametrize("point", [("get pods", 1, "before"), ("get deployments", 1, "after")], ids=["look", "last look"])
async def test_a_leader_that_was_stopped_after_its_claim_does_not_act_when_it_goes_on(lab: Lab, pair: Pair, point: Point) -> None:
    sick, *_ = await serve(lab)
    async with pair.started(at=sends(signal.SIGSTOP, point)) as (old, new):
        before = await pair.sicken(sick)
        try:
            await new.leads()
            await pair.healed()
        finally:
            old.healer.send(signal.SIGCONT)
        await old.healer.says("lease lost")
    pair.verify(before, new, frozen=True)
    assert "create pods/eviction" not in old.writes
    assert new.lists == 1


async def test_an_eviction_that_was_on_its_way_meets_no_other_pod(lab: Lab, pair: Pair) -> None:
    """The one thing that a lease cannot prevent; the uid in the request does."""
    sick, *_ = await serve(lab)
    async with pair.started(at=sends(signal.SIGSTOP, ("create pods/eviction", 1, "before"))) as (old, new):
        old.gate.close("create pods/eviction")
        before = await pair.sicken(sick)
        try:
            await new.leads()
            await pair.healed()
            old.gate.open()
            await old.gate.passed("create pods/eviction")
        finally:
            old.healer.send(signal.SIGCONT)
        await old.healer.says("lease lost")
    pair.verify(before, old, new, frozen=True)
    assert old.gate.evicted == {}


@pytest.mark.parametrize("cut", [("get leases", "update leases"), ()], ids=["lease", "everything"])
async def test_a_leader_that_is_cut_off_stops_before_the_other_begins(lab: Lab, pair: Pair, cut: tuple[str, ...]) -> None:
    sick, *_ = await serve(lab)
    async with pair.started() as (old, new):
        old.gate.close(*cut)
        lost = await old.healer.says("lease lost")
        done = old.writes
        await new.leads()
        assert lost["timestamp"] < new.healer.find("lease acquired")[0]["timestamp"]
        before = await pair.sicken(sick)
        await pair.healed()
        old.gate.open()
        await old.gate.passed("get leases", old.gate.answered("get leases") + 1)  # now it knows who leads, and what it missed
    pair.verify(before, new)
    assert old.writes == done == []


async def test_a_leader_that_is_told_to_go_hands_over_at_once(lab: Lab, pair: Pair) -> None:
    """In the middle of a healing, too. Nothing expires here: only the release lets the other lead."""
    sick, *_ = await serve(lab)
    at = sends(signal.SIGTERM, ("create pods/eviction", 1, "before"))
    async with pair.started(at=at, **FOR_EVER) as (old, new):
        before = await pair.sicken(sick)
        assert await old.healer.ended() == 0
        first, released, *_ = pair.holders
        await new.leads()
        await pair.healed()
        assert (released, len(pair.holders)) == ("", 3)
        assert first != pair.holders[2] != ""
    pair.verify(before, old, new)
    assert old.gate.evicted == {before: 1}  # it ended what it had begun
    assert new.lists == 1
