"""What is particular to each router: where its weights are, which forms it takes, and which are left alone."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from healer.cluster.api import ApiError
from healer.lab.canary import CANARY, MAIN, ROUTE, STABLE, http_route, virtual_service
from healer.lab.objects import Object
from healer.routes.base import (
    BackendMissing,
    CanaryRoute,
    KindMissing,
    NoReadyEndpoints,
    RouteMissing,
    RouteUnreadable,
    Weights,
    read,
)
from healer.rules.named_workload import NamedWorkload
from healer.rules.probe import RouteRef, Side
from tests.unit.routes.conftest import NAMESPACE, Roads, definition, gateway, istio, route, slice_of

NGINX = "nginx.ingress.kubernetes.io"


def side(name: str, **more: Any) -> Side:
    """A side that is a Deployment."""
    return Side(workload=NamedWorkload(name), **more)


def annotated(**annotations: str | None) -> Callable[[Object], None]:
    """Write annotations of ingress-nginx ("_" for "-"), remove those that are None."""

    def change(obj: Object) -> None:
        found = obj["metadata"].setdefault("annotations", {})
        for name, value in annotations.items():
            key = f"{NGINX}/{name.replace('_', '-')}"
            found.pop(key, None) if value is None else found.update({key: value})

    return change


# nginx


@pytest.mark.parametrize(
    ("annotations", "pairs", "left"),
    [
        ({}, (80, 20), "5"),
        ({"canary_weight": None}, (100, 0), None),
        ({"canary_weight": "100"}, (0, 100), "5"),
        ({"canary_weight_total": "1000", "canary_weight": "150"}, (850, 150), "50"),
        ({"canary_weight_total": "30"}, (80, 20), "5"),  # nginx counts out of at least 100
        ({"canary_weight": "3"}, (97, 3), "3"),
        ({"canary": "True"}, (80, 20), "5"),  # nginx reads it as Go does
        ({"canary": "1"}, (80, 20), "5"),
    ],
)
async def test_nginx_weight_and_total(
    roads: Roads, annotations: dict[str, str | None], pairs: tuple[int, int], left: str | None
) -> None:
    place = await roads.add("Ingress", 20, annotated(**annotations))
    assert (await read(roads.api, place)).pairs == (pairs,)
    await roads.to(place, 5)
    found = roads.object(place)["metadata"]["annotations"]
    assert found.get(f"{NGINX}/canary-weight") == left
    assert found.get(f"{NGINX}/canary-weight-total") == annotations.get("canary_weight_total")


@pytest.mark.parametrize(
    ("annotations", "said"),
    [
        ({"canary": None}, 'canary is None, not "true"'),
        ({"canary": "false"}, "is 'false'"),
        ({"canary": "yes"}, "is 'yes'"),
        ({"canary_weight": "a lot"}, "'a lot', which is no whole number"),
        ({"canary_weight": "-1"}, "'-1', which"),
        ({"canary_weight": "120"}, "weight 120 of 100"),
        ({"canary_weight_total": "1e3"}, "'1e3', which"),
    ],
)
async def test_nginx_what_cannot_be_read_is_left_alone(roads: Roads, annotations: dict[str, str | None], said: str) -> None:
    place = await roads.add("Ingress", 20, annotated(**annotations))
    with pytest.raises(RouteUnreadable) as error:
        await roads.to(place, 0)
    assert said in str(error.value)
    assert roads.writes == []


@pytest.mark.parametrize(
    ("annotations", "said"),
    [
        ({"canary_by_header": "X-Canary"}, "requests with the header X-Canary: always go to the canary"),
        ({"canary_by_header": "X-Who", "canary_by_header_value": "me"}, "the header X-Who: me go"),
        ({"canary_by_header": "X-Who", "canary_by_header_pattern": "m.*"}, "the header X-Who: m.* go"),
        ({"canary_by_cookie": "beta"}, "requests with the cookie beta=always go to the canary"),
        ({"affinity": "cookie"}, "whose session is bound to the canary"),
    ],
)
async def test_nginx_what_goes_before_the_weight_is_named(roads: Roads, annotations: dict[str, str | None], said: str) -> None:
    place = await roads.add("Ingress", 20, annotated(**annotations))
    change = await roads.to(place, 0)
    assert change.after.pairs == ((100, 0),)
    (besides,) = change.after.besides
    assert said in besides


@pytest.mark.parametrize(("behaviour", "many"), [(None, 1), ("sticky", 1), ("legacy", 0)])
async def test_nginx_sessions_of_the_main_ingress_stick_to_the_canary(roads: Roads, behaviour: str | None, many: int) -> None:
    place = await roads.add("Ingress", 20, annotated(affinity_canary_behavior=behaviour))
    main = CanaryRoute(NAMESPACE, "Ingress", MAIN, STABLE, CANARY)
    roads.modify(main, annotated(affinity="cookie"))
    assert len((await read(roads.api, place)).besides) == many


def _path(obj: Object) -> Any:
    return obj["spec"]["rules"][0]["http"]["paths"][0]


def _host(host: str) -> Callable[[Object], None]:
    return lambda obj: obj["spec"]["rules"][0].update(host=host)


def _backend(name: str) -> Callable[[Object], None]:
    return lambda obj: _path(obj)["backend"]["service"].update(name=name)


def _class(name: str) -> Callable[[Object], None]:
    return lambda obj: obj["spec"].update(ingressClassName=name)


def _default(obj: Object) -> None:
    obj["spec"]["defaultBackend"] = {"service": {"name": "fallback", "port": {"number": 80}}}


@pytest.mark.parametrize(
    ("edit_main", "edit_canary", "said"),
    [
        (None, _backend("other"), f"should lead to the Service {CANARY} alone, and leads to other"),
        (None, _default, f"alone, and leads to fallback, {CANARY}"),
        (_backend("other"), None, "ingress/model leads models.example.com/v1/models to other"),
        (_host("elsewhere.example.com"), None, "no Ingress that is no canary has one of its hosts and paths"),
        (lambda obj: _path(obj).update(path="/v2"), None, "no Ingress that is no canary"),
        (_class("another"), None, "no Ingress that is no canary"),
        (annotated(canary="true"), None, "no Ingress that is no canary"),
        (annotated(canary="T"), None, "no Ingress that is no canary"),
    ],
)
async def test_nginx_both_sides_must_lead_where_the_rule_says(
    roads: Roads, edit_main: Callable[[Object], None] | None, edit_canary: Callable[[Object], None] | None, said: str
) -> None:
    main, canary = route("Ingress")
    for manifest, edit in ((main, edit_main), (canary, edit_canary)):
        if edit is not None:
            edit(manifest)
    await roads.lab.apply([main, canary])
    with pytest.raises(BackendMissing) as error:
        await read(roads.api, roads.place("Ingress"))
    assert said in str(error.value)


async def test_nginx_a_class_that_is_not_written_may_be_the_same(roads: Roads) -> None:
    place = await roads.add("Ingress", 20, lambda obj: obj["spec"].pop("ingressClassName"))
    assert (await read(roads.api, place)).share == 0.2


# HTTPRoute


def rules(*backends: list[Object]) -> Callable[[Object], None]:
    def change(obj: Object) -> None:
        obj["spec"]["rules"] = [{"backendRefs": refs} for refs in backends]

    return change


def ref(name: str, weight: int | None = None, **more: Any) -> Object:
    return {"name": name, "port": 8501} | ({} if weight is None else {"weight": weight}) | more


def split(stable: int | None, canary: int | None) -> list[Object]:
    return [ref(STABLE, stable), ref(CANARY, canary)]


@pytest.mark.parametrize(
    ("backends", "before", "after"),
    [
        ([split(None, None)], "1:1", "2:0"),
        ([split(9, None)], "9:1", "10:0"),
        ([split(90, 10), split(50, 50)], "90:10,50:50", "100:0,100:0"),
        ([split(100, 0), split(0, 100)], "100:0,0:100", "100:0,100:0"),
        ([list(reversed(split(60, 40)))], "60:40", "100:0"),
        ([[ref("third", 30), *split(50, 20)]], "50:20", "70:0"),
        ([[ref(STABLE, 7)], split(80, 20), [ref("third")]], "80:20", "100:0"),
        ([split(0, 0)], "0:0", "0:0"),
    ],
)
async def test_gateway_every_rule_with_both_is_a_split(
    roads: Roads, backends: list[list[Object]], before: str, after: str
) -> None:
    place = await roads.add("HTTPRoute", 20, rules(*backends))
    change = await roads.to(place, 0)
    assert (str(change.before), str(change.after)) == (before, after)
    assert change.after.share == 0
    for rule, was in zip(roads.object(place)["spec"]["rules"], backends, strict=True):
        others = [each for each in was if each["name"] not in (STABLE, CANARY) or len(was) == 1]
        assert [each for each in rule["backendRefs"] if each in others] == others


@pytest.mark.parametrize("kind", ["HTTPRoute", "VirtualService"])
async def test_splits_have_the_names_that_the_route_gives_them(roads: Roads, kind: str) -> None:
    def twice(obj: Object) -> None:
        (entry,) = obj["spec"].get("rules") or obj["spec"]["http"]
        obj["spec"]["rules" if kind == "HTTPRoute" else "http"] = [entry, entry | {"name": "by-header"}]

    words = "rule" if kind == "HTTPRoute" else "http route"
    place = await roads.add(kind, 20, twice)
    assert (await read(roads.api, place)).names == (f"{words} 1", f"{words} 2 (by-header)")


async def test_gateway_where_shares_do_not_divide_the_canary_gets_less(roads: Roads) -> None:
    place = await roads.add("HTTPRoute", 20, rules(split(2, 1), split(50, 50)))
    change = await roads.to(place, 25)
    assert str(change.after) == "3:0,75:25"


@pytest.mark.parametrize(
    ("backends", "said"),
    [
        ([split(80, 20), [ref(CANARY)]], f"rule 2 sends to {CANARY}"),
        ([[ref(CANARY, 1), ref("third", 1)], split(80, 20)], f"rule 1 sends to {CANARY}, third"),
    ],
)
async def test_gateway_rules_of_the_canary_s_own_are_named_and_left(
    roads: Roads, backends: list[list[Object]], said: str
) -> None:
    place = await roads.add("HTTPRoute", 20, rules(*backends))
    change = await roads.to(place, 0)
    assert change.after.besides == (said,)
    for rule, was in zip(roads.object(place)["spec"]["rules"], backends, strict=True):
        if was != split(80, 20):
            assert rule["backendRefs"] == was


async def test_gateway_a_rule_that_gives_the_canary_nothing_is_not_named(roads: Roads) -> None:
    place = await roads.add("HTTPRoute", 20, rules(split(80, 20), [ref("third"), ref(CANARY, 0)]))
    assert (await read(roads.api, place)).besides == ()


@pytest.mark.parametrize("of_backend", [False, True], ids=["of the rule", "of a backend"])
async def test_gateway_copies_for_the_canary_are_named(roads: Roads, of_backend: bool) -> None:
    def mirror(obj: Object) -> None:
        (one,) = obj["spec"]["rules"]
        holder = one["backendRefs"][0] if of_backend else one
        holder["filters"] = [{"type": "RequestMirror", "requestMirror": {"backendRef": ref(CANARY)}}]

    place = await roads.add("HTTPRoute", 20, mirror)
    assert (await read(roads.api, place)).besides == (f"rule 1 mirrors to {CANARY}",)


@pytest.mark.parametrize(
    "backends",
    [
        [],
        [[]],
        [[ref(STABLE)], [ref(CANARY)]],
        [[ref(STABLE), ref(CANARY, namespace="elsewhere")]],
        [[ref(STABLE), ref(CANARY, kind="ServiceImport", group="multicluster.x-k8s.io")]],
    ],
)
async def test_gateway_without_a_split_between_the_two_nothing_is_done(roads: Roads, backends: list[list[Object]]) -> None:
    place = await roads.add("HTTPRoute", 20, rules(*backends))
    with pytest.raises(BackendMissing, match="nowhere splits traffic"):
        await roads.to(place, 0)
    assert roads.writes == []


async def test_gateway_a_backend_named_twice_is_ambiguous(roads: Roads) -> None:
    place = await roads.add("HTTPRoute", 20, rules([*split(80, 10), ref(CANARY, 10, port=8500)]))
    with pytest.raises(RouteUnreadable, match=f"rule 1 of httproute/{ROUTE} names {CANARY} twice"):
        await read(roads.api, place)


async def test_gateway_a_rule_put_in_front_meanwhile_does_not_get_the_weights(roads: Roads) -> None:
    """The patch names fields by their index, which is that of the object that was read."""
    place = await roads.add("HTTPRoute", 20)
    front = {"backendRefs": [ref("third", 1), ref("fourth", 2)]}
    await roads.to(place, 0, meanwhile=[lambda: roads.modify(place, lambda obj: obj["spec"]["rules"].insert(0, front))])
    found = roads.object(place)["spec"]["rules"]
    assert found[0] == front
    assert [each["weight"] for each in found[1]["backendRefs"]] == [100, 0]


async def test_gateway_rules_that_go_away_meanwhile_are_no_refusal(roads: Roads) -> None:
    """Their fields' paths lead nowhere then, which the server says as 422."""
    place = await roads.add("HTTPRoute", 20, rules([ref("third")], split(80, 20)))
    change = await roads.to(place, 0, meanwhile=[lambda: roads.modify(place, lambda obj: obj["spec"]["rules"].pop(0))])
    assert str(change.after) == "100:0"


