"""Floods: of many incidents in a short time in one channel, the later ones share a message that counts and lists them.

What needs a human is never folded: it has a message and a thread of its own, also when it was folded before.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from healer.engine.matching.coverage import counted
from healer.model.incident import Entry, Incident, Reason, State
from healer.model.target import Target
from healer.model.text import cut
from healer.sinks.slack.message import HEADER, LINE, Block, Message, SlackForm, clip, emoji, fit, mrkdwn
from healer.sinks.slack.thread import Edit, Job, Post, Thread, ThreadSearch
from healer.sinks.words import cause, milestone, words

_LISTED = 20
"""Incidents that the message lists: those that are not over first, the newest first."""


@dataclass(slots=True, eq=False)
class Flood(Thread):
    """The message that incidents of a channel share. It has no thread, and outlives no process: another healer tells of those
    that are not over in messages of its own."""

    folded: dict[str, Incident] = field(default_factory=dict)
    """The newest snapshot of each, the one that changed last at the end."""
    last: float = 0.0
    """When an incident was folded last, by the clock of the event loop."""
    over: int = 0
    """Those that are over and are not held any more."""

    @property
    def told(self) -> Iterable[Incident]:
        """What people read of in this message."""
        return tuple(self.folded.values())

    def take(self, incident: Incident, most: int) -> None:
        """Show an incident, or its newest snapshot; hold `most` at most."""
        self.folded.pop(incident.id, None)
        self.folded[incident.id] = incident
        if len(self.folded) > most:
            gone = next((each.id for each in self.folded.values() if each.state is State.CLOSED), next(iter(self.folded)))
            del self.folded[gone]
            self.over += 1

    @property
    def ended(self) -> bool:
        """Whether nothing in it can change any more."""
        return all(incident.state is State.CLOSED for incident in self.folded.values())

    def job(self) -> Job | None:
        """The next job; None when the message is up to date."""
        if self.doubt:
            return ThreadSearch()
        message = self._message()
        if not self.ts:
            return Post(message)
        return Edit(message) if message != self.shown and not self.frozen else None

    def _message(self) -> Message:
        open_ = [incident for incident in self.folded.values() if incident.state is not State.CLOSED]
        over = self.over + len(self.folded) - len(open_)
        state = f"{len(open_)} not over, {over} over" if open_ else "all are over"
        head = f":ocean: {counted(len(self.folded) + self.over, 'more incident')} in a short time: {state}"
        listed = sorted(self.folded.values(), key=lambda incident: incident.state is State.CLOSED)[:_LISTED]
        text = fit(incident_line(incident, self.form) for incident in listed)
        rest = len(self.folded) + self.over - len(text)
        blocks: list[Block] = [{"type": "header", "text": {"type": "plain_text", "text": cut(head, HEADER), "emoji": True}}]
        if text:
            blocks.append({"type": "section", "text": mrkdwn("\n".join(text))})
        more = f"{rest} more are not listed. " if rest else ""
        way = f"{more}`healer status` shows all that are open. What needs a human gets a message of its own."
        blocks.append({"type": "context", "elements": [mrkdwn(way)]})
        return Message(head) if self.plain_text else Message(head, tuple(blocks))


class Floods:
    """Decides, channel by channel, which incidents are folded. `after` in `within` seconds have messages of their own; 0: all."""

    def __init__(self, form: SlackForm, after: int, within: float, most: int) -> None:
        self._form = form
        self._after = after
        self._within = within
        self._most = most
        self._recent: dict[str, deque[float]] = {}
        self._floods: dict[str, Flood] = {}
        self._numbers = 0

    def clear(self) -> None:
        """Forget all."""
        self._recent.clear()
        self._floods.clear()

    def of(self, incident: Incident, channel: str, now: float, *, known: bool) -> Flood | None:
        """The flood that the incident is told in; None when it has a message of its own.

        `known`: another process has told of it. Times are those of the event loop.
        """
        flood = self._floods.get(channel)
        if milestone(incident).needs_human:
            if flood is not None:
                flood.folded.pop(incident.id, None)
            return None
        if flood is not None and incident.id in flood.folded:
            flood.take(incident, self._most)
            return flood
        if known or not self._after:
            return None
        recent = self._recent.setdefault(channel, deque(maxlen=self._after))
        full = len(recent) == self._after and now - recent[0] < self._within
        recent.append(now)
        if not full:
            return None
        if flood is None or flood.frozen or (flood.ended and now - flood.last >= self._within):
            flood = self._floods[channel] = self._new(channel, incident)
        flood.last = now
        flood.take(incident, self._most)
        return flood

    def _new(self, channel: str, first: Incident) -> Flood:
        self._numbers += 1
        return Flood(channel, stand_in(f"flood-{self._numbers}-{first.id}", channel, first), self._form, kept={})


def stand_in(name: str, channel: str, first: Incident) -> Incident:
    """What stands for an incident where a message is of several: it names the message in Slack's metadata, and its channel."""
    why = Reason("Several", "a message of several incidents")
    return Incident(
        id=name,
        rule="",
        workload=Target("Channel", "", channel, ""),
        severity=first.severity,
        mode=first.mode,
        notify=(channel,),
        opened_at=first.opened_at,
        changed_at=first.changed_at,
        state=State.OPEN,
        reason=why,
        targets={},
        steps=(),
        history=(Entry(first.opened_at, State.OPEN, why),),
    )


def incident_line(incident: Incident, form: SlackForm) -> str:
    """An incident in a list: where, what is wrong, how it stands."""
    where = f"{incident.workload} in {incident.workload.namespace or 'the cluster'}"
    what, verdict = clip(cause(incident, 150), LINE), clip(words(incident, form.site).verdict, LINE)
    return f"• {emoji(incident)} {clip(where, LINE)}: {what}: {verdict}"
