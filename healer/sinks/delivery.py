"""What those sinks share that send messages to named targets: a worker a target, retries, and what was told of each incident.

A message is sent at least once. How far an incident is told is kept in the memory after its message was taken, so that a healer
that ends between the two sends the message again: each sink gives its messages an identity by which the other side can tell.
Of an incident only its newest state is told. Whatever happened while a target was away is one message.
"""

import asyncio
import random
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import structlog

from healer.model.incident import Incident, State
from healer.sinks.base import SinkMeters
from healer.sinks.memory import Memory, NotKept, TimedMemory
from healer.sinks.source_turns import SourceTurns
from healer.sinks.targets import Pace
from healer.sinks.words import milestone

M = TypeVar("M")

LONGEST_PAUSE = 600.0
"""The longest pause of a target in seconds, whatever its Retry-After says."""
_PAUSE = 1.0
"""Seconds until the journal is asked again to keep what was told."""
_DOUBLINGS = 4
_PART = 4
"""A namespace whose RuleSets have more than such a part of the capacity waiting loses messages of its own."""


class TryAgain(Exception):
    """The message may be taken later, after `retry_after` seconds when the other side says so."""

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class MessageRefused(Exception):
    """The message is refused until a person changes something; `hint` says what."""

    def __init__(self, reason: str, hint: str) -> None:
        super().__init__(reason)
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Errand(Generic[M]):
    """A message that is due, and what is told of its incident once it was taken."""

    message: M
    told: Mapping[str, str]


@dataclass(slots=True, eq=False)
class Delivery:
    """One incident for one target."""

    incident: Incident
    told: Mapping[str, str] | None = None
    """What was told; None before the memory was asked."""
    kept: Mapping[str, str] | None = None
    """What the memory holds of it."""
    not_before: float = 0.0
    refusals: int = 0
    lost: bool = False


@dataclass(slots=True)
class _Queue:
    """The incidents of one target. Times are those of the event loop."""

    known: dict[str, Delivery] = field(default_factory=dict)
    pending: dict[Delivery, None] = field(default_factory=dict)
    """Those that may have something to tell, the next first: an ordered set."""
    added: asyncio.Event = field(default_factory=asyncio.Event)
    paused_until: float = 0.0
    troubles: int = 0
    refuses: str = ""
    limit: asyncio.Timeout | None = None
    turns: SourceTurns = field(default_factory=SourceTurns)

    async def next(self) -> Delivery:
        """The delivery whose turn it is; waits until there is one."""
        loop = asyncio.get_running_loop()
        while True:
            now = loop.time()
            due = {each: max(each.not_before, self.paused_until) for each in self.pending}
            ready = (each for each, at in due.items() if at <= now)
            if (delivery := self.turns.next(ready, lambda each: each.incident.tenant)) is not None:
                return delivery
            self.added.clear()
            try:
                async with asyncio.timeout_at(min(due.values(), default=None)):
                    await self.added.wait()
            except TimeoutError:
                continue


