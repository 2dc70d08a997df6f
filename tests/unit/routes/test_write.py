"""Writing weights, by each of the three routers: those and nothing else, against other writers, read back."""

import asyncio
from collections.abc import Callable

import pytest

from healer.cluster.api import ApiError, ApiUnavailable
from healer.lab.apiserver.store import StoreEvent as StoreChange
from healer.lab.canary import CANARY, STABLE
from healer.lab.objects import Object
from healer.routes.base import (
    CanaryRoute,
    NoReadyEndpoints,
    NotTaken,
    RouteContended,
    RouteError,
    RouteMissing,
    RouteUnreadable,
    Weights,
    find,
    read,
)
from healer.routes.keeper import keeper_of
from tests.unit.routes.conftest import KINDS, NAMESPACE, RESOURCES, Roads, bare, slice_of, weighing

pytestmark = pytest.mark.parametrize("kind", KINDS)


def _others_own(obj: Object) -> None:
    """What users and other controllers have in such objects, known to healer or not."""
    obj["metadata"]["annotations"] = (obj["metadata"].get("annotations") or {}) | {"team": "ml", "example.com/a_b": "x"}
    obj["metadata"]["labels"] = {"app.kubernetes.io/part-of": "models"}
    obj["metadata"]["finalizers"] = ["example.com/keep"]
    for rule in obj["spec"].get("rules") or obj["spec"]["http"]:
        backends = rule.get("backendRefs") or rule.get("route") or ()
        if backends:
            rule["timeouts"] = {"request": "10s"}
        for backend in backends:
            backend["filters"] = [
                {"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": [{"name": "x", "value": "y"}]}}
            ]


async def test_read(roads: Roads, kind: str) -> None:
    weights = await read(roads.api, await roads.add(kind, 20))
    assert weights == Weights(((80, 20),))
    assert (weights.share, weights.percent, weights.besides) == (0.2, "20 %", ())


async def test_the_weights_are_changed_and_nothing_else(roads: Roads, kind: str) -> None:
    place = await roads.add(kind, 20, _others_own)
    slices = roads.lab.objects("endpointslices")
    mains = [obj for obj in roads.lab.objects("ingresses") if obj["metadata"]["name"] != place.name]
    before = roads.object(place)
    change = await roads.to(place, 5)
    assert (str(change.before), str(change.after)) == ("80:20", "95:5")
    after = roads.object(place)
    assert after != before
    assert bare(after) == bare(before)
    assert await read(roads.api, place) == Weights(((95, 5),))
    assert roads.writes == [f"patch {RESOURCES[kind].partition('.')[0]}"]
    assert roads.lab.objects("endpointslices") == slices
    assert [obj for obj in roads.lab.objects("ingresses") if obj["metadata"]["name"] != place.name] == mains


async def test_nothing_is_sent_when_there_is_nothing_to_change(roads: Roads, kind: str) -> None:
    place = await roads.add(kind, 20)
    change = await roads.to(place, 30)
    assert change.before == change.after == Weights(((80, 20),))
    assert (roads.writes, roads.sent) == ([], [])


async def test_a_dry_run_asks_the_server_and_changes_nothing(roads: Roads, kind: str) -> None:
    place = await roads.add(kind, 20)
    before = roads.object(place)
    change = await roads.to(place, 0, dry_run=True)
    assert (str(change.before), str(change.after)) == ("80:20", "100:0")
    assert len(roads.writes) == 1
    assert roads.object(place) == before


async def test_a_dry_run_hears_the_server_s_no(roads: Roads, kind: str) -> None:
    place = await roads.add(kind, 20)
    roads.lab.forbid("patch", RESOURCES[kind].partition(".")[0])
    with pytest.raises(ApiError, match="403"):
        await roads.to(place, 0, dry_run=True)


async def test_what_another_writes_between_read_and_patch_stays(roads: Roads, kind: str) -> None:
    place = await roads.add(kind, 20)
    change = await roads.to(place, 0, meanwhile=[lambda: roads.label(place, by="another")])
    assert str(change.after) == "100:0"
    assert roads.object(place)["metadata"]["labels"] == {"by": "another"}
    assert len(roads.writes) == 2
    assert await read(roads.api, place) == Weights(((100, 0),))


async def test_weights_that_another_writes_between_read_and_patch_are_those_it_starts_from(roads: Roads, kind: str) -> None:
    """The journal must hold what was really there, so it is told again."""
    place = await roads.add(kind, 20)
    other = weighing(kind, 50)
    change = await roads.to(place, 10, meanwhile=[lambda: roads.modify(place, other)])
    assert roads.sent == [("80:20", "90:10"), ("50:50", "90:10")]
    assert str(change.before) == "50:50"


async def test_writers_who_never_stop_make_it_give_up_in_the_end(roads: Roads, kind: str) -> None:
    place = await roads.add(kind, 20)
    others = [lambda number=number: roads.label(place, by=str(number)) for number in range(100)]
    with pytest.raises(RouteContended, match="again and again"):
        await roads.to(place, 0, meanwhile=others)
    assert 2 < len(roads.writes) < 20
    assert await read(roads.api, place) == Weights(((80, 20),))


async def test_a_refusal_of_the_patch_itself_is_no_conflict(roads: Roads, kind: str) -> None:
    place = await roads.add(kind, 20)
    roads.lab.faults.answer(422, verb="patch", times=None)
    with pytest.raises(ApiError, match="422"):
        await roads.to(place, 0)
    assert len(roads.writes) == 1


