"""The real things as child processes: `healer run` on its core, the API server on another."""

import contextlib
import http.client
import json
import re
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.benchmarks.machine import Child, Cores, Unmeasurable, process

MAIN = "from healer.cli import main; main()"
RULES = Path(__file__).parents[2] / "rules"
SENTINEL = """
apiVersion: healer.dev/v1alpha1
kind: RuleSet
metadata: {name: bench-sentinel}
spec:
  scope: {namespaces: [bench]}
  rules:
    - {name: failed, when: {pod: [Failed]}, heal: [{evict: {}}], mode: enforce}
"""
"""By the eviction that this rule asks for, the API server knows that all events before it were dealt with."""
_SAMPLE = re.compile(r"^(\w+)\{(.*)\} (\S+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class ApiServer:
    """The API server of apiserver.py."""

    port: int

    def ask(self, method: str, path: str) -> Any:
        """A request of the benchmark's own."""
        return json.loads(_request(self.port, method, path))


@dataclass(frozen=True, slots=True)
class Healer:
    """A daemon that is ready; `start` is how many seconds that took."""

    child: Child
    port: int
    start: float

    def counted(self, metric: str, **labels: str) -> float:
        """The sum of a metric's samples that have these labels."""
        text = _request(self.port, "GET", "/metrics").decode()
        wanted = [f'{name}="{value}"' for name, value in labels.items()]
        samples = _SAMPLE.findall(text)
        return sum(float(value) for name, held, value in samples if name == metric and all(w in held for w in wanted))


@contextlib.contextmanager
def api_server(cores: Cores, pods: int) -> Iterator[ApiServer]:
    """An API server that holds so many pods, and their workloads."""
    with process(cores.server, "-m", "tests.benchmarks.apiserver", str(pods)) as child:
        yield ApiServer(json.loads(child.said())["port"])


@contextlib.contextmanager
def healer(
    cores: Cores, api: ApiServer, further: str = "", *, main: str = MAIN, settings: Mapping[str, str] | None = None
) -> Iterator[Healer]:
    """The daemon with the rule pack, the sentinel's rule and `further` ones. Raises Unmeasurable when it does not get ready.

    `main` is the program that has its verbs; `settings` are further variables of its environment.
    """
    with tempfile.TemporaryDirectory() as folder:
        kubeconfig = write_kubeconfig(Path(folder), api)
        files = [RULES / "tensorflow-serving.yaml"]
        for name, text in (("sentinel", SENTINEL), ("further", further)):
            if text:
                files.append(Path(folder) / f"{name}.yaml")
                files[-1].write_text(text, "utf-8")
        named = [argument for file in files for argument in ("--rules", str(file))]
        environment = {"KUBECONFIG": str(kubeconfig), "HEALER_HTTP__PORT": "0", "HEALER_HTTP__HOST": "127.0.0.1"}
        environment["HEALER_HTTP__RATE_PER_MINUTE"] = "0"  # one client here stands for many
        # More is healed at once here than healer would ever dare: the limits on all of it are out of the way.
        for limit in ("BREAKER_INCIDENTS", "BUDGET_WORKLOAD", "BUDGET_NAMESPACE", "BUDGET_CLUSTER", "NODE_STORM_PODS"):
            environment[f"HEALER_LIMITS__{limit}"] = "1000000"
        environment |= settings or {}
        program = ["-c", main, "run", *named]
        with process(cores.measured, *program, environment=environment) as child:
            yield _ready(child)


def write_kubeconfig(folder: Path, api: ApiServer) -> Path:
    """A kubeconfig whose cluster is the API server."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "bench",
        "clusters": [{"name": "bench", "cluster": {"server": f"http://127.0.0.1:{api.port}"}}],
        "users": [{"name": "bench", "user": {}}],
        "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": "bench"}}],
    }
    path = folder / "kubeconfig"
    path.write_text(yaml.safe_dump(config), "utf-8")
    return path


def _ready(child: Child) -> Healer:
    """Wait for the daemon's own word; its log is looked at every 2 ms."""
    while time.monotonic() < child.begun + 60:
        text = child.log.read_text("utf-8", "replace")
        found = next((line for line in text.splitlines(keepends=True) if "healer is ready" in line and line.endswith("\n")), None)
        if found is not None:
            return Healer(child, json.loads(found)["port"], time.monotonic() - child.begun)
        if child.running.poll() is not None:
            break
        time.sleep(0.002)
    raise Unmeasurable(f"healer does not get ready: {child.tail()}")


def _request(port: int, method: str, path: str) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=310)
    with contextlib.closing(connection):
        connection.request(method, path)
        answer = connection.getresponse()
        body = answer.read()
    if answer.status != 200:
        raise Unmeasurable(f"{method} {path}: {answer.status} {body[:200]!r}")
    return body
