"""The benchmarks measure the real daemon, so that what it asks of an API server must be answered there too."""

import asyncio
import json
import os
import re
import sys

import pytest

from tests.benchmarks.report import Figure, Report
from tests.support.processes import PATIENCE


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="the benchmarks pin processes to cores, as Linux does")
async def test_a_daemon_gets_ready_on_the_stand_in_for_an_api_server() -> None:
    command = (sys.executable, "-m", "tests.benchmarks", "start", "-r", "1", "-o", "json")
    program = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
    async with asyncio.timeout(2 * PATIENCE):
        said, errors = await program.communicate()
    assert program.returncode == 0, errors.decode()
    assert "start to ready" in json.dumps(json.loads(said))


def test_a_part_that_is_measured_anew_leaves_the_others_on_the_page() -> None:
    """Each new one says when and where; a new part comes at its place, and what is no part at the end."""
    old = Report("one", "2026-01-01", 5, {"a": [Figure("x", "s", (1.0,))], "c": [Figure("y", "s", (2.0,))]}, "alone").markdown()
    new = Report("two", "2026-02-02", 3, {"b": [Figure("z", "s", (3.0,))], "c": [Figure("y", "s", (4.0,))]})
    page = new.into(old, ["a", "b", "c"])
    titles = re.findall(r"^## (.*)$", page, re.MULTILINE)
    assert titles == ["a", "b", "c", "The list-watch loop alone"]
    a, b, c, _ = re.split(r"^## .*$", page, flags=re.MULTILINE)[1:]
    assert ("| x | s | 1 | 1 | 1 |" in a, "Measured" in a) == (True, False)
    for section, row in ((b, "| z | s | 3 | 3 | 3 |"), (c, "| y | s | 4 | 4 | 4 |")):
        assert row in section
        assert "Measured on 2026-02-02, 3 runs: two." in section
    assert page.startswith(old.partition("\n## ")[0])
    assert new.into(page, ["a", "b", "c"]) == page
