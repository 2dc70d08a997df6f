"""The modelled Alertmanager: its silences, and what its API answers, as far as healer asks it."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import msgspec

from healer.sources.alertmanager.api import Alertmanagers, AlertStatus, Listed, MadeSilence

URL = "http://alertmanager.invalid"


class ListedAlert(Protocol):
    """An alert that Alertmanager has."""

    labels: Mapping[str, str]
    summary: str
    fired: float | None

    @property
    def fingerprint(self) -> str:
        """Its identity."""


@dataclass(slots=True)
class PlayedSilence:
    """A silence of alerts that have all of these labels. `until` is in seconds from the beginning."""

    id: str
    matchers: Mapping[str, str]
    until: float
    by: MadeSilence


class PlayedSilences:
    """The silences of one Alertmanager. `clock` gives seconds from the beginning."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._made: dict[str, PlayedSilence] = {}

    def make(self, matchers: Mapping[str, str], until: float, by: MadeSilence) -> str:
        """A new silence; returns its id."""
        silence = PlayedSilence(f"silence-{len(self._made) + 1}", dict(matchers), until, by)
        self._made[silence.id] = silence
        return silence.id

    def end(self, silence: str) -> None:
        """End one."""
        if silence in self._made:
            self._made[silence].until = min(self._made[silence].until, self._clock())

    def get(self, silence: str) -> PlayedSilence | None:
        """The silence of that id, ended or not."""
        return self._made.get(silence)

    def active(self) -> list[PlayedSilence]:
        """Those that have not ended."""
        return [each for each in self._made.values() if each.until > self._clock()]

    def of(self, labels: Mapping[str, str]) -> list[str]:
        """The ids of those that silence an alert with these labels."""
        if not self._made:
            return []
        return [each.id for each in self.active() if all(labels.get(name) == value for name, value in each.matchers.items())]


class ModelledAlertmanager(Alertmanagers):
    """One Alertmanager that always answers. `active` gives the alerts that it has; `stamp` writes a time of the scenario in RFC
    3339, and `seconds` reads one."""

    def __init__(
        self,
        active: Callable[[], Sequence[ListedAlert]],
        silences: PlayedSilences,
        stamp: Callable[[float], str],
        seconds: Callable[[str], float],
    ) -> None:
        super().__init__((URL,))
        self._active = active
        self._made = silences
        self._stamp = stamp
        self._seconds = seconds

    async def listed(self, url: str, names: set[str]) -> dict[str, Listed]:
        """The alerts of these names that have not ended."""
        found = {}
        for alert in self._active():
            if alert.labels["alertname"] in names:
                since = datetime.fromisoformat(self._stamp(alert.fired or 0.0))
                silenced = tuple(self._made.of(alert.labels))
                status = AlertStatus("suppressed", silenced) if silenced else AlertStatus()
                listed = Listed(dict(alert.labels), since, status, {"summary": alert.summary}, alert.fingerprint)
                found[listed.alert.key] = listed
        return found

    async def request(
        self, method: str, url: str, path: str, *, params: Sequence[tuple[str, str]] = (), content: object = None
    ) -> bytes:
        """What its API answers about silences."""
        if method == "POST":
            written = msgspec.convert(content, _PostedSilence)
            matchers = {str(each["name"]): str(each["value"]) for each in written.matchers}
            made = self._made.make(matchers, self._seconds(written.endsAt), MadeSilence(written.createdBy, written.comment))
            return json.dumps({"silenceID": made}).encode()
        name = path.rpartition("/")[2]
        if method == "DELETE":
            self._made.end(name)
            return b""
        if name == "silences":
            return json.dumps([*map(_plain, self._made.active())]).encode()
        silence = self._made.get(name)
        return json.dumps({} if silence is None else _plain(silence)).encode()


class _PostedSilence(msgspec.Struct):
    """A silence as it is posted."""

    matchers: list[dict[str, str | bool]]
    endsAt: str
    createdBy: str
    comment: str


def _plain(silence: PlayedSilence) -> Mapping[str, object]:
    return {
        "id": silence.id,
        "matchers": [*_matchers(silence.matchers)],
        "createdBy": silence.by.created_by,
        "comment": silence.by.comment,
        "status": {"state": "active"},
    }


def _matchers(matchers: Mapping[str, str]) -> Iterator[Mapping[str, object]]:
    for name, value in matchers.items():
        yield {"name": name, "value": value, "isRegex": False, "isEqual": True}
