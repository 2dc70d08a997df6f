"""Alertmanager's webhook, version 4: a body becomes signals.

The shape is that of Alertmanager's notify/webhook.Message and template.Data. What healer does not use (endsAt, generatorURL,
groupLabels, whatever later versions add) is neither needed nor looked at. Labels and annotations are strings.
"""

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
import structlog
from prometheus_client import CollectorRegistry, Counter

from healer.model.intake import WebhookError
from healer.model.kube import Deployment, Pod
from healer.model.signal import Signal
from healer.model.target import Target
from healer.model.text import free_text
from healer.model.view import View, target_of
from healer.sources.targets import Nameless, named_by
from healer.sources.targets import TargetLabels as TargetLabels

VERSION = "4"
PATH = "/webhooks/alertmanager"

_HINT = "send what Alertmanager's webhook_configs send: https://prometheus.io/docs/alerting/latest/configuration/#webhook_config"

Moment = Annotated[datetime, msgspec.Meta(tz=True)]


class Alert(msgspec.Struct, frozen=True, rename="camel"):
    """One alert of a group. An absent or empty fingerprint is made up from the labels (`key`)."""

    status: Literal["firing", "resolved"]
    labels: dict[str, str]
    starts_at: Moment
    annotations: dict[str, str] = {}
    fingerprint: str = ""

    @property
    def key(self) -> str:
        """What identifies the alert over its whole life: its fingerprint, which Alertmanager makes from the labels."""
        if self.fingerprint:
            return self.fingerprint
        return hashlib.sha256(msgspec.json.encode(sorted(self.labels.items()))).hexdigest()[:16]

    @property
    def occurrence(self) -> str:
        """What identifies this one time that it fires, however often it is sent."""
        return f"{self.key}@{self.starts_at.isoformat()}"

    @property
    def name(self) -> str:
        """The alert's name; empty when it has none."""
        return self.labels.get("alertname", "")

    @property
    def message(self) -> str:
        """What it says for people."""
        return self.annotations.get("summary") or self.annotations.get("description") or self.name


class Notification(msgspec.Struct, frozen=True, rename="camel"):
    """One POST of Alertmanager: a group of alerts; `truncated_alerts` more were left out by its max_alerts."""

    alerts: tuple[Alert, ...]
    receiver: str = ""
    group_key: str = ""
    truncated_alerts: Annotated[int, msgspec.Meta(ge=0)] = 0


class _Envelope(msgspec.Struct):
    version: Any = None


_envelope = msgspec.json.Decoder(_Envelope)
_notification = msgspec.json.Decoder(Notification)


def parse(body: bytes) -> Notification:
    """A webhook's body as a notification, all of it or nothing.

    Raises WebhookError (400) for what is not JSON, is of another version, or has a wrong type somewhere; the message says where.
    """
    try:
        version = _envelope.decode(body).version
        if version != VERSION:
            raise WebhookError(400, f"version is {version!r:.40}, but healer understands only {VERSION!r}", _HINT)
        return _notification.decode(body)
    except msgspec.ValidationError as error:
        raise WebhookError(400, f"not an Alertmanager notification: {_brief(error)}", _HINT) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise WebhookError(400, f"the body is not JSON: {error}", _HINT) from error
    except RecursionError as error:
        raise WebhookError(400, "the body is nested too deeply", _HINT) from error


def _brief(error: Exception) -> str:
    """The error with its end, which says where; a wrong value in its middle may be as long as the body."""
    text = str(error)
    where = text[max(0, text.rfind(" - at ")) :] if " - at " in text else ""
    return free_text(text.removesuffix(where), 120) + where[-100:]


@dataclass(frozen=True, slots=True)
class Untargeted:
    """An alert that no signal can be made of, and why: `code` is one CamelCase word of a bounded set (metrics)."""

    name: str
    key: str
    code: str
    reason: str


def signals(notification: Notification, view: View, labels: TargetLabels, now: float) -> tuple[list[Signal], list[Untargeted]]:
    """Every alert of the group as a signal, or as one that names no target; `now` in seconds since the epoch.

    A pod wins over a deployment. The target's uid is empty when the cluster holds no such object, and when the object of that
    name was created after the alert began: the alert is about its predecessor.
    """
    found: list[Signal] = []
    lost: list[Untargeted] = []
    for alert in notification.alerts:
        target = _target(alert, view, labels)
        if isinstance(target, Untargeted):
            lost.append(target)
        else:
            found.append(_signal(alert, target, now))
    return found, lost


def _signal(alert: Alert, target: Target, now: float) -> Signal:
    return Signal(
        source="alert",
        name=alert.name,
        target=target,
        firing=alert.status == "firing",
        at=now,
        key=alert.key,
        occurrence=alert.occurrence,
        message=alert.message,
        labels=alert.labels,
        annotations=alert.annotations,
    )


def _target(alert: Alert, view: View, labels: TargetLabels) -> Target | Untargeted:
    if not alert.name:
        return Untargeted("", alert.key, "NoName", "it has no label 'alertname'")
    named = named_by(alert.labels, labels, view)
    if isinstance(named, Nameless):
        return Untargeted(alert.name, alert.key, named.code, named.reason)
    held = named.held(view)
    if held is None or _predates(alert, held):
        return Target(named.kind, named.namespace, named.name, "")
    return target_of(held)


def _predates(alert: Alert, held: Pod | Deployment) -> bool:
    created = held.metadata.creation_timestamp
    return created is not None and alert.starts_at < created


class AlertmanagerWebhook:
    """The receiver of Alertmanager's webhook: parses a body, finds the targets, has the signals decided.

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
    ) -> None:
        self._view = view
        self._labels = labels
        self._intake = intake
        self._clock = clock
        self._log = structlog.get_logger("healer.alertmanager")
        self._untargeted = Counter(
            "healer_alerts_untargeted", "Alerts that no signal could be made of.", ["reason"], registry=registry
        )
        self._truncated = Counter(
            "healer_alerts_truncated", "Alerts that Alertmanager left out of a group (max_alerts).", registry=registry
        )

    async def __call__(self, body: bytes) -> Mapping[str, int]:
        """Take one body; returns what became of its alerts. Raises WebhookError or QueueFull, and then nothing was taken."""
        notification = parse(body)
        found, lost = signals(notification, self._view, self._labels, self._clock())
        if found:
            await self._intake(found)
        self._say(notification, lost)
        return {"accepted": len(found), "untargeted": len(lost), "truncated": notification.truncated_alerts}

    def _say(self, notification: Notification, lost: list[Untargeted]) -> None:
        for alert in lost:
            self._untargeted.labels(alert.code).inc()
            self._log.warning("an alert names no target", alert=alert.name, fingerprint=alert.key, reason=alert.reason)
        if notification.truncated_alerts:
            self._truncated.inc(notification.truncated_alerts)
            self._log.warning(
                "Alertmanager truncated a group: healer does not see all its alerts",
                truncated=notification.truncated_alerts,
                receiver=notification.receiver,
                hint="raise or remove max_alerts of the webhook_config",
            )
