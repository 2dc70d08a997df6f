"""Traces: what a receiver of OTLP/HTTP gets of an incident, and the exemplars that name its trace."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.exposition import generate_latest
from structlog.testing import capture_logs

from healer.daemon.metrics import Metrics
from healer.model.incident import State
from healer.sinks.base import SinkMeters
from healer.sinks.registry import SINKS, build, wanted
from healer.sinks.site import Site
from healer.sinks.tracing import Sampler, TracingSettings, trace_id
from tests.support.receiver import Posting, Receiver, Reply
from tests.unit.sinks.benches import SITE, SinkBench, bad_canary, crash_loop, escalated
from tests.unit.sinks.incidents import then


@pytest.fixture
async def there() -> AsyncIterator[Receiver]:
    async with Receiver() as server:
        yield server


def bench(server: Receiver, **settings: Any) -> SinkBench:
    return SinkBench("tracing", **{"endpoint": server.url} | settings)


def read(posting: Posting) -> tuple[dict[str, str], list[Span]]:
    """The resource's attributes, and the spans."""
    request = ExportTraceServiceRequest.FromString(posting.body)
    (resource,) = request.resource_spans
    (scope,) = resource.scope_spans
    return {each.key: each.value.string_value for each in resource.resource.attributes}, list(scope.spans)


def attributes(span: Span) -> dict[str, Any]:
    return {each.key: each.value.string_value or each.value.int_value for each in span.attributes}


def seconds(span: Span) -> tuple[float, float]:
    return span.start_time_unix_nano / 1e9, span.end_time_unix_nano / 1e9


async def test_a_healed_incident_is_one_trace_from_signal_to_verification(there: Receiver) -> None:
    tracing, life = bench(there), crash_loop()
    async with tracing.running():
        await tracing.told(*life[:-1])
        assert there.came == [], "before it is closed nothing is sent"
        await tracing.told(life[-1], life[-1])
    (posting,) = there.taken
    assert (posting.path, posting.headers["Content-Type"]) == ("/v1/traces", "application/x-protobuf")
    resource, spans = read(posting)
    assert (resource["service.name"], resource["k8s.cluster.name"]) == ("healer", "prod-eu-1")
    whole, *children = spans
    assert [(span.name, *seconds(span)) for span in spans] == [
        ("incident tensorflow-serving/crash-loop", 990.0, 1004.0),
        ("signal", 990.0, 1000.0),
        ("decision", 1000.0, 1001.0),
        ("action", 1001.0, 1002.0),
        ("verification", 1002.0, 1003.0),
        ("cooldown", 1003.0, 1004.0),
    ]
    assert {span.trace_id for span in spans} == {trace_id(life[0], SITE).to_bytes(16, "big")}
    assert {span.parent_span_id for span in children} == {whole.span_id}
    assert whole.parent_span_id == b""
    assert len({span.span_id for span in spans}) == len(spans)
    said = attributes(whole)
    assert (said["healer.incident"], said["healer.severity"], said["healer.actions"]) == ("crash-loop-1", "critical", 1)
    assert (said["k8s.namespace.name"], said["k8s.deployment.name"]) == ("production", "tensorflow-serving")
    assert attributes(children[0])["healer.text"] == "CrashLoopBackOff for 2 min"
    assert attributes(children[2]) == {
        "healer.reason": "Because",
        "healer.text": "nothing speaks against it: evict pod/tensorflow-serving-7b5b8c9d4-xyz12",
        "healer.action": "evict",
        "healer.step": 0,
    }
    assert {span.status.code for span in spans} == {Status.STATUS_CODE_UNSET}


async def test_what_needed_a_human_is_an_error(there: Receiver) -> None:
    tracing = bench(there)
    async with tracing.running():
        await tracing.told(then(escalated(), State.CLOSED, "all signals are gone after the escalation"))
    _, spans = read(there.taken[0])
    assert [span.name for span in spans if span.status.code == Status.STATUS_CODE_ERROR] == [
        "incident tensorflow-serving/crash-loop",
        "human",
    ]


