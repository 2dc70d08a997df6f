"""A silence of Alertmanager's that healer has made, and the interface of what makes and ends them."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

AUTHOR = "healer"
"""By whom healer's silences are created (createdBy)."""


class SilenceFailed(Exception):
    """No Alertmanager gave a usable answer; the message says which and why."""


@dataclass(frozen=True, slots=True)
class AlertSilence:
    """A silence that is in force, of exactly these labels."""

    id: str
    labels: Mapping[str, str]
    comment: str

    @property
    def digest(self) -> str:
        """That of its labels."""
        return digest(self.labels)


def digest(labels: Mapping[str, str]) -> str:
    """The same for the same labels, and another one for others."""
    written = "\x00".join(f"{name}\x01{value}" for name, value in sorted(labels.items()))
    return hashlib.sha256(written.encode()).hexdigest()[:16]


class Silences(Protocol):
    """The silences of an Alertmanager, or of a pair. Each method raises SilenceFailed."""

    async def firing(self, names: set[str]) -> Mapping[str, Mapping[str, str]]:
        """The labels of the alerts of these names that fire, silenced or not, by the keys that their signals have."""

    def identifies(self, labels: Mapping[str, str]) -> bool:
        """Whether labels name one target: a silence of less would silence other alerts, too."""

    async def made(self, mark: str) -> list[AlertSilence]:
        """Those of healer's that are in force, and whose comment begins so."""

    async def make(self, labels: Mapping[str, str], *, seconds: float, comment: str) -> str:
        """Silence the alerts with all of these labels from now on, for so long; returns the silence's id."""

    async def end(self, silence: str) -> None:
        """End a silence; one that has ended stays so."""
