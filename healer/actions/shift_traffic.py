"""Shift traffic from a canary to its stable version, by the weights of their route: never towards the canary.

Requests that no weight controls (by a header, a cookie, a rule of the canary's own) are left as they are, and the outcome names
them. The traffic that weights rule is shifted all the same.

Somebody else may set the weights as well (`healer.routes.keeper`). Weights that another controller sets by design are left alone,
and the outcome says what to do instead. Weights that somebody puts back are set once more at most, never in a loop.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Self

from msgspec.structs import replace
from pydantic import Field, model_validator

from healer.actions.base import Call, Reversal, Stopped
from healer.actions.shared.paused import paused
from healer.actions.shared.refusal import refusal, unread
from healer.actions.shared.rolling import read_whole, rung
from healer.actions.shared.sick import sick_revisions
from healer.actions.undo_shift import reversals
from healer.cluster.api import Api, ClusterError
from healer.model.action import ActionSpec, Outcome, OutcomeKind, Permissions, permissions, union
from healer.model.incident import Incident
from healer.model.target import ActsOn
from healer.model.workload import Workload
from healer.routes.base import (
    BackendMissing,
    CanaryRoute,
    KindMissing,
    NoReadyEndpoints,
    NotTaken,
    ReadRoute,
    RouteContended,
    RouteError,
    RouteMissing,
    WeightChange,
    Weights,
    read,
    who_sets,
    write,
)
from healer.routes.keeper import keeper_of
from healer.routes.note import MOST_BYTES, Note, notes
from healer.routes.registry import ROUTERS
from healer.routes.route import Aim
from healer.rules.form import Model, Whole, fault
from healer.rules.probe import RouteRef, Side, unfit
from healer.rules.schema import When
from healer.rules.triggers import CANARY
from healer.workloads.registry import WORKLOADS, allowed

_SET_AGAIN = 1
"""How often weights are set again that somebody has put back."""
_TOLD = 8
"""Splits of a route that a message lists one by one."""


class ShiftTrafficParams(Model):
    """How far to shift, and the route and its sides, where the rule's trigger is not a canary."""

    to: Annotated[Whole, Field(ge=0, le=100)] | None = None
    """The share that the canary may keep, in percent of what it and stable get; it never gets more than it has."""
    by: Annotated[Whole, Field(ge=1, le=100)] | None = None
    """So many points of that share are taken from it: from 50 percent `by: 20` leaves 30."""
    route: RouteRef | None = None
    """The route; by default that of the rule's `canary` trigger. The same holds for the two sides."""
    stable: Side | None = None
    """The version that gets the traffic."""
    canary: Side | None = None
    """The version that loses it: the workload that the incident is about."""
    even_if_managed: bool = False
    """Shift also when a controller sets the weights by design (Flagger, Argo Rollouts, KServe), which may set its own again."""

    @model_validator(mode="after")
    def _how_far(self) -> Self:
        if (self.to is None) == (self.by is None):
            raise fault("exactly one of to, by is needed", "to: 0 takes all traffic off the canary")
        return self


def complete(params: ShiftTrafficParams, when: When) -> ShiftTrafficParams:
    """The parameters, with the route and the sides of the rule's trigger. Raises ValueError where neither names them."""
    if (trigger := when.get(CANARY)) is not None:
        missing = {key: getattr(trigger, key) for key in ("route", "stable", "canary") if getattr(params, key) is None}
        params = params.model_copy(update=missing)
    if params.route is None or params.stable is None or params.canary is None:
        lacking = [key for key in ("route", "stable", "canary") if getattr(params, key) is None]
        raise ValueError(f"{' and '.join(lacking)} must be written here, because the rule's trigger is no canary")
    routers = {kind: router.spec for kind, router in ROUTERS.items()}
    if (wrong := unfit(params.route, params.stable, params.canary, routers)) is not None:
        raise ValueError(f"{wrong.message()}: {(wrong.context or {})['hint']}")
    if routers[params.route.kind].all_or_nothing and params.to != 0:
        raise ValueError(f"a route of kind {params.route.kind} can only take all traffic off the canary: write to: 0")
    return params


