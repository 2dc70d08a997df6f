"""The world that daemons die in: a cluster and its Slack, one life after the other, and what a scenario makes of them."""

import asyncio
import signal
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import ClassVar

import yaml

from healer.lab import Lab
from healer.lab.objects import Object
from tests.crash.gate import Gate, Point
from tests.integration.world import CHANNEL, NAMESPACE, Rule, ruleset
from tests.support.healer import Healer, environment
from tests.support.processes import PATIENCE
from tests.support.slack import FakeSlack

_SETTINGS: dict[str, str | Path] = {
    "HEALER_HTTP__HOST": "127.0.0.1",
    "HEALER_HTTP__PORT": "0",
    "HEALER_SLACK__CHANNEL": CHANNEL,
    "HEALER_ENGINE__RETRY": "0.1",
    "HEALER_ENGINE__RECHECK": "0.1",
    "HEALER_ALERTS__FRESHNESS": "10m",
    "HEALER_LIMITS__CORDON": "true",
    "HEALER_LIMITS__CORDON_SHARE": "50",
    "HEALER_LEADER__DURATION": "1",
    "HEALER_LEADER__DEADLINE": "0.95",
    "HEALER_LEADER__RENEW": "0.3",
    "HEALER_LEADER__RETRY": "0.1",
    "HEALER_LOG__FORMAT": "json",
}


class Scenario(ABC):
    """What is sick, what is to be done about it, and what holds in the end, wherever a daemon died."""

    must: ClassVar[tuple[str, ...]]
    """The requests that a matrix is about: one that leaves them out, before or after, is none."""

    looking: ClassVar[int] = 0
    """Steps of its ladder that only look: they count as no action."""

    def __init__(self, lab: Lab, slack: FakeSlack, folder: Path) -> None:
        self.lab = lab
        self.slack = slack
        self.folder = folder
        self.settings: dict[str, str | Path] = {}
        """Settings of the daemons besides those of all."""

    @abstractmethod
    async def begin(self, stack: AsyncExitStack) -> Rule:
        """Have the workload serve and something be wrong with it; returns the rule that heals it."""

    @abstractmethod
    async def heal(self, healer: Healer, gate: Gate) -> None:
        """During a life, once its healer leads: until all is healed and told."""

    @abstractmethod
    async def verify(self) -> None:
        """What holds in the end."""

    def matters(self, point: Point) -> bool:
        """Whether a daemon is to die there, too."""
        return True

    def ended(self, gate: Gate) -> None:  # noqa: B027 - not every scenario needs to know
        """A life is over, which came by that gate."""


