"""The canaries of the shipped rules in the lab: their Deployments and routes, and an exporter of what their servers count."""

import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from aiohttp import web

from healer.daemon.rulefiles import is_test, load_rules, vocabulary
from healer.lab import Lab, serving
from healer.lab.canary import http_route, ingresses
from healer.lab.objects import Object, annotations_of
from healer.rules.probe import Canary
from healer.rules.rulebook import BoundRule
from healer.rules.scope import Scope
from healer.rules.triggers import CANARY
from tests.integration.world import NAMESPACE
from tests.packs.drills import RULES

FILES = tuple(str(path.relative_to(RULES)) for path in sorted((RULES / "canary").glob("*.yaml")) if not is_test(path))
WEIGHT = 20
"""The canary's share of the traffic at the start, in percent."""
USUAL, BAD = 0.01, 0.3
"""Shares of the requests that are bad by one measure."""
_REQUESTS = 500
"""Those that the servers of one rule answer between two scrapes."""
_ROUTES = {"Ingress": "ingresses", "HTTPRoute": "httproutes.gateway.networking.k8s.io"}
_NGINX = "nginx.ingress.kubernetes.io/canary-weight"
Counted = tuple[str, Mapping[str, str]]
"""A counter: its name and its labels."""


def _counter(name: str, **labels: str) -> Counted:
    return name, labels


_GOOD: Mapping[str, Sequence[Counted]] = {
    "canary": (
        _counter(":tensorflow:serving:request_count", model_name="ranker", status="OK"),
        _counter(":tensorflow:serving:request_latency_bucket", model_name="ranker", le="200000"),
        _counter(":tensorflow:serving:request_latency_bucket", model_name="ranker", le="+Inf"),
    ),
    "canary-vllm": (
        _counter("http_requests_total", handler="/v1/chat/completions", method="POST", status="2xx"),
        _counter("vllm:request_success_total", model_name="m", finished_reason="stop"),
        _counter("vllm:time_to_first_token_seconds_bucket", model_name="m", le="2.5"),
        _counter("vllm:time_to_first_token_seconds_bucket", model_name="m", le="+Inf"),
    ),
    "canary-sglang": (
        _counter("sglang:http_responses_total", endpoint="/v1/chat/completions", status_code="200"),
        _counter("sglang:time_to_first_token_seconds_bucket", model_name="m", le="2.0"),
        _counter("sglang:time_to_first_token_seconds_bucket", model_name="m", le="+Inf"),
    ),
    "canary-triton": (_counter("nv_inference_request_success", model="ranker", version="1"),),
    "canary-kserve": (
        _counter("kn_serving_invocation_duration_seconds_count", http_response_status_code="200"),
        _counter("request_predict_seconds_bucket", model_name="ranker", le="1.0"),
        _counter("request_predict_seconds_bucket", model_name="ranker", le="+Inf"),
    ),
}
"""What the servers of each rule set count of a request that succeeds."""
_BAD: Mapping[str, Mapping[str, Sequence[Counted]]] = {
    "canary": {
        "errors": (_counter(":tensorflow:serving:request_count", model_name="ranker", status="INTERNAL"),),
        "latency": (_GOOD["canary"][0], _GOOD["canary"][2]),
    },
    "canary-vllm": {
        "errors": (_counter("http_requests_total", handler="/v1/chat/completions", method="POST", status="5xx"),),
        "broken-off": (
            _GOOD["canary-vllm"][0],
            _counter("vllm:request_success_total", model_name="m", finished_reason="error"),
            *_GOOD["canary-vllm"][2:],
        ),
        "first-token": (*_GOOD["canary-vllm"][:2], _GOOD["canary-vllm"][3]),
    },
    "canary-sglang": {
        "errors": (_counter("sglang:http_responses_total", endpoint="/v1/chat/completions", status_code="500"),),
        "first-token": (_GOOD["canary-sglang"][0], _GOOD["canary-sglang"][2]),
    },
    "canary-triton": {
        "errors": (_counter("nv_inference_request_failure", model="ranker", version="1", reason="BACKEND"),),
    },
    "canary-kserve": {
        "errors": (_counter("kn_serving_invocation_duration_seconds_count", http_response_status_code="500"),),
        "latency": (_GOOD["canary-kserve"][0], _GOOD["canary-kserve"][2]),
    },
}
"""And of one that is bad by a measure: it fails, or breaks off, or is slow."""
MEASURES = [(ruleset, measure) for ruleset, measures in _BAD.items() for measure in measures]
"""Each has a canary that is bad by this measure alone."""


def shipped() -> list[BoundRule]:
    """All shipped rules on canaries."""
    return list(load_rules([RULES / file for file in FILES], vocabulary()).rules)


def in_scene(bound: BoundRule, measure: str) -> BoundRule:
    """The rule in a namespace of its own, where it looks every second; all else is as it is shipped."""
    ruleset = f"{bound.ruleset}-{measure}"
    scope = Scope(namespaces=(f"{NAMESPACE}-{ruleset}",))
    rule = bound.rule.model_copy(update={"scope": scope})
    when = rule.when.model_copy(update={"canary": asked(bound).model_copy(update={"every": 1.0})})
    heal = tuple(s.model_copy(update={"verify": s.verify.model_copy(update={"stable": 0.3})}) for s in rule.heal)
    return replace(bound, ruleset=ruleset, rule=rule.model_copy(update={"when": when, "heal": heal}))


