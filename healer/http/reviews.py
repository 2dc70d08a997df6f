"""Tokens of Kubernetes as a way in: the API server says whose a token is and what its user may do, and is asked rarely."""

import asyncio
import base64
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Hashable
from functools import partial
from typing import TypeVar

import msgspec
import structlog

from healer.cluster.api import Api
from healer.cluster.errors import ClusterError
from healer.cluster.reviews import may, user_of
from healer.http.lanes import Displaced, Lane, Lanes, Review
from healer.http.rate import Rates

_TIMEOUT = 3.0
"""Seconds for each of the two questions: together less than the sender of a webhook waits."""
_PATIENCE = 8.0
"""Seconds that a request waits for the answer about its token. Alertmanager waits at least 10 s."""
_REFUSED_FOR = 10.0
"""The longest time for which a refusal is kept, in seconds: a permission that was just granted should count soon."""
_KEPT = 1000
"""Answers that are kept, of each kind."""
_AT_ONCE, _STRANGERS = 4, 3
"""Reviews under way at once, and how many of them may be of tokens that nobody knows."""
_PER_SECOND = 20
"""Reviews a second: whoever sends made-up tokens must not load the API server."""

_Key = tuple[bytes, str, str]
K = TypeVar("K")
V = TypeVar("V")


class ReviewError(Exception):
    """Whether a token may be used is not known; the message says why."""


class _Claims(msgspec.Struct):
    sub: str = ""
    aud: str | list[str] = ""


