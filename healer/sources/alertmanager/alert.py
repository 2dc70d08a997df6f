"""One alert, as Alertmanager sends it or lists it, becomes a signal about the object that its labels name."""

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
from healer.sources.targets import Nameless, TargetLabels, named_by

LINGERS = timedelta(minutes=15)
"""An alert that still fires so long after an object was made is about that object, though it began before it. Until then it may
be about its predecessor of the same name: a `rate()`, `keep_firing_for` and `group_interval` keep an alert alive that long."""
SKEW = timedelta(minutes=1)
"""By how much Prometheus' clock may be behind the API server's."""
_GENERATED = frozenset({"ReplicaSet", "Job", "DaemonSet"})
"""The kinds whose pods have a random end to their names: no second pod ever has the name of one."""
_FINGERPRINT = re.compile(r"[0-9a-f]{16}")
LONGEST_NAME = 1024
"""Characters of an alert's name."""
_MOST_LABELS = 32 * 1024
"""Characters of all labels of an alert."""
_LONGEST_ANNOTATION = 4096

Moment = Annotated[datetime, msgspec.Meta(tz=True)]


class Alert(msgspec.Struct, frozen=True, rename="camel"):
    """One alert of a group. An absent or empty fingerprint is made up from the labels (`key`)."""

    status: Literal["firing", "resolved"]
    labels: dict[str, str]
    starts_at: Moment
    annotations: dict[str, str] | None = None
    fingerprint: str = ""
    ends_at: Any = None
    """A time, where it is one: nothing depends on its being right."""

    @property
    def key(self) -> str:
        """What identifies the alert over its whole life: its fingerprint, which Alertmanager makes from the labels.

        Alertmanager's and Grafana's have 16 hexadecimal digits. Any other text may hold a secret, and the journal keeps the key:
        a digest stands for it, which is the same when the alert ends. So it is for 16 decimal digits: a card number has them.
        """
        if not self.fingerprint:
            return _digest(sorted(self.labels.items()))
        return key_of(self.fingerprint)

    @property
    def occurrence(self) -> str:
        """What identifies this one time that it fires, however often it is sent. Alertmanager's API has milliseconds only."""
        return f"{self.key}@{self.starts_at.isoformat(timespec='milliseconds')}"

    @property
    def name(self) -> str:
        """The alert's name; empty when it has none."""
        return self.labels.get("alertname", "")

    @property
    def message(self) -> str:
        """What it says for people."""
        said = self.annotations or {}
        return said.get("summary") or said.get("description") or self.name

    def ended(self, now: float) -> float:
        """When it has ended, in seconds since the epoch: by its own word, but not later than `now` and not before it began."""
        began = self.starts_at.timestamp()
        try:
            ends = msgspec.convert(self.ends_at, Moment).timestamp()
        except msgspec.ValidationError:
            return began
        return max(began, min(ends, now))


@dataclass(frozen=True, slots=True)
class Untargeted:
    """An alert that no signal can be made of, and why: `code` is one CamelCase word of a bounded set (metrics)."""

    name: str
    key: str
    code: str
    reason: str


def read(
    alert: Alert, view: View, labels: TargetLabels, replicas: Sequence[str], now: float, suppressed: str = ""
) -> Signal | Untargeted:
    """The signal of an alert; `now` in seconds since the epoch; `held` says why nothing is to be done about it.

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
        trouble=_trouble(alert.labels, replicas),
    )


def key_of(fingerprint: str) -> str:
    """A fingerprint as it is kept: as it is where Alertmanager may have made it, else its digest."""
    known = _FINGERPRINT.fullmatch(fingerprint) is not None and not fingerprint.isdecimal()
    return fingerprint if known else _digest(fingerprint)


def _trouble(labels: Mapping[str, str], replicas: Sequence[str]) -> str:
    """The same for what several replicas of one Prometheus say; "" where the alert is of no replica."""
    rest = {name: value for name, value in labels.items() if name not in replicas}
    return "" if len(rest) == len(labels) else f"replicas/{_digest(sorted(rest.items()))}"


UNTARGETED = ("IllFormed", "NoName", "FromTheFuture", "TooLong", "NoLabel", "NoObject", "Ambiguous")
"""The codes of why no signal is made of an alert."""


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
    """Whether an alert is about an object that had the name before: it must not take a healthy successor."""
    created, owner = found.metadata.creation_timestamp, found.metadata.controller
    if created is None or (isinstance(found, Pod) and owner is not None and owner.kind in _GENERATED):
        return False
    return created - alert.starts_at > SKEW and now < created + LINGERS


def _digest(of: object) -> str:
    return hashlib.sha256(msgspec.json.encode(of)).hexdigest()[:16]
