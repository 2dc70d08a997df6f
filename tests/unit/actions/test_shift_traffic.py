"""`shiftTraffic` over HTTP against the lab: what is kept before it, what is sent, and what it says."""

import asyncio
import json
from dataclasses import dataclass, replace
from typing import Any

import pytest

from healer.actions.shift_traffic import ShiftTrafficParams, complete
from healer.lab.apiserver.store import StoreEvent
from healer.lab.kinds import Kind
from healer.lab.objects import Object
from healer.model.action import Outcome, OutcomeKind
from healer.model.incident import Reason
from healer.routes.base import CanaryRoute
from healer.rules.named_workload import NamedWorkload
from healer.rules.probe import RouteRef, Side
from healer.rules.schema import When
from tests.unit.actions.conftest import NAME, NAMESPACE, Bench
from tests.unit.routes.conftest import gateway, slice_of

pytestmark = pytest.mark.slow

STABLE = "tensorflow-serving-stable"
ROUTE = RouteRef(kind="HTTPRoute", name="model")
PATCH = ["patch httproutes"]


def side(name: str, **more: Any) -> Side:
    """A side that is a Deployment."""
    return Side(workload=NamedWorkload(name), **more)


def params(**how: Any) -> ShiftTrafficParams:
    """The canary is the bench's Deployment."""
    sides = {"route": ROUTE, "stable": side(STABLE), "canary": side(NAME)}
    return ShiftTrafficParams.model_validate(sides | (how or {"to": 0}))


def a_route(*weights: tuple[int, int], **more: Any) -> Object:
    rules = [
        {"backendRefs": [{"name": STABLE, "weight": stable}, {"name": NAME, "weight": canary}]} for stable, canary in weights
    ]
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": ROUTE.name, "namespace": NAMESPACE},
        "spec": {"rules": rules} | more,
    }


@dataclass
class Scene:
    """The bench with a route that gives the canary 20 percent."""

    bench: Bench

    async def shift(self, **how: Any) -> Outcome:
        """One attempt; keywords that are no parameter of the action are the bench's."""
        asked = {key: how.pop(key) for key in ("to", "by") if key in how}
        given = how.pop("params", None) or params(**asked)
        return await self.bench.attempt("shiftTraffic", params=given, target=self.bench.workload, **how)

    @property
    def kind(self) -> Kind:
        return self.bench.lab.api.kinds.named("httproutes")

    @property
    def weights(self) -> list[tuple[int, int]]:
        """As the cluster has them."""
        (route,) = self.bench.lab.objects("httproutes")
        found = [{ref["name"]: ref["weight"] for ref in rule["backendRefs"]} for rule in route["spec"]["rules"]]
        return [(each[STABLE], each[NAME]) for each in found]

    def set(self, *weights: tuple[int, int]) -> None:
        """As somebody else does it."""
        self.bench.lab.api.modify(self.kind, NAMESPACE, ROUTE.name, lambda obj: obj.update(spec=a_route(*weights)["spec"]))

    @property
    def note(self) -> dict[str, Any]:
        """What is kept of the route."""
        ((_, text),) = self.bench.kept.items()
        note: dict[str, Any] = json.loads(text)
        return note


@pytest.fixture
async def scene(bench: Bench) -> Scene:
    await bench.lab.apply([gateway(), slice_of(STABLE, True), a_route((80, 20))])
    return Scene(bench)


async def test_all_of_it_with_the_figures(scene: Scene) -> None:
    outcome = await scene.shift(to=0)
    assert outcome == Outcome(OutcomeKind.DONE, "Shifted", f"traffic of httproute/model: canary 20 % -> 0 %, all to {STABLE}")
    assert scene.weights == [(100, 0)]
    assert (scene.bench.writes, scene.bench.sent) == (PATCH, ["shiftTraffic"])
    place = CanaryRoute(NAMESPACE, "HTTPRoute", "model", STABLE, NAME)
    assert list(scene.bench.kept) == [place.key]
    assert scene.note == {"before": "80:20", "after": "100:0", "rung": "0", "aim": 0}


