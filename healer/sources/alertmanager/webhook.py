"""Turns the body of Alertmanager's webhook, version 4, or of Grafana's, version 1, into signals. Both have the same shape.

The shape is that of Alertmanager's notify/webhook.Message and template.Data. Fields that healer does not use (groupLabels,
Grafana's values, fields of later versions) may be absent and are not read. Labels and annotations are
strings.
"""

import asyncio
import collections
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
import structlog
from prometheus_client import CollectorRegistry, Counter

from healer.model.signal import REPLICA_LABELS, Signal, WebhookError
from healer.model.text import free_text
from healer.model.view import View
from healer.settings.sections import Alerts
from healer.sources.alertmanager.alert import LONGEST_NAME, UNTARGETED, Alert, Untargeted, key_of, read
from healer.sources.alertmanager.standing import standing_alerts
from healer.sources.base import Pushed, WebhookContext
from healer.sources.targets import TargetLabels

VERSIONS = {"4": "Alertmanager", "1": "Grafana-managed alerting"}
"""The versions of the body that healer understands, and who sends them."""
PATH = "/webhooks/alertmanager"
_AT_ONCE = 25
"""Alerts read before the loop is yielded: about ten milliseconds."""

_HINT = "send what Alertmanager's webhook_configs send: https://prometheus.io/docs/alerting/latest/configuration/#webhook_config"


_MOST_ILL_FORMED = 100
"""Ill-formed alerts that a group may have; a sender of more is no Alertmanager. Each takes about 10 us."""
_MOST_READ_APART = 5_000
"""Alerts of a group that are read one by one, because some are ill-formed: about 7 us each."""
_MOST_COMMAS = 100_000
"""Entries of a body that is read one by one: an array of a million numbers would block the loop."""


class _Group(msgspec.Struct, rename="camel", kw_only=True):
    receiver: str = ""
    group_key: str = ""
    truncated_alerts: Annotated[int, msgspec.Meta(ge=0)] = 0


class _Whole(_Group, kw_only=True):
    alerts: tuple[Alert, ...]


class _Apart(_Group, kw_only=True):
    alerts: tuple[msgspec.Raw, ...]


@dataclass(frozen=True, slots=True)
class Notification:
    """One POST of Alertmanager: a group of alerts; `truncated_alerts` more were left out by its max_alerts.

    `ill_formed` are those that cannot be read; the others of the group are taken.
    """

    alerts: tuple[Alert, ...]
    receiver: str = ""
    truncated_alerts: int = 0
    ill_formed: tuple[Untargeted, ...] = ()


class _Envelope(msgspec.Struct):
    version: Any = None


_envelope = msgspec.json.Decoder(_Envelope)
_whole = msgspec.json.Decoder(_Whole)
_apart = msgspec.json.Decoder(_Apart)
_alert = msgspec.json.Decoder(Alert)


class _LooseAlert(msgspec.Struct):
    """The fields that are read of an alert that is not well-formed, for its name."""

    labels: Any = None
    fingerprint: Any = None


_loose = msgspec.json.Decoder(_LooseAlert)


def parse(body: bytes) -> Notification:
    """A webhook's body as a notification. An alert that is not well-formed is listed apart; the others are taken.

    Raises WebhookError (400) when the body is not JSON, is of another version, has a wrong type outside of its alerts, or when
    none of its alerts can be read, or too many cannot; the message says where.
    """
    try:
        version = _envelope.decode(body).version
        if not isinstance(version, str) or version not in VERSIONS:
            known = " and ".join(f"{known!r} ({whose})" for known, whose in VERSIONS.items())
            raise WebhookError(400, f"version is {version!r:.40}, but healer understands only {known}", _HINT)
        return _decoded(body)
    except msgspec.ValidationError as error:
        raise WebhookError(400, f"not an Alertmanager notification: {_brief(error)}", _HINT) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise WebhookError(400, f"the body is not JSON: {error}", _HINT) from error
    except RecursionError as error:
        raise WebhookError(400, "the body is nested too deeply", _HINT) from error


def _decoded(body: bytes) -> Notification:
    """Decode the body as a whole; when that fails, and within bounds, alert by alert."""
    try:
        whole = _whole.decode(body)
        return Notification(whole.alerts, whole.receiver, whole.truncated_alerts)
    except (msgspec.ValidationError, UnicodeDecodeError):
        if body.count(b",") > _MOST_COMMAS or len((apart := _apart.decode(body)).alerts) > _MOST_READ_APART:
            raise
    alerts, ill_formed = _read(apart.alerts)
    return Notification(alerts, apart.receiver, apart.truncated_alerts, ill_formed)


def _read(posted: Sequence[msgspec.Raw]) -> tuple[tuple[Alert, ...], tuple[Untargeted, ...]]:
    """The alerts, and those that cannot be read. When none can be read, or too many cannot, raises the error of the first one."""
    alerts: list[Alert] = []
    ill_formed: list[Untargeted] = []
    first: Exception | None = None
    for index, raw in enumerate(posted):
        try:
            alerts.append(_alert.decode(raw))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            placed = _placed(error, index)
            first = first or placed
            ill_formed.append(_unread(raw, index, placed))
            if len(ill_formed) > _MOST_ILL_FORMED:
                raise first from error
    if first is not None and not alerts:
        raise first
    return tuple(alerts), tuple(ill_formed)


