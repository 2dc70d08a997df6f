"""`healer run` that also reads stamps from standard input, as it reads the watch: times at which they were sent.

A stamp is 8 bytes, nanoseconds of the monotonic clock, which is one for all processes of a machine. At a stamp of 0 it prints how
late each stamp since the last one was read, in ms, as JSON.
"""

import asyncio
import json
import os
import struct
import sys
import time
from unittest.mock import patch

from healer.cli import main as cli
from healer.cluster.api import Api
from healer.daemon import Daemon


class _Stamped(Daemon):
    async def run(self, api: Api) -> None:
        late: list[float] = []

        def read() -> None:
            data = os.read(sys.stdin.fileno(), 8 * 1024)
            now = time.monotonic_ns()
            for (sent,) in struct.iter_unpack("q", data[: len(data) // 8 * 8]):
                if sent:
                    late.append((now - sent) / 1e6)
                else:
                    sys.stdout.write(json.dumps(late) + "\n")
                    sys.stdout.flush()
                    late.clear()

        asyncio.get_running_loop().add_reader(sys.stdin.fileno(), read)
        await super().run(api)


def main() -> None:
    """The verbs, with that daemon: `healer run` has no other door."""
    with patch("healer.cli.daemon.Daemon", _Stamped):
        cli()
