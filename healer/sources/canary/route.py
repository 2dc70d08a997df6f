"""The route of a canary at its looks: the share that it gets, and whether somebody has put back the weight that healer set."""

from collections.abc import Mapping, Sequence

from healer.cluster.api import Api
from healer.routes.base import CanaryRoute, ReadRoute, Weights, find, who_sets
from healer.routes.note import notes


class RouteLook:
    """Reads the weights of one place, and remembers the last reading."""

    def __init__(self, api: Api, place: CanaryRoute) -> None:
        self._api = api
        self._place = place
        self._found: ReadRoute | None = None

    async def share(self) -> float:
        """The canary's share of the traffic, 0 to 1. Raises RouteError, ClusterError."""
        self._found = None
        self._found = await find(self._api, self._place)
        return self._found.weights.share

    def besides(self) -> Sequence[str]:
        """In words, the requests that reach the canary whatever the weights are; none where the last reading failed."""
        return () if self._found is None else self._found.weights.besides

    def put_back(self, kept: Mapping[str, str]) -> str:
        """That the weights read last are higher than those that healer has set, with the figures and by whom; else "".

        `kept` is what an incident has kept of its accepted shifts.
        """
        try:
            note = notes(kept).get(self._place)
        except ValueError:
            return ""  # the action says it: it refuses to go on from such a note
        if note is None or self._found is None:
            return ""
        was, now = Weights.parse(note.after), self._found.weights
        if not now.above(was):
            return ""
        by = who_sets(self._place, self._found)
        return f"the weight of {self._place} was set to {was.percent}, now {now.percent} again: {by}"
