"""The Slack sink: one message an incident and channel, edited as it proceeds, its history in the thread.

One worker makes one call at a time, round robin over the threads that have something to say, so neither a long history nor a
refused channel holds up the others. What is pending is bounded by the number of incidents, whatever happens to Slack.
"""

import asyncio
import random
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import aiohttp
import structlog
from prometheus_client import Counter
from pydantic import BaseModel, ConfigDict, Field
from slack_sdk.web.async_client import AsyncWebClient

from healer.model.incident import Entry, Incident, State
from healer.secret import SecretFile
from healer.sinks.base import Progress
from healer.sinks.slack_call import EDIT_ERRORS, FORM_ERRORS, Later, Never, Sent, call
from healer.sinks.slack_message import Message, render, reply

_DOUBLINGS = 4


class SlackSettings(BaseModel):
    """The knobs of the Slack sink; times in seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    token_file: Path = Field(description="File with the bot token (xoxb-...), read again when it changes.")
    channel: str = Field(min_length=1, description="Channel for rules whose `notify` names none.")
    base_url: str = Field(default="https://slack.com/api/", description="Where Slack's Web API is.")
    timeout: float = Field(default=10.0, gt=0, description="For one call.")
    backoff: float = Field(default=1.0, gt=0, description="First wait after Slack could not be reached; doubled each time.")
    backoff_most: float = Field(default=60.0, gt=0, description="Longest such wait.")
    reconsider: float = Field(
        default=300.0, gt=0, description="Before a message that Slack refused is tried again; doubled, too."
    )
    capacity: int = Field(default=1000, gt=0, description="Threads that are remembered.")


@dataclass(slots=True, eq=False)
class _Thread:
    """One incident in one channel, and how much of it people have seen."""

    channel: str
    incident: Incident
    channel_id: str = ""
    ts: str = ""
    shown: Message | None = None
    progress: Progress = field(default_factory=Progress)
    bare: bool = False
    """Slack disliked the form (blocks, id) of what was sent: send plain text only."""
    frozen: bool = False
    """The message cannot be edited any more; its thread goes on."""
    refusals: int = 0
    not_before: float = 0.0
    complaints: set[str] = field(default_factory=set)

    def job(self) -> "_Job | None":
        """The next call to make for it: open it, bring its message up to date, or add the next line; None when all is told."""
        message = render(self.incident)
        message = Message(message.text) if self.bare else message
        if not self.ts:
            return _Job("chat.postMessage", message)
        if not self.frozen and message != self.shown:
            return _Job("chat.update", message)
        for entry in self.progress.unseen(self.incident.history):
            return _Job("chat.postMessage", Message(reply(entry, self.incident)), (self.incident.history, entry))
        return None

    def done(self, job: "_Job", sent: Sent) -> None:
        """Note that Slack took a job's message."""
        if job.line is not None:
            self.progress.tell(*job.line)
            return
        self.shown = job.message
        if not self.ts:
            self.channel_id, self.ts = sent.channel, sent.ts


@dataclass(frozen=True, slots=True)
class _Job:
    """One call: the method, what to say, and for a reply the history and the line of it that it tells."""

    method: Literal["chat.postMessage", "chat.update"]
    message: Message
    line: tuple[Sequence[Entry], Entry] | None = None


