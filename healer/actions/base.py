"""The interface of an action, and the context that an attempt is given."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from healer.cluster.api import Api
from healer.engine.tuning import LimitSettings
from healer.model.action import ActionSpec, Outcome
from healer.model.effects import Act
from healer.model.incident import Incident, Reason
from healer.model.kube import Pod
from healer.model.silence import Silences
from healer.model.temporary import TemporaryChange
from healer.model.view import View
from healer.model.workload import Workload
from healer.workloads.base import Rollable


@dataclass(frozen=True, slots=True)
class Call:
    """What an action is called with for one attempt: the step and its target, the cluster, and what the attempt may ask healer.

    The action calls `sending` right before the request that changes something; an outcome that `sending` returns forbids the
    request. `still_sick` says whether a freshly read pod still has the conditions of the incident. `still_wanted` says why the
    incident no longer asks for this attempt (its alert may have been resolved), or why its rule no longer covers the target,
    given as it was just read, or None for its state in the view.

    `kept` is what this action has journaled with the incident so far. `keep` replaces it, and returns when that is journaled; an
    outcome that it returns forbids to go on. `earlier` is what it has journaled with the incidents of the last hour on the same
    workload and revision, oldest first, without those that were undone.
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
    """Whether a sink is configured that reaches people."""
    silences: Silences | None = None
    """The silences of Alertmanager; None where the settings name none."""
    limits: LimitSettings = field(default_factory=LimitSettings)
    """What bounds healer as a whole."""


Recheck = Callable[[Act], Awaitable[Outcome | None]]
"""Asks the source of an incident's signals, right before its action runs, whether they still fire: only an Alertmanager or a
Prometheus knows. Returns the outcome of not acting (`RECOVERED` when they are resolved, `DEFERRED` when it is not known), or
None to go on. It answers within seconds, and does not raise for any answer of a server."""


class Action(Protocol):
    """An action. `run` reads the target first, acts at most once, and does not raise for any answer of a cluster."""

    @property
    def spec(self) -> ActionSpec:
        """Its declaration."""

    async def run(self, call: Call) -> Outcome:
        """Attempt it."""


class NotUndone(Exception):
    """Nothing is undone; the message says why, and what to do."""


class NotYet(NotUndone):
    """The same for now: later it may be."""


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
        """Raises NotUndone when the change cannot be taken back, or, without `force`, when somebody has made another since, or
        (NotYet) when what was changed cannot spare it now."""

    async def put_back(self, api: Api, *, force: bool) -> None:
        """Take the change back, unless somebody makes another meanwhile. Raises NotUndone, ClusterError."""


@runtime_checkable
class Undoable(Protocol):
    """An action whose changes `healer undo` can take back."""

    async def reversals(self, api: Api, incident: Incident, namespace: str, kept: Mapping[str, str]) -> Sequence[Reversal]:
        """The changes that the action has noted (`Call.keep`) for an incident in `namespace`, as they stand now.

        Raises NotUndone, ClusterError, ValueError for a note that the action did not write.
        """


@dataclass(frozen=True, slots=True)
class Clients:
    """What a temporary change is looked at and taken back with."""

    api: Api
    silences: Silences | None = None


@runtime_checkable
class Temporary(Protocol):
    """An action whose changes healer takes back by itself. Its notes (`Call.keep`) are texts of `TemporaryChange`, by what was
    changed."""

    async def reversal(self, clients: Clients, incident: Incident, key: str, change: TemporaryChange) -> Reversal:
        """The way back of one change, as it stands now. Raises NotUndone when there is none, ClusterError, ValueError."""

    def hold(self, incident: Incident, change: TemporaryChange, view: View, beside: Sequence[Incident]) -> Reason | None:
        """Why a change that is due is not taken back yet; None when it may be. `beside` are the other incidents on the workload
        for which something is sick. What nobody waits for is asked again later."""


@runtime_checkable
class NamesObjects(Protocol):
    """An action whose parameters name objects that have to be there."""

    async def absent(self, api: Api, namespace: str, params: Any) -> str:
        """What of them is missing for workloads of a namespace, in words; "" when all is there. It is asked by `healer check
        --cluster`, long before it acts. Raises ClusterError."""


@runtime_checkable
class Foreseeing(Protocol):
    """An action on workloads that is refused for some of them whatever the incident is."""

    async def never(self, api: Api, whole: Rollable, params: Any, *, min_ready: int, ready: int) -> str:
        """Why it is refused for a workload as long as that stays as it was read, in words that name it; "" when it may be taken.

        `ready`: how many of its replicas are ready, at the most, when a rule asks for it. `healer check --cluster` asks, long
        before it acts. Raises ClusterError."""


def specs(actions: Mapping[str, Action]) -> dict[str, ActionSpec]:
    """The declarations of actions, by name."""
    return {name: action.spec for name, action in actions.items()}


class Stopped(Exception):
    """Raised where a request must not be sent; the outcome says why."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.text)
        self.outcome = outcome