@pytest.mark.parametrize("kind", ["HTTPRoute", "VirtualService"])
async def test_a_kind_that_is_not_installed(roads: Roads, kind: str) -> None:
    place = await roads.add(kind, 20)
    roads.lab.api.kinds.undefine(gateway() if kind == "HTTPRoute" else istio())
    with pytest.raises(KindMissing, match=f"the cluster serves no {kind} of"):
        await roads.to(place, 0)


async def test_no_right_to_read_is_not_taken_for_missing(roads: Roads) -> None:
    place = await roads.add("HTTPRoute", 20)
    roads.lab.forbid("get", "httproutes")
    with pytest.raises(ApiError, match="403"):
        await read(roads.api, place)


# InferencePool


def pool(name: str, weight: int, group: str) -> Object:
    return {"group": group, "kind": "InferencePool", "name": name, "weight": weight}


POOLS = CanaryRoute.between(
    NAMESPACE,
    RouteRef(kind="HTTPRoute", name=ROUTE),
    side(STABLE, pool="pool-1"),
    side(CANARY, pool="pool-2"),
)


@pytest.mark.parametrize("group", ["inference.networking.k8s.io", "inference.networking.x-k8s.io"])
async def test_gateway_weights_of_inference_pools(roads: Roads, group: str) -> None:
    """A pool has no EndpointSlices, so that the Deployment behind it says who is ready."""
    await roads.add("HTTPRoute", 20, rules([pool("pool-1", 80, group), pool("pool-2", 20, group)], [pool("pool-2", 1, group)]))
    with pytest.raises(NoReadyEndpoints, match=f"deployment/{STABLE} behind InferencePool pool-1 has no ready pods"):
        await roads.to(POOLS, 0)
    await roads.deployed(STABLE, 0)
    with pytest.raises(NoReadyEndpoints):
        await roads.to(POOLS, 0)
    await roads.deployed(STABLE, 2)
    change = await roads.to(POOLS, 5)
    assert (str(change.before), str(change.after)) == ("80:20", "95:5")
    assert change.after.besides == ("rule 2 sends to InferencePool pool-2",)