def _place(namespace: str, route: RouteRef, stable: Side, canary: Side) -> CanaryRoute:
    return CanaryRoute.between(namespace, route, stable, canary, of_owner=ROUTERS[route.kind].spec.of_owner)


def _apart(params: ShiftTrafficParams) -> dict[str, Permissions]:
    """The permissions on a route in another namespace, by namespace."""
    if params.route is None or params.route.namespace is None:
        return {}
    router = ROUTERS[params.route.kind]
    return {params.route.namespace: router.reads | router.writes}


def _needs(params: ShiftTrafficParams) -> Permissions:
    """The permissions to read both sides and the endpoints, and to change the route; of any kind where none is named."""
    kinds = list(ROUTERS) if params.route is None else [params.route.kind]
    sides = {side.workload.kind for side in (params.stable, params.canary) if side is not None} or WORKLOADS
    looks = allowed("get", [WORKLOADS[name] for name in sides]) | permissions("discovery.k8s.io", "endpointslices", "list")
    return looks | union(ROUTERS[kind].reads | ROUTERS[kind].writes for kind in kinds)


class ShiftTraffic:
    """The action `shiftTraffic`."""

    spec = ActionSpec(
        name="shiftTraffic",
        params=ShiftTrafficParams,
        targets=frozenset({ActsOn.WORKLOAD}),
        disrupts=False,
        verb="shift traffic away from",
        in_rollout=True,
        complete=complete,
        needs=_needs,
        apart=_apart,
        diverts=True,
        meaning=(
            "shifts traffic from the canary to stable by the weights of the route; never the other way. Refused where "
            "Flagger, Argo Rollouts or KServe set those weights: a route of kind Rollout, InferenceService or "
            "LLMInferenceService is their own field"
        ),
    )

    async def absent(self, api: Api, namespace: str, params: ShiftTrafficParams) -> str:
        """See `NamesObjects`."""
        if params.route is None or params.stable is None or params.canary is None:
            return ""  # `complete` has filled them in
        try:
            await read(api, _place(namespace, params.route, params.stable, params.canary))
        except RouteError as error:
            return str(error)
        return ""

    async def reversals(self, api: Api, incident: Incident, namespace: str, kept: Mapping[str, str]) -> Sequence[Reversal]:
        """See `Undoable`."""
        return await reversals(api, incident, namespace, kept)

    async def run(self, call: Call) -> Outcome:
        """Recheck, then read the route, journal its weights, and set the new ones."""
        params = call.act.params
        assert isinstance(params, ShiftTrafficParams)
        if params.route is None or params.stable is None or params.canary is None:
            return Outcome(
                OutcomeKind.REFUSED, "NoRoute", "the rule says nothing of a route: route, stable and canary are needed"
            )
        target = call.act.target
        if (target.kind, target.name) != (params.canary.workload.kind, params.canary.workload.name):
            text = f"{target} is not the canary {params.canary.workload}: traffic is only taken off what is sick"
            return Outcome(OutcomeKind.REFUSED, "NotTheCanary", text)
        whole = await read_whole(call)
        if isinstance(whole, Outcome):
            return whole
        workload = whole.workload()
        if (stopped := paused(call, workload)) is not None:
            return stopped
        route = _place(target.namespace, params.route, params.stable, params.canary)
        try:
            shift = _Shift(call, params, route, workload, notes(call.kept))
        except ValueError as error:
            return Outcome(OutcomeKind.REFUSED, "NoteUnreadable", f"what was kept of an earlier shift cannot be read: {error}")
        outcome = await shift.run()
        if outcome.kind in (OutcomeKind.DONE, OutcomeKind.FAILED):
            return outcome  # also when the incident no longer asks for it: the shift itself may be the reason
        return _unwanted(call, workload) or outcome


def _unwanted(call: Call, workload: Workload) -> Outcome | None:
    unwanted = call.still_wanted(call.act, workload)
    return None if unwanted is None else Outcome(OutcomeKind.RECOVERED, unwanted.code, unwanted.text)


