"""The digest of a day, for those who want one: it counts the incidents of the last 24 h and lists what is not over."""

from collections import Counter
from dataclasses import dataclass, field

from healer.engine.matching.coverage import counted
from healer.model.incident import Incident, State
from healer.sinks.slack.flood import incident_line, stand_in
from healer.sinks.slack.message import LINE, Block, Message, SlackForm, clip, fit, mrkdwn
from healer.sinks.slack.thread import Job, Post, Thread, ThreadSearch
from healer.sinks.words import Milestone, milestone

DAY = 86_400.0
_LISTED, _WORKLOADS = 10, 5


@dataclass(slots=True, eq=False)
class Digest(Thread):
    """A message that is posted once, and kept nowhere: a crash before it may cost it."""

    message: Message = field(default_factory=lambda: Message(""))

    def job(self) -> Job | None:
        """Post it, once."""
        if self.doubt:
            return ThreadSearch()
        return None if self.ts else Post(self.message)


class DayBook:
    """The newest snapshot of each incident of the last day; `most` are held. Times are in seconds since the epoch."""

    def __init__(self, form: SlackForm, most: int) -> None:
        self._form = form
        self._most = most
        self._known: dict[str, Incident] = {}

    def take(self, incident: Incident) -> None:
        """Note an incident, or its newest snapshot."""
        held = self._known.pop(incident.id, None)
        self._known[incident.id] = incident if held is None or held.changed_at <= incident.changed_at else held
        if len(self._known) > self._most:
            del self._known[next(iter(self._known))]

    def clear(self) -> None:
        """Forget all."""
        self._known.clear()

    def digest(self, channel: str, now: float) -> Digest | None:
        """The digest of the day until `now`; None when there was none. What is over for a day is forgotten."""
        self._known = {
            name: each for name, each in self._known.items() if each.state is not State.CLOSED or each.changed_at > now - DAY
        }
        if not self._known:
            return None
        first = next(iter(self._known.values()))
        subject = stand_in(f"digest-{int(now)}", channel, first)
        return Digest(channel, subject, self._form, kept={}, message=self._message())

    def _message(self) -> Message:
        known = list(self._known.values())
        open_ = [each for each in known if each.state is not State.CLOSED]
        head = f":newspaper: The last 24 h: {counted(len(known), 'incident')}, {len(open_)} not over"
        healed = sum(any(entry.state is State.HEALED for entry in each.history) for each in known)
        called = sum(any(entry.state is State.ESCALATED for entry in each.history) for each in known)
        asking = sum(milestone(each) is Milestone.ASKS for each in known)
        counts = f"{healed} healed · {called} called a human · {asking} wait for approval"
        often = Counter(f"{each.workload} in {each.workload.namespace or 'the cluster'}" for each in known)
        workloads = [f"• {clip(name, LINE)}: {times}" for name, times in often.most_common(_WORKLOADS)]
        sections = [counts, "\n".join(["*Most incidents*", *workloads])]
        if open_:
            lines = fit(incident_line(each, self._form) for each in open_[-_LISTED:])
            sections.append(
                "\n".join(["*Not over*", *lines, *([f"and {more} more"] if (more := len(open_) - len(lines)) else [])])
            )
        blocks: list[Block] = [{"type": "header", "text": {"type": "plain_text", "text": head, "emoji": True}}]
        return Message(f"{head}. {counts}", (*blocks, *({"type": "section", "text": mrkdwn(text)} for text in sections)))