@pytest.mark.parametrize(
    "other",
    [
        ref("pool-2", 20),
        ref("pool-2", 20, kind="InferencePool", group="example.com"),
        ref("pool-2", 20, kind="InferencePool", group="inference.networking.k8s.io", namespace="elsewhere"),
    ],
)
async def test_gateway_what_is_no_pool_of_that_name_is_another(roads: Roads, other: Object) -> None:
    await roads.add("HTTPRoute", 20, rules([pool("pool-1", 80, "inference.networking.k8s.io"), other]))
    with pytest.raises(BackendMissing, match="nowhere splits traffic between InferencePool pool-1 and InferencePool pool-2"):
        await read(roads.api, POOLS)


# VirtualService


def https(*routes: list[Object], **more: Any) -> Callable[[Object], None]:
    def change(obj: Object) -> None:
        obj["spec"]["http"] = [{"route": targets} for targets in routes]
        obj["spec"] |= more

    return change


def target(host: str, weight: int | None = None, **more: Any) -> Object:
    return {"destination": {"host": host, **more}} | ({} if weight is None else {"weight": weight})


@pytest.mark.parametrize("suffix", ["", f".{NAMESPACE}", f".{NAMESPACE}.svc", f".{NAMESPACE}.svc.cluster.local"])
async def test_istio_hosts_short_and_long(roads: Roads, suffix: str) -> None:
    place = await roads.add("VirtualService", 20, https([target(STABLE + suffix, 70), target(CANARY + suffix, 30)]))
    change = await roads.to(place, 10)
    assert (str(change.before), str(change.after)) == ("70:30", "90:10")