async def test_some_of_it(scene: Scene) -> None:
    outcome = await scene.shift(by=5)
    assert outcome.text == f"traffic of httproute/model: canary 20 % -> 15 %, the rest to {STABLE}"
    assert scene.weights == [(85, 15)]


async def test_several_splits_are_each_their_own(scene: Scene) -> None:
    """Points are taken off each split's own share, the outcome tells of each, and a second try takes nothing more."""
    scene.set((80, 20), (50, 50), (100, 0))
    outcome = await scene.shift(by=20)
    each = "rule 1 80:20 -> 100:0, rule 2 50:50 -> 70:30, rule 3 100:0 left as it is; stable:canary"
    assert outcome.text == f"traffic of httproute/model: canary 50 % -> 30 %, the rest to {STABLE} ({each})"
    assert scene.weights == [(100, 0), (70, 30), (100, 0)]
    assert scene.note["aim"] == [0, 30, 0]
    assert (await scene.shift(by=20)).reason == "FoundDone"
    assert scene.weights == [(100, 0), (70, 30), (100, 0)]


async def test_of_many_splits_the_first_are_told(scene: Scene) -> None:
    scene.set(*[(80, 20)] * 10)
    assert "rule 8 80:20 -> 100:0 and 2 more; stable:canary)" in (await scene.shift(to=0)).text


async def test_more_than_there_is(scene: Scene) -> None:
    await scene.shift(by=50)
    assert scene.weights == [(100, 0)]


@pytest.mark.parametrize("to", [20, 30, 100])
async def test_the_canary_is_never_raised(scene: Scene, to: int) -> None:
    outcome = await scene.shift(to=to)
    assert (outcome.kind, outcome.reason) == (OutcomeKind.DONE, "AlreadyShifted")
    assert "canary has 20 %" in outcome.text
    assert scene.weights == [(80, 20)]
    assert (scene.bench.writes, scene.bench.kept) == ([], {})


async def test_a_dry_run_says_what_it_would_do(scene: Scene) -> None:
    outcome = await scene.shift(to=0, dry_run=True)
    assert (outcome.kind, outcome.reason) == (OutcomeKind.DONE, "WouldShift")
    assert "would shift the traffic of httproute/model: canary 20 % -> 0 %" in outcome.text
    assert (scene.bench.writes, scene.weights, scene.bench.kept) == (PATCH, [(80, 20)], {})


async def test_without_a_word_in_the_journal_nothing_is_sent(scene: Scene) -> None:
    scene.bench.unkept = Outcome(OutcomeKind.DEFERRED, "NotJournaled", "the journal is away")
    assert await scene.shift(to=0) == scene.bench.unkept
    assert (scene.bench.writes, scene.bench.sent, scene.weights) == ([], [], [(80, 20)])


async def test_what_was_there_is_kept_before_anything_is_sent(scene: Scene) -> None:
    kept: list[dict[str, Any]] = []
    await scene.shift(to=0, meanwhile=lambda: kept.append(scene.note))
    assert [note["before"] for note in kept] == ["80:20"]


async def test_after_a_crash_it_is_found_done(scene: Scene) -> None:
    """The claimed attempt is run again."""
    await scene.shift(by=5)
    again = await scene.shift(by=5)
    assert (again.kind, again.reason) == (OutcomeKind.DONE, "FoundDone")
    assert "canary has 15 %, set by an earlier try" in again.text
    assert (scene.bench.writes, scene.weights) == ([], [(85, 15)])


async def test_what_somebody_else_did_meanwhile_is_not_healer_s(scene: Scene) -> None:
    await scene.shift(by=5)
    scene.set((95, 5))
    outcome = await scene.shift(by=5)
    assert (outcome.reason, scene.bench.writes) == ("AlreadyShifted", [])


