"""Silence the alerts of an incident in Alertmanager while healer treats it: exactly their labels, for a bounded time.

A silenced alert reaches nobody, neither people nor healer's webhook. So healer asks Alertmanager's API whether it still fires
(`healer.sources.alertmanager.standing`), and there its own silence does not count. The silence ends with the incident, or as
soon as healer does not go on with it by itself.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import Field

from healer.actions.base import Call, Clients, NotUndone, Reversal
from healer.actions.shared.paused import paused
from healer.actions.shared.rolling import read_whole, rung
from healer.actions.shared.temporary import keep
from healer.actions.undo_silence import mark_of, reversal
from healer.model.action import ActionSpec, Outcome, OutcomeKind
from healer.model.duration import Duration, about
from healer.model.incident import Incident, Reason
from healer.model.silence import SilenceFailed, Silences, digest
from healer.model.target import ActsOn
from healer.model.temporary import TemporaryChange
from healer.model.view import View
from healer.rules.form import Model
from healer.rules.schema import When
from healer.rules.triggers import ALERT
from healer.workloads.registry import allowed

_MOST = 20
"""Alerts of one incident that are silenced."""
Labels = Mapping[str, str]


class SilenceParams(Model):
    """For how long."""

    lasting: Annotated[Duration, Field(gt=0, le=4 * 3600, alias="for")] = 1800.0
    """For how long at most: the silence ends by itself then, whatever becomes of healer."""


def complete(params: SilenceParams, when: When) -> SilenceParams:
    """The parameters as they are. Raises ValueError for a rule that is not on alerts."""
    if when.get(ALERT) is None:
        raise ValueError("a silence is for the alerts of the incident, and the rule is not on alerts")
    return params


class SilenceAlerts:
    """The action `silence`."""

    spec = ActionSpec(
        name="silence",
        params=SilenceParams,
        targets=frozenset({ActsOn.WORKLOAD}),
        disrupts=False,
        verb="silence the alerts of",
        in_rollout=True,
        complete=complete,
        requires="alerts.url",
        needs=lambda _: allowed("get"),
        meaning=(
            "silences the incident's alerts in Alertmanager, exactly by their labels. The silence ends with the incident, when "
            "healer does not go on with it by itself (a human, an approval, a storm, a breaker, a pause), and after `for`. Needs "
            "`HEALER_ALERTS__URL`"
        ),
    )

    async def run(self, call: Call) -> Outcome:
        """Ask which of the incident's alerts fire, journal them, and silence each once."""
        whole = await read_whole(call)
        if isinstance(whole, Outcome):
            return whole
        if (stopped := paused(call, whole.workload())) is not None:
            return stopped
        silences = call.silences
        if silences is None:
            text = "healer knows no Alertmanager: set HEALER_ALERTS__URL"
            return Outcome(OutcomeKind.REFUSED, "NoAlertmanager", text)
        try:
            alerts = await _alerts(call, silences)
            if isinstance(alerts, Outcome):
                return alerts
            made = {each.digest for each in await silences.made(mark_of(call.act.incident))}
        except SilenceFailed as error:
            return Outcome(OutcomeKind.DEFERRED, "NoAnswer", f"{error}")
        left = {key: labels for key, labels in alerts.items() if digest(labels) not in made}
        if not left:
            return Outcome(OutcomeKind.DONE, "FoundDone", f"{_named(alerts)} is silenced already, by an earlier attempt")
        if call.act.dry_run:
            return Outcome(OutcomeKind.DONE, "WouldSilence", f"{_named(left)} would be silenced (observe: nothing was done)")
        notes = {key: TemporaryChange("", digest(each), rung(call), while_acting=True) for key, each in left.items()}
        if (unkept := await keep(call, notes)) is not None:
            return unkept
        if (unwanted := call.still_wanted(call.act, whole.workload())) is not None:
            return Outcome(OutcomeKind.RECOVERED, unwanted.code, unwanted.text)
        return call.sending() or await _silence(call, silences, left)

    async def reversal(self, clients: Clients, incident: Incident, key: str, change: TemporaryChange) -> Reversal:
        """See `Temporary`."""
        if clients.silences is None:
            raise NotUndone("nothing was undone: healer knows no Alertmanager any more; the silence ends by itself")
        return await reversal(clients.silences, incident, key, change.after)

    def hold(self, incident: Incident, change: TemporaryChange, view: View, beside: Sequence[Incident]) -> Reason | None:
        """See `Temporary`. To end a silence takes nothing from anybody."""
        return None


async def _alerts(call: Call, silences: Silences) -> dict[str, Labels] | Outcome:
    """The labels of the incident's alerts that fire, by the key of the note; or why none is silenced. Raises SilenceFailed."""
    symptoms = {key: each for sick in call.act.incident.sick for key, each in sick.signals.items() if each.source == ALERT.name}
    firing = await silences.firing({each.name for each in symptoms.values()})
    found = {f"alert/{key}": firing[key] for key in symptoms if key in firing}
    if not found:
        text = f"Alertmanager has none of the alerts of {call.act.target} (any more): nothing was done"
        return Outcome(OutcomeKind.RECOVERED, "NotFiring", text)
    vague = [labels.get("alertname", "") for labels in found.values() if not silences.identifies(labels)]
    if vague:
        text = f"the labels of alert {vague[0]!r} name no target: a silence of them would silence alerts of others, too"
        return Outcome(OutcomeKind.REFUSED, "NotIdentified", text)
    if len(found) > _MOST:
        text = f"{len(found)} alerts fire for {call.act.target}, and healer silences at most {_MOST}: a human should hear of them"
        return Outcome(OutcomeKind.REFUSED, "TooManyAlerts", text)
    return found


async def _silence(call: Call, silences: Silences, alerts: Mapping[str, Labels]) -> Outcome:
    params, incident = call.act.params, call.act.incident
    assert isinstance(params, SilenceParams)
    comment = f"{mark_of(incident)}healer treats {incident.workload} (rule {incident.rule}); ends with the incident"
    try:
        for labels in alerts.values():
            await silences.make(labels, seconds=params.lasting, comment=comment)
    except SilenceFailed as error:
        return Outcome(OutcomeKind.FAILED, "NoAnswer", f"silence {_named(alerts)}: {error}")
    text = f"{_named(alerts)} is silenced for {about(params.lasting)} at most"
    return Outcome(OutcomeKind.DONE, "Silenced", text)


def _named(alerts: Mapping[str, Labels]) -> str:
    names = sorted({labels["alertname"] for labels in alerts.values()})
    return f"alert {names[0]}" if len(alerts) == 1 else f"each of {len(alerts)} alerts ({', '.join(names[:3])})"
