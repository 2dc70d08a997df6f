"""The series that the pods of a scenario have in the modelled Prometheus: those of their model server, by its own names.

What a server counts is modelled: each request that reaches a pod is counted, as answered or as failed, and with its time.
"""

from collections.abc import Mapping
from dataclasses import dataclass

OK, BAD = "ok", "bad"
"""What a counter counts: requests that were answered, and requests that failed."""


@dataclass(frozen=True, slots=True)
class ServerCounter:
    """A counter of a server. `late`: it has no series before the first request that it counts, as labels of codes usually."""

    metric: str
    labels: Mapping[str, str]
    counts: str
    late: bool = False


@dataclass(frozen=True, slots=True)
class ServerHistogram:
    """The buckets of a histogram of the times of requests. `scale`: so many of its unit make a second. `all`: failed requests
    have a time, too."""

    metric: str
    labels: Mapping[str, str]
    edges: tuple[float, ...]
    scale: float = 1.0
    all: bool = False


@dataclass(frozen=True, slots=True)
class ExposedServer:
    """What a server exposes."""

    counters: tuple[ServerCounter, ...]
    histogram: ServerHistogram | None = None


_MODEL = {"model_name": "model"}
_SECONDS = (0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
_VLLM = (0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
_SGLANG = (0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 2.0, 4.0, 6.0, 8.0, 10.0, 20.0)
_TENSORFLOW = tuple(10 * 1.8**power for power in range(10, 27))
"""Its edges, in microseconds, from 3.6 ms to 43 s."""

SERVERS: Mapping[str, ExposedServer] = {
    "kserve": ExposedServer(
        (
            ServerCounter("kn_serving_invocation_duration_seconds_count", {"http_response_status_code": "200"}, OK),
            ServerCounter("kn_serving_invocation_duration_seconds_count", {"http_response_status_code": "500"}, BAD, late=True),
        ),
        ServerHistogram("request_predict_seconds_bucket", _MODEL, _SECONDS),
    ),
    "sglang": ExposedServer(
        (
            ServerCounter("sglang:http_responses_total", {"endpoint": "/generate", "status_code": "200"}, OK),
            ServerCounter("sglang:http_responses_total", {"endpoint": "/generate", "status_code": "500"}, BAD, late=True),
        ),
        ServerHistogram("sglang:time_to_first_token_seconds_bucket", _MODEL, _SGLANG),
    ),
    "tensorflow-serving": ExposedServer(
        (
            ServerCounter(":tensorflow:serving:request_count", {**_MODEL, "status": "OK"}, OK),
            ServerCounter(":tensorflow:serving:request_count", {**_MODEL, "status": "INTERNAL"}, BAD, late=True),
        ),
        ServerHistogram(":tensorflow:serving:request_latency_bucket", _MODEL, _TENSORFLOW, scale=1e6),
    ),
    "triton": ExposedServer(
        (
            ServerCounter("nv_inference_request_success", {"model": "model", "version": "1"}, OK),
            ServerCounter("nv_inference_request_failure", {"model": "model", "version": "1", "reason": "BACKEND"}, BAD),
        ),
    ),
    "vllm": ExposedServer(
        (
            ServerCounter("http_requests_total", {"handler": "/v1/chat/completions", "method": "POST", "status": "2xx"}, OK),
            ServerCounter(
                "http_requests_total", {"handler": "/v1/chat/completions", "method": "POST", "status": "5xx"}, BAD, late=True
            ),
            ServerCounter("vllm:request_success_total", {**_MODEL, "finished_reason": "stop"}, OK),
            ServerCounter("vllm:request_success_total", {**_MODEL, "finished_reason": "error"}, BAD),
        ),
        ServerHistogram("vllm:time_to_first_token_seconds_bucket", _MODEL, _VLLM),
    ),
}
"""The model servers whose metrics are played, by name."""

POD_METRICS = ("up", "kube_pod_status_ready", "kube_pod_container_status_restarts_total")
"""Of each pod, whatever its server."""
WORKLOAD_METRICS = {
    "Deployment": ("kube_deployment_spec_replicas", "kube_deployment_status_replicas_ready"),
    "StatefulSet": ("kube_statefulset_replicas", "kube_statefulset_status_replicas_ready"),
    "DaemonSet": ("kube_daemonset_status_desired_number_scheduled", "kube_daemonset_status_number_ready"),
}
"""Of each workload, by its kind: how many pods it wants, and how many are ready."""


def names(servers: frozenset[str], kinds: frozenset[str]) -> frozenset[str]:
    """The metrics that there are with these servers and kinds of workloads."""
    found = {*POD_METRICS, *(name for kind in kinds for name in WORKLOAD_METRICS[kind])}
    for server in servers:
        found |= {each.metric for each in SERVERS[server].counters}
        if (histogram := SERVERS[server].histogram) is not None:
            found.add(histogram.metric)
    return frozenset(found)
