"""The heartbeat of an engine: whether it moves between two looks, read off the metrics of its own server.

A server answers its health check from another process than the engine's, so that the check passes while the engine hangs.
"""

import asyncio
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from math import isfinite

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from healer.model.text import body_text
from healer.model_servers.status import StatusError

_MOST_SAMPLES = 20_000
"""The most samples of an answer that are read."""
_LONGEST_LINE = 16_384
"""The most bytes of such a sample."""


@dataclass(frozen=True, slots=True)
class Beat:
    """What the metrics show of one engine. Two beats are equal when the engine did nothing between them."""

    running: float
    """Requests that the engine has in work."""
    marks: tuple[float, ...]
    """Values of which at least one changes with every step of the engine, and none without one."""
    awake: bool = True
    """Whether it is to serve: it was not put to sleep."""
    waiting: float | None = field(default=None, compare=False)
    """Requests that wait for the engine; None where its metrics do not say. They grow while it hangs, and so are no mark."""

    @property
    def busy(self) -> bool:
        """Whether it has to move."""
        return self.awake and self.running > 0

    @property
    def idle(self) -> bool:
        """Whether it is known to have nothing to do, and could have."""
        return self.awake and self.running == 0 and self.waiting == 0


Beats = Mapping[str, Beat]
"""The beats of a server's engines, by name: data parallel ranks have one each."""


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """How a server's engines are observed."""

    names: frozenset[str]
    """The samples that are needed, as scraped."""
    read: Callable[[str, Sequence[Sample]], Beats]
    """Reads the beats of a model's engines off the samples. It may raise StatusError."""
    paused_path: str
    """A path that says whether somebody has paused the engine; a server that does not know it cannot be paused."""
    paused: Callable[[int, bytes], bool]
    """Reads its answer, by the HTTP status and the body. It raises StatusError."""
    path: str = "/metrics"


@dataclass(frozen=True, slots=True)
class Standstill:
    """A beat, and since when it is the same (epoch, s). `moved`: another one was seen before it."""

    beat: Beat
    since: float
    moved: bool


def followed(before: Mapping[str, Standstill], beats: Beats, now: float) -> dict[str, Standstill]:
    """What is known of the engines after one more look. A counter that went back is another beat: a restart, no standstill."""
    after: dict[str, Standstill] = {}
    for engine, beat in beats.items():
        known = before.get(engine)
        after[engine] = known if known is not None and known.beat == beat else Standstill(beat, now, known is not None)
    return after


def _needed(body: bytes, names: frozenset[str]) -> Iterator[str]:
    """The lines of the samples with these names: the other thousands need no parser. Line by line, so that no single call into C
    holds the interpreter for long."""
    wanted = tuple(name.encode() for name in names)
    count = 0
    for line in BytesIO(body):
        if not line.startswith(wanted):
            continue
        count += 1
        if count > _MOST_SAMPLES:
            raise StatusError(f"its metrics have more than {_MOST_SAMPLES} samples of its engines")
        if len(line) > _LONGEST_LINE:
            raise StatusError(f"its metrics have a line longer than {_LONGEST_LINE} bytes")
        text = line.decode("utf-8")
        if re.split(r"[{\s]", text, maxsplit=1)[0] in names:
            yield text


def samples(status: int, body: bytes, names: frozenset[str]) -> list[Sample]:
    """The samples with these names in an answer in Prometheus' text format. Raises StatusError."""
    if status != 200:
        raise StatusError(f"its metrics cannot be read: it answers {status}: {_shown(body)}")
    try:
        families = text_string_to_metric_families("".join(_needed(body, names)))
        return [sample for family in families for sample in family.samples]
    except (ValueError, KeyError, IndexError, TypeError) as error:  # what prometheus_client raises for a line that is no sample
        raise StatusError(f"its metrics are not in Prometheus' text format ({error}): {_shown(body)}") from error


async def read_beats(heartbeat: Heartbeat, model: str, status: int, body: bytes) -> Beats:
    """The beats in an answer of the metrics, read off the loop. Raises StatusError."""
    return await asyncio.to_thread(lambda: heartbeat.read(model, samples(status, body, heartbeat.names)))


def by_engine(model: str, found: Iterable[Sample], ranks: Sequence[str]) -> dict[str, dict[str, list[Sample]]]:
    """The samples of a model, by engine and by their names. `ranks` are the labels that tell engines apart.

    Raises StatusError for metrics without that model, and for values that are no numbers.
    """
    engines: dict[str, dict[str, list[Sample]]] = {}
    models: set[str] = set()
    for sample in found:
        name = sample.labels.get("model_name", "")
        models.add(name)
        if name != model:
            continue
        if not isfinite(sample.value):
            raise StatusError(f"its metrics have the value {sample.value} of {sample.name}")
        rank = " ".join(f"{label} {sample.labels[label]}" for label in ranks if label in sample.labels)
        engines.setdefault(rank or "the engine", {}).setdefault(sample.name, []).append(sample)
    if not engines:
        known = ", ".join(sorted(models)) or "none"
        raise StatusError(f"its metrics know no model {model} (model_name: {known}); the rule's `name` is that of the metrics")
    return engines


def _shown(body: bytes) -> str:
    return " ".join(body_text(body, 200).split())