class Reviewer:
    """Whose token it is, if it may be used for a request. It fails closed: without an answer of the API server, nobody comes in.

    Requests with one token share one review. Reviews wait in lanes that take turns. A token that was let in before has a lane of
    its own. One that claims to belong to a user who was has a lane for that user and its address: anybody can claim that. Those
    of strangers have a lane an address, and one more for what cannot be a token for this audience. `cache` is the time for which
    an answer counts, in seconds; `places` is how many requests may wait; `clock` counts seconds. Tokens are kept as digests.
    """

    def __init__(self, api: Api, audience: str, cache: float, places: int, clock: Callable[[], float]) -> None:
        self._api = api
        self._audience = audience
        self._cache = cache
        self._clock = clock
        # Apart, so that refused tokens do not push out accepted ones; oldest first.
        self._accepted: OrderedDict[Hashable, tuple[str, float]] = OrderedDict()  # -> user, until when it needs no review
        self._refused: OrderedDict[Hashable, float] = OrderedDict()  # -> until when
        self._claimed: OrderedDict[str, None] = OrderedDict()  # the users whom accepted tokens named
        self._open: dict[Hashable, Review] = {}
        self._lanes = Lanes(places)
        self._rates = Rates(_PER_SECOND * 60, _PER_SECOND, clock)
        self._running: dict[asyncio.Task[str | ReviewError], Lane] = {}
        self._later: asyncio.TimerHandle | None = None
        self._log = structlog.get_logger("healer.http")

    async def aclose(self) -> None:
        """End the reviews that are under way."""
        if self._later is not None:
            self._later.cancel()
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def user(self, token: str, verb: str, path: str, source: Hashable) -> str:
        """The user of a token for this audience who may do this; "" for another token. `source` is where the request is from.

        Raises ReviewError.
        """
        key = _key(token, verb, path)
        now = self._clock()
        if (known := self._accepted.get(key)) is not None and now < known[1]:
            return known[0]
        if now < self._refused.get(key, now):
            return ""
        review = self._open.get(key)
        lane = self._lane(key, token, source)
        if review is None:
            review = self._open[key] = Review(key, token, verb, path, lane)
            self._lanes.add(review)
        waiter = self._lanes.enter(review, lane)
        try:
            if waiter is None:
                raise ReviewError("too many requests wait for a review of their tokens")
            self._start()
            async with asyncio.timeout(_PATIENCE):
                return await waiter
        except Displaced as error:
            raise ReviewError("too many requests wait for a review of their tokens") from error
        except TimeoutError as error:
            raise ReviewError(f"no answer about the token within {_PATIENCE:g} s") from error
        finally:
            if waiter is not None:
                self._lanes.leave(review, waiter)
            if not review.waiters and self._lanes.withdraw(review):
                del self._open[key]

    def knows(self, token: str, verb: str, path: str) -> bool:
        """Whether the token was let in before, or is refused without a review."""
        key, now = _key(token, verb, path), self._clock()
        return key in self._accepted or now < self._refused.get(key, now)

    def _lane(self, key: _Key, token: str, source: Hashable) -> Lane:
        if key in self._accepted:
            return Lane(key, known=True, share=key)
        user = _claimed(token, self._audience)
        known = user in self._claimed
        return Lane((source, user if known else bool(user)), known=known, share=source)

    def _start(self) -> None:
        """Start the reviews whose turn it is, as far as the bounds allow."""
        while len(self._running) < _AT_ONCE:
            strangers = sum(not lane.known for lane in self._running.values()) < _STRANGERS
            if not self._lanes.waits(strangers) or not self._in_time():
                return
            review = self._lanes.take(strangers)
            assert review is not None
            task = asyncio.get_running_loop().create_task(self._ask(review), name="token review")
            self._running[task] = review.lane
            task.add_done_callback(partial(self._answered, review))

    def _in_time(self) -> bool:
        """Whether one more review is within the rate; if not, what waits is started later."""
        if self._later is not None:
            return False
        wait = self._rates.wait("")
        if wait:
            self._later = asyncio.get_running_loop().call_later(wait, self._now)
        return not wait

    def _now(self) -> None:
        self._later = None
        self._start()

    async def _ask(self, review: Review) -> str | ReviewError:
        try:
            user = await user_of(self._api, review.token, self._audience, within=_TIMEOUT)
            allowed = user is not None and await may(self._api, user, review.verb, review.path, within=_TIMEOUT)
        except ClusterError as error:
            return ReviewError(f"the API server reviews no token: {error}")
        if user is not None and not allowed:
            self._log.info("a user of Kubernetes may not do this", user=user.username, verb=review.verb, path=review.path)
        return user.username if user is not None and allowed else ""

    def _answered(self, review: Review, task: "asyncio.Task[str | ReviewError]") -> None:
        """Keep the answer, and give it to all who wait for it."""
        del self._running[task], self._open[review.key]
        problem: BaseException | None = ReviewError("healer stops") if task.cancelled() else task.exception()
        answer = problem or task.result()
        if isinstance(answer, str):
            self._keep(review, answer)
        for waiter in review.waiters:
            if waiter.done():
                continue
            if isinstance(answer, str):
                waiter.set_result(answer)
            else:
                waiter.set_exception(ReviewError(str(answer)) if isinstance(answer, ReviewError) else answer)
        if not task.cancelled():
            self._start()

    def _keep(self, review: Review, user: str) -> None:
        now = self._clock()
        self._accepted.pop(review.key, None)
        self._refused.pop(review.key, None)
        if not user:
            _put(self._refused, review.key, now + min(self._cache, _REFUSED_FOR))
            return
        _put(self._accepted, review.key, (user, now + self._cache))
        if claimed := _claimed(review.token, self._audience):
            self._claimed.pop(claimed, None)
            _put(self._claimed, claimed, None)


def _key(token: str, verb: str, path: str) -> _Key:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest(), verb, path


def _put(kept: OrderedDict[K, V], key: K, value: V) -> None:
    kept[key] = value
    if len(kept) > _KEPT:
        kept.popitem(last=False)


def _claimed(token: str, audience: str) -> str:
    """The user whom a token claims to be of; "" where it claims none, or is for another audience. Anybody can write claims."""
    parts = token.split(".")
    if len(parts) != 3:
        return ""
    try:
        claims = msgspec.json.decode(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)), type=_Claims)
    except (ValueError, msgspec.MsgspecError, RecursionError):
        return ""
    return claims.sub if audience in ([claims.aud] if isinstance(claims.aud, str) else claims.aud) else ""
