"""The Slack sink: one message an incident and channel, edited as it proceeds, its history in the thread.

One worker makes one call at a time, round robin over the threads that have something to tell, so neither a long history nor a
channel that refuses delays the others. There is at most one pending thread for each incident and channel.
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
from healer.model.incident import Incident
from healer.model.link import safe_link
from healer.secret import SecretFile
from healer.section import PREFIX
from healer.sinks.base import SinkMeters
from healer.sinks.commands import PeopleCommands, SignedReceiver
from healer.sinks.memory import Memory
from healer.sinks.site import Site
from healer.sinks.slack.access_check import access_problems
from healer.sinks.slack.call import EDIT_ERRORS, FORM_ERRORS, TOKEN_ERRORS, WORKSPACE_ERRORS, RetryLater, SlackRefusal, call
from healer.sinks.slack.channels import Channels
from healer.sinks.slack.flood import Flood
from healer.sinks.slack.interactions import INTERACTIONS, Interactions
from healer.sinks.slack.message import Message, SlackForm
from healer.sinks.slack.presses import Presses
from healer.sinks.slack.search import SlackCall, find_channel_id, find_message, find_replies
from healer.sinks.slack.settings import SlackSettings
from healer.sinks.slack.socket_mode import SocketMode
from healer.sinks.slack.template import load_template
from healer.sinks.slack.thread import Edit, Job, Keep, Post, Thread, ThreadSearch
from healer.sinks.slack.threads import INTENT_HOLDS, Threads

T = TypeVar("T")

_DOUBLINGS = 4
_PAUSE = 1.0
"""Seconds until the journal is asked again to keep the state of a thread."""


class SlackSink:
    """Tells Slack; see `Sink`. Each line is posted once, also across outages of Slack and restarts of healer (`Thread` says how).

    clock: seconds since the epoch. Raises ValueError when the settings lack a token file or a channel, or have a wrong template.
    """

    name = "slack"

    def __init__(
        self,
        settings: SlackSettings,
        site: Site,
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
        template = None if settings.template_file is None else load_template(settings.template_file)
        form = SlackForm(site, settings.mentions, settings.buttons, template)
        self._token = SecretFile(settings.token_file)
        self._channels = Channels(self.name, settings.channel, meters.usable)
        self._threads = Threads(self.name, settings, form, self._channels, memory, meters, clock)
        self._presses = Presses(settings, site.cluster, self._threads.press)
        self._app_token = None if settings.app_token_file is None else SecretFile(settings.app_token_file)
        self._signing = None if settings.signing_secret_file is None else SecretFile(settings.signing_secret_file)
        self._workspace = ""
        """The address of the workspace, with a slash at its end; empty until Slack has said it."""
        self._served = asyncio.Event()
        """Set after each turn, and after a reset."""
        self._turn_limit: asyncio.Timeout | None = None
        self._troubles = 0
        self._away_since = 0.0
        """When Slack was first not reached, by the clock of the event loop, while `_troubles` are counted."""

    def tell(self, incident: Incident) -> None:
        """Note the newest snapshot for each of the incident's channels."""
        self._threads.update(incident)

    def resume(self, incident: Incident) -> None:
        """Note an incident of the journal. A closed one of which nobody was ever told is not told any more."""
        self._threads.resume(incident)

    def reset(self) -> None:
        """Forget all threads, and abort the call that is under way: the next leader searches Slack for it."""
        self._threads.clear()
        if self._turn_limit is not None:
            self._turn_limit.reschedule(asyncio.get_running_loop().time())
        self._served.set()

    async def run(self) -> None:
        """Serve pending threads, and people who press buttons, for ever."""
        async with self._client() as client, asyncio.TaskGroup() as group:
            if self._settings.buttons:
                group.create_task(self._presses.run(partial(self._call, client)), name="pressed buttons of Slack")
            if self._settings.buttons and self._app_token is not None and client.session is not None:
                mode = SocketMode(self._presses.take, self._settings.backoff, self._settings.backoff_most)
                open_ = partial(_call_as, client, self._app_token)
                group.create_task(mode.run(client.session, open_), name="Socket Mode of Slack")
            if self._settings.digest:
                group.create_task(self._post_digests(), name="digests of Slack")
            while True:
                thread = await self._threads.next()
                await self._serve(client, thread)
                self._served.set()

    def use(self, commands: PeopleCommands) -> None:
        """Carry out by these what people ask for by buttons."""
        self._presses.commands = commands

    @property
    def posts(self) -> Mapping[str, SignedReceiver]:
        """What takes the presses that Slack posts to healer, by path; empty where it posts none."""
        if self._signing is None or not self._settings.buttons:
            return {}
        return {INTERACTIONS: Interactions(self._signing, self._presses.take, self._clock).receive}

    def thread_link(self, incident: Incident, *, recall: bool = False) -> str:
        """The permalink of the incident's message, as chat.getPermalink gives it, without a call for each incident."""
        channel_id, ts = self._threads.message_of(incident, recall=recall)
        return safe_link(f"{self._workspace}archives/{channel_id}/p{ts.replace('.', '')}") if self._workspace and ts else ""

    async def check(self, channels: Collection[str]) -> list[str]:
        """What would keep messages from these channels and the default one, a sentence each. Waits until Slack answers."""
        scopes: set[str] = set()

        def read_scopes(headers: Mapping[str, str]) -> None:
            given = next((value for name, value in headers.items() if name.lower() == "x-oauth-scopes"), "")
            scopes.update(each.strip() for each in given.split(",") if each.strip())

        async with self._client() as client:
            while True:
                try:
                    said = await call(client, "auth.test", self._token, {}, dict, read_scopes)
                    self._workspace = str(said.get("url") or "")
                    wanted = dict.fromkeys((*channels, self._settings.channel))
                    return await access_problems(partial(self._call, client), wanted, scopes or None)
                except RetryLater as later:
                    await self._sleep(self._settings.backoff_most if later.retry_after is None else later.retry_after)
                except SlackRefusal as refused:
                    return [f"Slack refuses healer's token ({refused.code}): {refused.hint} ({self._settings.token_file})"]

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
                while any(not thread.refusals for thread in self._threads.pending):
                    self._served.clear()
                    await self._served.wait()
        except TimeoutError:
            return False
        return not self._threads.pending

    async def _post_digests(self) -> None:
        while True:
            await self._sleep(self._settings.until_digest(self._clock()))
            self._threads.post_digest()

    # turns

    async def _serve(self, client: AsyncWebClient, thread: Thread) -> None:
        """Execute the next job of a thread."""
        del self._threads.pending[thread]
        if thread.kept is None:
            self._threads.recall(thread)
        thread.missed = self._threads.missed
        job = thread.job()
        if job is None:
            return
        self._threads.pending[thread] = None  # at the end: the others are next
        if self._threads.due(thread) > asyncio.get_running_loop().time():
            return
        try:
            async with asyncio.timeout(None) as self._turn_limit:
                await self._execute(client, thread, job)
        except TimeoutError:
            if not thread.lost:
                raise
        finally:
            self._turn_limit = None

    async def _execute(self, client: AsyncWebClient, thread: Thread, job: Job) -> None:
        try:
            match job:
                case ThreadSearch():
                    await self._resolve_doubt(client, thread)
                case Edit():
                    await self._edit(client, thread, job)
                case Post():
                    await self._post(client, thread, job)
                case Keep():
                    if not await self._threads.keep(thread):
                        thread.postpone(asyncio.get_running_loop().time() + _PAUSE)
        except RetryLater as later:
            await self._back_off(later, thread)
        except SlackRefusal as refused:
            self._refused(thread, job, refused)

    async def _edit(self, client: AsyncWebClient, thread: Thread, edit: Edit) -> None:
        message = {"channel": thread.channel_id, "ts": thread.ts}
        await self._call(client, "chat.update", message | _content(edit.message), dict)
        thread.shown = edit.message
        self._sent(thread)
        if isinstance(thread, Flood):  # others change before long, and Slack limits edits
            thread.postpone(asyncio.get_running_loop().time() + self._settings.fold_every)

    async def _post(self, client: AsyncWebClient, thread: Thread, post: Post) -> None:
        """Keep the intent to post a message, post it, keep that it was posted."""
        if not await self._intended(thread, post):
            return
        arguments = {"channel": thread.channel_id or thread.channel, **_content(post.message), "metadata": thread.metadata(post)}
        if thread.ts:
            arguments |= {"thread_ts": thread.ts, "reply_broadcast": post.message.broadcast}
        arguments |= {"unfurl_links": False, "unfurl_media": False}
        thread.doubt = True  # whatever ends this, unless Slack gives a clear answer
        try:
            channel_id, ts = await self._call(client, "chat.postMessage", arguments, lambda a: (str(a["channel"]), str(a["ts"])))
        except RetryLater as later:
            thread.doubt = later.doubtful
            if later.doubtful:
                self._threads.wait_until_visible(thread)
            raise
        except SlackRefusal:
            thread.doubt = False
            raise
        thread.posted(post, channel_id, ts)
        self._threads.channel_ids[thread.channel] = channel_id
        self._sent(thread)
        await self._threads.keep(thread)

    async def _intended(self, thread: Thread, post: Post) -> bool:
        """Keep the intent to post; returns whether to go on.

        While the API server is away, the journal cannot keep it, and lines wait: the incident's message is edited meanwhile,
        shows the state and the last lines, and needs no intent. The incident's message itself waits for `patience` seconds at
        most, because people must hear of an incident above all while the API server is away. If this process dies before the
        journal is back, the message is posted twice. Neither delays healing (promise 13).
        """
        thread.intend(post, self._clock(), INTENT_HOLDS)
        if await self._threads.keep(thread):
            return True
        now = asyncio.get_running_loop().time()
        since = now if thread.unkept_since is None else thread.unkept_since
        if thread.lost or thread.ts or now < since + self._settings.patience:
            thread.postpone(now + _PAUSE)
            return False
        self._log.warning(
            "posted before it could be kept: it will be there twice if healer ends before it can",
            incident=thread.incident.id,
            channel=thread.channel,
        )
        return True

    async def _resolve_doubt(self, client: AsyncWebClient, thread: Thread) -> None:
        """Find out whether a message was posted. A rate limit on reading (Slack has one per method) delays this thread only."""
        try:
            there = await self._search(partial(self._call, client), thread)
        except RetryLater as later:
            if later.retry_after is None:
                raise
            self._count.labels(self.name, "retried").inc()
            thread.postpone(asyncio.get_running_loop().time() + later.retry_after)
        except SlackRefusal as refused:
            if refused.code in TOKEN_ERRORS:
                raise
            self._log.warning(
                "a thread may lack some lines: whether they were posted cannot be seen"
                if thread.ts
                else "posted again: whether it was already cannot be seen, so it may be there twice",
                error=refused.code,
                hint="grant the Slack app channels:history and channels:read (groups:... if it is private), and /invite it",
                incident=thread.incident.id,
                channel=thread.channel,
            )
            thread.give_up_search()
        else:
            thread.refusals = 0
            self._log.info("searched for a message in doubt", incident=thread.incident.id, channel=thread.channel, there=there)

    async def _search(self, slack: SlackCall, thread: Thread) -> bool:
        """Whether what a thread intended was posted."""
        intent = thread.intent
        if intent is None:
            raise RuntimeError("a thread is in doubt without an intent")
        if thread.ts:
            progress = await find_replies(slack, thread.channel_id, thread.ts, thread.incident.id, intent.since)
            thread.found_replies(progress)
            return progress.count >= intent.last
        thread.channel_id = self._threads.channel_ids.get(thread.channel) or await find_channel_id(slack, thread.channel)
        self._threads.channel_ids[thread.channel] = thread.channel_id
        until = intent.since + INTENT_HOLDS + self._settings.timeout
        thread.found_message(await find_message(slack, thread.channel_id, thread.incident.id, intent.since, until))
        return bool(thread.ts)

    async def _call(
        self, client: AsyncWebClient, method: str, arguments: Mapping[str, object], read: Callable[[Mapping[str, Any]], T]
    ) -> T:
        """Call Slack. Raises RetryLater or SlackRefusal."""
        answer = await call(client, method, self._token, arguments, read)
        if self._troubles:
            if asyncio.get_running_loop().time() - self._away_since >= self._settings.away:
                self._threads.missed = self._clock()
            self._log.info("Slack answers again", after_tries=self._troubles)
        self._troubles = 0
        return answer

    def _sent(self, thread: Thread) -> None:
        thread.refusals = 0
        self._channels.accepted(thread.channel)
        self._count.labels(self.name, "sent").inc()

    async def _back_off(self, later: RetryLater, thread: Thread) -> None:
        """Send nothing to a channel for as long as Slack says; without an answer, wait longer each time, with full jitter."""
        self._count.labels(self.name, "retried").inc()
        if later.retry_after is not None:
            now = asyncio.get_running_loop().time()
            self._channels.pause(thread.channel, now, later.retry_after + random.uniform(0, 0.1))
            return
        if not self._troubles:
            self._away_since = asyncio.get_running_loop().time()
            self._log.warning(
                "Slack cannot be reached; healing goes on, messages wait", error=str(later), pending=len(self._threads.pending)
            )
        longest = min(self._settings.backoff_most, self._settings.backoff * 2 ** min(self._troubles, 30))
        self._troubles += 1
        await self._sleep(random.uniform(0, longest))

    def _refused(self, thread: Thread, job: Job, refused: SlackRefusal) -> None:
        """Try plain text, give up an edit, or try again much later."""
        if refused.code in FORM_ERRORS and not thread.plain_text:
            thread.plain_text = True
            return
        self._count.labels(self.name, "failed").inc()
        if isinstance(job, Edit) and refused.code in EDIT_ERRORS:
            thread.frozen = True
        else:
            rest = self._settings.reconsider * 2 ** min(thread.refusals, _DOUBLINGS)
            thread.refusals += 1
            thread.not_before = asyncio.get_running_loop().time() + rest
            if refused.code not in WORKSPACE_ERRORS:
                self._channels.refused(thread.channel, refused.code)
                for incident in thread.told:
                    self._threads.update(incident)  # the fallback is one of its channels now
        if refused.code not in thread.complaints:
            thread.complaints.add(refused.code)
            self._log.error(
                "Slack refuses a message",
                error=refused.code,
                hint=refused.hint,
                channel=thread.channel,
                incident=thread.incident.id,
                token_file=str(self._settings.token_file),
            )


async def _call_as(
    client: AsyncWebClient,
    token: SecretFile,
    method: str,
    arguments: Mapping[str, object],
    read: Callable[[Mapping[str, Any]], T],
) -> T:
    return await call(client, method, token, arguments, read)


def _content(message: Message) -> dict[str, object]:
    return {"text": message.text} | ({"blocks": list(message.blocks)} if message.blocks else {})
