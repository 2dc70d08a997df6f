"""Whether an engine moves: what its metrics show, and what follows from several looks. Without I/O."""

from typing import Any

import msgspec
import pytest
from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.samples import Sample

from healer.model.kube import Pod
from healer.model.signal import Signal
from healer.model_servers.heartbeat import Beat, Beats, Standstill, followed, read_beats, samples
from healer.model_servers.registry import SERVERS
from healer.model_servers.status import ModelStatus, StatusError
from healer.rules.triggers import MODEL
from healer.sources.model import ModelMemory
from tests.support.world import NAMESPACE, START, rule, rulebook

READY, UNREADY = ModelStatus(ready=True), ModelStatus(ready=False)
STALLED = 120.0


def memory(server: str = "vllm", *conditions: str, **more: Any) -> ModelMemory:
    when = {"model": {"name": "llm", "server": server, "conditions": list(conditions or ("EngineStalled",)), **more}}
    (bound,) = rulebook(rule("hang", when=when, heal=[{"page": {}}])).rules
    model = bound.rule.when.get(MODEL)
    assert model is not None
    return ModelMemory(bound.name, model, SERVERS[server])


def a_pod(restarts: int = 0) -> Pod:
    status = {"phase": "Running", "containerStatuses": [{"name": "c", "restartCount": restarts}]}
    return msgspec.convert({"metadata": {"name": "llm-1", "namespace": NAMESPACE, "uid": "pod-1"}, "status": status}, Pod)


def beat(steps: float, running: float = 2, *, awake: bool = True) -> Beats:
    return {"engine 0": Beat(running, (running, steps), awake)}


def told(looks: ModelMemory, at: float, beats: Beats | str, status: ModelStatus = READY, restarts: int = 0) -> list[str]:
    """Of one look: + for what fires, - for what is resolved, ? for what is unclear."""
    signals: list[Signal] = looks.answered(a_pod(restarts), status, START + at, beats)
    doubts, _ = looks.doubts(a_pod(restarts))
    known = [f"{'+' if signal.firing else '-'}{signal.name}" for signal in signals]
    return known + [f"?{key.rpartition('/')[2]}" for doubt in doubts for key in doubt.keys or ()]


def test_a_standstill_needs_two_looks_that_far_apart() -> None:
    looks = memory()
    assert [told(looks, at, beat(7)) for at in (0, 60, STALLED, STALLED + 1)] == [
        ["?EngineStalled"],
        ["?EngineStalled"],
        ["?EngineStalled"],
        ["+EngineStalled"],
    ]
    assert told(looks, 300, beat(8)) == ["-EngineStalled"], "a step"


def test_one_look_however_late_is_none() -> None:
    assert told(memory(), 10_000, beat(7)) == ["?EngineStalled"]


def test_a_step_at_any_look_begins_anew() -> None:
    looks = memory()
    assert told(looks, 0, beat(7)) == ["?EngineStalled"]
    assert told(looks, 100, beat(8)) == ["-EngineStalled"]
    assert told(looks, 200, beat(8)) == ["?EngineStalled"]
    assert told(looks, 221, beat(8)) == ["+EngineStalled"]


@pytest.mark.parametrize("beats", [beat(7, running=0), beat(7, awake=False)], ids=["idle", "asleep"])
def test_an_engine_that_has_not_to_move_is_well(beats: Beats) -> None:
    looks = memory()
    assert told(looks, 0, beats) == ["-EngineStalled"]
    assert told(looks, 1000, beats) == []


def test_a_restart_is_no_standstill() -> None:
    """Neither a counter that went back, nor the same value in another process."""
    looks = memory()
    assert told(looks, 0, beat(500)) == ["?EngineStalled"]
    assert told(looks, 130, beat(3)) == ["-EngineStalled"]
    assert told(looks, 300, beat(3), restarts=1) == ["?EngineStalled"]


def test_metrics_that_cannot_be_read_end_nothing_and_forget_nothing() -> None:
    looks = memory()
    told(looks, 0, beat(7))
    assert told(looks, 130, beat(7)) == ["+EngineStalled"]
    assert told(looks, 160, "no answer") == ["?EngineStalled"]
    assert looks.doubts(a_pod())[1] == "", "told once"
    assert told(looks, 190, beat(7)) == ["+EngineStalled"]


def test_one_engine_of_several_is_enough() -> None:
    looks = memory()
    for at, steps in ((0, 1), (130, 2)):
        last = told(looks, at, {"engine 0": Beat(2, (steps,)), "engine 1": Beat(1, (9,))})
    assert last == ["+EngineStalled"]


def test_followed_keeps_the_time_of_the_first_equal_beat() -> None:
    one = followed({}, beat(1), 10)
    two = followed(one, beat(1), 20)
    three = followed(two, {**beat(2), "engine 1": Beat(0, ())}, 30)
    assert two == {"engine 0": Standstill(beat(1)["engine 0"], 10, moved=False)}
    assert three["engine 0"] == Standstill(beat(2)["engine 0"], 30, moved=True)
    assert three["engine 1"].moved is False


def test_a_health_check_that_fails_while_starting_is_no_sickness_and_one_that_failed_later_is() -> None:
    looks = memory("sglang", "EngineUnhealthy")
    idle = beat(7, running=0)
    assert told(looks, 0, idle, UNREADY) == ["?EngineUnhealthy"]
    assert told(looks, 1000, idle, UNREADY) == ["?EngineUnhealthy"], "it starts"
    assert told(looks, 1030, idle) == ["-EngineUnhealthy"]
    assert told(looks, 1060, idle, UNREADY) == ["?EngineUnhealthy"]
    assert told(looks, 1181, beat(8, running=0), UNREADY) == ["?EngineUnhealthy"], "it moves"
    assert told(looks, 1302, beat(8, running=0), UNREADY) == ["+EngineUnhealthy"]
    assert told(looks, 1330, idle, UNREADY, restarts=1) == ["?EngineUnhealthy"], "a new process starts"


