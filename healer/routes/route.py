"""What a route is to healer: its two backends, their weights, and the errors that it may have."""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Self, TypeVar

from healer.cluster.api import Api
from healer.cluster.errors import ApiError
from healer.cluster.managed import Part
from healer.model.action import Permissions
from healer.rules.named_workload import DEPLOYMENT, NamedWorkload
from healer.rules.probe import RouteRef, Side
from healer.rules.vocabulary import RouterSpec

T = TypeVar("T")

Edit = dict[str, Any]
"""One operation of a JSON patch (RFC 6902)."""

Metadata = dict[str, Any]
"""An object's metadata, undecoded."""

Aim = int | tuple[int, ...]
"""The canary's percent: of every split, or of each split its own."""


class RouteError(Exception):
    """Why the traffic cannot be shifted, in words."""


class RouteMissing(RouteError):
    """The object is not there."""


class KindMissing(RouteMissing):
    """The cluster does not serve the kind at all: its definitions are not installed."""


class BackendMissing(RouteError):
    """One of the two backends is missing in the route; the message names the backends that it has."""


class RouteUnreadable(RouteError):
    """The weights are written in a way that healer does not understand: it leaves them alone."""


class NoReadyEndpoints(RouteError):
    """A side that would get more traffic has no ready pods."""


class RouteContended(RouteError):
    """Others changed the object before each of the patches: nothing was changed by healer."""


class NotTaken(RouteError):
    """The patch was accepted, and the object has other weights when it is read back: somebody alters or reverts them."""


@dataclass(frozen=True, slots=True)
class CanaryRoute:
    """A route and its two backends in `namespace`, named as by `Side.backend`. The route is in `apart` where that is given."""

    namespace: str
    kind: str
    name: str
    stable: str
    canary: str
    apart: str = ""
    counted_by: tuple[NamedWorkload | None, NamedWorkload | None] = (None, None)
    """See `Side.counted_by`: that of stable and that of the canary."""

    @classmethod
    def between(cls, namespace: str, ref: RouteRef, stable: Side, canary: Side, *, of_owner: bool = False) -> Self:
        """The route that a rule names, for workloads in `namespace`. `of_owner`: see `RouterSpec`."""
        owned = (stable.workload, canary.workload)
        counted_by = owned if of_owner else (stable.counted_by, canary.counted_by)
        return cls(namespace, ref.kind, ref.name, stable.backend, canary.backend, ref.apart(namespace), counted_by)

    @property
    def home(self) -> str:
        """The namespace of the route."""
        return self.apart or self.namespace

    def __str__(self) -> str:
        return f"{self.kind.lower()}/{self.name}"

    @property
    def key(self) -> str:
        """All of it as one text, for the journal; `parse` reads it."""
        key = "/".join((self.namespace, self.kind, self.name, self.stable, self.canary))
        key = f"{key}@{self.apart}" if self.apart else key
        return f"{key}#{'/'.join(map(_counted, self.counted_by))}" if any(self.counted_by) else key

    @classmethod
    def parse(cls, key: str) -> Self:
        """The route of a key. Raises ValueError."""
        whole, _, counted = key.partition("#")
        names, _, apart = whole.partition("@")
        parts = names.split("/")
        if len(parts) != 5 or not all(parts):
            raise ValueError(f"{key!r} is no namespace/kind/name/stable/canary")
        namespace, kind, name, stable, canary = parts
        of_stable, _, of_canary = counted.partition("/")
        return cls(namespace, kind, name, stable, canary, apart, (_counting(of_stable), _counting(of_canary)))


def _counted(workload: NamedWorkload | None) -> str:
    """A workload in a key: a Deployment by its name, another as "Kind:name"."""
    if workload is None:
        return ""
    return workload.name if workload.kind == DEPLOYMENT else f"{workload.kind}:{workload.name}"


def _counting(text: str) -> NamedWorkload | None:
    """The workload of such a text. Raises ValueError."""
    kind, _, name = text.rpartition(":")
    return NamedWorkload(name, kind or DEPLOYMENT) if text else None


