"""Logging: the lines of healer and of libraries in one format, redacted, on standard error."""

import logging
import os
import sys

import structlog

from healer.cli.stream import LogStream
from healer.cli.terminal import TerminalRenderer
from healer.model.redact import redact_event
from healer.settings.sections import Log


def configure_logging(log: Log) -> LogStream:
    """Configure structured logs on standard error: text on a terminal, otherwise JSON lines. Returns the stream of the lines.

    Warnings and errors of libraries (aiohttp, asyncio, slack_sdk, apscheduler, urllib3) are logged in the same way.
    """
    if sys.stderr is None:
        os.open(os.devnull, os.O_WRONLY)  # otherwise the next socket would get number 2, and receive what is written to it
    stream = LogStream(None if sys.stderr is None else sys.stderr.fileno())
    level = logging.getLevelNamesMapping()[log.level.upper()]
    pretty = log.format == "console" or (log.format == "auto" and stream.isatty())
    first: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
    ]
    last = _renderers(stream, pretty=pretty)
    structlog.configure(
        processors=[*first, *last],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(stream),  # type: ignore[arg-type]  # it writes and flushes
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*first, _add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    logging.basicConfig(level=max(level, logging.WARNING), handlers=[handler], force=True)
    logging.captureWarnings(True)
    logging.raiseExceptions = False  # a line that cannot be formatted is dropped
    return stream


def _renderers(stream: LogStream, *, pretty: bool) -> list[structlog.types.Processor]:
    """The processors that turn an event into a line. Tracebacks are rendered before redaction, because they contain messages."""
    clock = structlog.processors.TimeStamper(fmt="iso", utc=True)
    if pretty:
        colours = stream.isatty() and "NO_COLOR" not in os.environ
        return [structlog.processors.ExceptionRenderer(), redact_event, clock, TerminalRenderer(colours=colours)]
    tracebacks = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)  # no locals: they hold tokens
    return [structlog.processors.ExceptionRenderer(tracebacks), redact_event, clock, structlog.processors.JSONRenderer()]


def _add_logger_name(_logger: object, _method: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
    """Add the name of the library's logger to an event."""
    event["logger"] = event["_record"].name
    return event