@pytest.mark.parametrize("suffix", [".elsewhere", ".elsewhere.svc.cluster.local", f".{NAMESPACE}.example.com"])
async def test_istio_hosts_of_other_places_are_others(roads: Roads, suffix: str) -> None:
    place = await roads.add("VirtualService", 20, https([target(STABLE, 70), target(CANARY + suffix, 30)]))
    with pytest.raises(BackendMissing, match=f"http route 1 sends to {STABLE}, {CANARY}{suffix}"):
        await read(roads.api, place)


async def test_istio_subsets_that_the_rule_does_not_name_are_left_alone(roads: Roads) -> None:
    targets = [target("models", 80, subset="v1"), target("models", 20, subset="v2")]
    await roads.add("VirtualService", 20, https(targets))
    place = CanaryRoute(NAMESPACE, "VirtualService", ROUTE, "models", "models-canary")
    with pytest.raises(BackendMissing, match=r"http route 1 sends to models \(subset v1\), models \(subset v2\)"):
        await read(roads.api, place)


def subsets(stable: str = "v1", canary: str = "v2") -> CanaryRoute:
    """The two sides as subsets of one host."""
    sides = [side(name, service="models", subset=subset) for name, subset in ((STABLE, stable), (CANARY, canary))]
    return CanaryRoute.between(NAMESPACE, RouteRef(kind="VirtualService", name=ROUTE), *sides)


