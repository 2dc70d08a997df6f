"""The log: libraries' lines are as healer's own, nothing secret is in any, and no state of standard error stops who writes."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from healer.cli.stream import LogStream

pytestmark = pytest.mark.slow

PRELUDE = """
import asyncio, logging, sys, warnings
import structlog
from healer.settings.sections import Log
from healer.cli.logs import configure_logging
stream = configure_logging(Log(format="json"))
"""


def said(code: str, **how: Any) -> list[dict[str, Any]]:
    """The events that a program logs."""
    done = subprocess.run([sys.executable, "-c", PRELUDE + code], capture_output=True, text=True, timeout=60, check=True, **how)
    return [json.loads(line) for line in done.stderr.splitlines()]


def test_lines_of_libraries_are_events_too_and_redacted() -> None:
    """aiohttp's server logs the first line of a request that it cannot read; asyncio what a task died of."""
    events = said("""
logging.getLogger("aiohttp.server").error("Error handling request from %s: %r", "10.0.0.1", "GET /?access_token=hunter2hunter2")
try:
    raise ValueError("Authorization: Bearer hunter2hunter2")
except ValueError:
    logging.getLogger("asyncio").exception("Task exception was never retrieved\\ntoken: hunter2hunter2")
warnings.warn("password=hunter2hunter2", stacklevel=1)
logging.getLogger("urllib3").info("nobody needs this")
structlog.get_logger("healer").info("told", user="bob@example.com", api_key="whatever it is", nested=[{"password": "x y z"}])
""")
    assert [event.get("logger") for event in events] == ["aiohttp.server", "asyncio", "py.warnings", None]
    assert [event["level"] for event in events] == ["error", "error", "warning", "info"]
    assert events[1]["exception"][0]["exc_type"] == "ValueError"
    assert all("timestamp" in event for event in events)
    assert "hunter2" not in str(events)
    assert events[-1] == events[-1] | {"user": "[email]", "api_key": "[secret]", "nested": [{"password": "[secret]"}]}


def test_one_value_without_end_is_cut() -> None:
    (event,) = said("structlog.get_logger().info('got', body='x' * 450_000)")
    assert len(event["body"]) < 20_000


def test_a_program_whose_standard_error_is_closed_goes_on() -> None:
    """And what it opens later does not get the log."""
    code = (
        PRELUDE
        + """
import os, tempfile
file = tempfile.TemporaryFile()
structlog.get_logger().info("told")
logging.getLogger("asyncio").error("told")
file.seek(0)
print(file.read(), stream.dropped)
"""
    )
    command = f"exec {sys.executable} -c '{code.replace(chr(39), chr(34))}' 2>&-"
    done = subprocess.run(["/bin/sh", "-c", command], stdout=subprocess.PIPE, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "b'' 2"


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    for each in (reading, writing):
        try:
            os.close(each)
        except OSError:
            continue  # the test has closed it


def test_a_pipe_that_nobody_reads_holds_up_nobody_and_loses_only_what_is_too_much(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    stream = LogStream(writing, max_waiting=1_000_000)
    lines = [f"{number:08} {'x' * 90}\n" for number in range(20_000)]
    for line in lines:
        stream.write(line)
    taken = len(lines) - stream.dropped
    assert 10_000 <= taken < 12_000
    got = bytearray()
    while got.count(b"\n") < taken:
        got += os.read(reading, 65536)
    assert stream.drain(60)
    assert got.decode().splitlines(keepends=True) == lines[:taken]
    stream.write("and on\n")
    assert os.read(reading, 100) == b"and on\n"


def test_a_pipe_whose_reader_has_gone_drops_and_counts(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    os.close(reading)
    stream = LogStream(writing)
    for _ in range(3):
        assert stream.write("two\nlines\n") == 10
    assert stream.dropped == 6


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full: Linux has it")
def test_a_full_disk_drops_and_counts() -> None:
    with open("/dev/full", "wb", buffering=0) as full:
        stream = LogStream(full.fileno())
        stream.write("told\n")
        assert stream.dropped == 1


def test_what_is_no_unicode_is_written_all_the_same(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    LogStream(writing).write("\ud800\n")
    assert os.read(reading, 100) == b"\\ud800\n"
