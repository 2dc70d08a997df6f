"""The versions of a model that a server is configured to load, and a change of them: values that all servers share."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

STABLE = "stable"
CANARY = "canary"

DIGITS = (
    "a version is a whole number, the name of the directory that holds it, without underscores, dashes or dots: 20231001, "
    "not 2023_10_01"
)
"""What a version looks like, for messages."""


class ConfigError(Exception):
    """A configuration that the server would refuse, or that cannot be changed as asked; says where and what to do."""


class PlanRefused(Exception):
    """The requested change would not have the intended effect; says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Policy:
    """Which versions of a model are loaded: the `count` latest on disk, all on disk, or the `versions` named (ascending)."""

    choice: Literal["latest", "all", "specific"] = "latest"
    count: int = 1
    versions: tuple[int, ...] = ()

    def loads(self, version: int) -> bool | None:
        """Whether it loads a version; None: that depends on what is on the disk."""
        return version in self.versions if self.choice == "specific" else None

    def __str__(self) -> str:
        match self.choice:
            case "latest":
                return f"latest {self.count}"
            case "all":
                return "all"
            case "specific":
                return f"specific {', '.join(map(str, self.versions))}".rstrip()


def specific(versions: Iterable[int]) -> Policy:
    """The policy that loads exactly these versions."""
    return Policy("specific", versions=tuple(sorted(set(versions))))


@dataclass(frozen=True, slots=True)
class ConfiguredModel:
    """A model as the configuration has it. `labels`: names of versions, by which clients may ask for one."""

    name: str
    base_path: str
    policy: Policy
    labels: Mapping[str, int]

    def dangling(self) -> dict[str, int]:
        """The labels of versions that the policy does not load."""
        return {label: version for label, version in self.labels.items() if self.policy.loads(version) is False}


@dataclass(frozen=True, slots=True)
class ModelChange:
    """A model after a change. `notes` are for people; `left` says which part of the request has to wait, "" for none."""

    policy: Policy
    labels: Mapping[str, int]
    notes: tuple[str, ...] = ()
    left: str = ""

    def differs(self, model: ConfiguredModel) -> bool:
        """Whether anything is to be written."""
        return self.policy != model.policy or dict(self.labels) != dict(model.labels)


def version_of(text: str) -> int:
    """The version that a person wrote. Raises PlanRefused."""
    if not re.fullmatch(r"[0-9]{1,19}", text) or not 0 < int(text) < 2**63:
        raise PlanRefused(f"{text!r} is no version: {DIGITS}")
    return int(text)