@pytest.mark.parametrize("host", ["models", f"models.{NAMESPACE}", f"models.{NAMESPACE}.svc.cluster.local"])
async def test_istio_subsets_of_one_host_are_the_two_sides(roads: Roads, host: str) -> None:
    """Nobody tells the endpoints of two subsets apart by their Service: the Deployments say who is ready."""
    third = target("models", 10, subset="v3")
    await roads.add("VirtualService", 20, https([target("models", 60, subset="v1"), third, target(host, 30, subset="v2")]))
    await roads.lab.apply([slice_of("models", True)])
    with pytest.raises(NoReadyEndpoints, match=rf"deployment/{STABLE} behind models \(subset v1\) has no ready pods"):
        await roads.to(subsets(), 0)
    assert roads.writes == []
    await roads.deployed(STABLE, 1)
    change = await roads.to(subsets(), 0)
    assert (str(change.before), str(change.after), change.after.besides) == ("60:30", "90:0", ())
    found = roads.object(subsets())["spec"]["http"][0]["route"]
    assert [(each["destination"]["subset"], each["weight"]) for each in found] == [("v1", 90), ("v3", 10), ("v2", 0)]


async def test_istio_what_else_reaches_the_pods_of_a_subset_is_named(roads: Roads) -> None:
    both = [target("models", 80, subset="v1"), target("models", 20, subset="v2")]
    whole, other = [target("models")], [target("models", subset="v3")]
    mixed = [*both, target("models", 50)]
    await roads.add("VirtualService", 20, https(both, [target("models", subset="v2")], whole, other, mixed))
    weights = await read(roads.api, subsets())
    assert weights.names == ("http route 1", "http route 5")
    assert weights.besides == (
        "http route 2 sends to models (subset v2)",
        "http route 3 sends to models",
        "http route 5 sends to models (subset v1), models (subset v2), models",
    )
    with pytest.raises(BackendMissing, match=r"nowhere splits traffic between models \(subset v1\) and models \(subset v9\)"):
        await read(roads.api, subsets(canary="v9"))


async def test_istio_the_sum_of_all_destinations_stays(roads: Roads) -> None:
    place = await roads.add("VirtualService", 20, https([target("third", 40), target(STABLE, 40), target(CANARY, 20)]))
    await roads.to(place, 10)
    assert [each["weight"] for each in roads.object(place)["spec"]["http"][0]["route"]] == [40, 54, 6]


async def test_istio_a_weight_left_out_is_none(roads: Roads) -> None:
    place = await roads.add("VirtualService", 20, https([target(STABLE, 100), target(CANARY)]))
    assert (await read(roads.api, place)).pairs == ((100, 0),)


async def test_istio_what_weights_do_not_rule_is_named(roads: Roads) -> None:
    own = [target(CANARY)]  # a single destination gets everything, with or without a weight
    subset = [target(STABLE, 50), target(CANARY, 50, subset="x")]
    tcp = {"tcp": [{"route": own}], "tls": [{"route": [target(STABLE)]}]}

    def edit(obj: Object) -> None:
        https([target(STABLE, 80), target(CANARY, 20)], own, subset, **tcp)(obj)
        obj["spec"]["http"][0]["mirror"] = {"host": CANARY}
        obj["spec"]["http"][1]["mirrors"] = [{"destination": {"host": f"{CANARY}.{NAMESPACE}.svc"}}]

    place = await roads.add("VirtualService", 20, edit)
    assert (await read(roads.api, place)).besides == (
        f"http route 1 mirrors to {CANARY}",
        f"http route 2 sends to {CANARY}",
        f"http route 2 mirrors to {CANARY}",
        f"http route 3 sends to {STABLE}, {CANARY} (subset x)",
        f"tcp route 1 sends to {CANARY}",
    )


