"""PagerDuty by its Events API v2: an alert an incident, triggered, acknowledged and resolved as the incident goes.

https://developer.pagerduty.com/docs/events-api-v2/trigger-events. An alert that was acknowledged pages nobody again, whatever is
sent to it. So when an incident needs a human anew, its alert is resolved and another is triggered: the next round, with its own
dedup_key.
"""

import json
import re
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from healer.model.incident import Incident, State
from healer.secret import SecretError, SecretFile
from healer.sinks.base import Severity, SinkMeters
from healer.sinks.delivery import DeliverySink, Errand, MessageRefused
from healer.sinks.memory import Memory
from healer.sinks.post import Poster
from healer.sinks.site import Site
from healer.sinks.targets import DeliverySettings, addresses
from healer.sinks.words import clip, milestone, story, words

_SUMMARY = 1024
_HINT = "put the integration key of an Events API v2 integration of the service into the file that pagerduty.services names"

_ROUND = re.compile(r"[1-9][0-9]{0,3}")
_DOUBTED = "doubted"
"""The key beside what is said to be told, when anybody may have written it."""

PagerAction = Literal["trigger", "acknowledge", "resolve"]

SERVICE = addresses(
    "pagerduty",
    "service of PagerDuty",
    "pagerduty.services",
    "pagerduty:ml-oncall",
    "a service of PagerDuty, by its name in the setting `pagerduty.services`",
)


class PagerDutySettings(DeliverySettings):
    """Alerts in PagerDuty."""

    services: dict[str, Path] = {}  # noqa: RUF012 - pydantic copies it
    """For each service a file with its integration key (Events API v2), by the name that rules use:
    `{"ml-oncall": "/etc/healer/secrets/pagerduty-ml-oncall"}`. Without one, nothing is sent to PagerDuty."""
    trigger: Literal["needed", "opened"] = "needed"
    """When people are paged. `needed`: when an incident needs a human: it is escalated, waits for an approval, or a rule pages.
    `opened`: as soon as it opens; the alert is acknowledged while healer acts."""
    severities: tuple[Severity, ...] = ("critical",)
    """The severities of the incidents that go to `default` because their rule has no `notify`: `critical,warning`."""
    url: str = Field("https://events.pagerduty.com/v2/enqueue", pattern=r"^https?://\S+$")
    """Where events are sent; accounts in the EU have `https://events.eu.pagerduty.com/v2/enqueue`."""
    ca_file: Path | None = None
    """A file with the certificates to trust there, for a proxy that opens TLS; empty: the system's."""

    required: ClassVar = ("services",)
    section: ClassVar = "PAGERDUTY"
    named_in: ClassVar = "services"
    noun: ClassVar = "service"

    @property
    def secret(self) -> Path | None:
        """The key of the first service."""
        return next(iter(self.services.values()), None)


@dataclass(frozen=True, slots=True)
class PagerEvent:
    """One event of the API, without its routing key."""

    action: PagerAction
    key: str
    incident: Incident


