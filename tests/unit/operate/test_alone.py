"""Whether a healer acts without an election, by what its pods and its Service answer through the API server's proxy."""

from typing import Any

import pytest

from healer.http.health import ALONE, LEADERSHIP, NOT_BEGUN, Check
from healer.operate.alone import refuse_if_any_acts
from healer.operate.objects import OperateError
from tests.unit.operate.conftest import SERVICE, Place

LABELS = {"app.kubernetes.io/name": "healer"}
TEMPLATE = {"metadata": {"labels": LABELS}, "spec": {"containers": [{"name": "healer", "image": "healer"}]}}
POD: dict[str, Any] = {"apiVersion": "v1", "kind": "Pod", **TEMPLATE}
POD["metadata"] = {"name": "healer-0", "namespace": "healer", "labels": LABELS}
DEPLOYMENT: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "healer", "namespace": "healer", "labels": LABELS},
    "spec": {"replicas": 0, "selector": {"matchLabels": LABELS}, "template": TEMPLATE},
}
BY_POD = "/api/v1/namespaces/healer/pods/http:healer-0:8080/proxy"
ACTS, ELECTED, BEGINS = (Check(LEADERSHIP, said != NOT_BEGUN, said) for said in (ALONE, "leader: this replica", NOT_BEGUN))
UNREADY = Check("cluster", False, "no answer")


async def why(place: Place, *, unanswered: bool = False) -> str:
    """Why nothing may be taken back; "" where it may."""
    try:
        await refuse_if_any_acts(place.api, "healer", unanswered=unanswered)
    except OperateError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("checks", [[ACTS], [ACTS, UNREADY]], ids=["ready", "not ready"])
async def test_a_healer_that_says_that_it_acts_alone_stops_it(place: Place, checks: list[Check]) -> None:
    """By its Service, or by its pod where the Service leads to none, because it is not ready."""
    place.checks += checks
    assert "acts, without an election: delete it first" in await why(place)
    place.front.proxied[BY_POD] = place.front.proxied.pop(SERVICE)
    await place.lab.apply(POD)
    assert "acts, without an election: delete it first" in await why(place, unanswered=True)


async def test_a_healer_that_is_elected_does_not_act_alone(place: Place) -> None:
    place.checks += [ELECTED, UNREADY]
    assert await why(place) == ""
    place.front.proxied[BY_POD] = place.front.proxied.pop(SERVICE)
    await place.lab.apply(POD)
    assert await why(place) == ""
    place.checks[:] = [BEGINS]
    assert "is not known: " in await why(place), "it acts soon"


@pytest.mark.parametrize("there", [POD, DEPLOYMENT], ids=["pod", "deployment"])
async def test_a_healer_that_is_there_and_does_not_answer_stops_it_until_somebody_knows_better(
    place: Place, there: dict[str, Any]
) -> None:
    del place.front.proxied[SERVICE]
    assert await why(place) == "", "nothing is there that could answer"
    await place.lab.apply(there)
    said = await why(place)
    assert "whether a healer in healer acts without an election is not known: " in said
    assert "--nobody-acts" in said
    assert await why(place, unanswered=True) == ""


@pytest.mark.parametrize("forbidden", [("list", "pods"), ("list", "deployments"), ("get", "services/proxy")], ids="/".join)
async def test_whoever_may_not_ask_takes_nothing_back(place: Place, forbidden: tuple[str, str]) -> None:
    del place.front.proxied[SERVICE]
    place.lab.forbid(*forbidden)
    said = await why(place)
    assert "is not known: " in said
    assert "Forbidden" in said


async def test_each_pod_is_asked(place: Place) -> None:
    """The Service leads to one of them."""
    place.checks.append(ELECTED)
    place.front.proxied[BY_POD] = place.front.proxied[SERVICE]
    await place.lab.apply(POD)
    assert await why(place) == ""
    await place.lab.apply(POD | {"metadata": POD["metadata"] | {"name": "healer-1"}})
    assert "healer-1" in await why(place)