@dataclass(frozen=True, slots=True)
class Weights:
    """The weights (stable, canary) of every split between the two backends, in the order of the route.

    `besides` lists in words the requests that reach the canary whatever the weights are, and `names` the route's name of each
    split; neither is part of the weights.
    """

    pairs: tuple[tuple[int, int], ...]
    besides: tuple[str, ...] = field(default=(), compare=False)
    names: tuple[str, ...] = field(default=(), compare=False)

    def __str__(self) -> str:
        return ",".join(f"{stable}:{canary}" for stable, canary in self.pairs)

    @classmethod
    def parse(cls, text: str) -> Self:
        """The weights of a text such as "80:20,50:50". Raises ValueError."""
        pairs = [pair.split(":") for pair in text.split(",")]
        if not all(len(pair) == 2 and all(part.isascii() and part.isdigit() for part in pair) for pair in pairs):
            raise ValueError(f"{text!r} is no list of stable:canary")
        return cls(tuple((int(stable), int(canary)) for stable, canary in pairs))

    @property
    def share(self) -> float:
        """The canary's share of the traffic between the two, 0 to 1: the largest of the splits."""
        return max((canary / (stable + canary) for stable, canary in self.pairs if stable + canary), default=0.0)

    @property
    def percent(self) -> str:
        """The same in words: "20 %"."""
        return f"{100 * self.share:.4g} %"

    @property
    def whole_percents(self) -> tuple[int, ...]:
        """The canary's share of each split in whole percent, rounded down."""
        return tuple(100 * canary // (stable + canary) if stable + canary else 0 for stable, canary in self.pairs)

    def above(self, other: "Weights") -> bool:
        """Whether the canary has a larger share than in the other weights, in some split. When the number of splits differs, the
        largest shares are compared."""
        if len(self.pairs) != len(other.pairs):
            return self.share > other.share
        return any(
            replace(self, pairs=(ours,)).share > replace(other, pairs=(theirs,)).share
            for ours, theirs in zip(self.pairs, other.pairs, strict=True)
        )

    def at_most(self, percent: Aim) -> "Weights":
        """These weights with the canary's share lowered to `percent` in every split, never raised.

        The sum of stable and canary stays, so that other backends keep their shares; where it does not divide, the canary gets
        less. When there is an aim for each split and the number of splits differs, the largest aim is used for all.
        """
        aims = (percent,) * len(self.pairs) if isinstance(percent, int) else percent
        if len(aims) != len(self.pairs):
            aims = (max(aims, default=100),) * len(self.pairs)
        pairs = []
        for (stable, canary), aim in zip(self.pairs, aims, strict=True):
            left = min(canary, (stable + canary) * aim // 100)
            pairs.append((stable + canary - left, left))
        return replace(self, pairs=tuple(pairs))


@dataclass(frozen=True, slots=True)
class ReadRoute:
    """A route as it was read."""

    path: str
    """The API's path of the object."""
    version: str
    """Its resourceVersion."""
    weights: Weights
    edits: Callable[[Weights], Iterable[Edit]]
    """The operations that write other weights into it, and nothing else."""
    metadata: Metadata = field(default_factory=dict)
    """Its metadata: who made it and who writes it."""
    weighed: Part = ()
    """The path of the weights in managedFields."""
    of_owner: bool = False
    """Whether the object is that of the controller which sets the weights by design: its own field is the right place."""
    tried: str = ""
    """The revision that loses the traffic, where both sides are revisions of one workload, as `Workload.revision` has it."""


Find = Callable[[Api, CanaryRoute], Awaitable[ReadRoute]]
"""Finds the two backends in the object; it does not guess. Raises RouteError, ClusterError."""


@dataclass(frozen=True, slots=True)
class Router:
    """A router kind: how rules name it, how its backends are found, and what reading and writing it needs."""

    spec: RouterSpec
    find: Find
    reads: Permissions
    writes: Permissions


async def fetched(api: Api, path: str, type: type[T], route: CanaryRoute, group: str) -> T:
    """GET the object. A 404 says whether the object or its kind is missing. Raises RouteMissing, KindMissing, ClusterError."""
    try:
        return await api.get(path, type)
    except ApiError as error:
        if not error.is_not_found:
            raise
        if error.reason != "NotFound":
            raise KindMissing(f"the cluster serves no {route.kind} of {group}: its definitions are not installed") from error
        raise RouteMissing(f"there is no {route} in {route.home}") from error
