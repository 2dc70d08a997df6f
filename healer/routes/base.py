"""Reading and writing the weights of a route's two backends.

The interface is the same for all kinds; the file of a kind says how its backends are found (`Find`).
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from healer.cluster.api import Api
from healer.cluster.errors import ApiError
from healer.routes.endpoints import ready, ready_pods
from healer.routes.keeper import keeper_of, writer_of
from healer.routes.registry import ROUTERS
from healer.routes.route import (
    BackendMissing,
    CanaryRoute,
    KindMissing,
    NoReadyEndpoints,
    NotTaken,
    ReadRoute,
    RouteContended,
    RouteError,
    RouteMissing,
    RouteUnreadable,
    Weights,
)

__all__ = [
    "BackendMissing",
    "CanaryRoute",
    "KindMissing",
    "NoReadyEndpoints",
    "NotTaken",
    "ReadRoute",
    "RouteContended",
    "RouteError",
    "RouteMissing",
    "RouteUnreadable",
    "WeightChange",
    "Weights",
    "find",
    "read",
    "who_sets",
    "write",
]

_TRIES = 5
_CHANGED = (404, 409, 422)
"""The status of a patch when the object is not the one that was read: it is gone, has another version, or lacks the patched
field."""


@dataclass(frozen=True, slots=True)
class WeightChange:
    """The weights before and after; equal when there was nothing to change and nothing was sent."""

    before: Weights
    after: Weights


async def read(api: Api, route: CanaryRoute) -> Weights:
    """The weights of the two backends as they are now. Raises RouteError, ClusterError."""
    return (await find(api, route)).weights


async def write(
    api: Api,
    route: CanaryRoute,
    change: Callable[[Weights], Weights],
    *,
    sending: Callable[[Weights, Weights], Awaitable[None]],
    seen: Callable[[ReadRoute], None] = lambda found: None,
    dry_run: bool = False,
) -> WeightChange:
    """Set the weights to what `change` returns for the present ones, and read them back.

    The patch contains only the weight fields, and applies only to the version that was read. After a conflict it begins again
    with a fresh read, a few times. `change` may be called several times, and may raise to stop. `seen` is called with the route
    before `change`, and may raise as well. `sending` is awaited right before each patch with the weights before and after, and
    may raise to stop it. With `dry_run` the server checks the patch and changes nothing. Raises RouteError, and ClusterError:
    after `sending` the weights may or may not have been changed.
    """
    version = ""
    refused: ApiError | None = None
    for _ in range(_TRIES):
        found = await find(api, route)
        if refused is not None and refused.status != 409 and found.version == version:
            raise refused  # the object is as it was: it is the patch that is refused
        version = found.version
        seen(found)
        wanted = change(found.weights)
        if wanted == found.weights:
            return WeightChange(found.weights, found.weights)
        await _served(api, route, found.weights, wanted)
        await sending(found.weights, wanted)
        try:
            await _patch(api, found, wanted, dry_run=dry_run)
        except ApiError as error:
            if error.status not in _CHANGED:
                raise
            refused = error
            continue
        return WeightChange(found.weights, wanted if dry_run else await _taken(api, route, wanted))
    raise RouteContended(f"{route} is changed by others again and again: its weights were left alone ({refused})")


async def find(api: Api, route: CanaryRoute) -> ReadRoute:
    """The route as it is now. Raises RouteError, ClusterError."""
    if route.kind not in ROUTERS:
        raise RouteUnreadable(f"{route.kind} is no kind of route that healer knows: {', '.join(ROUTERS)}")
    return await ROUTERS[route.kind].find(api, route)


async def _served(api: Api, route: CanaryRoute, before: Weights, after: Weights) -> None:
    """No side gets more weight than it has unless it has ready pods. Raises NoReadyEndpoints."""
    for side, (backend, workload) in enumerate(zip((route.stable, route.canary), route.counted_by, strict=True)):
        if not any(new[side] > old[side] for old, new in zip(before.pairs, after.pairs, strict=True)):
            continue
        if workload is not None and not await ready_pods(api, route.namespace, workload):
            text = f"{workload} behind {backend} has no ready pods: {route} sends it no more traffic"
            raise NoReadyEndpoints(text)
        if workload is None and not await ready(api, route.namespace, backend):
            raise NoReadyEndpoints(f"service/{backend} has no ready endpoints: {route} sends it no more traffic")


async def _patch(api: Api, found: ReadRoute, weights: Weights, *, dry_run: bool) -> None:
    """Patch the weights. Replacing the version by itself makes the server compare it with the present one, and answer 409 when
    they differ."""
    version = {"op": "replace", "path": "/metadata/resourceVersion", "value": found.version}
    await api.request(
        "PATCH",
        found.path,
        query={"dryRun": "All"} if dry_run else None,
        body=[version, *found.edits(weights)],
        content_type="application/json-patch+json",
    )


async def _taken(api: Api, route: CanaryRoute, wanted: Weights) -> Weights:
    """The weights, read back after the patch. Raises NotTaken."""
    try:
        found = await find(api, route)
    except RouteError as error:
        raise NotTaken(f"{route} was set to {wanted} (stable:canary), and cannot be read back: {error}") from error
    if found.weights != wanted:
        text = f"{route} was set to {wanted} (stable:canary), and read back it has {found.weights}"
        raise NotTaken(f"{text}: {who_sets(route, found)}")
    return found.weights


def who_sets(route: CanaryRoute, found: ReadRoute) -> str:
    """Who has set the weights of a route that are not healer's, in words."""
    if (keeper := keeper_of(route, found)) is not None:
        return str(keeper)
    writer = writer_of(found)
    return f"{writer} has set it last" if writer else "something else sets it"
