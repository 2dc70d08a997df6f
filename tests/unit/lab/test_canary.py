"""The canary's manifests in a running lab: two versions, the addresses of their pods, and the Services' EndpointSlices."""

from __future__ import annotations

from collections import Counter

import aiohttp
from aiohttp import web

from healer.lab import Lab, canary
from healer.lab.kubelet.behaviour import ADDRESSES
from healer.lab.objects import Object, annotations_of, labels_of

NAMESPACE = "production"


def _endpoints(lab: Lab, service: str) -> list[Object]:
    """The endpoints in the slices of a Service."""
    slices = [
        item for item in lab.objects("endpointslices", NAMESPACE) if labels_of(item)["kubernetes.io/service-name"] == service
    ]
    return [endpoint for item in slices for endpoint in item["endpoints"] or []]


def _ready(lab: Lab, service: str) -> list[str]:
    return sorted(item["addresses"][0] for item in _endpoints(lab, service) if item["conditions"]["ready"])


async def test_two_versions_behind_two_services() -> None:
    async with Lab(start_delay=0) as lab:
        await lab.apply(canary.versions(NAMESPACE, replicas=(3, 1)))
        await lab.wait_for(lambda lab: (len(_ready(lab, canary.STABLE)), len(_ready(lab, canary.CANARY))) == (3, 1))
        for name, version in ((canary.STABLE, "v1"), (canary.CANARY, "v2")):
            pods = {item["targetRef"]["name"] for item in _endpoints(lab, name)}
            chosen = [pod for pod in lab.objects("pods", NAMESPACE) if pod["metadata"]["name"] in pods]
            assert {(labels_of(pod)["app"], labels_of(pod)["version"]) for pod in chosen} == {(canary.APP, version)}
        everywhere = [*_ready(lab, canary.STABLE), *_ready(lab, canary.CANARY)]
    assert len(set(everywhere)) == 4


async def test_pods_get_the_addresses_of_the_test_servers() -> None:
    """This holds too when a version has more pods than addresses, and after all pods have been replaced."""
    at = ("127.0.0.2", "127.0.0.3"), ("127.0.0.4",)
    async with Lab(start_delay=0, termination_delay=0) as lab:
        await lab.apply(canary.versions(NAMESPACE, replicas=(4, 1), addresses=at))
        await lab.wait_for(lambda lab: (len(_ready(lab, canary.STABLE)), len(_ready(lab, canary.CANARY))) == (4, 1))
        assert Counter(_ready(lab, canary.STABLE)) == {"127.0.0.2": 2, "127.0.0.3": 2}
        assert _ready(lab, canary.CANARY) == ["127.0.0.4"]
        pods = {pod["metadata"]["uid"] for pod in lab.objects("pods", NAMESPACE)}
        for pod in lab.objects("pods", NAMESPACE):
            assert annotations_of(pod)[ADDRESSES] in ("127.0.0.2,127.0.0.3", "127.0.0.4")
            assert pod["status"]["podIPs"] == [{"ip": pod["status"]["podIP"]}]
            async with aiohttp.ClientSession() as session:
                await session.delete(f"{lab.url}/api/v1/namespaces/{NAMESPACE}/pods/{pod['metadata']['name']}")

        def replaced(lab: Lab) -> bool:
            now = {pod["metadata"]["uid"] for pod in lab.objects("pods", NAMESPACE)}
            return not pods & now and (len(_ready(lab, canary.STABLE)), len(_ready(lab, canary.CANARY))) == (4, 1)

        await lab.wait_for(replaced)
        assert set(_ready(lab, canary.STABLE)) == {"127.0.0.2", "127.0.0.3"}
        assert _ready(lab, canary.CANARY) == ["127.0.0.4"]


async def _say_v2(request: web.Request) -> web.Response:
    return web.Response(text="v2")


async def test_the_slice_has_the_address_of_a_test_server() -> None:
    app = web.Application()
    app.router.add_get("/", _say_v2)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.2", 0).start()
    port = runner.addresses[0][1]
    try:
        async with Lab(start_delay=0) as lab, aiohttp.ClientSession() as session:
            await lab.apply(canary.versions(NAMESPACE, ports=(8501, port), addresses=((), ("127.0.0.2",))))
            await lab.wait_for(lambda lab: _ready(lab, canary.CANARY) == ["127.0.0.2"])
            [found] = [
                item for item in lab.objects("endpointslices", NAMESPACE) if item["endpoints"][0]["addresses"] == ["127.0.0.2"]
            ]
            async with session.get(f"http://127.0.0.2:{found['ports'][0]['port']}/") as answer:
                assert await answer.text() == "v2"
    finally:
        await runner.cleanup()


async def test_a_sick_pod_is_an_endpoint_that_is_not_ready() -> None:
    async with Lab(start_delay=0) as lab:
        await lab.apply(canary.versions(NAMESPACE, replicas=(1, 1)))
        await lab.wait_for(lambda lab: len(_ready(lab, canary.CANARY)) == 1)
        [endpoint] = _endpoints(lab, canary.CANARY)
        await lab.behave(NAMESPACE, endpoint["targetRef"]["name"], "hang")
        await lab.wait_for(lambda lab: not _ready(lab, canary.CANARY))
        assert [item["addresses"] for item in _endpoints(lab, canary.CANARY)] == [endpoint["addresses"]]
        assert len(_ready(lab, canary.STABLE)) == 1


async def test_the_route_by_ingress_is_accepted_as_it_is() -> None:
    async with Lab(controllers=False) as lab:
        await lab.apply(canary.ingresses(NAMESPACE, weight=25))
        main, other = (
            {item["metadata"]["name"]: item for item in lab.objects("ingresses", NAMESPACE)}[name]
            for name in (canary.MAIN, canary.ROUTE)
        )
    assert not annotations_of(main)
    assert annotations_of(other) == {
        "nginx.ingress.kubernetes.io/canary": "true",
        "nginx.ingress.kubernetes.io/canary-weight": "25",
    }
    for route, service in ((main, canary.STABLE), (other, canary.CANARY)):
        assert route["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]["name"] == service
