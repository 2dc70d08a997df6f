"""The record of a daemon from its start to its end: the writer's thread, and what its metrics say."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import structlog
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from healer.clock import Clock
from healer.daemon.recording.writer import RecordCounts, RecordWriter
from healer.section import PREFIX
from healer.settings import SettingsError
from healer.settings.sections import RecordSettings

_END = 5.0
"""Seconds for what waits to be written at the end."""


def record_writer(settings: RecordSettings, clock: Clock, metrics: CollectorRegistry) -> RecordWriter | None:
    """The writer; None where nothing is to be recorded. Raises SettingsError when the folder cannot be written."""
    if settings.folder is None:
        return None
    try:
        writer = RecordWriter(settings.folder, settings, clock)
    except OSError as error:
        raise SettingsError(f"{PREFIX}RECORD__FOLDER: nothing can be written in {settings.folder}: {error.strerror}") from error
    metrics.register(_RecordCollector(writer.counts))
    return writer


@asynccontextmanager
async def writing(writer: RecordWriter | None) -> AsyncIterator[None]:
    """The thread from entry to exit."""
    if writer is None:
        yield
        return
    writer.start()
    log = structlog.get_logger("healer.record")
    log.info("the record waits until this replica leads: only the leader records", folder=str(writer.folder))
    try:
        yield
    finally:
        if not await asyncio.to_thread(writer.stop, _END):
            log.warning("the end of the record is not written: the disk does not answer")


class _RecordCollector(Collector):
    """What the record has done."""

    def __init__(self, counts: RecordCounts) -> None:
        self._counts = counts

    def collect(self) -> Iterable[Metric]:
        counts = self._counts
        lines = CounterMetricFamily(
            "healer_record_lines",
            "Lines of the record, by what became of them: written, dropped because it could not keep up, or refused by the disk.",
            labels=["outcome"],
        )
        for outcome, count in (("written", counts.written), ("dropped", counts.overtaken), ("refused", counts.refused)):
            lines.add_metric([outcome], count)
        yield lines
        yield GaugeMetricFamily("healer_record_bytes", "Bytes of all files of the record.", value=counts.size)
