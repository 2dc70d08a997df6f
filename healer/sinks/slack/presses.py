"""Carries out what people ask for by a button in Slack: who may, the command, the answer."""

import asyncio
import re
from collections.abc import Callable, Mapping
from typing import Any

import structlog

from healer.model.text import one_line
from healer.sinks.commands import CommandRefused, PeopleCommands
from healer.sinks.slack.buttons import APPROVE, EXPLAIN, PAUSE, RESUME, UNDO, Press, without_button
from healer.sinks.slack.call import RetryLater, SlackRefusal
from healer.sinks.slack.message import clip
from healer.sinks.slack.search import SlackCall
from healer.sinks.slack.settings import SlackSettings

_WAITING = 100
"""Presses that wait at most; Slack tells people of one more that it failed."""
_MEMBERS_FOR = 60.0
"""Seconds for which the members of a user group are not asked for again."""
_LONGEST = 30.0
"""Seconds for a command."""
_ANSWER = 2900
_USER = re.compile(r"[UW][A-Z0-9]{2,20}")


class NotAllowed(Exception):
    """The person may not press; the message says why."""


class Presses:
    """`cluster` is the name of ours: with one app for two healers, Slack gives a press to either.

    `pressed` is called with each press that was carried out; it says whether the message is brought up to date for that. Where it
    is not, because another replica tells of the incident, the message is edited here.
    """

    def __init__(self, settings: SlackSettings, cluster: str, pressed: Callable[[Press], bool]) -> None:
        self._allowed = settings.allowed
        self._cluster = cluster
        self._pressed = pressed
        self._waiting: asyncio.Queue[Press] = asyncio.Queue(_WAITING)
        self._members: dict[str, tuple[float, frozenset[str]]] = {}
        self._log = structlog.get_logger("healer.slack")
        self.commands: PeopleCommands | None = None

    def take(self, press: Press) -> bool:
        """Note a press; False when too many wait."""
        try:
            self._waiting.put_nowait(press)
        except asyncio.QueueFull:
            return False
        return True

    async def run(self, slack: SlackCall) -> None:
        """Carry out, one after another, for ever."""
        while True:
            press = await self._waiting.get()
            try:
                async with asyncio.timeout(_LONGEST):
                    said = await self._carry_out(slack, press)
            except TimeoutError:
                self._note(press, "unknown", "no answer in time")
                await self._answer(slack, press, f"{press.verb}: no answer within {_LONGEST:g} s: look whether it was done")
                continue
            except (CommandRefused, NotAllowed) as error:
                self._note(press, "refused", str(error))
                await self._answer(slack, press, f"{press.verb}: {error}")
                continue
            self._note(press, "done", said)
            if press.verb != EXPLAIN and not self._pressed(press):
                await self._edit(slack, press)
            await self._answer(slack, press, said)

    async def _carry_out(self, slack: SlackCall, press: Press) -> str:
        if press.target.cluster != self._cluster:
            other = press.target.cluster or "without a name"
            raise CommandRefused(
                f"this button is of the healer of another cluster ({other}): give each healer a Slack app of its own"
            )
        await self._check(slack, press)
        commands, target = self.commands, press.target
        if commands is None:
            raise CommandRefused("healer is only beginning: press again in a moment")
        match press.verb:
            case verb if verb == APPROVE:
                return await commands.approve(target.namespace, target.incident, press.by, step=target.step)
            case verb if verb == PAUSE:
                return await commands.pause(target.workload, target.namespace, press.by, f"incident {target.incident}")
            case verb if verb == RESUME:
                return await commands.resume(target.workload, target.namespace, press.by)
            case verb if verb == UNDO:
                return await commands.undo(target.namespace, target.incident, press.by)
            case verb if verb == EXPLAIN:
                return await commands.explain(target.namespace, target.incident)
        raise CommandRefused("healer knows no such button (any more)")

    async def _check(self, slack: SlackCall, press: Press) -> None:
        """Raises NotAllowed unless the person is allowed, or is in a user group that is."""
        if not _USER.fullmatch(press.user):
            raise NotAllowed("Slack does not say who you are")
        if press.user in self._allowed:
            return
        for group in (each for each in self._allowed if each.startswith("S")):
            if press.user in await self._group(slack, group):
                return
        raise NotAllowed(f"you ({press.user}) are not allowed to: an administrator names you in HEALER_SLACK__ALLOW")

    async def _group(self, slack: SlackCall, group: str) -> frozenset[str]:
        now = asyncio.get_running_loop().time()
        at, members = self._members.get(group, (0.0, frozenset[str]()))
        if members and now < at + _MEMBERS_FOR:
            return members

        def read(answer: Mapping[str, Any]) -> frozenset[str]:
            return frozenset(map(str, answer["users"]))

        try:
            found = await slack("usergroups.users.list", {"usergroup": group}, read)
        except (RetryLater, SlackRefusal) as error:
            raise NotAllowed(f"Slack does not say who is in the user group {group} ({error})") from error
        self._members[group] = (now, found)
        return found

    async def _edit(self, slack: SlackCall, press: Press) -> None:
        message = {"channel": press.channel, "ts": press.ts, "text": press.text, "blocks": without_button(press)}
        try:
            await slack("chat.update", message, dict)
        except (RetryLater, SlackRefusal) as error:
            self._log.warning("a message still shows a button that was pressed", by=press.by, error=str(error))

    async def _answer(self, slack: SlackCall, press: Press, text: str) -> None:
        """Tell the person alone: in the channel, for in a thread only those see it who have it open."""
        message = {"channel": press.channel, "user": press.user, "text": clip(text, _ANSWER)}
        try:
            await slack("chat.postEphemeral", message, dict)
        except (RetryLater, SlackRefusal) as error:
            self._log.warning("a person who pressed a button could not be answered", by=press.by, error=str(error))

    def _note(self, press: Press, outcome: str, said: str) -> None:
        self._log.info(
            "a person pressed a button in Slack",
            verb=press.verb,
            incident=press.target.incident,
            namespace=press.target.namespace,
            by=one_line(press.by),
            outcome=outcome,
            said=one_line(said),
        )
