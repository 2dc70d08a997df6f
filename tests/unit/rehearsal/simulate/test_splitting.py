"""The share of a canary, as each kind of route has it."""

import pytest

from healer.rehearsal.simulate.cluster_spec import SPLITTERS, PlayedWorkload
from healer.rehearsal.simulate.splitting import definitions, route_of, share_of, weighed


def pair(router: str) -> tuple[PlayedWorkload, PlayedWorkload]:
    canary = {"of": "stable", "weight": "10%", "router": router}
    written = [{"name": "stable", "port": 80}, {"name": "new", "port": 81, "canary": canary}]
    stable, new = (PlayedWorkload.model_validate(each, context={}) for each in written)
    return stable, new


@pytest.mark.parametrize("router", SPLITTERS)
def test_a_route_gives_the_canary_what_the_scenario_says_and_then_what_is_written(router: str) -> None:
    stable, canary = pair(router)
    route = route_of(canary, stable)[-1]
    assert (route["kind"], route["metadata"]["name"], route["metadata"]["namespace"]) == (router, "stable", "production")
    assert share_of(route, canary) == 0.1
    weighed(canary, 0.25)(route)
    assert share_of(route, canary) == 0.25


@pytest.mark.parametrize(("router", "defined"), [("HTTPRoute", 1), ("VirtualService", 1), ("Ingress", 0)])
def test_only_kinds_that_kubernetes_lacks_are_defined(router: str, defined: int) -> None:
    assert len(definitions(pair(router))) == defined


def test_a_route_without_weights_gives_nothing() -> None:
    stable, canary = pair("HTTPRoute")
    (route,) = route_of(canary, stable)
    for ref in route["spec"]["rules"][0]["backendRefs"]:
        ref["weight"] = 0
    assert share_of(route, canary) == 0.0
