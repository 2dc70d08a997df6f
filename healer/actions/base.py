"""The interface of an action, and what one is given to work with."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from healer.cluster.api import Api
from healer.model.action import ActionSpec, Outcome
from healer.model.effects import Act
from healer.model.incident import Incident, Reason
from healer.model.kube import Pod
from healer.model.view import View
from healer.model.workload import Workload


@dataclass(frozen=True, slots=True)
class Call:
    """One attempt. `sending` is to be called right before the request that changes something; what it returns forbids that.

    `still_sick` says whether a freshly read pod still has what the incident is about. `still_wanted` says whether the incident
    still asks for this very attempt (an alert may have been resolved since), and whether its rule still covers the target: given
    as it was just read, or None for as the view has it. `kept` is what this action has kept beside the incident so
    far; `keep` writes what it is to be, and returns only when that is journaled: an outcome then forbids to go on. `earlier` is
    what it has kept beside the incidents of the last hour on the same workload and revision, oldest first, of which nobody has
    taken back what was done.
    """

    act: Act
    api: Api
    view: View
    still_sick: Callable[[Pod, Act], bool]
    still_wanted: Callable[[Act, Pod | Workload | None], Reason | None]
    sending: Callable[[], Outcome | None]
    kept: Mapping[str, str]
    keep: Callable[[Mapping[str, str]], Awaitable[Outcome | None]]
    earlier: Sequence[Mapping[str, str]] = ()
    reaches_people: bool = True
    """Whether a sink is set up that goes to people."""


Recheck = Callable[[Act], Awaitable[Outcome | None]]
"""Asks the source of an incident's signals, right before its action runs, whether they still hold: what only an Alertmanager or a
Prometheus knows. Returns the outcome of not acting (`RECOVERED` when it is over, `DEFERRED` when it cannot be known), or None to
go on. It answers within seconds, and does not raise for what a server may answer."""


class Action(Protocol):
    """An action. `run` looks first, acts at most once, and never raises for what a cluster may answer."""

    @property
    def spec(self) -> ActionSpec:
        """Its declaration."""

    async def run(self, call: Call) -> Outcome:
        """Attempt it."""


class NotUndone(Exception):
    """Nothing is taken back; the message says why, and what to do."""


class Reversal(Protocol):
    """One change that an action made for an incident, and its way back; as text it says both."""

    @property
    def group(self) -> str:
        """What was changed, for programs, in the plural: "routes"."""

    @property
    def done(self) -> bool:
        """Whether the cluster is as it was before the change."""

    def plain(self) -> dict[str, Any]:
        """For programs."""

    def check(self, *, force: bool) -> None:
        """Raises NotUndone when the change cannot be taken back, or, without `force`, when somebody has made another since."""

    async def put_back(self, api: Api, *, force: bool) -> None:
        """Take the change back, unless somebody makes another meanwhile. Raises NotUndone, ClusterError."""


@runtime_checkable
class Undoable(Protocol):
    """An action whose changes `healer undo` can take back."""

    async def reversals(self, api: Api, incident: Incident, namespace: str, kept: Mapping[str, str]) -> Sequence[Reversal]:
        """The changes that the action has noted (`Call.keep`) for an incident in `namespace`, as they stand now.

        Raises NotUndone, ClusterError, ValueError for a note that the action did not write.
        """


def specs(actions: Mapping[str, Action]) -> dict[str, ActionSpec]:
    """The declarations of actions, by name."""
    return {name: action.spec for name, action in actions.items()}


class Stopped(Exception):
    """Raised on the way to a request that is not to be sent; the outcome says why."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.text)
        self.outcome = outcome
