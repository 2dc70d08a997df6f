"""Incidents as traces of OpenTelemetry: spans for signal, decision, action and verification. An extra: healer[otel].

The spans are made from the history of an incident when it is closed, and sent over OTLP/HTTP: nothing is measured, and nothing
costs, before. The ids follow from the incident: exemplars of metrics name the trace before it is sent, and a trace that is sent
again is the same one.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from hashlib import blake2s
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from healer.model.incident import Entry, Incident, State
from healer.secret import SecretError, TokenFiles
from healer.section import PREFIX, Seconds
from healer.sinks.base import SinkMeters, SinkSettings
from healer.sinks.delivery import DeliverySink, Errand, MessageRefused
from healer.sinks.memory import Memory, ProcessMemory
from healer.sinks.post import Poster
from healer.sinks.site import Site
from healer.sinks.targets import Pace
from healer.sinks.words import milestone

_COLLECTOR = "otlp"
_PATH = "/v1/traces"
_HEADER = re.compile(r"([A-Za-z0-9!#$%&'*+.^_`|~-]+): *(\S.*)")
_PHASES = {
    State.OPEN: "decision",
    State.WAITING: "decision",
    State.ACTING: "action",
    State.VERIFYING: "verification",
    State.HEALED: "cooldown",
    State.ESCALATED: "human",
}
"""What goes on while an incident is in a state."""


class TracingSettings(SinkSettings):
    """Traces of incidents (`pip install 'healer[otel]'`)."""

    endpoint: str = Field("", pattern=r"^(https?://[^\s?@]+)?$")
    """The base URL of an OTLP/HTTP receiver, such as a collector: `http://otel-collector.monitoring:4318`. Without one, there are
    no traces."""
    headers_file: Path | None = None
    """A file with headers to send, one a line: `Authorization: Bearer ...`; read again when it changes."""
    ratio: float = Field(1.0, ge=0, le=1)
    """The share of the incidents that are traced."""
    ca_file: Path | None = None
    """A file with the certificates to trust there; empty: the system's."""
    timeout: Seconds = Field(10.0, gt=0)
    """Seconds for one trace."""
    backoff: Seconds = Field(1.0, gt=0)
    """The first wait after the receiver could not be reached; doubled each time ..."""
    backoff_most: Seconds = Field(60.0, gt=0)
    """... up to this."""
    reconsider: Seconds = Field(300.0, gt=0)
    """Before a trace that was refused is tried again; doubled each time, too."""
    capacity: int = Field(1000, gt=0)
    """Incidents that are remembered."""

    reaches_people: ClassVar = False

    @property
    def enabled(self) -> bool:
        """Whether there is a receiver."""
        return bool(self.endpoint)


@dataclass(frozen=True, slots=True)
class SpanPart:
    """A part of an incident in time, seconds since the epoch. `index` 0 is the whole; the others are its children."""

    index: int
    name: str
    start: float
    end: float
    attributes: Mapping[str, str | int]
    failed: bool = False


def parts(incident: Incident) -> Iterator[SpanPart]:
    """The parts of a closed incident."""
    since = min((sick.since for sick in incident.targets.values()), default=incident.opened_at)
    start = min(since, incident.opened_at)
    ended = incident.changed_at
    escalated = any(entry.state is State.ESCALATED for entry in incident.history)
    about: dict[str, str | int] = {
        "healer.incident": incident.id,
        "healer.rule": incident.rule,
        "healer.severity": incident.severity,
        "healer.mode": incident.mode,
        "healer.actions": len(incident.acted_at),
        "healer.milestone": milestone(incident).value,
        "k8s.namespace.name": incident.workload.namespace,
        f"k8s.{incident.workload.kind.lower()}.name": incident.workload.name,
    }
    yield SpanPart(0, f"incident {incident.rule}", start, ended, about, escalated)
    opened = incident.history[0].reason if incident.history else incident.reason
    yield SpanPart(1, "signal", start, incident.opened_at, {"healer.reason": opened.code, "healer.text": opened.text})
    for index, (phase, lines, end) in enumerate(_phases(incident.history, ended), 2):
        first, last = lines[0], lines[-1]
        said: dict[str, str | int] = {"healer.reason": last.reason.code, "healer.text": last.reason.text}
        if phase in ("action", "verification") and first.step is not None and first.step < len(incident.steps):
            said |= {"healer.step": first.step, "healer.action": incident.steps[first.step]}
        yield SpanPart(index, phase, first.at, end, said, phase == "human")


def _phases(history: tuple[Entry, ...], ended: float) -> Iterator[tuple[str, list[Entry], float]]:
    """The phases, each with its lines, and when it ended."""
    lines: list[Entry] = []
    for entry in history:
        phase = _PHASES.get(entry.state, "")
        if lines and _PHASES[lines[0].state] != phase:
            yield _PHASES[lines[0].state], lines, entry.at
            lines = []
        if phase:
            lines.append(entry)
    if lines:
        yield _PHASES[lines[0].state], lines, ended


def trace_id(incident: Incident, site: Site) -> int:
    """The id of an incident's trace."""
    return int.from_bytes(_hash(site.cluster, incident.workload.namespace, incident.id, size=16), "big")


