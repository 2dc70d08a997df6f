"""A replica that does nothing but lead, as a process: `python -m tests.faults.candidate KUBECONFIG IDENTITY SETTINGS`.

Prints what befalls it as lines of JSON, each with the time in seconds by CLOCK_MONOTONIC, which all processes share.
SIGTERM ends it.
"""

import asyncio
import json
import signal
import sys
import time
from collections.abc import Mapping

from healer.cluster.api import Api
from healer.cluster.lease import Lease, LeaseSettings

TICK = 0.01


class Candidate:
    """The lease, and what is printed of it."""

    def __init__(self, api: Api, settings: LeaseSettings, identity: str) -> None:
        self.lease = Lease(api, settings, identity, on_annotations=self.look)
        self._holder: str | None = None

    def say(self, event: str, at: float | None = None) -> None:
        """One line; `at` is when it was, if not now."""
        told = {"event": event, "at": time.monotonic() if at is None else at, "epoch": self.lease.epoch}
        print(json.dumps(told | {"holder": self.lease.holder}), flush=True)  # noqa: T201 - its standard output is what it is for

    def look(self, annotations: Mapping[str, str]) -> None:
        """on_annotations: tell of a new holder."""
        if self.lease.holder != self._holder:
            self._holder = self.lease.holder
            self.say("sees")

    async def term(self) -> None:
        """Act, which is to say so: the time is taken before the lease is asked, so that it was held then."""
        self.say("leader")
        try:
            while True:
                at = time.monotonic()
                self.say("acting" if self.lease.is_leader() else "refused", at)
                await asyncio.sleep(TICK)
        finally:
            self.say("lost")


async def main(kubeconfig: str, identity: str, settings: str) -> None:
    """Campaign until SIGTERM."""
    api = await Api.connect(kubeconfig=kubeconfig)
    candidate = Candidate(api, LeaseSettings(**json.loads(settings)), identity)
    running = asyncio.create_task(candidate.lease.run(candidate.term))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    await asyncio.wait((running,))
    candidate.say("ended")
    await api.aclose()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