def asked(bound: BoundRule) -> Canary:
    """What a rule asks about its canary."""
    found = bound.rule.when.get(CANARY)
    assert found is not None
    return found


@dataclass
class CanaryScene:
    """The canary of a rule, beside its stable version. `failing`: the share of its requests that is bad by the measure."""

    lab: Lab
    bound: BoundRule
    shipped: str
    """The rule set as it is shipped."""
    measure: str
    failing: float = USUAL
    counts: dict[tuple[str, tuple[tuple[str, str], ...]], float] = field(default_factory=dict)

    @property
    def sides(self) -> tuple[str, str]:
        """The names of the Deployments: stable, canary."""
        found = asked(self.bound)
        return found.stable.workload.name, found.canary.workload.name

    @property
    def rule(self) -> str:
        """The rule, by its full name."""
        return self.bound.name

    @property
    def namespace(self) -> str:
        """Where nothing else is."""
        (namespace,) = self.bound.scope.namespaces
        return namespace

    @property
    def route(self) -> str:
        """The name of the route."""
        return asked(self.bound).route.name

    def manifests(self) -> list[Object]:
        """The Deployments, their Services, and the route."""
        made = [
            part
            for version, name in zip(("v1", "v2"), self.sides, strict=True)
            for part in serving(name, self.namespace, replicas=2, min_available=None, app=self.sides[0][:-3], version=version)
        ]
        route = asked(self.bound).route
        if route.kind == "Ingress":
            return [*made, *ingresses(self.namespace, weight=WEIGHT)]
        found = http_route(self.namespace, weight=WEIGHT)
        found["metadata"]["name"] = route.name
        for backend, name in zip(found["spec"]["rules"][0]["backendRefs"], self.sides, strict=True):
            backend["name"] = name
        return [*made, found]

    @property
    def weight(self) -> int:
        """The canary's share of the traffic, as the route has it."""
        route = asked(self.bound).route
        every = self.lab.objects(_ROUTES[route.kind], self.namespace)
        (found,) = [obj for obj in every if obj["metadata"]["name"] == route.name]
        if route.kind == "Ingress":
            return int(annotations_of(found)[_NGINX])
        return int(found["spec"]["rules"][0]["backendRefs"][1]["weight"])

    def answer(self) -> None:
        """Answer the requests until the next scrape, shared by the weights, and count them."""
        weight = self.weight
        every = [pod["metadata"]["name"] for pod in self.lab.objects("pods", self.namespace)]
        for name, share, failing in zip(self.sides, (100 - weight, weight), (USUAL, self.failing), strict=True):
            pods = [pod for pod in every if pod.startswith(f"{name}-")]
            for pod in pods:
                requests = _REQUESTS * share / 100 / len(pods)
                bad = {measure: failing if measure == self.measure else USUAL for measure in _BAD[self.shipped]}
                for counted in _GOOD[self.shipped]:
                    self._count(counted, pod, requests * (1 - sum(bad.values())))
                for measure, portion in bad.items():
                    for counted in _BAD[self.shipped][measure]:
                        self._count(counted, pod, requests * portion)

    def _count(self, counted: Counted, pod: str, times: float) -> None:
        name, labels = counted
        series = name, tuple(sorted({**labels, "namespace": self.namespace, "pod": pod}.items()))
        self.counts[series] = self.counts.get(series, 0.0) + times

    def lines(self) -> Iterator[str]:
        """What it has counted, in the text format of Prometheus."""
        for (name, labels), value in self.counts.items():
            inside = ",".join(f'{key}="{text}"' for key, text in labels)
            yield f"{name}{{{inside}}} {round(value)}"


class Exporter:
    """Shows what all canaries count, once it is `open`: before, Prometheus has no series of them."""

    def __init__(self, canaries: Sequence[CanaryScene]) -> None:
        self.open = False
        self.port = 0
        self._canaries = canaries

    async def answer(self, _: web.Request) -> web.Response:
        """A scrape."""
        if not self.open:
            return web.Response(text="")
        for canary in self._canaries:
            canary.answer()
        return web.Response(text="\n".join([*(line for each in self._canaries for line in each.lines()), ""]))

    def scraping(self) -> dict[str, Any]:
        """The configuration of a Prometheus in a hurry."""
        job = {"job_name": "serving", "static_configs": [{"targets": [f"127.0.0.1:{self.port}"]}]}
        return {"global": {"scrape_interval": "500ms", "scrape_timeout": "500ms"}, "scrape_configs": [job]}


@contextlib.asynccontextmanager
async def exporting(canaries: Sequence[CanaryScene]) -> AsyncIterator[Exporter]:
    """The exporter, on a free port."""
    exporter, app = Exporter(canaries), web.Application()
    app.router.add_get("/metrics", exporter.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        exporter.port = runner.addresses[0][1]
        yield exporter
    finally:
        await runner.cleanup()
