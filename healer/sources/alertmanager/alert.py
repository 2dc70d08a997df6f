"""Turns an alert, as Alertmanager sends or lists it, into a signal about the object that its labels name."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

import msgspec

from healer.engine.matching.ended import AHEAD
from healer.model.duration import about
from healer.model.kube import Pod
from healer.model.signal import Signal
from healer.model.target import Target
from healer.model.view import View, target_of
from healer.model.workload import Workload
from healer.rules.triggers import ALERT
from healer.sources.targets import LINGERS, Nameless, TargetLabels, named_by
from healer.workloads.registry import WORKLOADS

SKEW = timedelta(minutes=1)
"""By how much the clock of Prometheus may be behind that of the API server."""
_FINGERPRINT = re.compile(r"[0-9a-f]{16}")
LONGEST_NAME = 1024
"""Characters of an alert's name."""
_MOST_LABELS = 32 * 1024
"""Characters of all labels of an alert."""
_LONGEST_ANNOTATION = 4096

Moment = Annotated[datetime, msgspec.Meta(tz=True)]


class Alert(msgspec.Struct, frozen=True, rename="camel"):
    """One alert of a group. `key` replaces a fingerprint that is absent or empty."""

    status: Literal["firing", "resolved"]
    labels: dict[str, str]
    starts_at: Moment
    annotations: dict[str, str] | None = None
    fingerprint: str = ""
    ends_at: Any = None
    """A time, or anything else: see `ended`."""
    generator_url: Any = msgspec.field(name="generatorURL", default="")
    """Where Prometheus, or Grafana, shows the alert's expression; anything that is no text is no link."""
    dashboard_url: Any = msgspec.field(name="dashboardURL", default="")
    """Grafana's own."""

    @property
    def key(self) -> str:
        """Identifies the alert over its whole life: its fingerprint, which Alertmanager makes from the labels.

        The fingerprints of Alertmanager and of Grafana have 16 hexadecimal digits. Any other text may hold a secret, and the
        journal keeps the key: a digest replaces it, which is the same when the alert ends. A digest replaces 16 decimal digits
        too, because a card number has them.
        """
        if not self.fingerprint:
            return _digest(sorted(self.labels.items()))
        return key_of(self.fingerprint)

    @property
    def occurrence(self) -> str:
        """Identifies one time that the alert fires, however often it is sent. Alertmanager's API has milliseconds only."""
        return f"{self.key}@{self.starts_at.isoformat(timespec='milliseconds')}"

    @property
    def name(self) -> str:
        """The alert's name; empty when it has none."""
        return self.labels.get("alertname", "")

    @property
    def message(self) -> str:
        """Its summary for people, else its description, else its name."""
        said = self.annotations or {}
        return said.get("summary") or said.get("description") or self.name

    @property
    def links(self) -> dict[str, str]:
        """Where people read on, by what it is; `healer.model.link` says which are shown."""
        said = self.annotations or {}
        found = {
            "runbook": said.get("runbook_url") or said.get("runbook"),
            "dashboard": said.get("dashboard_url") or said.get("dashboard") or self.dashboard_url,
            "alert": self.generator_url,
        }
        return {name: link for name, link in found.items() if isinstance(link, str) and link}

    def ended(self, now: float) -> float:
        """When it ended, in seconds since the epoch: its endsAt, but not later than `now` and not before it began."""
        began = self.starts_at.timestamp()
        try:
            ends = msgspec.convert(self.ends_at, Moment).timestamp()
        except msgspec.ValidationError:
            return began
        return max(began, min(ends, now))


@dataclass(frozen=True, slots=True)
class Untargeted:
    """An alert that gives no signal, and why: `code` is one CamelCase word of a bounded set (metrics)."""

    name: str
    key: str
    code: str
    reason: str


