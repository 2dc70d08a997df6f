"""The threads that the sink knows: whose turn is next, and what the memory keeps of each."""

import asyncio
from collections.abc import Callable

import structlog

from healer.model.incident import Incident, State
from healer.sinks.base import SinkMeters
from healer.sinks.memory import Memory, NotKept, TimedMemory
from healer.sinks.slack.buttons import Press
from healer.sinks.slack.channels import Channels
from healer.sinks.slack.digest import DayBook, Digest
from healer.sinks.slack.flood import Flood, Floods
from healer.sinks.slack.message import SlackForm
from healer.sinks.slack.settings import SlackSettings
from healer.sinks.slack.thread import Thread
from healer.sinks.source_turns import SourceTurns

INTENT_HOLDS = 60.0
"""Seconds for which an intent holds: a message in doubt is searched for at the time of its intent."""


class Threads:
    """At most `capacity` threads, by incident and channel. Each that has something to tell is pending. Times are those of the
    event loop; `clock` gives seconds since the epoch."""

    def __init__(
        self,
        sink: str,
        settings: SlackSettings,
        form: SlackForm,
        channels: Channels,
        memory: Memory,
        meters: SinkMeters,
        clock: Callable[[], float],
    ) -> None:
        self._sink = sink
        self._settings = settings
        self._form = form
        self._channels = channels
        self._memory = TimedMemory(memory)
        self._dropped = meters.notifications.labels(sink, "dropped")
        self._clock = clock
        self._log = structlog.get_logger("healer.slack")
        self.known: dict[tuple[str, str], Thread] = {}
        """By incident and channel."""
        self.pending: dict[Thread, None] = {}
        """Those that have something to tell, the next first: an ordered set."""
        self.channel_ids: dict[str, str] = {}
        """The ids of channels, by the names in rules."""
        self._floods = Floods(form, settings.fold_after, settings.fold_within, settings.capacity)
        self._day = DayBook(form, settings.capacity) if settings.digest else None
        self.missed = 0.0
        """The end of the last long time in which Slack could not be reached, in seconds since the epoch."""
        self._added = asyncio.Event()
        self._turns = SourceTurns()

    def update(self, incident: Incident) -> None:
        """Note the newest snapshot in each of the incident's channels."""
        if self._day is not None:
            self._day.take(incident)
        for channel in self._channels_of(incident):
            self._put(incident, channel)

    def resume(self, incident: Incident) -> None:
        """Note an incident of the journal, unless it is closed and there is nothing left to tell, or nobody was told of it."""
        if self._day is not None:
            self._day.take(incident)
        for channel in self._channels_of(incident):
            if incident.state is not State.CLOSED or not self._nothing_to_resume(Thread(channel, incident, self._form)):
                self._put(incident, channel)

    def clear(self) -> None:
        """Forget all threads."""
        for thread in self.known.values():
            thread.lost = True
        self._floods.clear()
        if self._day is not None:
            self._day.clear()
        self.known.clear()
        self.pending.clear()

    async def next(self) -> Thread:
        """The pending thread whose turn it is; waits until there is one."""
        loop = asyncio.get_running_loop()
        while True:
            now = loop.time()
            due = [thread for thread in self.pending if self.due(thread) <= now]
            if (thread := self._turns.next(due, lambda each: each.tenant)) is not None:
                return thread
            self._added.clear()
            soonest = min((self.due(thread) for thread in self.pending), default=None)
            try:
                async with asyncio.timeout_at(soonest):
                    await self._added.wait()
            except TimeoutError:
                continue

    def post_digest(self) -> None:
        """Have the digest of the last day posted in the default channel, if there is something to say."""
        digest = None if self._day is None else self._day.digest(self._settings.channel, self._clock())
        if digest is not None:
            self._evict_one()
            self.known[digest.incident.id, digest.channel] = digest
            self.pending.setdefault(digest)
            self._added.set()

    def press(self, press: Press) -> bool:
        """Note that a button was pressed; False when this process does not hold the thread."""
        for thread in self.known.values():
            if (thread.channel_id, thread.ts) == (press.channel, press.ts):
                thread.press(press)
                self.pending.setdefault(thread)
                self._added.set()
                return True
        return False

    def message_of(self, incident: Incident, *, recall: bool) -> tuple[str, str]:
        """The channel's id and the `ts` of the incident's message; empty where none is known. `recall`: ask the memory too."""
        for channel in self._channels_of(incident):
            thread = self.known.get((incident.id, channel))
            if thread is not None and thread.ts:
                return thread.channel_id, thread.ts
            kept = self._memory.recall(incident.id, f"{self._sink} {channel}") if recall else {}
            if kept.get("ts"):
                return kept["channel"], kept["ts"]
        return "", ""

    def due(self, thread: Thread) -> float:
        """When a thread, and its channel, may be served again."""
        return max(thread.not_before, self._channels.paused_until(thread.channel))

    def wait_until_visible(self, thread: Thread, after: float = 0.0) -> None:
        """Postpone a thread until Slack shows what it took `after` seconds from now, or before."""
        thread.postpone(asyncio.get_running_loop().time() + min(after, INTENT_HOLDS) + self._settings.settle)

    def recall(self, thread: Thread) -> None:
        """Read from the memory how far another process has told a thread."""
        try:
            thread.take_up(self._memory.recall(thread.incident.id, self._key(thread)))
        except ValueError as error:
            self._log.error(
                "what was kept of a thread cannot be read: starting another", incident=thread.incident.id, error=str(error)
            )
        if thread.channel_id:
            self.channel_ids[thread.channel] = thread.channel_id
        if thread.doubt and thread.intent is not None:
            self.wait_until_visible(thread, thread.intent.since - self._clock())

    async def keep(self, thread: Thread) -> bool:
        """Write to the memory how far a thread is told; returns whether it is kept."""
        state = thread.state()
        if isinstance(thread, Flood | Digest):
            return not thread.lost
        if thread.lost or state == thread.kept:
            return not thread.lost
        try:
            await self._memory.remember(thread.incident.id, self._key(thread), state)
        except NotKept as error:
            if thread.unkept_since is None:
                thread.unkept_since = asyncio.get_running_loop().time()
                self._log.warning(
                    "what was told cannot be kept: trying again",
                    error=str(error),
                    incident=thread.incident.id,
                    channel=thread.channel,
                )
            return False
        thread.kept, thread.unkept_since = state, None
        return not thread.lost

    def _channels_of(self, incident: Incident) -> tuple[str, ...]:
        """The channels of an incident; the default one too, where it has stood in for one of them."""
        if not incident.notify and incident.severity not in self._settings.severities:
            return ()
        channels, default = self._channels.to_tell(incident.notify), self._settings.channel
        return channels if default in channels or (incident.id, default) not in self.known else (*channels, default)

    def _put(self, incident: Incident, channel: str) -> None:
        thread = self.known.get((incident.id, channel))
        if thread is None:
            if self._folded(incident, channel):
                return
            self._evict_one()
            thread = self.known[incident.id, channel] = Thread(channel, incident, self._form)
        elif incident.changed_at < thread.incident.changed_at:
            return
        thread.incident = incident
        thread.note = self._channels.fallback_note(channel, incident.notify)
        self.pending.setdefault(thread)
        self._added.set()

    def _folded(self, incident: Incident, channel: str) -> bool:
        """Whether an incident without a thread is told in a message that it shares with others."""
        known = bool(self._memory.recall(incident.id, self._key(Thread(channel, incident, self._form))))
        flood = self._floods.of(incident, channel, asyncio.get_running_loop().time(), known=known)
        if flood is None:
            return False
        if (flood.incident.id, channel) not in self.known:
            self._evict_one()
            self.known[flood.incident.id, channel] = flood
        self.pending.setdefault(flood)
        self._added.set()
        return True

    def _nothing_to_resume(self, thread: Thread) -> bool:
        self.recall(thread)
        return not thread.kept or thread.complete

    def _key(self, thread: Thread) -> str:
        return f"{self._sink} {thread.channel}"

    def _evict_one(self) -> None:
        """Forget a thread when there are too many: one that is told and closed, else one that is told, else the oldest; before
        all, one of the RuleSets of a namespace."""
        if len(self.known) < self._settings.capacity:
            return

        def worth(item: tuple[tuple[str, str], Thread]) -> tuple[bool, bool, bool]:
            return item[1] in self.pending, item[1].incident.state is not State.CLOSED, not item[1].tenant

        key, thread = min(self.known.items(), key=worth)
        del self.known[key]
        if thread in self.pending:
            del self.pending[thread]
            self._dropped.inc()
            self._log.error("a message was dropped: too many incidents wait for Slack", incident=key[0], channel=key[1])