async def test_a_trace_that_is_sent_again_is_the_same(there: Receiver) -> None:
    tracing = bench(there)
    there.next(Reply(503, "busy"), Reply(cuts=True))
    async with tracing.running():
        await tracing.told(bad_canary()[-1])
    ids = [[(span.trace_id, span.span_id) for span in read(posting)[1]] for posting in there.came]
    assert len(ids) == 3
    assert ids[0] == ids[1] == ids[2]


async def test_a_share_is_traced_and_whoever_a_rule_names(there: Receiver) -> None:
    """An incident always or never: the exemplars name those traces that there are."""
    tracing, sampler = bench(there, ratio=0.3), Sampler(TracingSettings(endpoint=there.url, ratio=0.3), SITE)
    closed = [crash_loop("#ml", name=f"case-{number}")[-1] for number in range(200)]
    async with tracing.running():
        await tracing.told(*closed)
    sent = {read(posting)[1][0].trace_id for posting in there.taken}
    assert sent == {bytes.fromhex(found["trace_id"]) for each in closed if (found := sampler.exemplar(each)) is not None}
    assert 30 <= len(sent) <= 90


async def test_headers_come_from_a_file_and_a_refusal_is_said_without_them(there: Receiver, tmp_path: Path) -> None:
    (tmp_path / "headers").write_text("Authorization: Bearer hush\nX-Scope-OrgID: ml\n")
    tracing = bench(there, headers_file=tmp_path / "headers")
    there.next(Reply(401, "who are you"))
    async with tracing.running():
        with capture_logs() as logs:
            tracing.sink.tell(crash_loop()[-1])
            await tracing.settled()
    assert [posting.headers["Authorization"] for posting in there.came] == ["Bearer hush"] * 2
    assert there.taken[0].headers["X-Scope-OrgID"] == "ml"
    (said,) = [line["problem"] for line in logs if line["event"] == "a message is not taken"]
    assert said == "HTTP 401 who are you: look at HEALER_TRACING__ENDPOINT and the headers"
    (tmp_path / "headers").write_text("no header\n")
    (problem,) = await tracing.sink.check({"#ml"})
    assert "a line of" in problem


async def test_it_is_told_of_every_incident_and_is_nobody_who_is_reached(there: Receiver) -> None:
    sinks = build({"tracing": {"endpoint": there.url}}, SinkMeters(CollectorRegistry()))
    assert not sinks.reach_people
    assert await sinks.check(["#ml", "pagerduty:ml"]) == []


def test_it_is_off_by_default() -> None:
    assert "tracing" not in wanted({name: sink.settings() for name, sink in SINKS.items()})


def test_without_the_extra_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(ValueError, match=r"are not installed: pip install 'healer\[otel\]'"):
        SinkBench("tracing", endpoint="http://localhost:4318")


def shown(metrics: Metrics) -> list[str]:
    """The lines with an exemplar, as Prometheus scrapes them."""
    text: bytes = generate_latest(metrics.registry)  # type: ignore[no-untyped-call]
    return [line for line in text.decode().splitlines() if " # {" in line]


def test_the_histograms_name_the_trace() -> None:
    metrics, life = Metrics(), crash_loop()
    metrics.traced(Sampler(TracingSettings(endpoint="http://x"), Site()).exemplar)
    metrics.reaction(0.02, life[0])
    for snapshot in life:
        metrics.incident(snapshot)
    trace = f'# {{trace_id="{trace_id(life[0], Site()):032x}"}}'
    lines = shown(metrics)
    assert [line.partition("{")[0] for line in lines] == ["healer_reaction_seconds_bucket", "healer_time_to_heal_seconds_bucket"]
    assert all(trace in line for line in lines)


@pytest.mark.parametrize("settings", [TracingSettings(), TracingSettings(endpoint="http://x", ratio=0)])
def test_without_traces_there_are_no_exemplars(settings: TracingSettings) -> None:
    metrics = Metrics()
    metrics.traced(Sampler(settings, Site()).exemplar)
    metrics.reaction(0.02, crash_loop()[0])
    assert shown(metrics) == []