async def test_after_a_crash_before_the_patch_it_comes_to_the_same(scene: Scene) -> None:
    scene.bench.lab.faults.drop(verb="patch", times=None)
    outcome = await scene.shift(by=5)
    assert (outcome.kind, outcome.reason) == (OutcomeKind.FAILED, "NoAnswer")
    scene.bench.lab.faults.clear()
    assert (await scene.shift(by=5)).reason == "Shifted"
    assert scene.weights == [(85, 15)]


async def test_the_next_rung_takes_away_more_and_the_weights_before_the_first_stay(scene: Scene) -> None:
    await scene.shift(by=5)
    await scene.shift(by=5, step=1)
    assert scene.weights == [(90, 10)]
    assert scene.note == {"before": "80:20", "after": "90:10", "rung": "1", "aim": 10}


async def test_a_second_try_of_a_rung_takes_away_what_came_back_and_no_more(scene: Scene) -> None:
    await scene.shift(by=5)
    scene.set((60, 40))
    await scene.shift(by=5)
    assert scene.weights == [(85, 15)]
    assert scene.note["before"] == "80:20"


async def test_another_route_of_the_same_incident_is_kept_beside(scene: Scene) -> None:
    await scene.shift(to=0)
    other = a_route((50, 50))
    other["metadata"]["name"] = "other"
    await scene.bench.lab.apply(other)
    await scene.shift(params=params().model_copy(update={"route": RouteRef(kind="HTTPRoute", name="other")}), step=1)
    assert [json.loads(text)["before"] for text in scene.bench.kept.values()] == ["80:20", "50:50"]


async def test_a_conflict_keeps_what_was_really_there(scene: Scene) -> None:
    events = iter([lambda: scene.set((50, 50))])
    outcome = await scene.shift(by=10, meanwhile=lambda: next(events, lambda: None)())
    assert "canary 50 % -> 40 %" in outcome.text
    assert (scene.weights, scene.bench.writes) == ([(60, 40)], PATCH * 2)
    assert scene.note == {"before": "50:50", "after": "60:40", "rung": "0", "aim": 40}


async def test_what_weights_do_not_rule_is_said_and_not_claimed(scene: Scene) -> None:
    def own_rule(obj: Object) -> None:
        obj["spec"]["rules"].append({"matches": [{"headers": []}], "backendRefs": [{"name": NAME}]})

    scene.bench.lab.api.modify(scene.kind, NAMESPACE, ROUTE.name, own_rule)
    for _ in range(2):
        outcome = await scene.shift(to=0)
        assert f"; {NAME} still gets what weights do not control: rule 2 sends to {NAME}" in outcome.text
        assert "all to" not in outcome.text


# what forbids it


async def test_nobody_to_take_the_traffic(scene: Scene) -> None:
    kind = scene.bench.lab.api.kinds.named("endpointslices")
    slices = slice_of(STABLE, False)
    scene.bench.lab.api.modify(kind, NAMESPACE, slices["metadata"]["name"], lambda obj: obj.update(endpoints=slices["endpoints"]))
    outcome = await scene.shift(to=0)
    assert (outcome.kind, outcome.reason) == (OutcomeKind.DEFERRED, "NoReadyEndpoints")
    assert f"service/{STABLE} has no ready endpoints" in outcome.text
    assert (scene.bench.writes, scene.bench.kept) == ([], {})


@pytest.mark.parametrize("where", ["Deployment", "everywhere"])
async def test_paused(scene: Scene, where: str) -> None:
    if where == "Deployment":
        scene.bench.change("deployment", **{"healer.dev/paused": "true"})
    else:
        scene.bench.view.paused_everywhere = "by alice"
    outcome = await scene.shift(to=0)
    assert (outcome.kind, outcome.reason, scene.weights) == (OutcomeKind.DEFERRED, "Paused", [(80, 20)])


async def test_paused_namespace(scene: Scene) -> None:
    kind = scene.bench.lab.api.kinds.named("namespaces")

    def pause(obj: Object) -> None:
        obj["metadata"]["annotations"] = {"healer.dev/paused": "true"}

    scene.bench.lab.api.modify(kind, "", NAMESPACE, pause)
    scene.bench.look()
    assert (await scene.shift(to=0)).reason == "Paused"
    assert scene.bench.writes == []


