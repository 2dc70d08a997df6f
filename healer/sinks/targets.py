"""The named targets of those sinks that send messages: their settings, and how rules address them."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import ClassVar, Self

from pydantic import Field, model_validator

from healer.rules.vocabulary import AddressSpec
from healer.section import PREFIX, Seconds
from healer.sinks.base import Severity, SinkSettings

NAME = r"[a-z0-9][a-z0-9-]{0,39}"
"""The names of targets, in settings and in the addresses of rules."""


def is_name(name: str) -> bool:
    """Whether a target can have this name."""
    return re.fullmatch(NAME, name) is not None


def addresses(kind: str, noun: str, setting: str, example: str, meaning: str) -> AddressSpec:
    """How rules address the targets that a setting names: `KIND:NAME`."""
    hint = f"write small letters, digits and '-', as in the setting {setting}: {example}"
    return AddressSpec(kind=kind, noun=noun, example=example, meaning=meaning, valid=is_name, hint=lambda _: hint)


@dataclass(frozen=True, slots=True)
class Pace:
    """How a sink sends: the waits of its settings, and where incidents go that name nobody."""

    default: str
    severities: tuple[Severity, ...]
    backoff: float
    backoff_most: float
    reconsider: float
    capacity: int


class DeliverySettings(SinkSettings):
    """The settings that these sinks have in common."""

    default: str = ""
    """The target for incidents of rules without `notify`, and for those whose own target is not set up or refuses them; empty:
    none."""
    severities: tuple[Severity, ...] = ("critical", "warning", "info")
    """The severities of the incidents that go to `default` because their rule has no `notify`: `critical,warning`."""
    timeout: Seconds = Field(10.0, gt=0)
    """Seconds for one message."""
    backoff: Seconds = Field(1.0, gt=0)
    """The first wait after a target could not be reached; doubled each time ..."""
    backoff_most: Seconds = Field(60.0, gt=0)
    """... up to this."""
    reconsider: Seconds = Field(300.0, gt=0)
    """Before a message that was refused is tried again; doubled each time, too."""
    capacity: int = Field(1000, gt=0)
    """Incidents that are remembered for each target."""

    named_in: ClassVar[str]
    """The field that names the targets."""
    section: ClassVar[str]
    """The name of the section, as variables of the environment write it."""
    noun: ClassVar[str]
    """What a target is called."""

    @model_validator(mode="after")
    def _targets_fit(self) -> Self:
        for name in self.targets_named:
            if not is_name(name):
                raise ValueError(f"{self.variable(self.named_in)}: {name!r} is no name: write small letters, digits and '-'")
        if self.default and self.targets_named and self.default not in self.targets_named:
            known = ", ".join(self.targets_named)
            raise ValueError(f"{self.variable('default')}: {self.default!r} is none of the {self.noun}s {known}")
        return self

    @classmethod
    def variable(cls, field: str) -> str:
        """The variable of the environment that sets a field."""
        return f"{PREFIX}{cls.section}__{field.upper()}"

    @property
    def targets_named(self) -> Collection[str]:
        """The names of the targets."""
        found: Collection[str] = getattr(self, self.named_in)
        return found

    @property
    def enabled(self) -> bool:
        """Whether there is a target."""
        return bool(self.targets_named)

    @property
    def by_default(self) -> frozenset[str]:
        """`severities`, where there is a default target."""
        return frozenset(self.severities) if self.enabled and self.default else frozenset()

    @property
    def incomplete(self) -> str:
        """A default target alone tells nobody."""
        if self.targets_named or not self.default:
            return ""
        return f"{self.variable('default')} is {self.default}, and there is no {self.noun}: set {self.variable(self.named_in)}"

    @property
    def pace(self) -> Pace:
        """How to send."""
        return Pace(self.default, self.severities, self.backoff, self.backoff_most, self.reconsider, self.capacity)
