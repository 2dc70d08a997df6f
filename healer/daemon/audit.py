"""The audit: one JSON line for each action, approval, undo and end of a temporary change: who, what, why, before, after, outcome.

docs/operating.md has an example of each.

The lines go where the log goes, as JSON also on a terminal, and whatever the level of the log is. `logger` is "healer.audit".
"""

import logging
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import structlog

from healer.actions.shared.standing import StandingChange
from healer.model.action import Outcome, OutcomeKind
from healer.model.effects import Act
from healer.model.incident import Incident, Reason
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
            why=why_sick(act.incident, act.target),
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

    def found_done(self, incident: Incident, reason: Reason, after: Standing) -> None:
        """An attempt of an earlier leadership took effect, as the cluster shows. Nobody knows what it found, or saw its end."""
        target = incident.acting_on or incident.workload
        self._write(
            incident.steps[incident.step],
            self._who,
            incident,
            target=_named(target),
            why=why_sick(incident, target),
            step=incident.step,
            attempt=incident.attempt,
            before={},
            after=after,
            outcome=str(OutcomeKind.DONE),
            reason=reason.code,
            text=reason.text,
        )

    def approved(self, before: Incident, by: str, after: Incident | None) -> None:
        """A person has approved an incident: a step of it was waiting for that, or the breaker was, or nothing."""
        outcome = "done" if took_effect(before, after) else "refused"
        self._person("approve", by, before, after, approves=approves(before), outcome=outcome)

    def undone(self, before: Incident, by: str, after: Incident | None) -> None:
        """A person has undone what healer did."""
        self._person("undo", by, before, after, outcome="done")

    def taken_back(self, standing: StandingChange, end: End, text: str) -> None:
        """A temporary change has ended. `before` and `after` are in its action's words; what is left alone has no `after`."""
        change, key = standing.change, standing.key
        self._write(
            f"take back {standing.name}",
            self._who,
            standing.incident,
            why=why_over(standing),
            before={key: change.after},
            after={key: change.before} if end is End.TAKEN_BACK else {},
            outcome=str(end),
            text=text,
        )

    def _person(self, what: str, by: str, before: Incident, after: Incident | None, **fields: Any) -> None:
        now = "closed" if after is None else str(after.state)
        self._write(what, by, before, why=why_sick(before), before=str(before.state), after=now, **fields)

    def _write(self, what: str, who: str, incident: Incident, **fields: Any) -> None:
        if self._on:
            about = {"incident": incident.id, "rule": incident.rule, "mode": incident.mode, "workload": _named(incident.workload)}
            self._log.info("audit", what=what, who=who, **about, **fields)


def standing(target: Target, view: View, note: Mapping[str, str]) -> Standing:
    """What an action finds or leaves: the units of the workload `target`, and the note by which it is taken back."""
    workload = view.workload(target.uid)
    units = {} if workload is None else {"ready": workload.ready, "desired": workload.desired}
    return units | ({"note": dict(note)} if note else {})


def _named(target: Target) -> dict[str, str]:
    return {"kind": target.kind, "namespace": target.namespace, "name": target.name, "uid": target.uid}


def took_effect(before: Incident, after: Incident | None) -> bool:
    """Whether an approval was one: a step of the incident was waiting for it, or the breaker was."""
    return after is None or (after.state, after.approvals) != (before.state, before.approvals)


def approves(incident: Incident) -> str:
    """What an approval of the incident approves."""
    return incident.steps[incident.step] if incident.steps else "continue"


def why_sick(incident: Incident, target: Target | None = None) -> str:
    """What is wrong with the target, or with what is sick first, in the words of its signals."""
    sick = incident.targets.get(target.uid) if target is not None else next(iter(incident.sick), None)
    return incident.reason.text if sick is None else sick.what


def why_over(standing: StandingChange) -> str:
    """Why a temporary change was due to be taken back."""
    incident = standing.incident
    if incident.state.settled:
        return f"the incident is {incident.state}"
    if standing.change.while_acting:
        return f"the incident is {incident.state}: healer does not go on with it by itself"
    return "its time is up"
