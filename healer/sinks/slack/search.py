"""Searching Slack for messages that may have been posted, by the metadata that they carry, and for channels.

It needs the scopes channels:history and channels:read (groups:history and groups:read in private channels), and an app that has
joined the channel: https://docs.slack.dev/reference/methods/conversations.history and conversations.replies.
"""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from healer.sinks.base import HistoryProgress, LineMark
from healer.sinks.slack.call import SlackRefusal
from healer.sinks.slack.thread import EVENT

T = TypeVar("T")
Answer = Mapping[str, Any]

_PAGE = 100
_PAGES = 20
_SKEW = 120.0
"""Seconds by which the clocks of healers and Slack may differ, a call's duration included."""
_METADATA = {"include_all_metadata": "true"}
_ID = re.compile(r"[CDG][A-Z0-9]{8,}")


class SlackCall(Protocol):
    """A call of Slack's Web API: method, arguments, and how its answer is read. Raises RetryLater or SlackRefusal."""

    def __call__(self, method: str, arguments: Mapping[str, object], read: Callable[[Answer], T], /) -> Awaitable[T]: ...


async def find_channel_id(slack: SlackCall, channel: str) -> str:
    """The id of a channel given by name or id; reading needs the id. Raises RetryLater or SlackRefusal."""
    if _ID.fullmatch(channel):
        return channel
    name = channel.removeprefix("#")
    async for page in _joined(slack):
        for found, called in page:
            if called == name:
                return found
    raise SlackRefusal("not_in_channel")


async def joined_channels(slack: SlackCall) -> tuple[set[str], set[str]]:
    """Ids and names of the channels that the app has joined and that are not archived. Raises RetryLater or SlackRefusal."""
    found = [each async for page in _joined(slack) for each in page]
    return {channel for channel, _ in found}, {name for _, name in found}


def _joined(slack: SlackCall) -> AsyncIterator[list[tuple[str, str]]]:
    """Ids and names, page by page."""
    query = {"types": "public_channel,private_channel", "exclude_archived": "true"}
    return _pages(
        slack, "users.conversations", query, lambda answer: [(str(c["id"]), str(c["name"])) for c in answer["channels"]]
    )


async def find_message(slack: SlackCall, channel: str, incident: str, since: float, until: float) -> str | None:
    """The ts of the incident's message in a channel (by id), posted from `since` to `until`; None when there is none.

    Raises RetryLater or SlackRefusal.
    """
    window = {"channel": channel, "oldest": f"{since - _SKEW:.6f}", "latest": f"{until + _SKEW:.6f}"} | _METADATA
    async for page in _pages(slack, "conversations.history", window, _ours):
        for found in page:
            if (found.incident, found.last) == (incident, 0):
                return found.ts
    return None


async def find_replies(slack: SlackCall, channel: str, ts: str, incident: str, since: float) -> HistoryProgress:
    """How far a thread tells the incident's history, by its replies since `since`. Raises RetryLater or SlackRefusal."""
    told = HistoryProgress()
    query = {"channel": channel, "ts": ts, "oldest": f"{since - _SKEW:.6f}"} | _METADATA
    async for page in _pages(slack, "conversations.replies", query, _ours):
        for found in page:
            if found.incident == incident and found.last > told.count:
                told = HistoryProgress(found.last, found.mark)
    return told


@dataclass(frozen=True, slots=True)
class _Ours:
    """A message of healer's: the incident and the last line that it tells; see `Thread.metadata`."""

    ts: str
    incident: str
    last: int
    mark: LineMark | None


def _ours(answer: Answer) -> list[_Ours]:
    return [ours for message in answer["messages"] if (ours := _one_of_ours(message)) is not None]


def _one_of_ours(message: Mapping[str, Any]) -> _Ours | None:
    """healer's part of a message; None when it is not healer's, for anybody may post under healer's event type."""
    try:
        if message["metadata"]["event_type"] != EVENT:
            return None
        payload = message["metadata"]["event_payload"]
        last = int(payload["last"])
        return _Ours(str(message["ts"]), payload["incident"], last, LineMark.parse(payload["mark"]) if last else None)
    except (AttributeError, LookupError, TypeError, ValueError):
        return None


async def _pages(
    slack: SlackCall, method: str, query: Mapping[str, object], read: Callable[[Answer], list[T]]
) -> AsyncIterator[list[T]]:
    """What a method lists, page by page. Raises SlackRefusal after too many pages."""

    def both(answer: Answer) -> tuple[list[T], str]:
        return read(answer), str((answer.get("response_metadata") or {}).get("next_cursor") or "")

    cursor: dict[str, object] = {}
    for _ in range(_PAGES):
        page, following = await slack(method, {**query, "limit": _PAGE, **cursor}, both)
        yield page
        if not following:
            return
        cursor = {"cursor": following}
    raise SlackRefusal("too_many_messages")