def _placed(error: Exception, index: int) -> Exception:
    """A validation error with the path in the whole body."""
    if not isinstance(error, msgspec.ValidationError):
        return error
    said, at, where = str(error).rpartition(" - at `$")
    place = f" - at `$.alerts[{index}]"
    return msgspec.ValidationError(f"{said}{place}{where}" if at else f"{error}{place}`")


def _unread(raw: msgspec.Raw, index: int, error: Exception) -> Untargeted:
    """An alert that cannot be read, with its name if that can be read."""
    try:
        loose = _loose.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        loose = _LooseAlert()
    named = loose.labels.get("alertname") if isinstance(loose.labels, dict) else None
    name, key = (each if isinstance(each, str) else "" for each in (named, loose.fingerprint))
    where = "" if isinstance(error, msgspec.ValidationError) else f" - at `$.alerts[{index}]`"
    return Untargeted(name[:LONGEST_NAME], key and key_of(key), "IllFormed", f"it is not well-formed: {_brief(error)}{where}")


def _brief(error: Exception) -> str:
    """The error, shortened in its middle, where a wrong value may be as long as the body; its end says where."""
    text = str(error)
    where = text[max(0, text.rfind(" - at ")) :] if " - at " in text else ""
    return free_text(text.removesuffix(where), 120) + where[-100:]


def signals(
    notification: Notification, view: View, labels: TargetLabels, now: float, replicas: Sequence[str] = REPLICA_LABELS
) -> tuple[list[Signal], list[Untargeted]]:
    """The alerts of a group that give a signal, and those that give none. `now` is in seconds since the epoch."""
    things = [read(alert, view, labels, replicas, now) for alert in notification.alerts]
    return [thing for thing in things if isinstance(thing, Signal)], [thing for thing in things if isinstance(thing, Untargeted)]


class AlertmanagerWebhook:
    """The receiver of Alertmanager's webhook: parses a body, finds the targets, and hands the signals over to be decided.

    `intake` returns when the engine has decided the signals (a 2xx promises that), and raises QueueFull when there is no room.
    """

    def __init__(
        self,
        *,
        view: View,
        labels: TargetLabels,
        intake: Callable[[list[Signal]], Awaitable[None]],
        clock: Callable[[], float],
        registry: CollectorRegistry,
        replicas: Sequence[str] = REPLICA_LABELS,
        max_alerts: int = Alerts().max_alerts,
    ) -> None:
        self._view = view
        self._max_alerts = max_alerts
        self._replicas = replicas
        self._labels = labels
        self._intake = intake
        self._clock = clock
        self._log = structlog.get_logger("healer.alertmanager")
        self._untargeted = Counter(
            "healer_alerts_untargeted", "Alerts that no signal was made of, by reason.", ["reason"], registry=registry
        )
        for reason in UNTARGETED:
            self._untargeted.labels(reason)
        self._truncated = Counter(
            "healer_alerts_truncated", "Alerts that Alertmanager left out of a group because of `max_alerts`.", registry=registry
        )

    async def __call__(self, body: bytes) -> Mapping[str, int]:
        """Take one body; returns what became of its alerts. Raises WebhookError (nothing was taken) or QueueFull."""
        notification = parse(body)
        count = len(notification.alerts) + len(notification.ill_formed)
        if count > self._max_alerts:
            raise WebhookError(
                413,
                f"there are {count} alerts, and at most {self._max_alerts} are taken at once",
                "group by more labels, set max_alerts of the webhook_config, or raise HEALER_ALERTS__MAX_ALERTS",
            )
        found: list[Signal] = []
        lost = list(notification.ill_formed)
        for start in range(0, len(notification.alerts), _AT_ONCE):
            some = Notification(notification.alerts[start : start + _AT_ONCE])
            taken, left = signals(some, self._view, self._labels, self._clock(), self._replicas)
            found += taken
            lost += left
            await asyncio.sleep(0)
        if found:
            await self._intake(found)
        self._say(notification, lost)
        return {"accepted": len(found), "untargeted": len(lost), "truncated": notification.truncated_alerts}

    def _say(self, notification: Notification, lost: list[Untargeted]) -> None:
        for code, count in collections.Counter(alert.code for alert in lost).items():
            self._untargeted.labels(code).inc(count)
            one = next(alert for alert in lost if alert.code == code)
            said = "an alert cannot be read: it is left out" if code == "IllFormed" else "an alert names no target"
            self._log.warning(said, alert=one.name, fingerprint=one.key, reason=one.reason, alerts=count)
        if notification.truncated_alerts:
            self._truncated.inc(notification.truncated_alerts)
            self._log.warning(
                "Alertmanager truncated a group: healer does not see all its alerts",
                truncated=notification.truncated_alerts,
                receiver=notification.receiver,
                hint="raise or remove max_alerts of the webhook_config",
            )


def _receiver(context: WebhookContext) -> AlertmanagerWebhook:
    alerts = context.settings.alerts
    return AlertmanagerWebhook(
        view=context.view,
        labels=TargetLabels.of(alerts),
        replicas=alerts.replica_labels,
        intake=context.intake,
        clock=context.clock,
        registry=context.metrics,
        max_alerts=alerts.max_alerts,
    )


SOURCE = Pushed(PATH, _receiver, standing_alerts)