class SlackSink:
    """Tells Slack; see `Sink`. Each line is posted once, also when Slack was away.

    When the connection breaks after Slack took a message and before it said so, nobody can know; the message is sent again with
    the same client_msg_id, by which Slack recognises it. (Slack documents that key only in the errors of chat.postMessage.)
    """

    name = "slack"

    def __init__(
        self, settings: SlackSettings, counter: Counter, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self._settings = settings
        self._sleep = sleep
        self._count = counter
        self._log = structlog.get_logger("healer.slack")
        self._token = SecretFile(settings.token_file)
        self._threads: dict[tuple[str, str], _Thread] = {}
        self._pending: dict[_Thread, None] = {}  # an ordered set: the next to be served is first
        self._told = asyncio.Event()
        self._turned = asyncio.Event()
        self._troubles = 0

    def tell(self, incident: Incident) -> None:
        """Note the newest snapshot for each of the incident's channels."""
        for channel in incident.notify or (self._settings.channel,):
            thread = self._threads.get((incident.id, channel))
            if thread is None:
                self._make_room()
                thread = self._threads[incident.id, channel] = _Thread(channel, incident)
            elif incident.changed_at < thread.incident.changed_at:
                continue
            thread.incident = incident
            self._pending.setdefault(thread)
        self._told.set()

    async def run(self) -> None:
        """Serve pending threads for ever."""
        limit = aiohttp.ClientTimeout(total=self._settings.timeout)
        # trust_env, not the client's own reading of the environment: that one knows no NO_PROXY.
        async with aiohttp.ClientSession(timeout=limit, trust_env=True) as session:
            client = AsyncWebClient(base_url=self._settings.base_url, session=session, retry_handlers=[])
            client.proxy = None
            while True:
                thread = await self._next()
                await self._turn(client, thread)
                self._turned.set()

    async def flush(self, within: float) -> bool:
        """Wait until nothing is pending but what Slack refused, at most `within` seconds."""
        try:
            async with asyncio.timeout(within):
                while any(not thread.refusals for thread in self._pending):
                    self._turned.clear()
                    await self._turned.wait()
        except TimeoutError:
            return False
        return not self._pending

    async def _next(self) -> _Thread:
        """The thread whose turn it is; waits until there is one."""
        loop = asyncio.get_running_loop()
        while True:
            now = loop.time()
            for thread in self._pending:
                if thread.not_before <= now:
                    return thread
            self._told.clear()
            soonest = min((thread.not_before for thread in self._pending), default=None)
            try:
                async with asyncio.timeout_at(soonest):
                    await self._told.wait()
            except TimeoutError:
                continue

    async def _turn(self, client: AsyncWebClient, thread: _Thread) -> None:
        """Make the next call that a thread needs, and judge what came of it."""
        del self._pending[thread]
        job = thread.job()
        if job is None:
            return
        self._pending[thread] = None  # at the end: the others are next
        try:
            sent = await call(client, job.method, self._token, self._arguments(thread, job))
        except Later as later:
            await self._bide(later)
        except Never as never:
            self._refused(thread, job, never)
        else:
            thread.done(job, sent)
            thread.refusals = 0
            self._count.labels(self.name, "sent").inc()
            if self._troubles:
                self._log.info("Slack answers again", after_tries=self._troubles)
            self._troubles = 0

    def _arguments(self, thread: _Thread, job: _Job) -> dict[str, object]:
        arguments: dict[str, object] = {"channel": thread.channel_id or thread.channel, "text": job.message.text}
        if job.message.blocks:
            arguments["blocks"] = list(job.message.blocks)
        if job.method == "chat.update":
            return arguments | {"ts": thread.ts}
        if not thread.bare:
            # The same for every try of the same line, and for no other.
            name = f"healer:{thread.incident.id}:{thread.channel}"
            if job.line is not None:
                name += f":{thread.progress.told}:{job.line[1]}"
            arguments["client_msg_id"] = str(uuid.uuid5(uuid.NAMESPACE_URL, name))
        if job.line is not None:
            arguments["thread_ts"] = thread.ts
        return arguments | {"unfurl_links": False, "unfurl_media": False}

    async def _bide(self, later: Later) -> None:
        """Wait as long as Slack says, else longer each time, with full jitter."""
        self._count.labels(self.name, "retried").inc()
        if later.retry_after is not None:
            await self._sleep(later.retry_after + random.uniform(0, 0.1))
            return
        if not self._troubles:
            self._log.warning(
                "Slack cannot be reached; healing goes on, messages wait", error=str(later), pending=len(self._pending)
            )
        longest = min(self._settings.backoff_most, self._settings.backoff * 2 ** min(self._troubles, 30))
        self._troubles += 1
        await self._sleep(random.uniform(0, longest))

    def _refused(self, thread: _Thread, job: _Job, never: Never) -> None:
        """Find another way, or let the thread rest for long."""
        if never.code in FORM_ERRORS and not thread.bare:
            thread.bare = True
            return
        self._count.labels(self.name, "failed").inc()
        if job.method == "chat.update" and never.code in EDIT_ERRORS:
            thread.frozen = True
        else:
            rest = self._settings.reconsider * 2 ** min(thread.refusals, _DOUBLINGS)
            thread.refusals += 1
            thread.not_before = asyncio.get_running_loop().time() + rest
        if never.code not in thread.complaints:
            thread.complaints.add(never.code)
            self._log.error(
                "Slack refuses a message",
                error=never.code,
                hint=never.hint,
                channel=thread.channel,
                incident=thread.incident.id,
                token_file=str(self._settings.token_file),
            )

    def _make_room(self) -> None:
        """Forget a thread when there are too many: one that is told and closed, else one that is told, else the oldest."""
        if len(self._threads) < self._settings.capacity:
            return

        def worth(item: tuple[tuple[str, str], _Thread]) -> tuple[bool, bool]:
            return item[1] in self._pending, item[1].incident.state is not State.CLOSED

        key, thread = min(self._threads.items(), key=worth)
        del self._threads[key]
        if thread in self._pending:
            del self._pending[thread]
            self._count.labels(self.name, "dropped").inc()
            self._log.error("a message was dropped: too many incidents wait for Slack", incident=key[0], channel=key[1])