async def test_what_goes_away_between_read_and_patch_is_missing(roads: Roads, kind: str) -> None:
    place = await roads.add(kind, 20)

    def gone() -> None:
        roads.lab.store.remove(roads.kind(place).stored_in, (NAMESPACE, place.name))

    with pytest.raises(RouteMissing):
        await roads.to(place, 0, meanwhile=[gone])


def _reverting(roads: Roads, place: CanaryRoute, weights: Callable[[Object], None]) -> list[object]:
    """A controller that sets the weights back as soon as somebody changes them; returns what it did."""
    done: list[object] = []

    def seen(collection: str, change: StoreChange) -> None:
        if collection == roads.kind(place).stored_in and not done:
            done.append(change.type)
            asyncio.get_running_loop().call_soon(roads.modify, place, weights)

    roads.lab.store.listeners.append(seen)
    return done


async def test_a_controller_that_reverts_is_noticed(roads: Roads, kind: str) -> None:
    place = await roads.add(kind, 20)
    done = _reverting(roads, place, weighing(kind, 20))
    with pytest.raises(NotTaken, match=r"was set to 100:0 .* it has 80:20"):
        await roads.to(place, 0)
    assert done


async def test_an_answer_that_never_comes_may_have_been_taken(roads: Roads, kind: str) -> None:
    place = await roads.add(kind, 20)
    roads.lab.faults.drop(verb="patch", times=None)
    with pytest.raises(ApiUnavailable):
        await roads.to(place, 0)


async def test_sending_may_stop_it(roads: Roads, kind: str) -> None:
    place = await roads.add(kind, 20)

    def stop() -> None:
        raise PermissionError("not now")

    with pytest.raises(PermissionError):
        await roads.to(place, 0, meanwhile=[stop])
    assert roads.writes == []


@pytest.mark.parametrize("ready", [(), (False,), (False, False)])
async def test_no_weight_for_a_side_without_ready_endpoints(roads: Roads, kind: str, ready: tuple[bool, ...]) -> None:
    place = await roads.add(kind, 20)
    roads.serving(STABLE, *ready)
    with pytest.raises(NoReadyEndpoints, match=f"service/{STABLE}"):
        await roads.to(place, 0)
    assert (roads.writes, roads.sent) == ([], [])
    roads.serving(STABLE, True)
    roads.serving(CANARY, *ready)
    await roads.to(place, 10)  # who loses weight need not be ready
    with pytest.raises(NoReadyEndpoints, match=f"service/{CANARY}"):
        await roads.to(place, Weights(((80, 20),)))


@pytest.mark.parametrize("ready", [(None,), (False, True)])
async def test_one_that_is_ready_or_does_not_say_is_enough(roads: Roads, kind: str, ready: tuple[bool | None, ...]) -> None:
    place = await roads.add(kind, 20)
    roads.serving(STABLE, *ready)
    await roads.to(place, 0)


async def test_any_slice_of_the_service_will_do(roads: Roads, kind: str) -> None:
    place = await roads.add(kind, 20)
    roads.serving(STABLE)
    await roads.lab.apply(slice_of(STABLE, True, name="another"))
    await roads.to(place, 0)


async def test_a_route_that_is_not_there(roads: Roads, kind: str) -> None:
    with pytest.raises(RouteMissing, match=f"there is no {kind.lower()}/model-ab-testing in production"):
        await read(roads.api, roads.place(kind))


async def test_a_backend_that_is_not_there_is_named_with_what_was_found(roads: Roads, kind: str) -> None:
    await roads.add(kind, 20)
    for stable, canary in (("typo", CANARY), (STABLE, "typo")):
        place = CanaryRoute(NAMESPACE, kind, "model-ab-testing", stable, canary)
        with pytest.raises(RouteError) as error:
            await read(roads.api, place)
        assert type(error.value).__name__ == "BackendMissing"
        assert "typo" in str(error.value)
        assert (CANARY if canary == "typo" else STABLE) in str(error.value)


async def test_another_kind_is_never_looked_for(roads: Roads, kind: str) -> None:
    place = await roads.add(kind, 20)
    for other in {*KINDS, "Gateway"} - {kind}:
        with pytest.raises((RouteMissing, RouteUnreadable)):
            await read(roads.api, CanaryRoute(place.namespace, other, place.name, place.stable, place.canary))


async def test_who_owns_the_route_is_read_with_its_weights(roads: Roads, kind: str) -> None:
    owner = {"apiVersion": "flagger.app/v1beta1", "kind": "Canary", "name": "model", "uid": "c", "controller": True}
    place = await roads.add(kind, 20, lambda obj: obj["metadata"].update(ownerReferences=[owner]))
    keeper = keeper_of(place, await find(roads.api, place))
    assert keeper is not None
    assert keeper.name == "Flagger (Canary model)"


@pytest.mark.parametrize(
    ("one", "other", "above"),
    [("80:20", "100:0", True), ("100:0", "100:0", False), ("8:2", "80:20", False), ("90:10,50:50", "90:10,60:40", True)],
)
def test_above(kind: str, one: str, other: str, above: bool) -> None:
    assert Weights.parse(one).above(Weights.parse(other)) is above
    assert not Weights.parse(other).above(Weights.parse(one))
