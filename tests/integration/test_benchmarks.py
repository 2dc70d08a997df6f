"""The benchmarks measure the real daemon, so that what it asks of an API server must be answered there too."""

import asyncio
import json
import os
import sys

import pytest

from tests.support.processes import PATIENCE


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="the benchmarks pin processes to cores, as Linux does")
async def test_a_daemon_gets_ready_on_the_stand_in_for_an_api_server() -> None:
    command = (sys.executable, "-m", "tests.benchmarks", "start", "-r", "1", "-o", "json")
    program = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
    async with asyncio.timeout(2 * PATIENCE):
        said, errors = await program.communicate()
    assert program.returncode == 0, errors.decode()
    assert "start to ready" in json.dumps(json.loads(said))
