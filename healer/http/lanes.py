"""Reviews of tokens that wait for their turn, in lanes that take turns: whoever asks much waits behind the own reviews alone."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Hashable
from dataclasses import dataclass, field


class Displaced(Exception):
    """Somebody who waited has given the place to another."""


@dataclass(frozen=True, slots=True)
class Lane:
    """Who asks. Lanes of those who are known go before the lanes of strangers."""

    whose: Hashable
    known: bool


@dataclass(eq=False, slots=True)
class Review:
    """A token and what it is to be allowed, and the futures of those who wait for the answer; they may be in different lanes."""

    key: Hashable
    token: str
    verb: str
    path: str
    lane: Lane
    waiters: dict["asyncio.Future[str]", Lane] = field(default_factory=dict)


class Lanes:
    """Reviews that wait, and at most `places` futures that wait for answers.

    A newcomer without a place takes one of the lane that has most, unless its own lane would then have more. Whoever is known
    takes the place of a stranger.
    """

    def __init__(self, places: int) -> None:
        self._places = places
        self._waiting: OrderedDict[Lane, deque[Review]] = OrderedDict()  # the lane whose turn it is first
        self._waiters: dict[Lane, dict[asyncio.Future[str], Review]] = {}

    def add(self, review: Review) -> None:
        """Put a review at the end of its lane."""
        self._waiting.setdefault(review.lane, deque()).append(review)

    def take(self, strangers: bool) -> Review | None:
        """The review whose turn it is, of strangers only if they are allowed; None when there is none."""
        lane = next((lane for lane in self._waiting if lane.known), None)
        if lane is None and strangers:
            lane = next(iter(self._waiting), None)
        if lane is None:
            return None
        reviews = self._waiting.pop(lane)
        review = reviews.popleft()
        if reviews:
            self._waiting[lane] = reviews
        return review

    def waits(self, strangers: bool) -> bool:
        """Whether there is a review that may be taken."""
        return bool(self._waiting) if strangers else any(lane.known for lane in self._waiting)

    def withdraw(self, review: Review) -> bool:
        """Remove a review that nobody waits for any more; False when its turn has come already."""
        reviews = self._waiting.get(review.lane)
        if reviews is None or review not in reviews:
            return False
        reviews.remove(review)
        if not reviews:
            del self._waiting[review.lane]
        return True

    def enter(self, review: Review, lane: Lane) -> "asyncio.Future[str] | None":
        """A place to wait for a review's answer; None when there is none. It raises Displaced when another takes it."""
        if sum(map(len, self._waiters.values())) >= self._places and not self._give_up_one(lane):
            return None
        waiter: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        review.waiters[waiter] = lane
        self._waiters.setdefault(lane, {})[waiter] = review
        return waiter

    def leave(self, review: Review, waiter: "asyncio.Future[str]") -> None:
        """Give a place back; it may have been taken already."""
        lane = review.waiters.pop(waiter, None)
        if lane is None:
            return
        del self._waiters[lane][waiter]
        if not self._waiters[lane]:
            del self._waiters[lane]

    def _give_up_one(self, newcomer: Lane) -> bool:
        strangers = [lane for lane in self._waiters if not lane.known]
        lanes = strangers if newcomer.known and strangers else list(self._waiters)
        most = max(lanes, key=lambda lane: len(self._waiters[lane]))
        displaces = newcomer.known and not most.known
        if not displaces and len(self._waiters[most]) <= len(self._waiters.get(newcomer, ())) + 1:
            return False
        waiter, review = next(reversed(self._waiters[most].items()))
        self.leave(review, waiter)
        if not waiter.done():
            waiter.set_exception(Displaced())
        return True
