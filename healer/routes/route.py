"""What a route is to healer: a place, the weights of its two backends, and what can be wrong with it."""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar

from healer.cluster.api import Api
from healer.cluster.errors import ApiError
from healer.model.permission import Permissions

T = TypeVar("T")

Edit = dict[str, Any]
"""One operation of a JSON patch (RFC 6902)."""


class RouteError(Exception):
    """Why the traffic cannot be shifted, in words."""


class RouteMissing(RouteError):
    """The object is not there."""


class KindMissing(RouteMissing):
    """The cluster does not serve the kind at all: its definitions are not installed."""


class BackendMissing(RouteError):
    """One of the two backends is not where it should be; the message names what was found."""


class RouteUnreadable(RouteError):
    """The weights are written in a way that healer does not understand: it leaves them alone."""


class NoReadyEndpoints(RouteError):
    """A side that would get more traffic has nobody to serve it."""


class RouteContended(RouteError):
    """Others changed the object before each of the patches: nothing was changed by healer."""


class NotTaken(RouteError):
    """The patch was accepted, and the object read back has other weights: somebody alters or reverts them."""


@dataclass(frozen=True, slots=True)
class Place:
    """A route and its two backends, which are names of Services in `namespace`; the route is there, too, or in `apart`."""

    namespace: str
    kind: str
    name: str
    stable: str
    canary: str
    apart: str = ""

    @property
    def home(self) -> str:
        """The namespace of the route."""
        return self.apart or self.namespace

    def __str__(self) -> str:
        return f"{self.kind.lower()}/{self.name}"

    @property
    def key(self) -> str:
        """The whole of it as one text, to be kept; `parse` reads it."""
        key = "/".join((self.namespace, self.kind, self.name, self.stable, self.canary))
        return f"{key}@{self.apart}" if self.apart else key

    @classmethod
    def parse(cls, key: str) -> Self:
        """The place of a key. Raises ValueError."""
        names, _, apart = key.partition("@")
        parts = names.split("/")
        if len(parts) != 5 or not all(parts):
            raise ValueError(f"{key!r} is no namespace/kind/name/stable/canary")
        namespace, kind, name, stable, canary = parts
        return cls(namespace, kind, name, stable, canary, apart)


@dataclass(frozen=True, slots=True)
class Weights:
    """The weights (stable, canary) of every split between the two backends, in the order of the route.

    `besides` says in words which requests reach the canary whatever the weights are; it is not part of the weights.
    """

    pairs: tuple[tuple[int, int], ...]
    besides: tuple[str, ...] = field(default=(), compare=False)

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
        """The same for people: "20 %"."""
        return f"{100 * self.share:.4g} %"

    @property
    def whole_percent(self) -> int:
        """The same in whole percent, rounded down."""
        return max((100 * canary // (stable + canary) for stable, canary in self.pairs if stable + canary), default=0)

    def at_most(self, percent: int) -> "Weights":
        """The canary's share lowered to so many percent in every split, never raised.

        What stable and canary have together stays, so that other backends keep their shares; where that does not divide, the
        canary gets less.
        """
        pairs = []
        for stable, canary in self.pairs:
            left = min(canary, (stable + canary) * percent // 100)
            pairs.append((stable + canary - left, left))
        return Weights(tuple(pairs), self.besides)


@dataclass(frozen=True, slots=True)
class Found:
    """A route as it was read."""

    path: str
    """Where the API server has it."""
    version: str
    """Its resourceVersion."""
    weights: Weights
    edits: Callable[[Weights], Iterable[Edit]]
    """The operations that write other weights into it, and nothing else."""


Find = Callable[[Api, Place], Awaitable[Found]]
"""Finds the two backends in the object. Raises RouteError, ClusterError; never guesses."""


@dataclass(frozen=True, slots=True)
class Router:
    """What there is to a router kind: how its backends are found, and what reading and writing asks the API server for."""

    find: Find
    reads: Permissions
    writes: Permissions


async def fetched(api: Api, path: str, type: type[T], place: Place, group: str) -> T:
    """GET, where a 404 tells whether the object is missing or its kind. Raises RouteMissing, KindMissing, ClusterError."""
    try:
        return await api.get(path, type)
    except ApiError as error:
        if not error.is_not_found:
            raise
        if error.reason != "NotFound":
            raise KindMissing(f"the cluster serves no {place.kind} of {group}: its definitions are not installed") from error
        raise RouteMissing(f"there is no {place} in {place.home}") from error
