"""vLLM: its health check only tells a dead engine, so that a hang is found by the engine's steps.

Source: vllm/entrypoints/serve/instrumentator/health.py (503 with an empty body, on EngineDeadError alone), v1/metrics/loggers.py,
v1/engine/async_llm.py. A step without an output, as in the prefill of a long prompt, does not count in
`vllm:iteration_tokens_total_count`. But the scheduler sends its gauges with every step (v1/core/sched/scheduler.py), so that the
usage of the KV cache grows with it. Requests that wait are no sign: the queue grows while the engine hangs. The port is bound
before the engine is up, and nothing listens at it until then (entrypoints/openai/api_server.py): connections are refused.

A hang that begins while it has nothing to do leaves its gauges at zero: only a request shows it. `POST /v1/completions`
(entrypoints/openai/completion) is cancelled when its connection is closed (with_cancellation in entrypoints/utils.py); the header
X-data-parallel-rank names the engine (_get_data_parallel_rank). `GET /is_paused` (serve/dev/rlhf, in development mode only) asks
the engine as well (AsyncLLM.is_paused), and so is not answered while it hangs, nor while it loads weights.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import msgspec
from prometheus_client.samples import Sample

from healer.model_servers.base import ModelServer, TokenRequest
from healer.model_servers.engines import STALLED
from healer.model_servers.heartbeat import Beat, Heartbeat, by_engine
from healer.model_servers.status import ModelStatus, Observation, StatusCondition, StatusError, never_opened

_RUNNING = "vllm:num_requests_running"
_WAITING = "vllm:num_requests_waiting"
_STEPS = "vllm:iteration_tokens_total_count"
_SLEEP = "vllm:engine_sleep_state"
_MARKS = (
    _STEPS,
    "vllm:kv_cache_usage_perc",
    "vllm:gpu_cache_usage_perc",
    "vllm:prompt_tokens_total",
    "vllm:generation_tokens_total",
)
"""What changes with a step: counters of steps with an output, and the gauge that changes with steps without one."""


class _Paused(msgspec.Struct):
    is_paused: bool


def parse(_: str, status: int, body: bytes) -> ModelStatus:
    """The answer of `GET /health`. Raises StatusError, also for the 503 with a text that a proxy sends while nothing listens."""
    if status not in (200, 503) or body.strip():
        raise StatusError(f"it answers {status}, which is not vLLM's own answer ({len(body)} bytes of text)")
    return ModelStatus(ready=status == 200, text=f"GET /health answers {status}")


def read(model: str, found: Sequence[Sample]) -> Mapping[str, Beat]:
    """The beats of its engines. Raises StatusError."""
    return {name: _beat(name, by_name) for name, by_name in by_engine(model, found, ["engine"]).items()}


def _beat(engine: str, found: Mapping[str, list[Sample]]) -> Beat:
    if missing := [name for name in (_RUNNING, _STEPS) if name not in found]:
        raise StatusError(f"its metrics have no {' and no '.join(missing)} of {engine}")
    running = sum(sample.value for sample in found[_RUNNING])
    asleep = any(sample.labels.get("sleep_state") == "awake" and sample.value == 0 for sample in found.get(_SLEEP, ()))
    marks = (running, *(sample.value for name in _MARKS for sample in found.get(name, ())))
    waiting = sum(sample.value for sample in found[_WAITING]) if _WAITING in found else None
    return Beat(running, marks, awake=not asleep, waiting=waiting)


def paused(status: int, body: bytes) -> bool:
    """The answer of `GET /is_paused`. Raises StatusError."""
    try:
        if status != 200:
            raise StatusError(f"GET /is_paused answers {status}")
        return msgspec.json.decode(body, type=_Paused).is_paused
    except msgspec.MsgspecError as error:
        raise StatusError(f"the answer of GET /is_paused is not vLLM's ({error})") from error


def _one_token(model: str) -> Mapping[str, object]:
    return {"model": model, "prompt": "healer", "max_tokens": 1, "temperature": 0}


def _dead(seen: Observation) -> str | None:
    return None if seen.status.ready else f"the engine is dead ({seen.status})"


VLLM = ModelServer(
    name="vllm",
    title="vLLM",
    port=8000,
    path=lambda model: "/health",
    parse=parse,
    conditions={
        "EngineDead": StatusCondition("`GET /health` answers 503: the engine's process has ended", detect=_dead),
        "EngineStalled": replace(
            STALLED,
            meaning=f"{STALLED.meaning}; with `generate` also: it is idle, and does not generate a token when asked for one",
        ),
        "EngineStuckStarting": StatusCondition(
            "its port is closed for longer than `loading`, in a process that was never ready: the engine does not come up",
            usual=False,
            detect=never_opened,
            starting=True,
        ),
    },
    timeout=5.0,
    loading=1800.0,
    heartbeat=Heartbeat(frozenset({_RUNNING, _WAITING, _SLEEP, *_MARKS}), read, "/is_paused", paused),
    token=TokenRequest("/v1/completions", _one_token, rank_header="X-data-parallel-rank"),
)
