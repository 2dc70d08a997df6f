"""The audit: one JSON line for each action, approval, undo and end of a temporary change: who, what, why, before, after, outcome.

The lines go where the log goes, as JSON also on a terminal, and whatever the level of the log is. `logger` is "healer.audit".
"""

import logging
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import structlog

from healer.model.action import Outcome
from healer.model.effects import Act
from healer.model.incident import Incident
from healer.model.redact import redact_event
from healer.model.target import Target
from healer.model.temporary import End
from healer.model.view import View

LOGGER = "healer.audit"
Standing = dict[str, Any]
"""What an action finds or leaves, as JSON."""


class Audit:
    """Writes the lines. `who` is this replica; `on` is False where nobody wants them (HEALER_LOG__AUDIT)."""

    def __init__(self, who: str, *, on: bool = True) -> None:
        self._who = f"healer {version('healer')} ({who})" if who else f"healer {version('healer')}"
        self._on = on
        # a logger of its own: the level and the form of healer's log do not concern it
        self._log = structlog.wrap_logger(
            structlog.get_config()["logger_factory"](),
            processors=[
                redact_event,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                structlog.processors.JSONRenderer(),
            ],
            wrapper_class=structlog.make_filtering_bound_logger(logging.NOTSET),
        ).bind(logger=LOGGER)

    def acted(self, act: Act, outcome: Outcome, before: Standing, after: Standing) -> None:
        """An attempt to act has ended. `before` and `after` are what `standing` said then."""
        self._write(
            act.action,
            self._who,
            act.incident,
            target=_named(act.target),
            why=why(act),
            step=act.step,
            attempt=act.attempt,
            dry_run=act.dry_run,
            parameters=act.params.model_dump(mode="json", exclude_none=True),
            before=before,
            after=after,
            outcome=str(outcome.kind),
            reason=outcome.reason,
            text=outcome.text,
        )

    def approved(self, before: Incident, by: str, after: Incident | None) -> None:
        """A person has approved an incident: a step of it was waiting for that, or the breaker was, or nothing."""
        taken = after is None or (after.state, after.approvals) != (before.state, before.approvals)
        step = before.steps[before.step] if before.steps else "continue"
        self._write("approve", by, before, approves=step, before=str(before.state), outcome="done" if taken else "refused")

    def undone(self, incident: Incident, by: str) -> None:
        """A person has undone what healer did."""
        self._write("undo", by, incident, before=str(incident.state), outcome="done")

    def taken_back(self, incident: Incident, action: str, end: End, text: str) -> None:
        """A temporary change has ended."""
        self._write(f"take back {action}", self._who, incident, outcome=str(end), text=text)

    def _write(self, what: str, who: str, incident: Incident, **fields: Any) -> None:
        if self._on:
            about = {"incident": incident.id, "rule": incident.rule, "mode": incident.mode, "workload": _named(incident.workload)}
            self._log.info("audit", what=what, who=who, **about, **fields)


def standing(act: Act, view: View, note: Mapping[str, str]) -> Standing:
    """What an action finds or leaves: the units of the workload, and the note by which it is taken back."""
    workload = view.workload(act.incident.workload.uid)
    units = {} if workload is None else {"ready": workload.ready, "desired": workload.desired}
    return units | ({"note": dict(note)} if note else {})


def _named(target: Target) -> dict[str, str]:
    return {"kind": target.kind, "namespace": target.namespace, "name": target.name, "uid": target.uid}


def why(act: Act) -> str:
    """What is wrong with the target, in the words of its signals."""
    sick = act.incident.targets.get(act.target.uid)
    return act.incident.reason.text if sick is None else sick.what
