"""Floods: of many incidents in a short time in one channel, the later ones share a message that counts and lists them.

What needs a human is never folded: it has a message and a thread of its own, also when it was folded before.

The incidents of the RuleSets of one namespace are counted apart, and sooner: whoever may write RuleSets there hides nobody else's
incident by a flood, and keeps no message of others waiting. Of these, what needs a human is folded too, when there is too much.
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

_PART = 4
"""The RuleSets of one namespace have a part of the messages that a channel has."""
_Source = tuple[str, str]
"""A channel, and the namespace whose RuleSets incidents are of; "" for all others."""
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
    namespace: str = ""
    """Whose RuleSets they are of; "" for all others."""

    @property
    def tenant(self) -> str:
        """The namespace whose RuleSets all of them are of; "" for all others."""
        return self.namespace

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
            self.over += self.folded.pop(gone).state is State.CLOSED

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
        called = sum(milestone(incident).needs_human for incident in open_)
        calls = f", {called} need a human" if called else ""
        whose = f" of the RuleSets in {self.namespace}" if self.namespace else ""
        head = f":ocean: {counted(len(self.folded) + self.over, 'more incident')}{whose} in a short time: {state}{calls}"
        listed = sorted(self.folded.values(), key=_first)[:_LISTED]
        text = fit(incident_line(incident, self.form) for incident in listed)
        rest = len(self.folded) + self.over - len(text)
        blocks: list[Block] = [{"type": "header", "text": {"type": "plain_text", "text": cut(head, HEADER), "emoji": True}}]
        if text:
            blocks.append({"type": "section", "text": mrkdwn("\n".join(text))})
        more = f"{rest} more are not listed. " if rest else ""
        own = "" if self.namespace else " What needs a human gets a message of its own."
        way = f"{more}`healer status` shows all that are open.{own}"
        blocks.append({"type": "context", "elements": [mrkdwn(way)]})
        return Message(head) if self.plain_text else Message(head, tuple(blocks))


def _first(incident: Incident) -> tuple[bool, bool]:
    """What is listed first: what needs a human, then what is not over."""
    return not milestone(incident).needs_human, incident.state is State.CLOSED


class Floods:
    """Decides, channel by channel, which incidents are folded. `after` in `within` seconds have messages of their own; 0: all."""

    def __init__(self, form: SlackForm, after: int, within: float, most: int) -> None:
        self._form = form
        self._after = after
        self._within = within
        self._most = most
        self._recent: dict[_Source, deque[float]] = {}
        self._calls: dict[_Source, deque[float]] = {}  # for a human
        self._floods: dict[_Source, Flood] = {}
        self._numbers = 0

    def clear(self) -> None:
        """Forget all."""
        self._recent.clear()
        self._calls.clear()
        self._floods.clear()

    def of(self, incident: Incident, channel: str, now: float, *, known: bool) -> Flood | None:
        """The flood that the incident is told in; None when it has a message of its own.

        `known`: another process has told of it. Times are those of the event loop.
        """
        source = channel, incident.tenant
        flood = self._floods.get(source)
        folded = flood is not None and incident.id in flood.folded
        if milestone(incident).needs_human and self._calls_apart(source, now):
            if flood is not None and folded:
                del flood.folded[incident.id]
            return None
        if flood is not None and folded:
            flood.take(incident, self._most)
            return flood
        if known or not self._after or not self._is_too_much(source, now):
            return None
        if flood is None or flood.frozen or (flood.ended and now - flood.last >= self._within):
            flood = self._floods[source] = self._new(source, incident)
        flood.last = now
        flood.take(incident, self._most)
        return flood

    def _is_too_much(self, source: _Source, now: float) -> bool:
        """Count one more incident; returns whether it is one too many."""
        most = max(1, self._after // _PART) if source[1] else self._after
        recent = self._recent.setdefault(source, deque(maxlen=most))
        full = len(recent) == most and now - recent[0] < self._within
        recent.append(now)
        return full

    def _calls_apart(self, source: _Source, now: float) -> bool:
        """Whether what needs a human has a message of its own: always, but for a flood of that by the RuleSets of a namespace."""
        if not source[1] or not self._after:
            return True
        calls = self._calls.setdefault(source, deque(maxlen=self._after))
        if len(calls) == self._after and now - calls[0] < self._within:
            return False
        calls.append(now)
        return True

    def _new(self, source: _Source, first: Incident) -> Flood:
        self._numbers += 1
        channel, namespace = source
        subject = stand_in(f"flood-{self._numbers}-{first.id}", channel, first)
        return Flood(channel, subject, self._form, kept={}, namespace=namespace)


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