def test_a_start_that_takes_too_long() -> None:
    looks = memory("sglang", "EngineStuckStarting", loading="10m")
    assert [told(looks, at, "", UNREADY) for at in (0, 600, 601)] == [
        ["?EngineStuckStarting"],
        ["?EngineStuckStarting"],
        ["+EngineStuckStarting"],
    ]
    assert told(looks, 630, "") == ["-EngineStuckStarting"]


# the metrics

VLLM = SERVERS["vllm"].heartbeat
SGLANG = SERVERS["sglang"].heartbeat
assert VLLM is not None
assert SGLANG is not None
LINES = """\
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="llm"} 3.0
vllm:num_requests_running{engine="1",model_name="llm"} 0.0
vllm:kv_cache_usage_perc{engine="0",model_name="llm"} 0.25
vllm:iteration_tokens_total_bucket{engine="0",le="1.0",model_name="llm"} 1.0
vllm:iteration_tokens_total_count{engine="0",model_name="llm"} 1.2e+06
vllm:iteration_tokens_total_count{engine="1",model_name="llm"} 5.0
vllm:engine_sleep_state{engine="0",model_name="llm",sleep_state="awake"} 1.0
vllm:engine_sleep_state{engine="1",model_name="llm",sleep_state="awake"} 0.0
"""


def found(text: str) -> list[Sample]:
    assert VLLM is not None
    return samples(200, text.encode(), VLLM.names)


def test_the_engines_of_vllm() -> None:
    assert VLLM is not None
    beats = VLLM.read("llm", found(LINES))
    assert {name: (one.running, one.awake, one.busy) for name, one in beats.items()} == {
        "engine 0": (3.0, True, True),
        "engine 1": (0.0, False, False),
    }
    assert beats["engine 0"] != VLLM.read("llm", found(LINES.replace("0.25", "0.26")))["engine 0"], "a step without an output"
    assert beats["engine 0"] != VLLM.read("llm", found(LINES.replace("1.2e+06", "1200001")))["engine 0"]
    assert beats == VLLM.read("llm", found(LINES + 'vllm:num_requests_waiting{engine="0",model_name="llm"} 900\n')), "no sign"


def test_the_ranks_of_sglang_are_one_engine_but_for_data_parallel_ones() -> None:
    assert SGLANG is not None
    text = "".join(
        f'sglang:num_running_reqs{{dp_rank="{dp}",model_name="llm",tp_rank="{tp}"}} {dp}\n'
        f'sglang:realtime_tokens_total{{dp_rank="{dp}",mode="decode",model_name="llm",tp_rank="{tp}"}} 7\n'
        for dp in (0, 1)
        for tp in (0, 1)
    )
    beats = SGLANG.read("llm", samples(200, text.encode(), SGLANG.names))
    assert {name: one.running for name, one in beats.items()} == {"dp_rank 0": 0.0, "dp_rank 1": 1.0}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "its metrics know no model llm (model_name: none)"),
        (LINES.replace('"llm"', '"other"'), "its metrics know no model llm (model_name: other)"),
        (LINES.replace(" 3.0", " NaN"), "its metrics have the value nan of vllm:num_requests_running"),
        (LINES.replace("vllm:iteration", "vllm:renamed"), "its metrics have no vllm:iteration_tokens_total_count of engine"),
        (LINES.replace("1.2e+06", "many"), "not in Prometheus' text format"),
        (LINES.replace('{engine="0",model_name="llm"} 3.0', "{engine="), "not in Prometheus' text format"),
    ],
)
def test_metrics_that_do_not_say_it(text: str, why: str) -> None:
    assert VLLM is not None
    with pytest.raises(StatusError) as error:
        VLLM.read("llm", found(text))
    assert why in str(error.value)


@pytest.mark.parametrize(
    ("status", "body", "why"),
    [(302, b"", "it answers 302"), (200, b"x \xff\xfe", "text format"), (404, b"<html>no</html>", "404: <html>no</html>")],
)
def test_an_answer_that_is_no_metrics(status: int, body: bytes, why: str) -> None:
    with pytest.raises(StatusError, match=why):
        samples(status, body, frozenset({"x"}))


def test_only_what_is_needed_is_parsed_and_no_more_than_a_bound() -> None:
    assert [one.name for one in samples(200, b"a_b 1\na 2\nb{ no metrics\n# a 3\n", frozenset({"a"}))] == ["a"]
    with pytest.raises(StatusError, match="more than 20000 samples"):
        samples(200, b"a 1\n" * 20_001, frozenset({"a"}))
    with pytest.raises(StatusError, match="a line longer than 16384 bytes"):
        samples(200, b'a{b="' + b"x" * 16_384 + b'"} 1\n', frozenset({"a"}))


async def test_what_prometheus_client_writes_is_read() -> None:
    """The metrics of the servers are made by it: escaped labels and exponents come back as they were."""
    assert SGLANG is not None
    registry, name = CollectorRegistry(), 'a "quoted"\\model'
    tokens = Counter("sglang:realtime_tokens", "Tokens", ["model_name", "mode"], registry=registry)
    tokens.labels(model_name=name, mode="decode").inc(1.5e9)
    running = Counter("sglang:num_running_reqs", "As no gauge", ["model_name"], registry=registry)
    running.labels(model_name=name).inc(4)
    body = generate_latest(registry).replace(b"num_running_reqs_total", b"num_running_reqs")
    assert await read_beats(SGLANG, name, 200, body) == {"the engine": Beat(4.0, (4.0, 1.5e9))}
