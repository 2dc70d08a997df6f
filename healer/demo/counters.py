"""TensorFlow Serving's metrics of the requests that it answers, with its names, labels, units and buckets.

Source: tensorflow_serving/servables/tensorflow/util.cc (request_count, request_latency) and util/prometheus_exporter.cc.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from itertools import accumulate
from typing import NamedTuple

REQUESTS = ":tensorflow:serving:request_count"
LATENCY = ":tensorflow:serving:request_latency"
EDGES = tuple(10 * 1.8**k for k in range(33))
"""Upper edges of the latency's buckets, in microseconds."""


class CounterSample(NamedTuple):
    """The value of one series at one time."""

    name: str
    labels: dict[str, str]
    value: float


class Counters:
    """The counters of one server, from 0. A status without requests has no series; without a success, latency has none."""

    def __init__(self, model: str = "model") -> None:
        self._model = model
        self._requests: Counter[str] = Counter()
        self._buckets = [0] * (len(EDGES) + 1)
        self._microseconds = 0.0

    def count(self, status: str, seconds: float, times: int = 1) -> None:
        """Count `times` requests answered with a status after `seconds`. Only successful requests count in the latency."""
        if times == 0:
            return
        self._requests[status] += times
        if status == "OK":
            self._buckets[bisect_left(EDGES, seconds * 1e6)] += times
            self._microseconds += seconds * 1e6 * times

    def samples(self) -> Iterator[CounterSample]:
        """The current value of every series."""
        for status, requests in self._requests.items():
            yield CounterSample(REQUESTS, {"model_name": self._model, "status": status}, requests)
        if succeeded := self._requests["OK"]:
            labels = {"model_name": self._model, "API": "Predict", "entrypoint": "REST"}
            for edge, within in zip((*EDGES, float("inf")), accumulate(self._buckets), strict=True):
                le = "+Inf" if edge == float("inf") else f"{edge:g}"
                yield CounterSample(f"{LATENCY}_bucket", {**labels, "le": le}, within)
            yield CounterSample(f"{LATENCY}_sum", labels, self._microseconds)
            yield CounterSample(f"{LATENCY}_count", labels, succeeded)
