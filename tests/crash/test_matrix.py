"""The crash matrix: one healing, with the daemon killed right before and right after every request that it sends.

Every request of a daemon has a name (`create pods/eviction`) and a number among those of its name. A run kills its daemon at the
first point that no run has tried before, restarts it, and looks at what it made of the healing. The matrix is complete when
daemons heal without coming by a point that was not tried: so every request of a whole healing was one at which a daemon died.
"""

import asyncio
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest
import yaml

from healer.lab import Lab
from healer.lab.kinds import POD
from healer.lab.objects import Object
from healer.lab.store import Change
from tests.crash.gate import Gate, Moment, Point
from tests.integration.world import CHANNEL, LAB_TOKEN, NAMESPACE, pods, rule, ruleset, serve, serves, told, uid
from tests.support.healer import Healer, environment
from tests.support.processes import PATIENCE
from tests.support.slack import FakeSlack

_CRD = Path(__file__).parents[2] / "deploy" / "healer" / "crd.yaml"
_RULE = rule(
    "crash-loop",
    when={"pod": ["CrashLoopBackOff"], "for": "100ms"},
    heal=[{"evict": {}, "verify": {"within": "30s", "stable": "100ms"}}],
)
_SETTINGS: dict[str, str | Path] = {
    "HEALER_HTTP__HOST": "127.0.0.1",
    "HEALER_HTTP__PORT": "0",
    "HEALER_SLACK__CHANNEL": CHANNEL,
    "HEALER_ENGINE__RETRY": "0.1",
    "HEALER_ENGINE__RECHECK": "0.1",
    "HEALER_LEADER__DURATION": "1",
    "HEALER_LEADER__DEADLINE": "0.95",
    "HEALER_LEADER__RENEW": "0.3",
    "HEALER_LEADER__RETRY": "0.1",
    "HEALER_LOG__FORMAT": "json",
}
_SLOWLY = 30.0
"""The pod's first back-off lasts five minutes: whenever healer looks, it is in its crash loop."""
_MUST = ("create leases", "create incidents", "update incidents/status", "create pods/eviction", "slack chat.postMessage")
"""What a matrix that leaves it out was not about."""
_AT_ONCE = 2
"""Runs at a time for each core: half of a run is waiting for the lease of the dead."""


class World:
    """A cluster with one sick pod among three, and its Slack; a healer's first life and, when that is cut short, its second."""

    def __init__(self, lab: Lab, slack: FakeSlack, folder: Path) -> None:
        self.evicted: Counter[str] = Counter()
        self.born: set[str] = set()
        """The uids of all that there ever were."""
        self._half_opened = 0
        """The incidents that a daemon left without a status: nothing is known of them, and they are closed."""
        self._lab = lab
        self._slack = slack
        self._folder = folder

    async def sicken(self) -> str:
        """Have the workload serve, and one of its pods crash, which is slow to go; returns that pod's uid.

        Slow to go: a second eviction of a pod that is gone could only fail, and would not be noticed.
        """
        self._lab.store.listeners.append(self._look)
        sick, *_ = await serve(self._lab)
        before = uid(self._lab, sick)
        await self._lab.behave(NAMESPACE, sick, "crash")
        self._hold(before, ["healer.test/slow-to-go"])
        return before

    def _hold(self, pod: str, finalizers: list[str]) -> None:
        """Have these finalizers keep the pod from going, if it is still there."""

        def change(obj: Object) -> None:
            obj["metadata"]["finalizers"] = finalizers

        for name in [name for name, found in pods(self._lab).items() if found["metadata"]["uid"] == pod]:
            self._lab.api.modify(POD, NAMESPACE, name, change)

    async def live(self, sick: str, fatal: Callable[[Point], bool]) -> list[Point]:
        """One life: until everything is healed and told, or until a point is fatal. Returns the points that it came by."""
        healer = self._healer()

        def kill(point: Point) -> bool:
            if fatal(point):
                healer.send(signal.SIGKILL)
                return True
            return False

        async with Gate(self._lab.url, self._lab.api.kinds, kill) as gate:
            self._write_kubeconfig(gate.url)
            self._slack.hook = gate.slack
            async with healer:
                healed = asyncio.create_task(self._healed(gate, sick))
                ended = asyncio.create_task(healer.ended())
                await asyncio.wait((healed, ended), return_when=asyncio.FIRST_COMPLETED)
                if not ended.done():
                    await healed
                    healer.send(signal.SIGTERM)
                code = await ended
                healed.cancel()
                assert code == (-signal.SIGKILL if gate.dead else 0), healer.printed
        self.evicted += gate.evicted
        self._half_opened += sum("status" not in incident for incident in incidents_of(self._lab))
        return gate.points

    def verify(self, sick: str) -> None:
        """What holds in the end, wherever a daemon died."""
        assert self.evicted == {sick: 1}
        assert len(self.born) == 4
        assert serves(3, without=sick)(self._lab)
        incidents = incidents_of(self._lab)
        assert [_ending(incident) for incident in incidents if "acting" in _states(incident)] == ["healed"], incidents
        assert len(incidents) == 1 + self._half_opened, incidents
        assert self._slack.twice == []
        told = self._slack.threads(CHANNEL)
        assert 1 <= len(told) <= len(incidents)
        assert all(len(thread) == len(set(thread)) for thread in told), told

    async def _healed(self, gate: Gate, sick: str) -> None:
        """Until the daemon leads, the incident is healed and people have been told. The pod goes when healer counts on it."""
        await gate.passed("watch incidents")  # the last that it does to begin: by now it goes on with what the journal says
        await self._lab.wait_for(lambda lab: any(_state(i) in ("verifying", "healed") for i in incidents_of(lab)), PATIENCE)
        self._hold(sick, [])
        await self._lab.wait_for(all_healed, PATIENCE)
        await self._slack.wait_for(told("healed"), PATIENCE)

    def _look(self, collection: str, change: Change) -> None:
        if collection == "pods":
            self.born.update(pod["metadata"]["uid"] for pod in self._lab.objects("pods", NAMESPACE))

    def _healer(self) -> Healer:
        rules, token = self._folder / "rules.yaml", self._folder / "slack-token"
        rules.write_text(ruleset(_RULE), "utf-8")
        token.write_text(self._slack.token)
        settings: dict[str, str | Path] = _SETTINGS | {
            "KUBECONFIG": self._folder / "kubeconfig",
            "HEALER_SLACK__TOKEN_FILE": token,
            "HEALER_SLACK__BASE_URL": self._slack.url,
        }
        return Healer(["--rules", str(rules)], environment(self._folder, settings))

    def _write_kubeconfig(self, url: str) -> None:
        path = self._folder / "kubeconfig"
        self._lab.write_kubeconfig(path)
        config = yaml.safe_load(path.read_text("utf-8"))
        config["clusters"][0]["cluster"]["server"] = url
        path.write_text(yaml.safe_dump(config), "utf-8")


