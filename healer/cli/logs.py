"""The log: one form for healer's own lines and for those of libraries, redacted, on standard error."""

import logging
import os
import sys

import structlog

from healer.cli.stream import LogStream
from healer.cli.terminal import TerminalRenderer
from healer.model.redact import redact_event
from healer.settings.sections import Log


def logs(log: Log) -> LogStream:
    """Structured logs on standard error: for people on a terminal, JSON lines elsewhere. Returns where the lines go.

    Lines of libraries (aiohttp, asyncio, slack_sdk, apscheduler, urllib3) take the same way; of these, warnings and worse.
    """
    if sys.stderr is None:
        os.open(os.devnull, os.O_WRONLY)  # else the next socket would get its number, and whatever writes there
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
    logging.raiseExceptions = False  # a line that cannot be formatted ends there
    return stream


def _renderers(stream: LogStream, *, pretty: bool) -> list[structlog.types.Processor]:
    """From an event to a line; redaction comes after tracebacks were rendered, which hold what was said."""
    clock = structlog.processors.TimeStamper(fmt="iso", utc=True)
    if pretty:
        colours = stream.isatty() and "NO_COLOR" not in os.environ
        return [structlog.processors.ExceptionRenderer(), redact_event, clock, TerminalRenderer(colours=colours)]
    tracebacks = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)  # no locals: they hold tokens
    return [structlog.processors.ExceptionRenderer(tracebacks), redact_event, clock, structlog.processors.JSONRenderer()]


def _add_logger_name(_logger: object, _method: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
    """Which library a line is from."""
    event["logger"] = event["_record"].name
    return event
