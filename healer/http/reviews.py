"""Tokens of Kubernetes as a way in: the API server says whose a token is and what its user may do, and is asked rarely."""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable

import structlog

from healer.cluster.api import Api
from healer.cluster.errors import ClusterError
from healer.cluster.reviews import may, user_of

_TIMEOUT = 3.0
"""Seconds for each of the two questions: together less than the sender of a webhook waits."""
_REFUSED_FOR = 10.0
"""The longest time for which a refusal is kept, in seconds: a permission that was just granted should count soon."""
_KEPT = 1000
"""Answers that are kept."""
_AT_ONCE = 4
"""Questions under way at once: whoever sends made-up tokens must not load the API server."""

_Key = tuple[bytes, str, str]


class ReviewError(Exception):
    """Whether a token may be used is not known; the message says why."""


class Reviewer:
    """Whether a token may be used for a request. It fails closed: without an answer of the API server, nobody comes in.

    `cache` is the time for which an answer counts, in seconds; `clock` counts seconds. Tokens are kept as digests.
    """

    def __init__(self, api: Api, audience: str, cache: float, clock: Callable[[], float]) -> None:
        self._api = api
        self._audience = audience
        self._cache = cache
        self._clock = clock
        self._known: OrderedDict[_Key, tuple[bool, float]] = OrderedDict()  # -> allowed, until when; oldest first
        self._asking = asyncio.Semaphore(_AT_ONCE)
        self._log = structlog.get_logger("healer.http")

    async def allows(self, token: str, verb: str, path: str) -> bool:
        """Whether the API server knows the token for this audience, and lets its user do this. Raises ReviewError."""
        key = (hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest(), verb, path)
        known = self._known.get(key)
        if known is not None and self._clock() < known[1]:
            return known[0]
        if self._asking.locked():
            raise ReviewError("too many tokens are reviewed at once")
        async with self._asking:
            allowed = await self._ask(token, verb, path)
        self._known.pop(key, None)
        self._known[key] = allowed, self._clock() + (self._cache if allowed else min(self._cache, _REFUSED_FOR))
        if len(self._known) > _KEPT:
            self._known.popitem(last=False)
        return allowed

    async def _ask(self, token: str, verb: str, path: str) -> bool:
        try:
            user = await user_of(self._api, token, self._audience, within=_TIMEOUT)
            allowed = user is not None and await may(self._api, user, verb, path, within=_TIMEOUT)
        except ClusterError as error:
            raise ReviewError(f"the API server reviews no token: {error}") from error
        if user is not None and not allowed:
            self._log.info("a user of Kubernetes may not do this", user=user.username, verb=verb, path=path)
        return allowed
