"""The setup of a canary, for tests: the rule in a hurry, the route by each of three routers, and a Prometheus that scrapes it."""

import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from healer.lab.canary import CANARY, ROUTE, STABLE, http_route, ingresses, virtual_service
from healer.lab.objects import Object
from tests.support.traffic import METRICS, Version

_SERIES = 'namespace="{{ namespace }}", pod=~"{{ pods }}"'
ERRORS = {
    "name": "errors",
    "total": f':tensorflow:serving:request_count{{{_SERIES}, status!="INVALID_ARGUMENT"}}',
    "bad": f':tensorflow:serving:request_count{{{_SERIES}, status!~"OK|INVALID_ARGUMENT"}}',
}
LATENCY = {
    "name": "latency",
    "histogram": f":tensorflow:serving:request_latency_bucket{{{_SERIES}}}",
    "slowerThan": "200ms",
    "unit": "us",
}


def route(kind: str, namespace: str, weight: int) -> list[Object]:
    """The manifests of a route that gives the canary so many percent."""
    if kind == "Ingress":
        return ingresses(namespace, weight=weight)
    return [{"HTTPRoute": http_route, "VirtualService": virtual_service}[kind](namespace, weight=weight)]


def when(kind: str, *measures: Mapping[str, Any], every: str = "1s", hold: str = "30m") -> dict[str, Any]:
    """The trigger of a rule that judges the canary behind a route of that kind; by errors and latency unless told otherwise."""
    return {
        "canary": {
            "route": {"kind": kind, "name": ROUTE},
            "stable": {"deployment": STABLE},
            "canary": {"deployment": CANARY},
            "every": every,
            "hold": hold,
            "measures": list(measures or (ERRORS, LATENCY)),
        }
    }


def scraping(versions: Sequence[Version]) -> dict[str, Any]:
    """The configuration of a Prometheus in a hurry that scrapes the servers of these versions."""
    targets = [target for version in versions for target in version.targets()]
    return {
        "global": {"scrape_interval": "500ms", "scrape_timeout": "500ms"},
        "scrape_configs": [{"job_name": "tensorflow-serving", "metrics_path": METRICS, "static_configs": targets}],
    }


@contextmanager
def reserved() -> Iterator[str]:
    """An address for a server that dies and comes back: while it is away, nobody else is given its port.

    A socket is bound to it and does not listen: who asks for this very port with SO_REUSEADDR, as Go's servers do, gets it; who
    asks for any port does not.
    """
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{holder.getsockname()[1]}"
