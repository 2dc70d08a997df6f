"""healer's own silences: made, found and ended by Alertmanager's API."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeVar
from urllib.parse import quote

import msgspec

from healer.clock import Clock
from healer.model.silence import AUTHOR, AlertSilence, SilenceFailed
from healer.settings.sections import Alerts
from healer.sources.alertmanager.api import Alertmanagers, NoAnswer, decoded
from healer.sources.targets import TargetLabels

T = TypeVar("T")


class _SilenceMatcher(msgspec.Struct, rename="camel"):
    name: str
    value: str
    is_regex: bool = False
    is_equal: bool = True


class _SilenceStatus(msgspec.Struct):
    state: str = ""


class _ListedSilence(msgspec.Struct, rename="camel"):
    id: str
    matchers: list[_SilenceMatcher]
    created_by: str = ""
    comment: str = ""
    status: _SilenceStatus = msgspec.field(default_factory=_SilenceStatus)

    @property
    def labels(self) -> dict[str, str] | None:
        """What it silences, when that is exactly these labels."""
        exact = all(each.is_equal and not each.is_regex for each in self.matchers)
        return {each.name: each.value for each in self.matchers} if exact else None


class _Made(msgspec.Struct):
    silence_id: str = msgspec.field(name="silenceID")


class AlertmanagerSilences:
    """See `healer.model.silence.Silences`. Of a pair, which tell each other of silences, the first that answers is asked."""

    def __init__(self, alertmanagers: Alertmanagers, labels: TargetLabels, clock: Clock) -> None:
        self._alertmanagers = alertmanagers
        self._labels = labels
        self._clock = clock

    async def aclose(self) -> None:
        """Send no further request."""
        await self._alertmanagers.aclose()

    async def firing(self, names: set[str]) -> Mapping[str, Mapping[str, str]]:
        """See `Silences`."""
        listed = await self._first(lambda url: self._alertmanagers.listed(url, names))
        return {key: each.labels for key, each in listed.items()}

    def identifies(self, labels: Mapping[str, str]) -> bool:
        """See `Silences`."""
        named = any(labels.get(name) for name in (self._labels.pod, *self._labels.workloads))
        return bool(labels.get("alertname") and labels.get(self._labels.namespace) and named)

    async def made(self, mark: str) -> list[AlertSilence]:
        """See `Silences`."""

        async def ask(url: str) -> list[_ListedSilence]:
            return decoded(url, await self._alertmanagers.request("GET", url, "/api/v2/silences"), list[_ListedSilence])

        found = await self._first(ask)
        ours = [each for each in found if each.created_by == AUTHOR and each.comment.startswith(mark)]
        return [
            AlertSilence(each.id, labels, each.comment)
            for each in ours
            if each.status.state != "expired" and (labels := each.labels) is not None
        ]

    async def make(self, labels: Mapping[str, str], *, seconds: float, comment: str) -> str:
        """See `Silences`."""
        now = datetime.fromtimestamp(self._clock.wall(), UTC)
        silence = {
            "matchers": [{"name": n, "value": v, "isRegex": False, "isEqual": True} for n, v in sorted(labels.items())],
            "startsAt": now.isoformat(),
            "endsAt": (now + timedelta(seconds=seconds)).isoformat(),
            "createdBy": AUTHOR,
            "comment": comment,
        }

        async def ask(url: str) -> str:
            made = await self._alertmanagers.request("POST", url, "/api/v2/silences", content=silence)
            return decoded(url, made, _Made).silence_id

        return await self._first(ask)

    async def end(self, silence: str) -> None:
        """See `Silences`."""
        await self._first(lambda url: self._alertmanagers.request("DELETE", url, f"/api/v2/silence/{quote(silence, safe='')}"))

    async def _first(self, ask: Callable[[str], Awaitable[T]]) -> T:
        """What the first Alertmanager says that gives an answer."""
        failed: NoAnswer | None = None
        for url in self._alertmanagers.urls:
            try:
                return await ask(url)
            except NoAnswer as error:
                failed = error
        raise SilenceFailed(str(failed)) from failed


def own_silences(alerts: Alerts, clock: Clock) -> AlertmanagerSilences | None:
    """As the settings say; None when they name no Alertmanager: then no rule has the action `silence`."""
    return None if not alerts.url else AlertmanagerSilences(of_settings(alerts), TargetLabels.of(alerts), clock)


def of_settings(alerts: Alerts) -> Alertmanagers:
    """The Alertmanagers that the settings name."""
    urls: Sequence[str] = [url.strip() for url in alerts.url.split(",")]
    return Alertmanagers(urls, token_file=alerts.token_file, ca_file=alerts.ca_file, timeout=alerts.timeout)
