"""The names that rules may use and that the rule language does not know by itself: they come from the registries.

The loader is given a `Vocabulary` and passes it to the models as pydantic's validation context. Models that are built from code
have no context, and their names are not checked.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, ValidationInfo
from pydantic_core import PydanticKnownError

from healer.model.action import ActionSpec
from healer.rules.form import fault


@dataclass(frozen=True, slots=True)
class RouterSpec:
    """The declaration of a router kind: what of the language applies to it."""

    kind: str
    """The Kubernetes kind of the object that splits traffic."""
    meaning: str
    """Which object it is, for docs/rules.md."""
    subsets: bool = False
    """Whether its backends may be subsets of one Service."""
    pools: bool = False
    """Whether its backends may be InferencePools."""
    other_namespace: bool = True
    """Whether it may be in another namespace than the workloads."""
    of_owner: bool = False
    """Whether it is the object of an operator, whose own field shifts the traffic. Its sides are counted by their workloads."""
    revisions: bool = False
    """Whether both sides are revisions of one workload, which is the object itself."""
    all_or_nothing: bool = False
    """Whether the canary can only lose all of its traffic."""


@dataclass(frozen=True, slots=True)
class ConditionSpec:
    """The declaration of a condition of a model, as one server reports it."""

    meaning: str
    """For docs/rules.md."""
    usual: bool = True
    """Whether a rule looks for it that names no conditions."""
    of_version: bool = False
    """Whether it is about the version that the rule names in `version`."""
    serves: bool = False
    """Whether the pod serves nevertheless, so that no action is for it that takes the pod down."""
    by_heartbeat: bool = False
    """Whether it needs the heartbeat of the server's engines, and so the key `stalled` has a meaning."""


@dataclass(frozen=True, slots=True)
class ServerSpec:
    """The declaration of a model server."""

    name: str
    """Its name in rules."""
    title: str
    """Its name for people."""
    request: str
    """What is asked for a model's status, for docs/rules.md: "GET /v1/models/NAME"."""
    port: int
    """The port that is asked where a rule names none."""
    conditions: Mapping[str, ConditionSpec]
    """What can be wrong with a model there, by the name of the signal."""
    loading: float = 300.0
    """Seconds that a version may load, where a rule says nothing."""
    token_request: str = ""
    """What asks an idle engine for a token, as in "POST /v1/completions"; "" where it cannot be asked."""

    @property
    def has_heartbeat(self) -> bool:
        """Whether its engines can be seen to stand still."""
        return any(condition.by_heartbeat for condition in self.conditions.values())

    @property
    def usual(self) -> tuple[str, ...]:
        """The conditions that a rule looks for that names none."""
        return tuple(name for name, condition in self.conditions.items() if condition.usual)

    @property
    def of_version(self) -> tuple[str, ...]:
        """The conditions that are about the version that a rule names."""
        return tuple(name for name, condition in self.conditions.items() if condition.of_version)


@dataclass(frozen=True, slots=True)
class AddressSpec:
    """The declaration of the addresses of a sink, as `notify` and the action `page` have them."""

    kind: str
    """The word before the colon; empty for addresses that are written without."""
    noun: str
    """What an address is called in messages: "channel"."""
    example: str
    """An address, as a rule writes it."""
    meaning: str
    """What it stands for, for docs/rules.md."""
    valid: Callable[[str], bool]
    """Whether what stands after the colon is an address."""
    hint: Callable[[str], str]
    """How to write the one that was probably meant."""


@dataclass(frozen=True, slots=True)
class WorkloadSpec:
    """The declaration of a kind of workload."""

    kind: str
    """The kind as the API spells it."""
    word: str
    """Its name as a key of rules, and as the label of alerts and series that names one."""
    only_named: bool
    """Whether a rule covers it only when its scope names the kind."""
    meaning: str
    """What it is, for docs/rules.md."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What the registries hold, by the names that rules use."""

    actions: Mapping[str, ActionSpec]
    routers: Mapping[str, RouterSpec]
    servers: Mapping[str, ServerSpec]
    addresses: Mapping[str, AddressSpec]
    workloads: Mapping[str, WorkloadSpec]

    @property
    def words(self) -> dict[str, str]:
        """The kinds of workloads by their words."""
        return {spec.word: kind for kind, spec in self.workloads.items()}


@dataclass(frozen=True, slots=True)
class KnownNames:
    """Marks a text that is one of the names of a table, for code that walks the models (the JSON Schema)."""

    of: Callable[[Vocabulary], Iterable[str]]


def one_of(value: str, known: Iterable[str]) -> str:
    """The value, when it is one of these names. Raises the error that pydantic raises for a Literal."""
    names = list(known)
    if value not in names:
        raise PydanticKnownError("literal_error", {"expected": ", ".join(map(repr, names))})
    return value


def _router(value: str, info: ValidationInfo) -> str:
    return value if info.context is None else one_of(value, info.context.routers)


def _workload(value: str, info: ValidationInfo) -> str:
    return value if info.context is None else one_of(value, info.context.workloads)


def _server(value: str, info: ValidationInfo) -> str:
    return value if info.context is None else one_of(value, info.context.servers)


def _condition(value: str, info: ValidationInfo) -> str:
    server = None if info.context is None else info.context.servers.get(info.data.get("server"))
    return value if server is None else one_of(value, server.conditions)


_ADDRESS = re.compile(r"([A-Za-z][-\w]*):(.*)", re.ASCII | re.DOTALL)


def split_address(text: str) -> tuple[str, str]:
    """The kind of an address and what stands after the colon; the kind is empty where the text names none."""
    named = _ADDRESS.fullmatch(text)
    return ("", text) if named is None else (named[1], named[2])


def _address(text: str, info: ValidationInfo) -> str:
    if info.context is None:
        return text
    kinds: Mapping[str, AddressSpec] = info.context.addresses
    kind, address = split_address(text)
    if kind not in kinds:
        known = ", ".join(f"{each.example} ({each.meaning})" for each in kinds.values())
        raise fault(f"{text!r} is not an address: no sink has addresses of the kind {kind!r}", f"there are {known}")
    if not kinds[kind].valid(address):
        raise fault(f"{text!r} is not a {kinds[kind].noun}", kinds[kind].hint(address))
    return text


DEFAULT_SERVER = "tensorflow"
"""The model server of a rule that names none."""

RouterKind = Annotated[str, BeforeValidator(_router), KnownNames(lambda known: known.routers)]
WorkloadKindName = Annotated[str, BeforeValidator(_workload), KnownNames(lambda known: known.workloads)]
ServerName = Annotated[str, BeforeValidator(_server), KnownNames(lambda known: known.servers)]
ModelCondition = Annotated[
    str,
    AfterValidator(_condition),
    KnownNames(lambda known: [name for server in known.servers.values() for name in server.conditions]),
]
"""A condition of the server that the field `server` of the same model names."""
Address = Annotated[str, AfterValidator(_address)]
"""Where people are told: `"#ml-oncall"`, or `kind:address`."""
