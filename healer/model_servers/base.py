"""The interface of a model server: how the status of its models is read, and how their versions are pinned, if they can be."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from healer.model_servers.heartbeat import Heartbeat
from healer.model_servers.status import ModelStatus, StatusCondition
from healer.model_servers.versions import ConfiguredModel, ModelChange
from healer.rules.vocabulary import ServerSpec


class VersionsFile(Protocol):
    """The file in a ConfigMap by which a server is told which versions of its models it loads.

    Methods that read the text raise ConfigError, with the position of the fault. Methods that plan a change are pure, and raise
    PlanRefused; `available` are the versions that are AVAILABLE on all servers, None when that is not known.
    """

    key: str
    """The default key of the file in a ConfigMap."""
    effect: str
    """When a change of the file takes effect, as the end of a sentence: for people."""
    about: str
    """What people must know of the file and of its servers, in whole sentences: for the help of the command line."""

    def models(self, text: str) -> tuple[ConfiguredModel, ...]:
        """The models of the file, in its order."""

    def find(self, text: str, name: str) -> ConfiguredModel:
        """One model of the file. Raises ConfigError when there is none of that name."""

    def changed(self, text: str, name: str, change: ModelChange) -> str:
        """The text after a change of one model; the rest stays as it is. Raises ConfigError when the server would refuse it."""

    def remarks(self, text: str) -> list[str]:
        """The parts of the file that mean something else than they look like, in words."""

    def caveats(self, template: Mapping[str, Any], config_map: str, *, labels: bool) -> list[str]:
        """Why pods of this template do not follow a change, in words. `labels`: whether the file has labels."""

    def takes_any_label(self, template: Mapping[str, Any]) -> bool:
        """Whether servers of this template accept labels of versions that are not AVAILABLE."""

    def pin(self, model: ConfiguredModel, version: int) -> ModelChange:
        """Load that version alone."""

    def beside(self, model: ConfiguredModel, version: int, available: Collection[int]) -> ModelChange:
        """Load that version beside those that the servers have."""

    def add(
        self, model: ConfiguredModel, version: int, label: str, available: Collection[int] | None, *, any_label: bool
    ) -> ModelChange:
        """Load that version beside the others, with that label ("" for none). `any_label`: see `takes_any_label`."""

    def promote(
        self, model: ConfiguredModel, version: int | None, available: Collection[int] | None, *, prune: bool
    ) -> ModelChange:
        """Move label stable to that version, or to the canary's. `prune`: unload versions that have no label then."""

    def rollback(self, model: ConfiguredModel, stables: Sequence[int], available: Collection[int] | None) -> ModelChange:
        """Move label stable back. `stables`: the versions that had it, oldest first."""


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """A request, by POST, that has an idle engine generate one token. 200 is the answer to one that was generated."""

    path: str
    body: Callable[[str], Mapping[str, object]]
    """What is posted as JSON, by the model's name."""
    rank_header: str
    """The header that names the engine that is to answer, where a server has several."""


@dataclass(frozen=True, slots=True)
class ModelServer:
    """A model server. `path` returns the path of the request for a model's status. `parse` reads the answer: it takes the model,
    the HTTP status and the body, and raises StatusError. An answer may be about other models as well."""

    name: str
    """Its name in rules."""
    title: str
    """Its name for people."""
    port: int
    """The port that answers, unless a rule names another."""
    path: Callable[[str], str]
    parse: Callable[[str, int, bytes], ModelStatus]
    conditions: Mapping[str, StatusCondition]
    """The conditions of a model, by the name of the signal."""
    method: str = "GET"
    timeout: float = 3.0
    """Seconds that an answer may take."""
    loading: float = 300.0
    """Seconds that a version may load, unless a rule says otherwise."""
    heartbeat: Heartbeat | None = None
    """How its engines are seen to move; None for a server that has none, and so no condition of theirs."""
    token: TokenRequest | None = None
    """How an idle engine is asked for a token; None for a server that has no need of it, or no such request."""
    file: VersionsFile | None = None
    """The file by which versions are pinned; None for a server whose versions cannot be pinned."""

    @property
    def spec(self) -> ServerSpec:
        """Its declaration, which rules are checked against."""
        return ServerSpec(
            self.name,
            self.title,
            f"{self.method} {self.path('NAME')}",
            self.port,
            self.conditions,
            self.loading,
            token_request="" if self.token is None else f"POST {self.token.path}",
        )
