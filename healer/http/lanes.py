"""Reviews of tokens that wait for their turn, in lanes that take turns: whoever asks much waits behind the own reviews alone."""

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import Hashable
from dataclasses import dataclass, field


class Displaced(Exception):
    """Somebody who waited has given the place to another."""


@dataclass(frozen=True, slots=True)
class Lane:
    """Who asks. Those who are known and strangers take turns; strangers alone may be made to wait.

    `share`: whose part of the places and turns it uses, an address or a token that was let in. A share may have several lanes.
    """

    whose: Hashable
    known: bool
    share: Hashable


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

    A newcomer without a place takes one of the share that has most, unless its own share would then have more, and in its own
    share one of the lane that has most. Whoever is known takes the place of a stranger. Turns go round the same way.
    """

    def __init__(self, places: int) -> None:
        self._places = places
        self._known_was_last = False
        self._waiting: OrderedDict[Lane, deque[Review]] = OrderedDict()  # the lane whose turn it is first
        self._waiters: dict[Lane, dict[asyncio.Future[str], Review]] = {}

    def add(self, review: Review) -> None:
        """Put a review at the end of its lane."""
        self._waiting.setdefault(review.lane, deque()).append(review)

    def take(self, strangers: bool) -> Review | None:
        """The review whose turn it is, of strangers only if they are allowed; None when there is none."""
        of_known = next((lane for lane in self._waiting if lane.known), None)
        of_strangers = next((lane for lane in self._waiting if not lane.known), None) if strangers else None
        # Claims of a known user cost nothing: if those went first, whoever writes them would keep all strangers out.
        both = (of_strangers, of_known) if self._known_was_last else (of_known, of_strangers)
        lane = both[0] or both[1]
        if lane is None:
            return None
        self._known_was_last = lane.known
        reviews = self._waiting.pop(lane)
        review = reviews.popleft()
        for other in [other for other in self._waiting if (other.known, other.share) == (lane.known, lane.share)]:
            self._waiting.move_to_end(other)
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
        lane = self._too_full(newcomer)
        if lane is None:
            return False
        waiter, review = next(reversed(self._waiters[lane].items()))
        self.leave(review, waiter)
        if not waiter.done():
            waiter.set_exception(Displaced())
        return True

    def _too_full(self, newcomer: Lane) -> Lane | None:
        """The lane that gives a place up to the newcomer, if there is one."""
        has = {lane: len(waiters) for lane, waiters in self._waiters.items()}
        strangers = [lane for lane in has if not lane.known]
        lanes = strangers if newcomer.known and strangers else list(has)
        shares = Counter[Hashable]()
        for lane in lanes:
            shares[lane.share] += has[lane]
        (most, places), *_ = shares.most_common(1)
        if (newcomer.known and strangers) or places > shares[newcomer.share] + 1:
            return max((lane for lane in lanes if lane.share == most), key=has.__getitem__)
        own = max((lane for lane in lanes if lane.share == newcomer.share), key=has.__getitem__, default=newcomer)
        return own if has.get(own, 0) > has.get(newcomer, 0) + 1 else None
