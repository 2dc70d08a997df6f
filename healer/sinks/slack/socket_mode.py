"""Socket Mode: Slack tells of pressed buttons over a connection that healer opens (https://docs.slack.dev/apis/events-api/using-socket-mode).

The SDK's client is not used: its tasks end and its errors go unseen, and its queue has no bound.
"""

import asyncio
import random
from collections.abc import Callable
from typing import Any

import aiohttp
import msgspec
import structlog

from healer.sinks.slack.buttons import Press, parse_press
from healer.sinks.slack.call import RetryLater, SlackRefusal
from healer.sinks.slack.search import SlackCall

_HEARTBEAT = 20.0
"""Seconds between pings; a connection that does not answer is made anew."""
_LARGEST = 1024 * 1024
"""Bytes of a message."""


class SocketMode:
    """`open_` calls Slack with the token of the app; `take` notes a press, and returns False when it cannot."""

    def __init__(self, take: Callable[[Press], bool], backoff: float, backoff_most: float) -> None:
        self._take = take
        self._backoff = backoff
        self._backoff_most = backoff_most
        self._log = structlog.get_logger("healer.slack")

    async def run(self, session: aiohttp.ClientSession, open_: SlackCall) -> None:
        """Be connected, for ever."""
        failures = 0
        said = ""
        while True:
            try:
                url = await open_("apps.connections.open", {}, lambda answer: str(answer["url"]))
                async with session.ws_connect(url, heartbeat=_HEARTBEAT, max_msg_size=_LARGEST) as socket:
                    failures, said = 0, ""
                    await self._listen(socket)
                continue
            except (
                RetryLater,
                SlackRefusal,
                aiohttp.ClientError,
                TimeoutError,
                OSError,
                ValueError,
                msgspec.MsgspecError,
            ) as error:
                failures += 1
                why = (
                    str(error) if isinstance(error, RetryLater | SlackRefusal) else type(error).__name__
                )  # no URL: it has a ticket
                if why != said:
                    said = why
                    self._log.warning("buttons in Slack do nothing: Socket Mode is not connected", error=said)
            await asyncio.sleep(random.uniform(0.5, 1) * min(self._backoff_most, self._backoff * 2 ** min(failures, 10)))

    async def _listen(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        """Take what comes, until the connection ends or Slack wants another."""
        async for message in socket:
            if message.type is not aiohttp.WSMsgType.TEXT:
                continue
            envelope: Any = msgspec.json.decode(message.data)
            if not isinstance(envelope, dict) or envelope.get("type") == "disconnect":
                return
            if "envelope_id" not in envelope:
                continue
            if self._heard(envelope):
                await socket.send_json({"envelope_id": envelope["envelope_id"]})

    def _heard(self, envelope: dict[str, Any]) -> bool:
        """Whether Slack need not say it again."""
        if envelope.get("type") != "interactive":
            return True
        try:
            press = parse_press(envelope.get("payload"))
        except ValueError as error:
            self._log.warning("what Slack says of a pressed button cannot be read", error=str(error))
            return True
        return press is None or self._take(press)
