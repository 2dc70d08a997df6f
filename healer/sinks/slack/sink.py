"""The Slack sink: one message an incident and channel, edited as it proceeds, its history in the thread.

One worker makes one call at a time, round robin over the threads that have something to say, so neither a long history nor a
refused channel holds up the others. What is pending is bounded by the number of incidents, whatever happens to Slack.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeVar

import aiohttp
import structlog
from slack_sdk.web.async_client import AsyncWebClient

from healer.clock import SYSTEM
from healer.model.incident import Incident, State
from healer.secret import SecretFile
from healer.section import PREFIX
from healer.sinks.base import Memory, NotKept, SinkMeters
from healer.sinks.keeper import Keeper
from healer.sinks.slack import look as slack_look
from healer.sinks.slack import setup as slack_setup
from healer.sinks.slack.call import EDIT_ERRORS, FORM_ERRORS, TOKEN_ERRORS, WORKSPACE_ERRORS, Later, Never, call
from healer.sinks.slack.channels import Channels
from healer.sinks.slack.message import Message
from healer.sinks.slack.settings import SlackSettings
from healer.sinks.slack.thread import Edit, Job, Keep, Post, Thread, ThreadSearch

T = TypeVar("T")

_DOUBLINGS = 4
_PAUSE = 1.0
"""Seconds until the journal is asked again to keep how a thread stands."""
_FRESH = 60.0
"""Seconds for which an intent holds: a message in doubt is looked for at the time of its intent."""


class SlackSink:
    """Tells Slack; see `Sink`. Each line is posted once, also when Slack was away, or this process (`Thread` says how).

    clock: seconds since the epoch. Raises ValueError when the settings lack a token file or a channel.
    """

    name = "slack"

    def __init__(
        self,
        settings: SlackSettings,
        meters: SinkMeters,
        memory: Memory,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = SYSTEM.wall,
    ) -> None:
        self._settings = settings
        self._sleep = sleep
        self._clock = clock
        self._count = meters.notifications
        self._log = structlog.get_logger("healer.slack")
        if settings.token_file is None:
            raise ValueError(f"{PREFIX}SLACK__TOKEN_FILE: not given; the Slack sink needs a token file")
        if not settings.channel:
            raise ValueError(f"{PREFIX}SLACK__CHANNEL: not given; incidents of rules without `notify` need a channel to go to")
        self._token = SecretFile(settings.token_file)
        self._channels = Channels(self.name, settings.channel, meters.usable)
        self._keeper = Keeper(memory)
        self._threads: dict[tuple[str, str], Thread] = {}
        self._pending: dict[Thread, None] = {}  # an ordered set: the next to be served is first
        self._ids: dict[str, str] = {}
        self._told = asyncio.Event()
        self._turned = asyncio.Event()
        self._turn_limit: asyncio.Timeout | None = None
        self._troubles = 0

    def tell(self, incident: Incident) -> None:
        """Note the newest snapshot for each of the incident's channels."""
        for channel in self._told_in(incident):
            self._note(incident, channel)

    def resume(self, incident: Incident) -> None:
        """Note an incident of the journal. That one is closed of which nobody was ever told is no news any more."""
        for channel in self._told_in(incident):
            if incident.state is not State.CLOSED or not self._old_news(Thread(channel, incident)):
                self._note(incident, channel)

    def reset(self) -> None:
        """Forget all threads, and abort the call that is under way: the next leader looks whether Slack has got it."""
        for thread in self._threads.values():
            thread.lost = True
        self._threads.clear()
        self._pending.clear()
        if self._turn_limit is not None:
            self._turn_limit.reschedule(asyncio.get_running_loop().time())
        self._turned.set()

    async def run(self) -> None:
        """Serve pending threads for ever."""
        async with self._client() as client:
            while True:
                thread = await self._next()
                await self._turn(client, thread)
                self._turned.set()

    async def check(self, channels: Collection[str]) -> list[str]:
        """What would keep messages from these channels and from the default one, a sentence each. Waits while Slack is away."""
        scopes: set[str] = set()

        def heard(headers: Mapping[str, str]) -> None:
            given = next((value for name, value in headers.items() if name.lower() == "x-oauth-scopes"), "")
            scopes.update(each.strip() for each in given.split(",") if each.strip())

        async with self._client() as client:
            while True:
                try:
                    await call(client, "auth.test", self._token, {}, dict, heard)
                    wanted = dict.fromkeys((*channels, self._settings.channel))
                    return await slack_setup.problems(partial(self._ask, client), wanted, scopes or None)
                except Later as later:
                    await self._sleep(self._settings.backoff_most if later.retry_after is None else later.retry_after)
                except Never as never:
                    return [f"Slack refuses healer's token ({never.code}): {never.hint} ({self._settings.token_file})"]

    @asynccontextmanager
    async def _client(self) -> AsyncIterator[AsyncWebClient]:
        limit = aiohttp.ClientTimeout(total=self._settings.timeout)
        # trust_env, not the client's own reading of the environment: that one knows no NO_PROXY.
        async with aiohttp.ClientSession(timeout=limit, trust_env=True) as session:
            client = AsyncWebClient(base_url=self._settings.base_url, session=session, retry_handlers=[])
            client.proxy = None
            yield client

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

    # threads

    def _told_in(self, incident: Incident) -> tuple[str, ...]:
        """The channels of an incident; the default one too, where it has stood in for one of them."""
        channels, default = self._channels.for_people(incident.notify), self._settings.channel
        return channels if default in channels or (incident.id, default) not in self._threads else (*channels, default)

    def _note(self, incident: Incident, channel: str) -> None:
        thread = self._threads.get((incident.id, channel))
        if thread is None:
            self._make_room()
            thread = self._threads[incident.id, channel] = Thread(channel, incident)
        elif incident.changed_at < thread.incident.changed_at:
            return
        thread.incident = incident
        thread.note = self._channels.stands_in(channel, incident.notify)
        self._pending.setdefault(thread)
        self._told.set()

    def _old_news(self, thread: Thread) -> bool:
        """Whether of a thread that nobody has told of here there is nothing to tell, or never was."""
        self._recall(thread)
        return not thread.kept or thread.complete

    def _recall(self, thread: Thread) -> None:
        """Go on where the last process stopped."""
        try:
            thread.take_up(self._keeper.recall(thread.incident.id, self._key(thread)))
        except ValueError as error:
            self._log.error(
                "what was kept of a thread cannot be read: starting another", incident=thread.incident.id, error=str(error)
            )
        if thread.channel_id:
            self._ids[thread.channel] = thread.channel_id
        if thread.doubt and thread.intent is not None:
            self._settle(thread, thread.intent.since - self._clock())

    def _key(self, thread: Thread) -> str:
        return f"{self.name} {thread.channel}"

    def _settle(self, thread: Thread, after: float = 0.0) -> None:
        """Give Slack the time to show what it took."""
        thread.rest(asyncio.get_running_loop().time() + min(after, _FRESH) + self._settings.settle)

    async def _keep(self, thread: Thread) -> bool:
        """Have remembered how a thread stands; returns whether it is."""
        state = thread.state()
        if thread.lost or state == thread.kept:
            return not thread.lost
        try:
            await self._keeper.keep(thread.incident.id, self._key(thread), state)
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

    def _make_room(self) -> None:
        """Forget a thread when there are too many: one that is told and closed, else one that is told, else the oldest."""
        if len(self._threads) < self._settings.capacity:
            return

        def worth(item: tuple[tuple[str, str], Thread]) -> tuple[bool, bool]:
            return item[1] in self._pending, item[1].incident.state is not State.CLOSED

        key, thread = min(self._threads.items(), key=worth)
        del self._threads[key]
        if thread in self._pending:
            del self._pending[thread]
            self._count.labels(self.name, "dropped").inc()
            self._log.error("a message was dropped: too many incidents wait for Slack", incident=key[0], channel=key[1])

    # turns

    async def _next(self) -> Thread:
        """The thread whose turn it is; waits until there is one."""
        loop = asyncio.get_running_loop()
        while True:
            now = loop.time()
            for thread in self._pending:
                if self._due(thread) <= now:
                    return thread
            self._told.clear()
            soonest = min((self._due(thread) for thread in self._pending), default=None)
            try:
                async with asyncio.timeout_at(soonest):
                    await self._told.wait()
            except TimeoutError:
                continue

    def _due(self, thread: Thread) -> float:
        """When a thread, and its channel, may be served again."""
        return max(thread.not_before, self._channels.rests_until(thread.channel))

    async def _turn(self, client: AsyncWebClient, thread: Thread) -> None:
        """Do the next thing that a thread needs, and judge what came of it."""
        del self._pending[thread]
        if thread.kept is None:
            self._recall(thread)
        job = thread.job()
        if job is None:
            return
        self._pending[thread] = None  # at the end: the others are next
        if self._due(thread) > asyncio.get_running_loop().time():
            return
        try:
            async with asyncio.timeout(None) as self._turn_limit:
                await self._do(client, thread, job)
        except TimeoutError:
            if not thread.lost:
                raise
        finally:
            self._turn_limit = None

    async def _do(self, client: AsyncWebClient, thread: Thread, job: Job) -> None:
        try:
            match job:
                case ThreadSearch():
                    await self._look(client, thread)
                case Edit():
                    await self._edit(client, thread, job)
                case Post():
                    await self._post(client, thread, job)
                case Keep():
                    if not await self._keep(thread):
                        thread.rest(asyncio.get_running_loop().time() + _PAUSE)
        except Later as later:
            await self._bide(later, thread)
        except Never as never:
            self._refused(thread, job, never)

    async def _edit(self, client: AsyncWebClient, thread: Thread, edit: Edit) -> None:
        place = {"channel": thread.channel_id, "ts": thread.ts}
        await self._ask(client, "chat.update", place | _content(edit.message), dict)
        thread.shown = edit.message
        self._sent(thread)

    async def _post(self, client: AsyncWebClient, thread: Thread, post: Post) -> None:
        """Say that a message will be posted, post it, say that it was."""
        if not await self._intended(thread, post):
            return
        arguments = {"channel": thread.channel_id or thread.channel, **_content(post.message), "metadata": thread.metadata(post)}
        if thread.ts:
            arguments["thread_ts"] = thread.ts
        arguments |= {"unfurl_links": False, "unfurl_media": False}
        thread.doubt = True  # whatever ends this, unless Slack gives a clear answer
        try:
            channel_id, ts = await self._ask(client, "chat.postMessage", arguments, lambda a: (str(a["channel"]), str(a["ts"])))
        except Later as later:
            thread.doubt = later.doubtful
            if later.doubtful:
                self._settle(thread)
            raise
        except Never:
            thread.doubt = False
            raise
        thread.posted(post, channel_id, ts)
        self._ids[thread.channel] = channel_id
        self._sent(thread)
        await self._keep(thread)

    async def _intended(self, thread: Thread, post: Post) -> bool:
        """Have the intent to post kept; returns whether to go on.

        While the journal cannot keep it, because the API server is away, lines wait: the incident's message is edited all the
        while, shows the state and the last lines, and needs no intent, so what people need is lost neither way. For that message
        itself the wait has an end. That the API server is away is when people must hear of an incident, and the price is small:
        it may be there twice if this process dies, too, before the journal is back. Neither holds up healing (promise 13).
        """
        thread.intend(post, self._clock(), _FRESH)
        if await self._keep(thread):
            return True
        now = asyncio.get_running_loop().time()
        since = now if thread.unkept_since is None else thread.unkept_since
        if thread.lost or thread.ts or now < since + self._settings.patience:
            thread.rest(now + _PAUSE)
            return False
        self._log.warning(
            "posted before it could be kept: it will be there twice if healer ends before it can",
            incident=thread.incident.id,
            channel=thread.channel,
        )
        return True

    async def _look(self, client: AsyncWebClient, thread: Thread) -> None:
        """Resolve a doubt. A limit on looking (it is per method) holds up this thread only."""
        try:
            there = await self._find(partial(self._ask, client), thread)
        except Later as later:
            if later.retry_after is None:
                raise
            self._count.labels(self.name, "retried").inc()
            thread.rest(asyncio.get_running_loop().time() + later.retry_after)
        except Never as never:
            if never.code in TOKEN_ERRORS:
                raise
            self._log.warning(
                "a thread may lack some lines: whether they were posted cannot be seen"
                if thread.ts
                else "posted again: whether it was already cannot be seen, so it may be there twice",
                error=never.code,
                hint="grant the Slack app channels:history and channels:read (groups:... if it is private), and /invite it",
                incident=thread.incident.id,
                channel=thread.channel,
            )
            thread.surrender()
        else:
            thread.refusals = 0
            self._log.info("looked for a message in doubt", incident=thread.incident.id, channel=thread.channel, there=there)

    async def _find(self, ask: slack_look.Ask, thread: Thread) -> bool:
        """Whether what a thread intended was posted."""
        intent = thread.intent
        if intent is None:
            raise RuntimeError("a thread is in doubt without an intent")
        if thread.ts:
            progress = await slack_look.lines(ask, thread.channel_id, thread.ts, thread.incident.id, intent.since)
            thread.told(progress)
            return progress.told >= intent.last
        thread.channel_id = self._ids.get(thread.channel) or await slack_look.channel_id(ask, thread.channel)
        self._ids[thread.channel] = thread.channel_id
        until = intent.since + _FRESH + self._settings.timeout
        thread.found(await slack_look.message(ask, thread.channel_id, thread.incident.id, intent.since, until))
        return bool(thread.ts)

    async def _ask(
        self, client: AsyncWebClient, method: str, arguments: Mapping[str, object], read: Callable[[Mapping[str, Any]], T]
    ) -> T:
        """Call Slack. Raises Later or Never."""
        answer = await call(client, method, self._token, arguments, read)
        if self._troubles:
            self._log.info("Slack answers again", after_tries=self._troubles)
        self._troubles = 0
        return answer

    def _sent(self, thread: Thread) -> None:
        thread.refusals = 0
        self._channels.took(thread.channel)
        self._count.labels(self.name, "sent").inc()

    async def _bide(self, later: Later, thread: Thread) -> None:
        """Leave a channel alone as long as Slack says; while Slack is away, wait longer each time, with full jitter."""
        self._count.labels(self.name, "retried").inc()
        if later.retry_after is not None:
            now = asyncio.get_running_loop().time()
            self._channels.rest(thread.channel, now, later.retry_after + random.uniform(0, 0.1))
            return
        if not self._troubles:
            self._log.warning(
                "Slack cannot be reached; healing goes on, messages wait", error=str(later), pending=len(self._pending)
            )
        longest = min(self._settings.backoff_most, self._settings.backoff * 2 ** min(self._troubles, 30))
        self._troubles += 1
        await self._sleep(random.uniform(0, longest))

    def _refused(self, thread: Thread, job: Job, never: Never) -> None:
        """Find another way, or let the thread rest for long."""
        if never.code in FORM_ERRORS and not thread.bare:
            thread.bare = True
            return
        self._count.labels(self.name, "failed").inc()
        if isinstance(job, Edit) and never.code in EDIT_ERRORS:
            thread.frozen = True
        else:
            rest = self._settings.reconsider * 2 ** min(thread.refusals, _DOUBLINGS)
            thread.refusals += 1
            thread.not_before = asyncio.get_running_loop().time() + rest
            if never.code not in WORKSPACE_ERRORS:
                self._channels.refused(thread.channel, never.code)
                for channel in self._told_in(thread.incident):  # the fallback among them
                    self._note(thread.incident, channel)
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


def _content(message: Message) -> dict[str, object]:
    return {"text": message.text} | ({"blocks": list(message.blocks)} if message.blocks else {})