def read(
    alert: Alert, view: View, labels: TargetLabels, replicas: Sequence[str], now: float, suppressed: str = ""
) -> Signal | Untargeted:
    """The signal of an alert. `now` is in seconds since the epoch; `suppressed` says why healer does nothing about the alert.

    The target's uid is empty when the cluster holds no such object, and when the object of that name was created after the alert
    began, by more than SKEW: the alert is about its predecessor, until it has fired for LINGERS. `replicas` are the labels in
    which several Prometheus servers differ.
    """
    target = _target(alert, view, labels, now)
    if isinstance(target, Untargeted):
        return target
    firing = alert.status == "firing"
    return Signal(
        source=ALERT.name,
        name=alert.name,
        target=target,
        firing=firing,
        at=now,
        key=alert.key,
        occurrence=alert.occurrence,
        message=alert.message,
        labels=alert.labels,
        annotations={name: text[:_LONGEST_ANNOTATION] for name, text in (alert.annotations or {}).items()},
        began=alert.starts_at.timestamp(),
        ended=None if firing else alert.ended(now),
        suppressed=suppressed,
        links=alert.links,
        trouble=_trouble(alert.labels, replicas),
    )


def key_of(fingerprint: str) -> str:
    """The key of a fingerprint: the fingerprint itself when Alertmanager may have made it, else its digest."""
    known = _FINGERPRINT.fullmatch(fingerprint) is not None and not fingerprint.isdecimal()
    return fingerprint if known else _digest(fingerprint)


def _trouble(labels: Mapping[str, str], replicas: Sequence[str]) -> str:
    """Identifies what several replicas of one Prometheus report; "" for an alert without a replica's label."""
    rest = {name: value for name, value in labels.items() if name not in replicas}
    return "" if len(rest) == len(labels) else f"replicas/{_digest(sorted(rest.items()))}"


UNTARGETED = ("IllFormed", "NoName", "FromTheFuture", "TooLong", "NoLabel", "NoObject", "Ambiguous")
"""The codes of alerts that give no signal."""


def _target(alert: Alert, view: View, labels: TargetLabels, now: float) -> Target | Untargeted:
    if not alert.name:
        return Untargeted("", alert.key, "NoName", "it has no label 'alertname'")
    size = sum(len(name) + len(value) for name, value in alert.labels.items())
    if size > _MOST_LABELS or len(alert.name) > LONGEST_NAME:
        text = f"its labels have {size} characters, its name {len(alert.name)}; allowed are {_MOST_LABELS} and {LONGEST_NAME}"
        return Untargeted(alert.name[:LONGEST_NAME], alert.key, "TooLong", text)
    ahead = alert.starts_at.timestamp() - now
    if ahead > AHEAD:
        text = f"it begins in {about(ahead)}: look at the clock of the Prometheus that sends it"
        return Untargeted(alert.name, alert.key, "FromTheFuture", text)
    named = named_by(alert.labels, labels, view)
    if isinstance(named, Nameless):
        return Untargeted(alert.name, alert.key, named.code, named.reason)
    found = named.find(view)
    if found is None or _predates(alert, found, datetime.fromtimestamp(now, UTC)):
        return Target(named.kind, named.namespace, named.name, "")
    return target_of(found)


def _predates(alert: Alert, found: Pod | Workload, now: datetime) -> bool:
    """Whether an alert is about an earlier object of that name: healer must not act on a healthy successor."""
    created, owner = found.metadata.creation_timestamp, found.metadata.controller
    if created is None or (isinstance(found, Pod) and owner is not None and _names_once(owner.kind)):
        return False
    return created - alert.starts_at > SKEW and now < created + LINGERS


def _names_once(owner: str) -> bool:
    """Whether no two pods of that kind of controller have the same name, because Kubernetes generates it."""
    return owner in ("ReplicaSet", "Job") or (owner in WORKLOADS and WORKLOADS[owner].pods.generated)


def _digest(of: object) -> str:
    return hashlib.sha256(msgspec.json.encode(of)).hexdigest()[:16]