class World:
    """A healer's first life and, when that is cut short, its second."""

    def __init__(self, lab: Lab, slack: FakeSlack, folder: Path, scenario: Scenario) -> None:
        self._lab = lab
        self._slack = slack
        self._folder = folder
        self._scenario = scenario
        self._cut_short = 0
        """Terms that ended as a daemon died, or lost its lease on a machine with too much to do."""

    async def live(self, rule: Rule, fatal: Callable[[Point], bool]) -> None:
        """One life: until everything is healed and told, or until a point is fatal."""
        healer = self._healer(rule)

        def kill(point: Point) -> bool:
            if fatal(point):
                healer.send(signal.SIGKILL)
                return True
            return False

        async with Gate(self._lab.url, self._lab.api.kinds, kill) as gate:
            self._write_kubeconfig(gate.url)
            self._slack.hook = gate.slack
            async with healer:
                healed = asyncio.create_task(self._healed(healer, gate))
                ended = asyncio.create_task(healer.ended())
                await asyncio.wait((healed, ended), return_when=asyncio.FIRST_COMPLETED)
                if not ended.done() and not gate.dead:
                    await healed
                    healer.send(signal.SIGTERM)
                try:
                    code = await ended
                except BaseException as error:
                    error.add_note(f"it last came by {gate.points[-6:]}")
                    raise
                healed.cancel()
                await asyncio.wait((healed,))
                assert code == (-signal.SIGKILL if gate.dead else 0), healer.printed
        self._slack.hook = None
        self._scenario.ended(gate)
        self._cut_short += gate.dead + len(healer.find("lease lost"))

    async def verify(self) -> None:
        """What holds in the end: one healing, told once, and what the scenario asks for."""
        incidents = incidents_of(self._lab)
        assert [ending(incident) for incident in incidents if "acting" in states(incident)] == ["healed"], incidents
        # Those that a daemon left without a status: nothing is known of them, and they are closed. Each term that is cut
        # short leaves at most one, and one that was ever opened has a line that says so: it is no half-opened one.
        half_opened = [incident for incident in incidents if states(incident) == ["closed"]]
        assert len(incidents) == 1 + len(half_opened), incidents
        assert len(half_opened) <= self._cut_short, incidents
        (healed,) = [incident for incident in incidents if ending(incident) == "healed"]
        assert states(healed)[0] == "open", "the incident that is healed is the one that was opened"
        assert [entry["reason"]["code"] for entry in healed["status"]["history"]].count("Healed") == 1, healed
        assert len(healed["status"]["actedAt"]) == len(healed["spec"]["steps"]) - self._scenario.looking, (
            "one action is counted for each step of its ladder"
        )
        assert self._told(self._slack) == self._to_tell(), "every line is told, and the message"
        assert self._slack.twice == []
        told = self._slack.threads(CHANNEL)
        assert 1 <= len(told) <= len(incidents)
        assert all(len(thread) == len(set(thread)) for thread in told), told
        await self._scenario.verify()

    async def _healed(self, healer: Healer, gate: Gate) -> None:
        await gate.passed("watch incidents")  # the last that it does to begin: by now it goes on with what the journal says
        await self._scenario.heal(healer, gate)
        # One that has lost its lease, on a machine with too much to do, tells the rest once it leads again, if it may.
        await self._slack.wait_for(lambda slack: self._told(slack) >= self._to_tell(), PATIENCE)

    def _to_tell(self) -> set[tuple[str, int]]:
        """The lines of the incident that is healed, and its message."""
        (healed,) = [incident for incident in incidents_of(self._lab) if ending(incident) == "healed"]
        return {(healed["metadata"]["name"], line) for line in range(len(states(healed)) + 1)}

    def _told(self, slack: FakeSlack) -> set[tuple[str, int]]:
        """What Slack has of it."""
        names = {name for name, _ in self._to_tell()}
        return {(incident, line) for channel, incident, line in slack.posted if channel == CHANNEL and incident in names}

    def _healer(self, rule: Rule) -> Healer:
        rules, token = self._folder / "rules.yaml", self._folder / "slack-token"
        rules.write_text(ruleset(rule), "utf-8")
        token.write_text(self._slack.token)
        settings: dict[str, str | Path] = _SETTINGS | {
            "KUBECONFIG": self._folder / "kubeconfig",
            "HEALER_SLACK__TOKEN_FILE": token,
            "HEALER_SLACK__BASE_URL": self._slack.url,
        }
        return Healer(["--rules", str(rules)], environment(self._folder, settings | self._scenario.settings))

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
    endings = [ending(incident) for incident in incidents_of(lab)]
    return "healed" in endings and "" not in endings


def state(incident: Object) -> str:
    """Where it stands; empty when that was never written."""
    return str(incident.get("status", {}).get("state", ""))


def states(incident: Object) -> list[str]:
    """Where it stood, line by line of its history."""
    return [entry["state"] for entry in incident.get("status", {}).get("history", [])]


def ending(incident: Object) -> str:
    """How it ended: healed, whether or not it was closed since; else its last state when that is an end, empty before."""
    if "healed" in states(incident):
        return "healed"
    return state(incident) if state(incident) in ("closed", "escalated") else ""
