"""The status of a model on a server, in the same words for all servers, and the conditions that follow from it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from healer.model.duration import about
from healer.rules.served_model import ServedModel
from healer.rules.vocabulary import ConditionSpec

_SHOWN = 5
"""The most versions that a message names, the newest."""


class VersionState(StrEnum):
    """The life of a version in a server, in its order. A server with other words for it maps them to these."""

    START = "START"
    LOADING = "LOADING"
    AVAILABLE = "AVAILABLE"
    UNLOADING = "UNLOADING"
    END = "END"


LOADING = frozenset({VersionState.START, VersionState.LOADING})
"""The states of a version that is on its way to AVAILABLE."""


class StatusError(Exception):
    """A server does not answer, or its answer is not that of this kind of server. The message says which."""


class ConnectionRefused(StatusError):
    """Nothing listens at the server's port: the other end refused the TCP connection."""


@dataclass(frozen=True, slots=True)
class VersionStatus:
    """One version. `code` is "OK" or the server's error code, `message` its error in words."""

    version: int
    state: VersionState
    code: str = "OK"
    message: str = ""

    @property
    def failed(self) -> bool:
        """Whether it ended with an error: the server does not load it again by itself."""
        return self.state is VersionState.END and self.code != "OK"

    def __str__(self) -> str:
        error = f" ({self.code}{f': {self.message}' if self.message else ''})" if self.code != "OK" else ""
        return f"{self.version} {self.state}{error}"


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """A server's answer about one model."""

    ready: bool
    """Whether the model can be asked for a prediction."""
    versions: tuple[VersionStatus, ...] = ()
    """The versions that the server knows, ascending. Empty when it knows none, or when it does not report versions."""
    text: str = ""
    """The answer in words, of a server that does not report versions."""

    @classmethod
    def of(cls, versions: tuple[VersionStatus, ...]) -> "ModelStatus":
        """The status of a model that is ready when one of these versions is AVAILABLE."""
        return cls(any(one.state is VersionState.AVAILABLE for one in versions), versions)

    @property
    def available(self) -> frozenset[int]:
        """The versions that can be asked for a prediction."""
        return frozenset(one.version for one in self.versions if one.state is VersionState.AVAILABLE)

    def version(self, number: int) -> VersionStatus | None:
        """The status of one version; None when the server does not know it."""
        return next((one for one in self.versions if one.version == number), None)

    def __str__(self) -> str:
        """The answer in words; versions newest first: "3 LOADING, 2 AVAILABLE"."""
        if not self.versions:
            return self.text or "the server knows no version of it"
        more = f", and {len(self.versions) - _SHOWN} more" if len(self.versions) > _SHOWN else ""
        return ", ".join(str(one) for one in reversed(self.versions[-_SHOWN:])) + more


@dataclass(frozen=True, slots=True)
class Unclear:
    """It cannot be decided whether a model has a condition. `why` is for people."""

    why: str
    expected: bool = False
    """Whether the next looks will decide it, so that nobody has to be told."""


@dataclass(frozen=True, slots=True)
class TokensAsked:
    """What the requests for one token to an idle engine have shown."""

    at: float
    """When the last one was sent (epoch, s)."""
    vain: int
    """So many in a row brought no token."""
    misses: int
    """So many in a row were not answered in time, while the engine made no step."""
    refused: str
    """Why the last one brought no token although it was answered, in words; "" otherwise."""


@dataclass(frozen=True, slots=True)
class EngineSeen:
    """One engine of a server, as several looks have shown it."""

    busy: bool
    """Whether it has requests in work, and is not asleep."""
    still: float
    """For how long (s) it has done nothing, at every look."""
    moved: bool
    """Whether it was seen to move in the server's present process."""
    awake: bool = True
    """Whether it is to serve: it was not put to sleep."""
    waits: bool = True
    """Whether its metrics say how many requests wait."""
    tokens: TokensAsked | None = None
    """The requests for a token since its last step; None when there was none."""


@dataclass(frozen=True, slots=True)
class Observation:
    """The facts from which a condition is decided."""

    asked: ServedModel
    """The model as the rule names it."""
    status: ModelStatus
    loading: Mapping[int, float]
    """For how long (s) each version has been on its way in the server's present process."""
    unready: float = 0.0
    """For how long (s) it has not been ready, at every look."""
    served: bool = False
    """Whether it was ready before, in the server's present process, at a look of healer's."""
    engines: Mapping[str, EngineSeen] | str = ""
    """The engines by name; or in words why nothing is known of them."""
    closed: bool = False
    """Whether its port refuses connections, and it has answered no look at the server's present process."""
    tokens_come: bool = False
    """Whether any server that the rule asks has answered a request for a token by one."""
    suspects: int = 0
    """The pods of the rule that have left such requests unanswered, but not yet often enough."""


Detect = Callable[[Observation], str | Unclear | None]
"""Whether the model has a condition: the reason in words, or None; Unclear when that cannot be said. Pure."""


@dataclass(frozen=True, slots=True)
class StatusCondition(ConditionSpec):
    """A condition of a model, with the function that detects it."""

    detect: Detect = lambda _: None
    starting: bool = False
    """Whether it is also detected while the server's port refuses connections. Other conditions are not known then."""


def _not_available(seen: Observation) -> str | None:
    if seen.status.ready or seen.loading:
        return None
    return f"no version is AVAILABLE, and none on its way ({seen.status})"


def _stuck_loading(seen: Observation) -> str | None:
    stuck = {version: seconds for version, seconds in seen.loading.items() if seconds > seen.asked.loading}
    if not stuck:
        return None
    longest = max(stuck, key=lambda version: stuck[version])
    one = seen.status.version(longest)
    return f"version {longest} has been {one and one.state} for {about(stuck[longest])} ({seen.status})"


def never_opened(seen: Observation) -> str | Unclear | None:
    """Its port has been closed for longer than `loading`. The server opens it when the models that it starts with are loaded."""
    if not seen.closed:
        return None
    if seen.unready <= seen.asked.loading:
        return Unclear(f"its port has refused connections for {about(seen.unready)}", expected=True)
    return f"its port has refused connections for {about(seen.unready)}, since healer looks at this process"


def _version_failed(seen: Observation) -> str | None:
    failed = [one for one in seen.status.versions if one.failed]
    available = seen.status.available
    if not failed or not available or failed[-1].version < max(available):
        return None
    return f"version {failed[-1].version} did not load, and version {max(available)} serves in its place ({seen.status})"


def _version_missing(seen: Observation) -> str | None:
    wanted = seen.asked.version
    return None if wanted is None or wanted in seen.status.available else f"version {wanted} is not AVAILABLE ({seen.status})"


VERSIONED: Mapping[str, StatusCondition] = {
    "ModelNotAvailable": StatusCondition("no version is AVAILABLE, and none is on its way", detect=_not_available),
    "ModelStuckLoading": StatusCondition("a version is on its way for longer than `loading`", detect=_stuck_loading),
    "ModelStuckStarting": StatusCondition(
        "its port is closed for longer than `loading`, in a process that was never ready: the models of its start do not load",
        usual=False,
        detect=never_opened,
        starting=True,
    ),
    "ModelVersionMissing": StatusCondition(
        "the version of the rule is not AVAILABLE", usual=False, of_version=True, detect=_version_missing
    ),
    "ModelVersionFailed": StatusCondition(
        "a newer version than the one that is AVAILABLE did not load: pin the version that serves, and tell people",
        usual=False,
        serves=True,
        detect=_version_failed,
    ),
}
"""The conditions of a model on a server that reports versions."""
