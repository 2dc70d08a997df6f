"""The real daemon as a process: what it is given, what it logs, what it answers over HTTP."""

import asyncio
import hashlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from tests.support.processes import PATIENCE, Process
from tests.support.warm import WarmProcess, WarmStarts

HEALER = str(Path(sys.executable).with_name("healer"))
"""The installed command, as a container runs it."""
TOKEN = "a-token-of-the-tests"
"""What the daemon's webhook asks for where a test has set it up so."""

Json = Any


def environment(home: Path, settings: Mapping[str, str | Path]) -> dict[str, str]:
    """The whole environment of a healer: these settings, and nothing of whoever runs the tests."""
    usual = {"PATH": os.environ.get("PATH", ""), "HOME": str(home), "PYTHONUNBUFFERED": "1", "SSL_CERT_FILE": os.devnull}
    return usual | {name: str(value) for name, value in settings.items()}


class Verb(Process):
    """The command with a verb and its arguments."""

    warm: ClassVar[WarmStarts | None] = None
    """What they are forked from; without it each starts from nothing. pytest sets it (tests/conftest.py)."""

    def __init__(self, arguments: Sequence[str], environ: Mapping[str, str], *, files: int | None = None) -> None:
        """With `files`, it may open so many from its start on, as under `ulimit -n`."""
        limit = [] if files is None else ["sh", "-c", f'ulimit -n {files} && exec "$0" "$@"']
        super().__init__("healer", [*limit, HEALER, *arguments], environ)

    async def _start(
        self, command: Sequence[str], environ: Mapping[str, str] | None, limit: int
    ) -> asyncio.subprocess.Process | WarmProcess:
        if self.warm is None or environ is None or command[0] != HEALER:
            return await super()._start(command, environ, limit)
        return await self.warm.start(command, environ, limit)


async def verb(*arguments: str | Path, home: Path, **settings: str | Path) -> tuple[int, str]:
    """Run a verb that ends by itself; returns its exit code and what it printed."""
    async with Verb([*map(str, arguments)], environment(home, settings)) as process:
        code = await process.ended()
        return code, "\n".join(process.lines)


class Healer(Verb):
    """`healer run`. Its log lines are `events`, in their order; what a test awaits is that one of them comes."""

    def __init__(self, arguments: Sequence[str], environ: Mapping[str, str], *, files: int | None = None) -> None:
        super().__init__(["run", *arguments], environ, files=files)
        self.events: list[dict[str, Any]] = []

    def heard(self, line: str) -> None:
        super().heard(line)
        try:
            event = json.loads(line)
        except ValueError:
            return
        if isinstance(event, dict):
            self.events.append(event)

    # what it logs

    def find(self, event: str, **fields: object) -> list[dict[str, Any]]:
        """The events of that name, with these values, so far."""
        return [e for e in self.events if e.get("event") == event and all(e.get(key) == fields[key] for key in fields)]

    async def says(self, event: str, *, within: float = PATIENCE, **fields: object) -> dict[str, Any]:
        """The first event of that name with these values, past or to come."""
        await self.until(lambda: bool(self.find(event, **fields)), f"{event!r} with {fields}", within)
        return self.find(event, **fields)[0]

    def lines_of(self, incident: str) -> list[dict[str, Any]]:
        """The lines of an incident's history, as it logs them."""
        return [e for e in self.events if e.get("incident") == incident and e["event"].startswith("incident ")]

    def history(self, incident: str) -> list[str]:
        """The states that an incident went through; one with several lines is named once."""
        states = [line["state"] for line in self.lines_of(incident)]
        return [state for index, state in enumerate(states) if index == 0 or states[index - 1] != state]

    # what it answers

    async def listens(self) -> str:
        """Its base URL, once the HTTP server is up; it may not be ready yet."""
        event = await self.says("healer listens")
        return f"http://127.0.0.1:{event['port']}"

    async def get(self, path: str) -> tuple[int, Json]:
        """Status and body of a GET; the body is decoded where it is JSON."""
        url = await self.listens()
        async with aiohttp.ClientSession() as session, session.get(url + path) as answer:
            return answer.status, await answer.json() if answer.content_type == "application/json" else await answer.text()

    async def metrics(self) -> dict[str, float]:
        """Every sample of /metrics, by its name and sorted labels: `healer_actions_total{action=evict,outcome=done}`."""
        status, text = await self.get("/metrics")
        assert status == 200
        return {_written(s.name, s.labels): s.value for family in text_string_to_metric_families(text) for s in family.samples}

    async def post(self, *alerts: Json, token: str = "") -> tuple[int, Json]:
        """Post alerts as one group, as Alertmanager does; status and body of the answer."""
        url = await self.listens()
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        body = {"version": "4", "groupKey": "{}:{}", "status": "firing", "receiver": "healer", "alerts": alerts}
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.post(f"{url}/webhooks/alertmanager", json=body) as answer,
        ):
            return answer.status, await answer.json()


def alert(name: str, *, resolved: bool = False, starts_at: datetime | None = None, **labels: str) -> Json:
    """One alert of a group, as Alertmanager's webhook has it; of the namespace `production` unless a label says otherwise."""
    labels = {"alertname": name, "namespace": "production", **labels}
    now = datetime.now(UTC)
    return {
        "status": "resolved" if resolved else "firing",
        "labels": labels,
        "annotations": {"summary": f"{name} on {labels.get('pod') or labels.get('deployment')}"},
        "startsAt": (starts_at or now).isoformat(),
        "endsAt": now.isoformat() if resolved else "0001-01-01T00:00:00Z",
        "generatorURL": "http://prometheus.example/graph",
        "fingerprint": hashlib.sha256(json.dumps(labels, sort_keys=True).encode()).hexdigest()[:16],
    }


def _written(name: str, labels: Mapping[str, str]) -> str:
    return name + ("{" + ",".join(f"{key}={value}" for key, value in sorted(labels.items())) + "}" if labels else "")
