"""Splits in lists of weighted backends, as in an HTTPRoute and a VirtualService."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from healer.cluster.managed import Part
from healer.routes.route import BackendMissing, CanaryRoute, Edit, Metadata, ReadRoute, RouteUnreadable, Weights


@dataclass(frozen=True, slots=True)
class Backend:
    """An entry of a list: the Service, its weight, and in words which part (subset) of the Service is meant, "" for all of it."""

    service: str
    weight: int
    more: str = ""

    def __str__(self) -> str:
        return f"{self.service} ({self.more})" if self.more else self.service

    def reaches(self, wanted: str) -> bool:
        """Whether some of its requests go to `wanted`: it is the same, the whole of it, or a part of it."""
        return str(self) == wanted or self.service == wanted or (not self.more and wanted.startswith(f"{self.service} ("))


@dataclass(frozen=True, slots=True)
class BackendList:
    """One list of backends. `words` name it for people; `where` is its JSON pointer, "" when its weights cannot be changed."""

    words: str
    where: str
    backends: Sequence[Backend]
    mirrors: bool = False
    """Whether copies of its requests go to the canary."""

    def __str__(self) -> str:
        return f"{self.words} sends to {', '.join(map(str, self.backends)) or 'nobody'}"


def named(name: str | None) -> str:
    """The text that follows a rule's number: its name in the route, where it has one."""
    return f" ({name})" if name else ""


def found(route: CanaryRoute, path: str, metadata: Metadata, rules: Sequence[BackendList], part: Part) -> ReadRoute:
    """The route with these rules, which are in that `part` of it: each rule with both backends is a split.

    Raises BackendMissing when there is none, RouteUnreadable for a rule that names a backend twice.
    """
    fields: list[tuple[str, str]] = []
    pairs: list[tuple[int, int]] = []
    names: list[str] = []
    besides: list[str] = []
    for rule in rules:
        stable, canary = (_entry(route, rule, service) for service in (route.stable, route.canary))
        ruled: tuple[int, ...] = ()
        if stable is not None and canary is not None:
            ruled = (stable, canary)
            fields.append((f"{rule.where}/{stable}/weight", f"{rule.where}/{canary}/weight"))
            pairs.append((rule.backends[stable].weight, rule.backends[canary].weight))
            names.append(rule.words)
        others = [backend for at, backend in enumerate(rule.backends) if at not in ruled]
        if any(backend.reaches(route.canary) and backend.weight for backend in others):
            besides.append(str(rule))
        if rule.mirrors:
            besides.append(f"{rule.words} mirrors to {route.canary}")
    if not fields:
        text = f"{route} nowhere splits traffic between {route.stable} and {route.canary}"
        raise BackendMissing(f"{text}: {'; '.join(map(str, rules)) or 'it has no rules'}")

    def edits(weights: Weights) -> Iterable[Edit]:
        for pointers, pair in zip(fields, weights.pairs, strict=True):
            for pointer, weight in zip(pointers, pair, strict=True):
                yield {"op": "add", "path": pointer, "value": weight}

    weights = Weights(tuple(pairs), tuple(besides), tuple(names))
    return ReadRoute(path, metadata.get("resourceVersion", ""), weights, edits, metadata, part)


def _entry(route: CanaryRoute, rule: BackendList, wanted: str) -> int | None:
    """The index of the backend in a list whose weights can be changed; None where it is not in it."""
    at = [index for index, backend in enumerate(rule.backends) if str(backend) == wanted]
    if len(at) > 1:
        raise RouteUnreadable(f"{rule.words} of {route} names {wanted} twice: which weight is meant?")
    return at[0] if at and rule.where else None