async def test_no_longer_wanted(scene: Scene) -> None:
    outcome = await scene.shift(to=0, wanted=lambda: Reason("Resolved", "it is good again"))
    assert (outcome.kind, outcome.reason, scene.bench.writes) == (OutcomeKind.RECOVERED, "Resolved", [])


async def test_no_longer_wanted_when_it_is_journaled(scene: Scene) -> None:
    outcome = await scene.shift(to=0, wanted=lambda: Reason("Resolved", "it is good again") if scene.bench.kept else None)
    assert (outcome.kind, outcome.reason, scene.bench.writes) == (OutcomeKind.RECOVERED, "Resolved", [])
    assert scene.bench.sent == []


async def test_no_longer_wanted_because_an_earlier_try_has_done_it(scene: Scene) -> None:
    """Its answer was lost, and the incident is to know that it did act."""
    await scene.shift(to=0)
    outcome = await scene.shift(to=0, wanted=lambda: Reason("Resolved", "it is good again"))
    assert (outcome.kind, outcome.reason) == (OutcomeKind.DONE, "FoundDone")


@pytest.mark.parametrize("others", [[(100, 0)], []], ids=["shifted", "removed"])
async def test_no_longer_wanted_and_nothing_to_do(scene: Scene, others: list[tuple[int, int]]) -> None:
    scene.set(*others)
    outcome = await scene.shift(to=0, wanted=lambda: Reason("Resolved", "it is good again"))
    assert (outcome.kind, outcome.reason, scene.bench.writes) == (OutcomeKind.RECOVERED, "Resolved", [])


async def test_another_deployment_of_that_name(scene: Scene) -> None:
    scene.bench.workload = replace(scene.bench.workload, uid="another")
    outcome = await scene.shift(to=0)
    assert (outcome.kind, outcome.reason, scene.bench.writes) == (OutcomeKind.REFUSED, "WorkloadReplaced", [])


async def test_a_deployment_that_is_gone(scene: Scene) -> None:
    scene.bench.workload = replace(scene.bench.workload, name="gone")
    given = params().model_copy(update={"canary": side("gone", service=NAME)})
    outcome = await scene.shift(params=given)
    assert (outcome.kind, outcome.reason, scene.bench.writes) == (OutcomeKind.GONE, "AlreadyGone", [])


async def test_what_is_sick_must_be_the_canary(scene: Scene) -> None:
    """Or a crash loop of the stable version would send it the rest of the traffic."""
    given = params().model_copy(update={"stable": side(NAME), "canary": side(STABLE)})
    outcome = await scene.shift(params=given)
    assert (outcome.kind, outcome.reason, list(scene.bench.lab.requests)) == (OutcomeKind.REFUSED, "NotTheCanary", [])


async def test_a_route_that_is_missing(scene: Scene) -> None:
    given = params().model_copy(update={"route": RouteRef(kind="HTTPRoute", name="typo")})
    outcome = await scene.shift(params=given)
    assert (outcome.kind, outcome.reason) == (OutcomeKind.REFUSED, "RouteMissing")
    given = params().model_copy(update={"route": RouteRef(kind="VirtualService", name="model")})
    outcome = await scene.shift(params=given)
    assert (outcome.kind, outcome.reason) == (OutcomeKind.REFUSED, "KindMissing")
    given = params().model_copy(update={"stable": side(STABLE, service="typo")})
    outcome = await scene.shift(params=given)
    assert (outcome.kind, outcome.reason) == (OutcomeKind.REFUSED, "BackendMissing")
    assert scene.weights == [(80, 20)]


async def test_a_route_that_something_else_sets_is_a_failure(scene: Scene) -> None:
    def revert(collection: str, change: StoreEvent) -> None:
        if collection == scene.kind.stored_in:
            scene.bench.lab.store.listeners.remove(revert)
            asyncio.get_running_loop().call_soon(scene.set, (80, 20))

    scene.bench.lab.store.listeners.append(revert)
    outcome = await scene.shift(to=0)
    assert (outcome.kind, outcome.reason) == (OutcomeKind.FAILED, "NotTaken")
    assert "read back it has 80:20" in outcome.text