class Sampler:
    """Which incidents are traced, and what exemplars say of them."""

    def __init__(self, settings: TracingSettings, site: Site) -> None:
        self._limit = settings.ratio * 2.0**64 if settings.enabled else 0.0
        self._site = site

    def traces(self, incident: Incident) -> bool:
        """Whether an incident is traced: always or never."""
        return self._limit > 0 and trace_id(incident, self._site) >> 64 < self._limit

    def exemplar(self, incident: Incident) -> dict[str, str] | None:
        """The labels of an exemplar; None when there is no trace."""
        return {"trace_id": f"{trace_id(incident, self._site):032x}"} if self.traces(incident) else None


def _hash(*words: str, size: int) -> bytes:
    return blake2s("\n".join(words).encode(), digest_size=size).digest()


class TracingSink(DeliverySink[Incident]):
    """Sends traces; see `Sink`. Raises ValueError when the libraries are not installed."""

    name = "tracing"

    def __init__(self, settings: TracingSettings, site: Site, meters: SinkMeters, memory: Memory) -> None:
        pace = Pace("", (), settings.backoff, settings.backoff_most, settings.reconsider, settings.capacity)
        super().__init__([_COLLECTOR], pace, meters, ProcessMemory())  # a closed incident changes no more: nothing to keep
        try:
            self._sdk: Any = import_module("opentelemetry.sdk.trace")
            self._api: Any = import_module("opentelemetry.trace")
            self._encode: Any = import_module("opentelemetry.exporter.otlp.proto.common.trace_encoder").encode_spans
            resources: Any = import_module("opentelemetry.sdk.resources")
        except ImportError as error:
            raise ValueError(
                f"{PREFIX}TRACING__ENDPOINT is set, and the libraries of OpenTelemetry are not installed: pip install "
                "'healer[otel]', or unset it"
            ) from error
        own = {"service.name": "healer", "service.version": version("healer")}
        self._resource = resources.Resource(own | ({"k8s.cluster.name": site.cluster} if site.cluster else {}))
        self._site = site
        self._sampler = Sampler(settings, site)
        self._url = settings.endpoint.rstrip("/").removesuffix(_PATH) + _PATH
        self._headers = None if settings.headers_file is None else TokenFiles(settings.headers_file)
        self._poster = Poster(settings.timeout, settings.ca_file)

    def connected(self) -> AbstractAsyncContextManager[object]:
        """A session for the receiver."""
        return self._poster

    async def check(self, channels: object) -> list[str]:
        """It has no addresses: the headers and the certificates alone may be missing."""
        return await self.problems(_COLLECTOR)

    async def problems(self, target: str) -> list[str]:
        """Headers that cannot be read."""
        try:
            self._read_headers()
        except SecretError as error:
            return [f"no trace is sent: {error}"]
        return self._poster.problems()

    def absent(self, target: str) -> str:
        """It has no addresses."""
        return f"traces have no address {target}"

    def errand(self, incident: Incident, target: str, told: Mapping[str, str]) -> Errand[Incident] | None:
        """The whole trace, once the incident is closed."""
        if told or incident.state is not State.CLOSED:
            return None
        return Errand(incident, {"told": "closed"})

    async def send(self, target: str, message: Incident) -> str:
        """Send a trace."""
        hint = f"look at {PREFIX}TRACING__ENDPOINT and the headers"
        try:
            headers = {"Content-Type": "application/x-protobuf"} | self._read_headers()
        except SecretError as error:
            raise MessageRefused(str(error), "write one header a line: NAME: VALUE") from error
        body = self._encode(self.spans(message)).SerializeToString()
        return str(await self._poster.post(self._url, body, headers, hint))

    def spans(self, incident: Incident) -> list[Any]:
        """The spans of a closed incident, the whole first."""
        trace = trace_id(incident, self._site)
        flags, codes = self._api.TraceFlags(self._api.TraceFlags.SAMPLED), self._api.StatusCode

        def context(index: int) -> Any:
            own = int.from_bytes(_hash(f"{trace:032x}", str(index), size=8), "big")
            return self._api.SpanContext(trace, own, is_remote=False, trace_flags=flags)

        return [
            self._sdk.ReadableSpan(
                part.name,
                context(part.index),
                parent=context(0) if part.index else None,
                resource=self._resource,
                attributes=dict(part.attributes),
                status=self._api.Status(codes.ERROR if part.failed else codes.UNSET),
                start_time=int(part.start * 1e9),
                end_time=int(max(part.start, part.end) * 1e9),
            )
            for part in parts(incident)
        ]

    def _targets_of(self, incident: Incident) -> list[str]:
        """Whomever its rule names."""
        return [_COLLECTOR] if self._sampler.traces(incident) else []

    def _read_headers(self) -> dict[str, str]:
        """Raises SecretError."""
        if self._headers is None:
            return {}
        found = {}
        for line in self._headers.read():
            header = _HEADER.fullmatch(line)
            if header is None:
                raise SecretError(f"a line of {self._headers.path} is no header")
            found[header[1]] = header[2]
        return found
