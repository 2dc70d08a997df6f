"""The end of the silences that healer has made for an incident."""

from dataclasses import dataclass
from typing import Any

from healer.cluster.api import Api
from healer.cluster.errors import ApiUnavailable
from healer.model.incident import Incident
from healer.model.silence import AlertSilence, SilenceFailed, Silences

_MARK = "healer incident "


def mark_of(incident: Incident) -> str:
    """How the comment of each silence of an incident begins: it tells healer's own silences from those of people."""
    return f"{_MARK}{incident.workload.namespace}/{incident.id}: "


def marked(comment: str) -> str:
    """The id of the incident that a comment is marked with; "" for another comment."""
    marked, colon, _ = comment.partition(": ")
    return marked.rpartition("/")[2] if colon and marked.startswith(_MARK) else ""


@dataclass(frozen=True, slots=True)
class SilenceReversal:
    """One alert, and the silences of it that are in force. See `Reversal`."""

    silences: Silences
    key: str
    standing: tuple[AlertSilence, ...]

    @property
    def group(self) -> str:
        """See `Reversal`."""
        return "silences"

    @property
    def done(self) -> bool:
        """Whether no silence of healer's is left."""
        return not self.standing

    def __str__(self) -> str:
        if self.done:
            return f"{self.key}: healer silences it no more"
        return f"{self.key}: silence {', '.join(each.id for each in self.standing)} -> none"

    def plain(self) -> dict[str, Any]:
        """See `Reversal`."""
        return {"alert": self.key, "silences": [each.id for each in self.standing]}

    def check(self, *, force: bool) -> None:
        """See `Reversal`. What somebody else has changed is no silence of healer's any more."""

    async def put_back(self, api: Api, *, force: bool) -> None:
        """End the silences. Raises ClusterError."""
        try:
            for silence in self.standing:
                await self.silences.end(silence.id)
        except SilenceFailed as error:
            raise ApiUnavailable(f"end the silence of {self.key}: {error}") from error


async def reversal(silences: Silences, incident: Incident, key: str, digest: str) -> SilenceReversal:
    """The way back of the silence of one alert. Raises ClusterError."""
    try:
        made = await silences.made(mark_of(incident))
    except SilenceFailed as error:
        raise ApiUnavailable(f"look for the silence of {key}: {error}") from error
    return SilenceReversal(silences, key, tuple(each for each in made if each.digest == digest))
