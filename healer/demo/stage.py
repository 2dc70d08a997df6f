"""Where it happens: the cluster, the traffic, the timeline, and the way to the daemon's webhook."""

from collections.abc import Callable
from dataclasses import dataclass

import aiohttp

from healer.demo.timeline import Timeline
from healer.demo.traffic import Traffic
from healer.lab import Lab

_PATIENCE = 20.0


@dataclass(frozen=True, slots=True)
class Stage:
    """`webhook` is the daemon's URL for Alertmanager."""

    lab: Lab
    traffic: Traffic
    timeline: Timeline
    http: aiohttp.ClientSession
    webhook: str

    async def until(self, predicate: Callable[[Lab], bool]) -> None:
        """Return when that holds of the cluster. Raises TimeoutError when it does not come to it."""
        await self.lab.wait_for(predicate, timeout=_PATIENCE)