async def test_istio_splits_of_tcp_are_named_and_left(roads: Roads) -> None:
    tcp = [{"route": [target(STABLE, 80), target(CANARY, 20)]}]
    place = await roads.add("VirtualService", 20, https([target(STABLE, 80), target(CANARY, 20)], tcp=tcp))
    change = await roads.to(place, 0)
    assert (str(change.after), change.after.besides) == ("100:0", (f"tcp route 1 sends to {STABLE}, {CANARY}",))
    assert roads.object(place)["spec"]["tcp"] == tcp


@pytest.mark.parametrize("versions", [("v1",), ("v1", "v1beta1"), ("v1beta1",)])
async def test_istio_by_the_newest_version_that_is_served(roads: Roads, versions: tuple[str, ...]) -> None:
    roads.lab.api.kinds.undefine(istio())
    other = definition("networking.istio.io", "virtualservices", "VirtualService", *versions)
    roads.lab.api.kinds.define(other)
    (manifest,) = route("VirtualService")
    await roads.lab.apply(manifest | {"apiVersion": f"networking.istio.io/{versions[0]}"})
    roads.lab.requests.clear()
    change = await roads.to(roads.place("VirtualService"), 0)
    assert str(change.after) == "100:0"
    patched = [seen.path for seen in roads.lab.requests if seen.verb == "patch"]
    assert patched == [f"/apis/networking.istio.io/{versions[0]}/namespaces/{{namespace}}/virtualservices/{{name}}"]


async def test_istio_an_object_that_is_missing_is_not_looked_for_by_an_older_version(roads: Roads) -> None:
    with pytest.raises(RouteMissing) as error:
        await read(roads.api, roads.place("VirtualService"))
    assert not isinstance(error.value, KindMissing)
    assert "v1beta1" not in " ".join(seen.path for seen in roads.lab.requests)


# all


async def test_two_writers_at_once_both_come_through(roads: Roads) -> None:
    place = await roads.add("HTTPRoute", 50)
    await asyncio.gather(roads.to(place, 30), roads.to(place, 10))
    assert await read(roads.api, place) == Weights(((90, 10),))


# a route that lives with its gateway


def apart(kind: str) -> list[Object]:
    """A route in a namespace of its own, which names its backends with theirs."""
    made = http_route("infra", weight=20) if kind == "HTTPRoute" else virtual_service("infra", weight=20)
    if kind == "HTTPRoute":
        for ref in made["spec"]["rules"][0]["backendRefs"]:
            ref["namespace"] = NAMESPACE
    else:
        for target in made["spec"]["http"][0]["route"]:
            target["destination"]["host"] = f"{target['destination']['host'].partition('.')[0]}.{NAMESPACE}.svc.cluster.local"
    return [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "infra"}}, made]


@pytest.mark.parametrize("kind", ["HTTPRoute", "VirtualService"])
async def test_a_route_in_another_namespace_than_the_deployments(roads: Roads, kind: str) -> None:
    await roads.lab.apply(apart(kind))
    place = CanaryRoute(NAMESPACE, kind, ROUTE, STABLE, CANARY, "infra")
    assert (await read(roads.api, place)).pairs == ((80, 20),)
    await roads.to(place, 5)
    assert (await read(roads.api, place)).pairs == ((95, 5),)
    assert CanaryRoute.parse(place.key) == place
    with pytest.raises(RouteMissing, match=f"there is no {kind.lower()}/{ROUTE} in {NAMESPACE}"):
        await read(roads.api, roads.place(kind))


async def test_backends_of_that_name_in_the_routes_own_namespace_are_others(roads: Roads) -> None:
    _, made = apart("HTTPRoute")
    for ref in made["spec"]["rules"][0]["backendRefs"]:
        del ref["namespace"]
    await roads.lab.apply([made])
    with pytest.raises(BackendMissing, match=f"Service {STABLE} in infra"):
        await read(roads.api, CanaryRoute(NAMESPACE, "HTTPRoute", ROUTE, STABLE, CANARY, "infra"))