def incidents_of(lab: Lab) -> list[Object]:
    """The journal."""
    return lab.objects("incidents.healer.dev", NAMESPACE)


def all_healed(lab: Lab) -> bool:
    """Whether an incident is healed, and none is open."""
    endings = [_ending(incident) for incident in incidents_of(lab)]
    return "healed" in endings and "" not in endings


def _state(incident: Object) -> str:
    return str(incident.get("status", {}).get("state", ""))


def _ending(incident: Object) -> str:
    """How it ended: healed, whether or not it was closed since; else its last state when that is an end, empty before."""
    if "healed" in _states(incident):
        return "healed"
    return _state(incident) if _state(incident) in ("closed", "escalated") else ""


def _states(incident: Object) -> list[str]:
    return [entry["state"] for entry in incident.get("status", {}).get("history", [])]


class Matrix:
    """The points that were tried, and who tries the next."""

    def __init__(self, folder: Path) -> None:
        self.tried: dict[Point, None] = {}
        self.whole: set[Point] = set()
        """Those that the healings came by in which no daemon died."""
        self._folder = folder
        self._runs = 0

    async def work(self) -> None:
        """Run after run, until one comes by no point that is new."""
        while await self._run():
            continue

    async def _run(self) -> bool:
        """One run. Returns whether a point was tried."""
        self._runs += 1
        folder = self._folder / str(self._runs)
        folder.mkdir()
        mine: list[Point] = []

        def fatal(point: Point) -> bool:
            if point in self.tried:
                return False
            self.tried[point] = None
            mine.append(point)
            return True

        async with Lab(time_scale=_SLOWLY, token=LAB_TOKEN) as lab, FakeSlack() as slack:
            await lab.apply_yaml(_CRD.read_text("utf-8"))
            world = World(lab, slack, folder)
            sick = await world.sicken()
            try:
                points = await world.live(sick, fatal)
                if mine:
                    await world.live(sick, lambda _: False)
                else:
                    self.whole.update(points)
                world.verify(sick)
            except BaseException as error:
                error.add_note(f"killed at {mine}")
                raise
        return bool(mine)


@pytest.mark.timeout(600)
async def test_a_daemon_killed_at_any_request_heals_once_and_says_it_once(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    matrix = Matrix(tmp_path)
    async with asyncio.TaskGroup() as group:
        for _ in range(_AT_ONCE * len(os.sched_getaffinity(0))):
            group.create_task(matrix.work())

    requests = {(name, number) for name, number, _ in matrix.tried}
    assert matrix.whole <= matrix.tried.keys()
    assert {(name, 1, moment) for name in _MUST for moment in get_args(Moment)} <= matrix.tried.keys()
    figures = f"crash matrix: {len(requests)} requests, {len(matrix.tried)} crash points, all healed once"
    record_property("figures", figures)
    sys.stdout.write(figures + "\n")
