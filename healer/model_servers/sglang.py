"""SGLang: its health check generates a token, and its metrics (`--enable-metrics`) show whether the engine moves.

Source: python/sglang/srt/entrypoints/http_server.py (`/health` waits a second at least, and answers 503 after
SGLANG_HEALTH_CHECK_TIMEOUT, 20 s; also at once while it starts and while it shuts down), observability/metrics_collector.py and
scheduler_components/metrics_reporter.py: `sglang:realtime_tokens_total` counts with every batch, prefill and decode. Versions
before 0.5.10 or so count decoded tokens every 40 steps (`--decode-log-interval`).
"""

from collections.abc import Mapping, Sequence

from prometheus_client.samples import Sample

from healer.model_servers.base import ModelServer
from healer.model_servers.engines import STALLED, stuck_starting, unhealthy
from healer.model_servers.heartbeat import Beat, Heartbeat, by_engine
from healer.model_servers.status import ModelStatus, StatusCondition, StatusError

_RUNNING = "sglang:num_running_reqs"
_TOKENS = "sglang:realtime_tokens_total"
_MARKS = (_TOKENS, "sglang:token_usage", "sglang:generation_tokens_total", "sglang:prompt_tokens_total")


def parse(_: str, status: int, body: bytes) -> ModelStatus:
    """The answer of `GET /health`. Raises StatusError, also for the 503 with a text that a proxy sends while nothing listens."""
    if status not in (200, 503) or body.strip():
        raise StatusError(f"it answers {status}, which is not SGLang's own answer ({len(body)} bytes of text)")
    return ModelStatus(ready=status == 200, text=f"GET /health answers {status}")


def read(model: str, found: Sequence[Sample]) -> Mapping[str, Beat]:
    """The beats of its engines: one a data parallel rank. Raises StatusError."""
    return {name: _beat(name, by_name) for name, by_name in by_engine(model, found, ["dp_rank"]).items()}


def _beat(engine: str, found: Mapping[str, list[Sample]]) -> Beat:
    if _RUNNING not in found:
        raise StatusError(f"its metrics have no {_RUNNING} of {engine}: SGLang needs --enable-metrics")
    running = max(sample.value for sample in found[_RUNNING])  # the ranks of one engine have the same requests in work
    if running and _TOKENS not in found:
        raise StatusError(f"its metrics have no {_TOKENS} of {engine}: this version of SGLang counts no steps")
    return Beat(running, (running, *(sample.value for name in _MARKS for sample in found.get(name, ()))))


def paused(status: int, body: bytes) -> bool:
    """The answer of `GET /ready`, a flag that does not depend on whether the engine moves. Raises StatusError."""
    if status not in (200, 503):
        raise StatusError(f"GET /ready answers {status}")
    return status == 503


SGLANG = ModelServer(
    name="sglang",
    title="SGLang",
    port=30000,
    path=lambda model: "/health",
    parse=parse,
    conditions={
        "EngineStalled": STALLED,
        "EngineUnhealthy": StatusCondition(
            "`GET /health` answers 503 for longer than `stalled`, after 200 in the same process, and no engine makes a step",
            by_heartbeat=True,
            detect=unhealthy,
        ),
        "EngineStuckStarting": StatusCondition(
            "`GET /health` answers 503, or its port is closed, for longer than `loading`, in a process that was never ready",
            usual=False,
            detect=stuck_starting,
            starting=True,
        ),
    },
    timeout=25.0,
    loading=1800.0,
    heartbeat=Heartbeat(frozenset({_RUNNING, *_MARKS}), read, "/ready", paused),
)