class DeliverySink(ABC, Generic[M]):
    """A `Sink` that tells named targets. A subclass says what is due, and sends it."""

    name: str

    def __init__(self, targets: Collection[str], pace: Pace, meters: SinkMeters, memory: Memory, named_by: str = "") -> None:
        self._pace = pace
        self._named_by = named_by
        self._queues = {target: _Queue() for target in targets}
        self._memory = TimedMemory(memory)
        self._count = meters.notifications
        self._usable = meters.usable
        self._log = structlog.get_logger(f"healer.{self.name}")
        self._served = asyncio.Event()
        self._said: set[tuple[str, str]] = set()

    # what a subclass gives

    @abstractmethod
    def errand(self, incident: Incident, target: str, told: Mapping[str, str]) -> Errand[M] | None:
        """The message that is due, when `told` was told; None when all is told. It has no effect."""

    @abstractmethod
    async def send(self, target: str, message: M) -> str:
        """Send a message. Returns what the other side answered. Raises TryAgain or MessageRefused."""

    @abstractmethod
    def connected(self) -> AbstractAsyncContextManager[object]:
        """What `send` needs, from entry to exit."""

    @abstractmethod
    async def problems(self, target: str) -> list[str]:
        """What would keep messages from a target, a sentence each, as far as it shows without a message."""

    def doubted(self, incident: Incident, claimed: Mapping[str, str]) -> Mapping[str, str]:
        """What to take as told of an incident when the memory has `claimed`, and anybody may have written it.

        It may cause a message to be sent again, and must leave none out that people need.
        """
        return claimed if incident.state is State.CLOSED else {}

    def absent(self, target: str) -> str:
        """A sentence that says that a target is not set up, and what to set."""
        known = ", ".join(self._queues)
        return f"{self.name}:{target} is not set up: nobody is told by it; there are {known}; set {self._named_by}"

    # what a sink does

    def tell(self, incident: Incident) -> None:
        """Note the newest snapshot for each of the incident's targets."""
        for target in self._targets_of(incident):
            self._put(incident, target)

    def resume(self, incident: Incident) -> None:
        """Note an incident of the journal, unless it is closed and there is nothing left to tell, or nobody was told of it."""
        for target in self._targets_of(incident):
            if incident.state is State.CLOSED:
                told = self._recall(incident, target)
                if not told or self.errand(incident, target, told) is None:
                    continue
            self._put(incident, target)

    def reset(self) -> None:
        """Forget all, and abort what is under way: the next leader sends it again."""
        for queue in self._queues.values():
            for delivery in queue.known.values():
                delivery.lost = True
            queue.known.clear()
            queue.pending.clear()
            if queue.limit is not None:
                queue.limit.reschedule(asyncio.get_running_loop().time())
        self._served.set()

    async def run(self) -> None:
        """Serve each target for ever."""
        async with self.connected(), asyncio.TaskGroup() as group:
            for target in self._queues:
                group.create_task(self._work(target), name=f"{self.name}:{target}")

    async def check(self, channels: Collection[str]) -> list[str]:
        """What would keep messages from these targets and the default one, a sentence each."""
        wanted = dict.fromkeys((*channels, *filter(None, (self._pace.default,))))
        found = [self.absent(target) for target in wanted if target not in self._queues]
        for target in wanted:
            if target in self._queues:
                found += await self.problems(target)
        return found

    async def flush(self, within: float) -> bool:
        """Wait until nothing is pending but what was refused, at most `within` seconds."""
        try:
            async with asyncio.timeout(within):
                while any(not each.refusals for queue in self._queues.values() for each in queue.pending):
                    self._served.clear()
                    await self._served.wait()
        except TimeoutError:
            return False
        return not any(queue.pending for queue in self._queues.values())

    async def try_out(self, target: str, incident: Incident) -> str:
        """Send a message about this incident now. Returns what the other side answered.

        Raises TryAgain or MessageRefused, and LookupError for a target that is not set up.
        """
        if target not in self._queues:
            raise LookupError(self.absent(target))
        errand = self.errand(incident, target, {})
        if errand is None:
            raise RuntimeError(f"{incident.state} is nothing to tell")
        async with self.connected():
            return await self.send(target, errand.message)

    # targets

    def _targets_of(self, incident: Incident) -> list[str]:
        """Where an incident is told: its own targets, and the default one where one of them cannot be told."""
        default = self._pace.default
        if not incident.notify:
            return [default] if default and incident.severity in self._pace.severities else []
        named = dict.fromkeys(incident.notify)
        usable = [target for target in named if target in self._queues]
        for target in named.keys() - set(usable):
            self._say_once(target, self.absent(target), incident)
        refused = len(usable) < len(named) or any(self._queues[target].refuses for target in usable)
        stands_in = default and (refused or incident.id in self._queues[default].known)
        return list(dict.fromkeys((*usable, default))) if stands_in else usable

    def _put(self, incident: Incident, target: str) -> None:
        queue = self._queues[target]
        delivery = queue.known.get(incident.id)
        if delivery is None:
            self._evict_one(queue, target)
            delivery = queue.known[incident.id] = Delivery(incident)
        elif incident.changed_at < delivery.incident.changed_at:
            return
        delivery.incident = incident
        queue.pending.setdefault(delivery)
        queue.added.set()

    def _evict_one(self, queue: _Queue, target: str) -> None:
        """Forget an incident when there are too many.

        The order: one that is told and closed; one that is told; then messages are lost. First those of the namespace whose
        RuleSets have most of them, where that is more than a part of all: its flood drops nothing of others. Where none has,
        those that need no human go before those that do, those of RuleSets in namespaces before those of healer's own rules,
        those of a namespace with more before those of one with fewer, and what is closed before what is not. Else the oldest.
        """
        if len(queue.known) < self._pace.capacity:
            return
        waiting = Counter(each.incident.tenant for each in queue.pending)
        most = max((tenant for tenant in waiting if tenant), key=waiting.__getitem__, default="")
        floods = most if waiting[most] > self._pace.capacity // _PART else ""

        def worth(item: tuple[str, Delivery]) -> tuple[bool | int, ...]:
            incident, tenant = item[1].incident, item[1].incident.tenant
            is_open = incident.state is not State.CLOSED
            if item[1] not in queue.pending:
                return False, is_open
            if floods and tenant != floods:
                return True, True
            return True, False, milestone(incident).needs_human, not tenant, -waiting[tenant], is_open

        name, delivery = min(queue.known.items(), key=worth)
        del queue.known[name]
        if delivery in queue.pending:
            del queue.pending[delivery]
            self._count.labels(self.name, "dropped").inc()
            self._log.error("a message was dropped: too many incidents wait", incident=name, target=target)

    def _recall(self, incident: Incident, target: str) -> dict[str, str]:
        """What was told of an incident, as far as it is known."""
        key = self._key(target)
        if told := self._memory.recall(incident.id, key):
            return dict(told)
        claimed = self._memory.claimed(incident.id, key)
        return dict(self.doubted(incident, claimed)) if claimed else {}

    def _key(self, target: str) -> str:
        return f"{self.name} {target}"

    # turns

    async def _work(self, target: str) -> None:
        queue = self._queues[target]
        while True:
            delivery = await queue.next()
            await self._serve(queue, target, delivery)
            self._served.set()

    async def _serve(self, queue: _Queue, target: str, delivery: Delivery) -> None:
        """Send what is due of an incident, or keep what was told of it."""
        del queue.pending[delivery]
        queue.pending[delivery] = None  # at the end: the others are next
        snapshot = delivery.incident
        if delivery.told is None:
            delivery.told = delivery.kept = self._recall(delivery.incident, target)
        try:
            async with asyncio.timeout(None) as queue.limit:
                more = await self._turn(queue, target, delivery, delivery.told)
        except TimeoutError:
            if not delivery.lost:
                raise
            return
        finally:
            queue.limit = None
        if not more and delivery.incident is snapshot:
            queue.pending.pop(delivery, None)

    async def _turn(self, queue: _Queue, target: str, delivery: Delivery, told: Mapping[str, str]) -> bool:
        """Returns whether there may be more to do."""
        errand = self.errand(delivery.incident, target, told)
        if errand is None:
            return not await self._keep(target, delivery)
        try:
            await self.send(target, errand.message)
        except TryAgain as later:
            self._back_off(queue, target, later)
            return True
        except MessageRefused as refused:
            self._refused(queue, target, delivery, refused)
            return True
        if queue.troubles:
            self._log.info("messages are taken again", target=target, after_tries=queue.troubles)
        queue.troubles, queue.refuses, delivery.refusals = 0, "", 0
        self._usable.labels(self.name, target).set(1)
        self._count.labels(self.name, "sent").inc()
        delivery.told = errand.told
        await self._keep(target, delivery)
        return True

    async def _keep(self, target: str, delivery: Delivery) -> bool:
        """Keep what was told; returns whether it is kept."""
        told = delivery.told
        if told is None or told == delivery.kept or delivery.lost:
            return True
        try:
            await self._memory.remember(delivery.incident.id, self._key(target), told)
        except NotKept as error:
            self._log.debug("what was told cannot be kept: trying again", error=str(error), incident=delivery.incident.id)
            delivery.not_before = asyncio.get_running_loop().time() + _PAUSE
            return False
        delivery.kept = told
        return True

    def _back_off(self, queue: _Queue, target: str, later: TryAgain) -> None:
        """Send nothing to a target for as long as it says; without that, wait longer each time, with full jitter."""
        self._count.labels(self.name, "retried").inc()
        if not queue.troubles:
            self._log.warning("messages wait; healing goes on", target=target, error=str(later), pending=len(queue.pending))
        longest = min(self._pace.backoff_most, self._pace.backoff * 2 ** min(queue.troubles, 30))
        pause = random.uniform(0, longest) if later.retry_after is None else later.retry_after
        queue.troubles += 1
        queue.paused_until = asyncio.get_running_loop().time() + min(pause, LONGEST_PAUSE)

    def _refused(self, queue: _Queue, target: str, delivery: Delivery, refused: MessageRefused) -> None:
        """Try again much later, and meanwhile tell the default target."""
        self._count.labels(self.name, "failed").inc()
        self._usable.labels(self.name, target).set(0)
        rest = self._pace.reconsider * 2 ** min(delivery.refusals, _DOUBLINGS)
        delivery.refusals += 1
        delivery.not_before = asyncio.get_running_loop().time() + rest
        queue.refuses = str(refused)
        self._say_once(target, f"{refused}: {refused.hint}", delivery.incident)
        if self._pace.default and self._pace.default != target:
            self._put(delivery.incident, self._pace.default)

    def _say_once(self, target: str, problem: str, incident: Incident) -> None:
        if (target, problem) not in self._said and len(self._said) < self._pace.capacity:
            self._said.add((target, problem))
            self._log.error("a message is not taken", target=target, problem=problem, incident=incident.id)