def _unrouted(error: RouteError, doing: str) -> Outcome:
    """The outcome of an error of the route: what only a person can mend is refused, what others may change meanwhile is tried
    again."""
    for reason, kind, outcome in (
        ("NoReadyEndpoints", NoReadyEndpoints, OutcomeKind.DEFERRED),
        ("RouteContended", RouteContended, OutcomeKind.DEFERRED),
        ("NotTaken", NotTaken, OutcomeKind.FAILED),
        ("BackendMissing", BackendMissing, OutcomeKind.REFUSED),
        ("KindMissing", KindMissing, OutcomeKind.REFUSED),
        ("RouteMissing", RouteMissing, OutcomeKind.REFUSED),
    ):
        if isinstance(error, kind):
            return Outcome(outcome, reason, f"{doing}: {error}")
    return Outcome(OutcomeKind.REFUSED, "RouteUnreadable", f"{doing}: {error}")


def _texts(kept: Mapping[CanaryRoute, Note]) -> dict[str, str]:
    return {route.key: str(note) for route, note in kept.items()}


@dataclass(slots=True)
class _Shift:
    """One attempt on one route."""

    call: Call
    params: ShiftTrafficParams
    route: CanaryRoute
    workload: Workload
    """The canary, just read."""
    kept: dict[CanaryRoute, Note]
    """The notes of earlier attempts of the incident."""
    sent: bool = False
    found: ReadRoute | None = None
    """The route as it was read last."""
    back: int = 0
    """How often somebody has put back the weights that healer set there."""
    noted: Note | None = None
    """The note of this attempt."""

    async def run(self) -> Outcome:
        """Set the weights, or say why not."""
        doing = f"shift the traffic of {self.route}"
        try:
            change = await write(
                self.call.api,
                self.route,
                self._lowered,
                sending=self._sending,
                seen=self._seen,
                dry_run=self.call.act.dry_run,
            )
        except Stopped as stopped:
            return stopped.outcome
        except NotTaken as error:
            await self._count(self.back + 1)
            return _unrouted(error, doing)
        except RouteError as error:
            return _unrouted(error, doing)
        except ClusterError as error:
            return refusal(error, doing) if self.sent else unread(error, doing)
        return self._done(change)

    def _seen(self, found: ReadRoute) -> None:
        """Before anything is sent: check who owns the weights, that they are those of the revision that is sick, and whether they
        were put back too often. Raises Stopped."""
        self.found, self.back = found, self._put_back(found.weights)
        if self._lowered(found.weights) == found.weights:
            return
        keeper = keeper_of(self.route, found)
        if keeper is not None and keeper.by_design and not self.params.even_if_managed:
            text = f"{self.route}: {keeper}; or write evenIfManaged: true. Nothing was done"
            raise Stopped(Outcome(OutcomeKind.REFUSED, "Managed", text))
        if found.tried and found.tried not in (sick := sick_revisions(self.call)):
            about = f"about {', '.join(sorted(sick))}" if sick else "about pods that are gone"
            text = f"{self.route} tries revision {found.tried} now, and the incident is {about}: its traffic is left alone"
            raise Stopped(Outcome(OutcomeKind.DEFERRED, "NewRevision", text))
        if self.back > _SET_AGAIN:
            text = f"the weight of {self.route} was set, and set again, now it is {found.weights.percent} once more"
            text = f"{text}: {who_sets(self.route, found)}. healer does not set it another time"
            raise Stopped(Outcome(OutcomeKind.REFUSED, "PutBack", text))

    def _put_back(self, now: Weights) -> int:
        """How often weights were put back, the weights `now` included. Weights that differ from the note count only after a shift
        was accepted: before, they may never have been set."""
        note = self.kept.get(self.route)
        accepted = note is not None and bool(self.call.act.incident.acted_at) and note.rung != rung(self.call)
        if note is None:
            note, accepted = self._earlier(), True
        return 0 if note is None else note.back + (accepted and now.above(Weights.parse(note.after)))

    def _earlier(self) -> Note | None:
        """The note of the latest earlier incident about this route: its shift may not have lasted."""
        for kept in reversed(self.call.earlier):
            try:
                note = notes(kept).get(self.route)
            except ValueError:
                continue  # it says nothing of what was set
            if note is not None:
                return note
        return None

    async def _count(self, back: int) -> None:
        """Journal how often weights were put back. Where that fails, they are set once more than they should be."""
        if self.noted is not None:
            await self.call.keep(_texts(self.kept | {self.route: replace(self.noted, back=back)}))

    def _lowered(self, now: Weights) -> Weights:
        return now.at_most(self._aim(now))

    def _aim(self, now: Weights) -> Aim:
        """The percent that the canary is to keep. It is decided once for each step, or a second attempt would take points away
        twice.

        Points are taken off each split's own share; one number stands for all splits where the results are equal.
        """
        if self.params.to is not None:
            return self.params.to
        note = self.kept.get(self.route)
        if note is not None and note.rung == rung(self.call):
            return note.aim
        aims = tuple(max(0, percent - (self.params.by or 0)) for percent in now.whole_percents)
        return aims[0] if len(set(aims)) == 1 else aims

    async def _sending(self, before: Weights, after: Weights) -> None:
        """Right before the patch: journal the old weights, and check that the attempt is still wanted and the lease is held."""
        if not self.call.act.dry_run:
            await self._keep(before, after)
        forbidden = _unwanted(self.call, self.workload) or self.call.sending()
        if forbidden is not None:
            raise Stopped(forbidden)
        self.sent = True

    async def _keep(self, before: Weights, after: Weights) -> None:
        """Journal the weights from before the first shift of the incident, for whoever wants to restore them.

        After a conflict nothing of this attempt is in force, so that it begins again with the notes from before it.
        """
        first = self.kept.get(self.route)
        note = Note(str(before) if first is None else first.before, str(after), rung(self.call), self._aim(before), self.back)
        if len(str(note).encode()) > MOST_BYTES:
            text = f"{self.route} has {len(before.pairs)} splits: too many to keep what they were, so they are left alone"
            raise Stopped(Outcome(OutcomeKind.REFUSED, "TooManySplits", text))
        unkept = await self.call.keep(_texts(self.kept | {self.route: note}))
        if unkept is not None:
            raise Stopped(unkept)
        self.noted = note

    def _done(self, change: WeightChange) -> Outcome:
        before, after, of = change.before, change.after, f"traffic of {self.route}:"
        if before == after:
            share = f"canary has {after.percent}"
            note = self.kept.get(self.route)
            if note is not None and note.after == str(after):
                text = f"{of} {share}, set by an earlier try of this incident"
                return Outcome(OutcomeKind.DONE, "FoundDone", text + self._besides(after) + self._kept_by())
            text = f"{of} {share} already: nothing was done{self._besides(after)}"
            return _unwanted(self.call, self.workload) or Outcome(OutcomeKind.DONE, "AlreadyShifted", text)
        rest = "the rest" if after.share else "all that weights control" if after.besides else "all"
        text = f"{of} canary {before.percent} -> {after.percent}, {rest} to {self.route.stable}"
        text += self._each(change) + self._besides(after) + ("; it was set before, and put back" if self.back else "")
        text += self._kept_by()
        if self.call.act.dry_run:
            return Outcome(OutcomeKind.DONE, "WouldShift", f"would shift the {text} (observe: dry run, nothing was done)")
        return Outcome(OutcomeKind.DONE, "Shifted", text)

    def _each(self, change: WeightChange) -> str:
        """The splits with their weights, where there are several, because one figure does not show the change of each."""
        before, after = change.before, change.after
        if len(after.pairs) < 2:
            return ""
        each = [
            f"{name} {old[0]}:{old[1]}" + (" left as it is" if old == new else f" -> {new[0]}:{new[1]}")
            for name, old, new in zip(before.names, before.pairs, after.pairs, strict=True)
        ]
        more = f" and {len(each) - _TOLD} more" if len(each) > _TOLD else ""
        return f" ({', '.join(each[:_TOLD])}{more}; stable:canary)"

    def _kept_by(self) -> str:
        """Who may raise the weight again, and what people can do."""
        keeper = None if self.found is None else keeper_of(self.route, self.found)
        return "" if keeper is None else f". But {keeper}"

    def _besides(self, weights: Weights) -> str:
        if not weights.besides:
            return ""
        return f"; {self.route.canary} still gets what weights do not control: {'; '.join(weights.besides)}"
