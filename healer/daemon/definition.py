"""Waits, at the start, until the cluster's definition of incidents is the one that this healer needs."""

import asyncio

import structlog

from healer.cluster.api import Api
from healer.cluster.errors import ClusterError
from healer.http.health import Check
from healer.journal.definition import flaw

_AGAIN = 2.0
"""Seconds between two looks."""


class Definition:
    """`home` is healer's own namespace, `kept_in` one with incidents, empty for any; `needed`: whether incidents are objects."""

    def __init__(self, home: str, kept_in: str, *, needed: bool) -> None:
        self._home = home
        self._kept_in = kept_in
        self._right = not needed
        self._problem = ""
        self._log = structlog.get_logger("healer.journal")

    def check(self) -> Check:
        """For the readiness probe: without incidents nothing may be done."""
        return Check("incidents", self._right, "can be written" if self._right else self._problem or "not looked at yet")

    async def wait(self, api: Api) -> None:
        """Return when it is right; say once what is wrong for as long as it stays the same."""
        while not self._right:
            try:
                problem = await flaw(api, self._home, self._kept_in)
            except ClusterError as error:
                self._problem = str(error)  # the contact says it in the log
            else:
                if problem and problem != self._problem:
                    self._log.error("incidents cannot be written: nothing is healed", problem=problem)
                self._problem, self._right = problem, not problem
            if not self._right:
                await asyncio.sleep(_AGAIN)
