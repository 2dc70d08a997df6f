"""The real daemon in the test's own process, against a lab: so it has what a test has added to a registry."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Collection
from pathlib import Path
from typing import Any

import aiohttp

from healer.cluster.api import Api
from healer.daemon import Daemon, RuleFiles
from healer.daemon.daemon import Watchers
from healer.daemon.rulefiles import vocabulary
from healer.lab import Lab
from healer.model.effects import Decision
from healer.model.incident import Incident, State
from healer.rules.rulebook import Rulebook
from healer.settings import Settings
from healer.settings.http import HttpSettings
from healer.settings.sections import JournalSettings, LeaderSettings
from healer.sources.alertmanager.webhook import PATH
from tests.integration.world import ruleset
from tests.support.healer import Json
from tests.support.processes import PATIENCE


class Told:
    """A sink that keeps what it is told, for a test that waits for it."""

    name = "told"

    def __init__(self) -> None:
        self.incidents: dict[str, Incident] = {}
        self._news = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()

    def tell(self, incident: Incident) -> None:
        """Keep it, and wake who waits."""
        self.incidents[incident.id] = incident
        task = asyncio.get_running_loop().create_task(self._wake())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    resume = tell

    async def _wake(self) -> None:
        async with self._news:
            self._news.notify_all()

    async def until(self, state: State, fits: Callable[[Incident], bool] = lambda _: True) -> Incident:
        """The first incident that fits and came to that state, past or to come."""

        def found() -> list[Incident]:
            came = (i for i in self.incidents.values() if any(entry.state is state for entry in i.history))
            return [incident for incident in came if fits(incident)]

        async with asyncio.timeout(PATIENCE), self._news:
            await self._news.wait_for(found)
        return found()[0]

    def reset(self) -> None:
        """Nothing is pending."""

    async def run(self) -> None:
        """There is nothing to send."""
        await asyncio.Event().wait()

    async def check(self, channels: Collection[str]) -> list[str]:
        """Nothing keeps a message from a test."""
        return []

    async def flush(self, within: float) -> bool:
        """All is told."""
        return True


class Decisions(list[Decision]):
    """What a daemon has decided, for a test that waits for it."""

    def __init__(self) -> None:
        super().__init__()
        self._news = asyncio.Event()

    def note(self, decision: Decision) -> None:
        """Keep it, and wake who waits."""
        self.append(decision)
        self._news.set()

    async def until(self, fits: Callable[[Decision], bool]) -> Decision:
        """The first decision that fits, past or to come."""
        seen = 0
        async with asyncio.timeout(PATIENCE):
            while True:
                for decision in self[seen:]:
                    if fits(decision):
                        return decision
                seen = len(self)
                self._news.clear()
                await self._news.wait()


class House:
    """A daemon that runs, what it told, and what it decided."""

    def __init__(self, daemon: Daemon, told: Told, decisions: Decisions) -> None:
        self.daemon = daemon
        self.told = told
        self.decisions = decisions

    async def post(self, *alerts: Json) -> None:
        """Alertmanager posts these alerts, as `tests.support.healer.alert` makes them."""
        body = {"version": "4", "groupKey": "{}:{}", "status": "firing", "receiver": "healer", "alerts": alerts}
        url = f"http://127.0.0.1:{self.daemon.port}{PATH}"
        async with aiohttp.ClientSession() as http, http.post(url, json=body) as answer:
            assert answer.status == 200, await answer.text()


@contextlib.asynccontextmanager
async def house(
    lab: Lab, folder: Path, *rules: dict[str, Any], rulebook: Rulebook | None = None, **settings: Any
) -> AsyncIterator[House]:
    """A daemon with these rules, for the namespace `production` of the lab; it leads at once and keeps incidents in memory.

    `rulebook`: rules to use in place of these.
    """
    if rulebook is None:
        (folder / "rules.yaml").write_text(ruleset(*rules), encoding="utf-8")
        rulebook = RuleFiles([folder / "rules.yaml"], vocabulary()).load()
    lab.write_kubeconfig(folder / "kubeconfig")
    chosen = {
        "http": HttpSettings(host="127.0.0.1", port=0),
        "journal": JournalSettings(kind="memory"),
        "leader": LeaderSettings(enabled=False),
    }
    told, decisions = Told(), Decisions()
    daemon = Daemon(Settings(**(chosen | settings)), rulebook, watchers=Watchers([told], (decisions.note,)))
    async with contextlib.aclosing(await Api.connect(kubeconfig=str(folder / "kubeconfig"))) as api:
        running = asyncio.create_task(daemon.run(api))
        try:
            async with asyncio.timeout(PATIENCE):
                await daemon.ready.wait()
            yield House(daemon, told, decisions)
        finally:
            daemon.stop()
            await running