# who else sets the weights


def owned(scene: Scene, **more: Any) -> None:
    """The route has such metadata."""
    scene.bench.lab.api.modify(scene.kind, NAMESPACE, ROUTE.name, lambda obj: obj["metadata"].update(more))


ARGO = {"argocd.argoproj.io/tracking-id": f"shop:gateway.networking.k8s.io/HTTPRoute:{NAMESPACE}/{ROUTE.name}"}
FLAGGER = [{"apiVersion": "flagger.app/v1beta1", "kind": "Canary", "name": "model", "uid": "c", "controller": True}]


@pytest.mark.parametrize("dry_run", [False, True], ids=["enforce", "observe"])
async def test_a_route_that_git_manages_is_shifted_and_people_are_told_who_puts_it_back(scene: Scene, dry_run: bool) -> None:
    owned(scene, annotations=ARGO)
    outcome = await scene.shift(to=0, dry_run=dry_run)
    assert (outcome.kind, outcome.reason) == (OutcomeKind.DONE, "WouldShift" if dry_run else "Shifted")
    who = "But Argo CD (Application shop) manages httproute/model and puts its own weights back"
    assert f"{who}: pause its sync, or commit the weights" in outcome.text
    assert scene.weights == [(80, 20) if dry_run else (100, 0)]


@pytest.mark.parametrize("dry_run", [False, True], ids=["enforce", "observe"])
async def test_weights_that_a_controller_sets_by_design_are_left_to_it(scene: Scene, dry_run: bool) -> None:
    owned(scene, ownerReferences=FLAGGER)
    outcome = await scene.shift(to=0, dry_run=dry_run)
    assert (outcome.kind, outcome.reason) == (OutcomeKind.REFUSED, "Managed")
    assert "httproute/model: Flagger (Canary model) sets the weights by design: have it roll back" in outcome.text
    assert (scene.weights, scene.bench.writes, scene.bench.kept) == ([(80, 20)], [], {})


async def test_weights_that_a_controller_sets_by_design_are_set_where_the_rule_says_so(scene: Scene) -> None:
    owned(scene, ownerReferences=FLAGGER)
    outcome = await scene.shift(params=params(to=0, even_if_managed=True))
    assert (outcome.reason, scene.weights) == ("Shifted", [(100, 0)])
    assert "But Flagger (Canary model) sets the weights by design" in outcome.text


async def test_a_controller_that_has_taken_the_traffic_away_itself_has_done_it(scene: Scene) -> None:
    owned(scene, ownerReferences=FLAGGER)
    scene.set((100, 0))
    assert (await scene.shift(to=0)).reason == "AlreadyShifted"


async def test_what_is_put_back_at_once_is_set_once_more_and_then_left_to_people(scene: Scene) -> None:
    owned(scene, annotations=ARGO)

    def revert(collection: str, change: StoreEvent) -> None:
        if collection == scene.kind.stored_in and scene.weights != [(80, 20)]:
            asyncio.get_running_loop().call_soon(scene.set, (80, 20))

    scene.bench.lab.store.listeners.append(revert)
    for _ in range(2):
        outcome = await scene.shift(to=0)
        assert (outcome.kind, outcome.reason, scene.bench.writes) == (OutcomeKind.FAILED, "NotTaken", PATCH)
        assert "read back it has 80:20: Argo CD (Application shop) manages httproute/model" in outcome.text
    outcome = await scene.shift(to=0)
    assert (outcome.kind, outcome.reason, scene.bench.writes) == (OutcomeKind.REFUSED, "PutBack", [])
    said = "the weight of httproute/model was set, and set again, now it is 20 % once more: Argo CD (Application shop) manages"
    assert outcome.text.startswith(said)
    assert (await scene.shift(by=5, step=1)).reason == "PutBack", "the next rung does not fight either"