class PagerDutySink(DeliverySink[PagerEvent]):
    """Pages people; see `Sink`."""

    name = "pagerduty"

    def __init__(self, settings: PagerDutySettings, site: Site, meters: SinkMeters, memory: Memory) -> None:
        super().__init__(settings.services, settings.pace, meters, memory, settings.variable("services"))
        self._site = site
        self._url = settings.url
        self._at_once = settings.trigger == "opened"
        self._keys = {name: SecretFile(path) for name, path in settings.services.items()}
        self._poster = Poster(settings.timeout, settings.ca_file)

    def connected(self) -> AbstractAsyncContextManager[object]:
        """A session for the API."""
        return self._poster

    async def problems(self, target: str) -> list[str]:
        """A key that cannot be read. Whether PagerDuty takes it shows only by an event."""
        try:
            self._keys[target].read()
        except SecretError as error:
            return [f"nobody is told by pagerduty:{target}: {error}"]
        return self._poster.problems()

    def errand(self, incident: Incident, target: str, told: Mapping[str, str]) -> Errand[PagerEvent] | None:
        """The next event."""
        last, number = told.get("action", ""), told.get("round", "")
        rounds = int(number) if _ROUND.fullmatch(number) else 0
        if _DOUBTED in told and last == "trigger" and needs_human(incident):
            last, rounds = "", rounds - 1  # trigger it again: where the alert is open, nobody is paged by it
        action = next_action(incident, last, at_once=self._at_once)
        if action is None:
            return None
        if action == "trigger":
            rounds += 1
        key = dedup_key(incident, self._site, rounds)
        return Errand(PagerEvent(action, key, incident), {"action": action, "round": str(rounds)})

    def doubted(self, incident: Incident, claimed: Mapping[str, str]) -> Mapping[str, str]:
        """All of it, but for an alert that is said to be open: the key is the incident's own, whoever wrote which it is."""
        return {**claimed, _DOUBTED: "yes"}

    async def send(self, target: str, message: PagerEvent) -> str:
        """Send an event: the API answers 202 to one that it takes."""
        try:
            key = self._keys[target].read()
        except SecretError as error:
            raise MessageRefused(str(error), _HINT) from error
        content = {"routing_key": key, "event_action": message.action, "dedup_key": message.key}
        if message.action == "trigger":
            content |= trigger(message.incident, self._site)
        return str(await self._poster.post(self._url, json.dumps(content).encode(), {}, _HINT))


def next_action(incident: Incident, last: str, *, at_once: bool) -> PagerAction | None:
    """The action that brings an alert to where its incident stands; None when it is there. `last` is its last action."""
    if incident.state.settled:
        return "resolve" if last in ("trigger", "acknowledge") else None
    if needs_human(incident):
        if last == "acknowledge":
            return "resolve"  # and trigger another
        return None if last == "trigger" else "trigger"
    if last == "trigger" and incident.state in (State.ACTING, State.VERIFYING):
        return "acknowledge"
    return "trigger" if at_once and last in ("", "resolve") else None


def needs_human(incident: Incident) -> bool:
    """Whether people are to be paged."""
    return not incident.state.settled and (milestone(incident).needs_human or incident.paged is not None)


def dedup_key(incident: Incident, site: Site, rounds: int) -> str:
    """The identity of an alert: the same event sent twice is one event."""
    parts = ("healer", site.cluster, incident.workload.namespace, incident.id, str(rounds) if rounds > 1 else "")
    return "/".join(part for part in parts if part)[:255]


def trigger(incident: Incident, site: Site) -> dict[str, Any]:
    """What an event `trigger` says."""
    said = words(incident, site)
    details = {
        "verdict": said.verdict,
        "cause": said.cause,
        "why": said.reason,
        "done": said.done,
        "next": said.command,
        "rule": incident.rule,
        "mode": incident.mode,
        "description": incident.background.description,
        "asked": incident.background.asks,
        "sick": [clip(f"{sick.target}: {sick.what}") for sick in incident.sick[:10]],
        "history": story(incident),
    }
    payload = {
        "summary": clip(said.headline, _SUMMARY),
        "source": site.cluster or "healer",
        "severity": _severity(incident),
        "timestamp": datetime.fromtimestamp(incident.opened_at, UTC).isoformat(timespec="milliseconds"),
        "component": str(incident.workload),
        "group": incident.workload.namespace,
        "class": incident.rule,
        "custom_details": {name: value for name, value in details.items() if value},
    }
    links = [{"href": link, "text": name} for name, link in said.links.items()]
    client = {"client": "healer", **({"client_url": said.links["page"]} if "page" in said.links else {})}
    return {"payload": payload, "links": links, **client}


def _severity(incident: Incident) -> str:
    """PagerDuty's: a warning for which healer can do no more is an error."""
    if incident.severity == "warning" and milestone(incident).needs_human:
        return "error"
    return incident.severity
