"""The route of a canary: the share that the canary gets, and whether somebody has put back the weight that healer set."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from healer.cluster.api import Api
from healer.routes.base import CanaryRoute, ReadRoute, Weights, find, who_sets
from healer.routes.note import notes


class ObservedRoute(Protocol):
    """What is asked of a canary's route."""

    async def share(self) -> float:
        """The canary's share of the traffic, 0 to 1. Raises RouteError, ClusterError."""

    def besides(self) -> Sequence[str]:
        """The requests that reach the canary whatever the weights are, in words, as of the last reading."""

    def put_back(self, kept: Mapping[str, str]) -> str:
        """That the weights are higher than those that healer has set, in words; "" when they are not."""


class RouteLook:
    """Reads the weights of one route, and remembers the last reading."""

    def __init__(self, api: Api, place: CanaryRoute) -> None:
        self._api = api
        self._place = place
        self._found: ReadRoute | None = None

    def __str__(self) -> str:
        return str(self._place)

    async def share(self) -> float:
        """The canary's share of the traffic, 0 to 1. Raises RouteError, ClusterError."""
        self._found = None
        self._found = await find(self._api, self._place)
        return self._found.weights.share

    def besides(self) -> Sequence[str]:
        """The requests that reach the canary whatever the weights are, in words; none when the last reading failed."""
        return () if self._found is None else self._found.weights.besides

    def put_back(self, kept: Mapping[str, str]) -> str:
        """That the weights are higher than those that healer has set, with the figures and who set them; "" when they are not.

        `kept` are the notes of an incident about its accepted shifts.
        """
        try:
            note = notes(kept).get(self._place)
        except ValueError:
            return ""  # the action reports it, and refuses to continue from such a note
        if note is None or self._found is None:
            return ""
        was, now = Weights.parse(note.after), self._found.weights
        if not now.above(was):
            return ""
        by = who_sets(self._place, self._found)
        return f"the weight of {self._place} was set to {was.percent}, now {now.percent} again: {by}"