async def test_what_is_put_back_between_two_rungs_is_set_once_more(scene: Scene) -> None:
    """The earlier shift was accepted, and did not last."""
    for step, reason in enumerate(("Shifted", "Shifted", "PutBack")):
        assert (await scene.shift(to=0, step=step, acted_at=(1.0,) * step)).reason == reason
        if reason == "Shifted":
            scene.set((80, 20))
    assert scene.note["back"] == 1


async def test_what_is_put_back_after_it_was_healed_is_set_once_more_by_another_incident(scene: Scene) -> None:
    """Each opens when the canary gets traffic again, and none of them has anything of its own to know that by."""
    said = []
    for _ in range(3):
        said.append(await scene.shift(to=0))
        if said[-1].reason == "Shifted":
            scene.bench.earlier, scene.bench.kept = [*scene.bench.earlier, scene.bench.kept], {}
            scene.set((80, 20))
    assert [outcome.reason for outcome in said] == ["Shifted", "Shifted", "PutBack"]
    assert said[1].text.endswith("; it was set before, and put back")
    assert scene.bench.writes == []


@pytest.mark.parametrize("other", [{}, {"what": "healer did not write"}, {"a/HTTPRoute/b/c/d": '{"before":"80:20"}'}])
async def test_what_says_nothing_of_this_route_counts_for_nothing(scene: Scene, other: dict[str, str]) -> None:
    scene.bench.earlier = [other] * 3
    assert (await scene.shift(to=0)).reason == "Shifted"
    assert "back" not in scene.note


async def test_tries_that_never_arrived_were_not_put_back(scene: Scene) -> None:
    scene.bench.lab.faults.drop(verb="patch", times=None)
    for step in (0, 0, 0, 1, 2, 3):
        assert (await scene.shift(to=0, step=step)).reason == "NoAnswer"
    scene.bench.lab.faults.clear()
    assert (await scene.shift(to=0, step=3)).reason == "Shifted"


async def test_a_route_that_is_ambiguous(scene: Scene) -> None:
    def twice(obj: Object) -> None:
        obj["spec"]["rules"][0]["backendRefs"] *= 2

    scene.bench.lab.api.modify(scene.kind, NAMESPACE, ROUTE.name, twice)
    outcome = await scene.shift(to=0)
    assert (outcome.kind, outcome.reason, scene.bench.writes) == (OutcomeKind.REFUSED, "RouteUnreadable", [])


@pytest.mark.parametrize(
    ("verb", "code", "kind", "reason"),
    [
        ("patch", 403, OutcomeKind.REFUSED, "Forbidden"),
        ("patch", 409, OutcomeKind.DEFERRED, "RouteContended"),
        ("patch", 422, OutcomeKind.REFUSED, "Rejected"),
        ("patch", 429, OutcomeKind.DEFERRED, "Throttled"),
        ("patch", 500, OutcomeKind.FAILED, "ServerError"),
        ("get", 403, OutcomeKind.REFUSED, "Forbidden"),
        ("get", 500, OutcomeKind.DEFERRED, "ServerError"),
    ],
)
async def test_what_the_api_server_may_say(scene: Scene, verb: str, code: int, kind: OutcomeKind, reason: str) -> None:
    scene.bench.lab.faults.answer(code, verb=verb, resource="httproutes", times=None)
    outcome = await scene.shift(to=0)
    assert (outcome.kind, outcome.reason) == (kind, reason)
    assert "shift the traffic of httproute/model" in outcome.text
    assert scene.weights == [(80, 20)]


@pytest.mark.parametrize("code", [403, 500])
async def test_endpoints_that_cannot_be_read_are_no_endpoints(scene: Scene, code: int) -> None:
    scene.bench.lab.faults.answer(code, resource="endpointslices", times=None)
    outcome = await scene.shift(to=0)
    assert outcome.kind is (OutcomeKind.REFUSED if code == 403 else OutcomeKind.DEFERRED)
    assert (scene.bench.writes, scene.bench.kept) == ([], {})


