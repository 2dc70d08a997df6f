"""A local server that answers as PagerDuty's Events API v2 does, and keeps its alerts.

https://developer.pagerduty.com/docs/events-api-v2/trigger-events: 202 for an event that is taken, 400 "invalid event" with its
errors, 429 "throttle exceeded". Events of one dedup_key are one alert. Who acknowledged it is not paged again by another trigger.
"""

from dataclasses import dataclass
from typing import Any

from tests.support.receiver import Posting, Receiver, Reply

KEY = "e93facc04764012d7bfb002500d5d1a6"
INVALID_KEY = Reply(400, {"status": "invalid event", "message": "Event object is invalid", "errors": ["Invalid routing key"]})
THROTTLED = Reply(
    429,
    {"status": "throttle exceeded", "message": "Requests for this service are arriving too quickly. Please retry later."},
    {"Retry-After": "0"},
)


@dataclass(slots=True)
class Alert:
    """An alert: its status, what triggered it, and how often it paged people."""

    status: str
    event: dict[str, Any]
    pages: int = 1


class FakePagerDuty(Receiver):
    """See the module. Its path is /v2/enqueue."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.keys = {KEY}
        self.alerts: dict[str, Alert] = {}

    @property
    def enqueue(self) -> str:
        return self.url + "v2/enqueue"

    @property
    def events(self) -> list[tuple[str, str]]:
        """The events that were taken: action and dedup_key."""
        return [(posting.json["event_action"], posting.json["dedup_key"]) for posting in self.taken]

    def answer(self, posting: Posting) -> Reply:
        event = posting.json
        if posting.path != "/v2/enqueue":
            return Reply(404, {"error": "not found"})
        if errors := list(self._errors(event)):
            return Reply(400, {"status": "invalid event", "message": "Event object is invalid", "errors": errors})
        self._apply(event)
        return Reply(202, {"status": "success", "message": "Event processed", "dedup_key": event["dedup_key"]})

    def _errors(self, event: dict[str, Any]) -> list[str]:
        found = [] if event.get("routing_key") in self.keys else ["Invalid routing key"]
        if event.get("event_action") not in ("trigger", "acknowledge", "resolve"):
            found.append("'event_action' is missing or invalid")
        if not 0 < len(event.get("dedup_key", "")) <= 255:
            found.append("'dedup_key' is too long")
        payload = event.get("payload", {})
        if event.get("event_action") == "trigger":
            found += [
                f"'payload.{name}' is missing or blank" for name in ("summary", "source", "severity") if not payload.get(name)
            ]
            if payload.get("severity") not in ("critical", "error", "warning", "info"):
                found.append(
                    "'payload.severity' is invalid (must be one of the following: 'critical', 'warning', 'error' or 'info')"
                )
            if len(payload.get("summary", "")) > 1024:
                found.append("'payload.summary' is too long")
            if any(not link.get("href") for link in event.get("links", [])):
                found.append("'links.href' is missing or blank")
        return found

    def _apply(self, event: dict[str, Any]) -> None:
        key, action = event["dedup_key"], event["event_action"]
        alert = self.alerts.get(key)
        if action == "trigger" and (alert is None or alert.status == "resolved"):
            self.alerts[key] = Alert("triggered", event, 1 if alert is None else alert.pages + 1)
        elif alert is not None and alert.status != "resolved" and action != "trigger":
            alert.status = {"acknowledge": "acknowledged", "resolve": "resolved"}[action]