async def test_a_patch_whose_effect_cannot_be_read_back_may_have_happened(scene: Scene) -> None:
    scene.bench.lab.faults.answer(503, verb="get", resource="httproutes", times=None, match=lambda _: bool(scene.bench.sent))
    outcome = await scene.shift(to=0)
    assert (outcome.kind, outcome.reason) == (OutcomeKind.FAILED, "ServerError")
    scene.bench.lab.faults.clear()
    assert (await scene.shift(to=0)).reason == "FoundDone"


@pytest.mark.parametrize("wrong", [{"aim": -50}, {"aim": 101}, {"aim": [0, -1]}, {"back": -9}])
async def test_a_note_with_figures_that_healer_does_not_write_is_not_followed(scene: Scene, wrong: dict[str, Any]) -> None:
    """Whoever writes incidents writes notes: a negative aim had a weight below 0 written."""
    key = CanaryRoute(NAMESPACE, "HTTPRoute", "model", STABLE, NAME).key
    scene.bench.kept = {key: json.dumps({"before": "50:50", "after": "50:50", "rung": "0", "aim": 0} | wrong)}
    outcome = await scene.shift(by=20)
    assert (outcome.kind, outcome.reason) == (OutcomeKind.REFUSED, "NoteUnreadable")
    assert scene.bench.writes == []


async def test_a_note_that_healer_did_not_write_is_not_written_over(scene: Scene) -> None:
    scene.bench.kept = {"who": "knows"}
    outcome = await scene.shift(to=0)
    assert (outcome.kind, outcome.reason, scene.bench.writes) == (OutcomeKind.REFUSED, "NoteUnreadable", [])


async def test_more_splits_than_can_be_kept_are_left_alone(scene: Scene) -> None:
    scene.set(*[(1000, 1000)] * 100)
    outcome = await scene.shift(to=0)
    assert (outcome.kind, outcome.reason, scene.bench.writes) == (OutcomeKind.REFUSED, "TooManySplits", [])


# the rule


def a_when(**canary: Any) -> When:
    sides = {"route": {"kind": "Ingress", "name": "r"}, "stable": {"deployment": "v1"}, "canary": {"deployment": "v2"}}
    measure = {"name": "m", "total": "a{{ deployment }}", "bad": "b{{ deployment }}"}
    return When.model_validate({"canary": sides | {"measures": [measure]} | canary})


def test_the_trigger_says_what_the_action_leaves_out() -> None:
    filled = complete(ShiftTrafficParams(to=0), a_when())
    assert filled.to == 0
    assert (filled.route, filled.stable, filled.canary) == (
        RouteRef(kind="Ingress", name="r"),
        side("v1"),
        side("v2"),
    )
    own = ShiftTrafficParams(by=1, route=ROUTE, stable=side("v0"))
    filled = complete(own, a_when())
    assert (filled.route, filled.stable, filled.canary) == (
        ROUTE,
        side("v0"),
        side("v2"),
    )


def test_without_a_canary_the_action_must_say_it() -> None:
    when = When.model_validate({"pod": ["NotReady"]})
    assert complete(params(), when) == params()
    with pytest.raises(ValueError, match="route and stable and canary must be written here"):
        complete(ShiftTrafficParams(to=0), when)
    with pytest.raises(ValueError, match=r"^stable must be written here"):
        complete(ShiftTrafficParams(to=0, route=ROUTE, canary=side("v2")), when)
    with pytest.raises(ValueError, match="are the same Deployment: a canary is"):
        complete(ShiftTrafficParams(to=0, stable=side("v2")), a_when())


@pytest.mark.parametrize(
    "how", [{}, {"to": 0, "by": 5}, {"to": -1}, {"to": 101}, {"by": 0}, {"by": 101}, {"to": 0.5}, {"to": "0"}]
)
def test_other_amounts_are_refused(how: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"exactly one of to, by|to\b|by\b"):
        ShiftTrafficParams.model_validate(how)
