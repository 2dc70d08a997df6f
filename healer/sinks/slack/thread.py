"""One incident in one channel: what people have seen of it, what is kept of that in the memory, and the next job.

The lines of a history are numbered from 1; the incident's one message, which opens the thread, is line 0.

Writing ahead: before a message is posted, an intent to post it is kept; once Slack has it, that it was posted. An intent that
another process left behind, and one whose call ended without a clear answer, is in doubt, and resolved by a search for the
message: each carries the incident and its lines as Slack metadata, which stays when a message is edited
(https://docs.slack.dev/messaging/message-metadata). Edits can be repeated and need none of this.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from healer.model.incident import Entry, Incident
from healer.sinks.base import HistoryProgress, LineMark
from healer.sinks.slack.buttons import PAUSE, RESUME, Press
from healer.sinks.slack.message import Message, SlackForm, render
from healer.sinks.slack.reply import replies

EVENT = "healer_incident"
"""The type of the metadata that every message carries."""


@dataclass(frozen=True, slots=True)
class ThreadSearch:
    """Search Slack for the message that was intended."""


@dataclass(frozen=True, slots=True)
class Edit:
    """Bring the incident's message up to date."""

    message: Message


@dataclass(frozen=True, slots=True)
class Post:
    """Post the incident's message (no lines), or a reply that tells lines `first` to `last`."""

    message: Message
    first: int = 0
    last: int = 0
    lines: Sequence[Entry] = ()

    @property
    def mark(self) -> LineMark | None:
        """The mark of the last line."""
        return LineMark.of(self.lines[-1]) if self.lines else None


@dataclass(frozen=True, slots=True)
class Keep:
    """Keep in the memory how far the thread is told."""


Job = ThreadSearch | Edit | Post | Keep


@dataclass(frozen=True, slots=True)
class Intent:
    """The intent to post lines `first` to `last` at `since`, seconds since the epoch; the last line has `mark`."""

    first: int
    last: int
    mark: LineMark | None
    since: float


@dataclass(slots=True, eq=False)
class Thread:
    """One incident in one channel. Times are those of the event loop."""

    channel: str
    incident: Incident
    form: SlackForm
    note: str = ""
    """Why it is told in this channel, when the rule names another."""
    channel_id: str = ""
    ts: str = ""
    shown: Message | None = None
    progress: HistoryProgress = field(default_factory=HistoryProgress)
    intent: Intent | None = None
    """The last intent. One that stands here and is not in doubt was not carried out."""
    doubt: bool = False
    """Whether it is unknown if the intent was carried out."""
    kept: Mapping[str, str] | None = None
    """What the memory keeps of it; None before the memory was asked."""
    unkept_since: float | None = None
    """When the memory first refused to keep its present state; None while it is kept."""
    lost: bool = False
    """Another healer leads: nothing of it is kept any more."""
    plain_text: bool = False
    """Slack refused the blocks: only plain text is sent."""
    missed: float = 0.0
    """Slack could not be reached for long, until then: seconds since the epoch."""
    frozen: bool = False
    """The message cannot be edited any more; its thread goes on."""
    pressed: dict[str, str] = field(default_factory=dict)
    """Who has pressed which button; see `Pressed`."""
    refusals: int = 0
    not_before: float = 0.0
    complaints: set[str] = field(default_factory=set)

    @property
    def tenant(self) -> str:
        """The namespace whose RuleSets it is about; "" for all others."""
        return self.incident.tenant

    @property
    def told(self) -> Iterable[Incident]:
        """What people read of in this thread."""
        return (self.incident,)

    def job(self) -> Job | None:
        """The next job; None when all is told and kept."""
        if self.doubt:
            return ThreadSearch()
        message = self._message()
        if not self.ts:
            return Post(message)
        if not self.frozen and message != self.shown:
            return Edit(message)
        if unseen := self.progress.unseen(self.incident.history):
            reply, lines = replies(unseen, self.incident, self.form, self.missed)
            return Post(reply, self.progress.count + 1, self.progress.count + len(lines), lines)
        return Keep() if self.state() != self.kept else None

    def postpone(self, until: float) -> None:
        """Do not serve it before that time."""
        self.not_before = max(self.not_before, until)

    def metadata(self, post: Post) -> dict[str, object]:
        """The metadata by which a message is found again."""
        payload: dict[str, object] = {"incident": self.incident.id, "line": post.first, "last": post.last}
        return {"event_type": EVENT, "event_payload": payload | ({"mark": str(post.mark)} if post.mark else {})}

    def press(self, press: Press) -> None:
        """Note that a person has pressed a button, with effect."""
        if press.verb == RESUME:
            self.pressed.pop(PAUSE, None)
        else:
            self.pressed[press.key] = press.user

    # results

    def intend(self, post: Post, now: float, fresh: float) -> None:
        """Set the intent to post. An intent to post the same lines stays, unless it is older than `fresh` seconds."""
        old = self.intent
        if old is None or (old.first, old.last) != (post.first, post.last) or not 0 <= now - old.since < fresh:
            self.intent = Intent(post.first, post.last, post.mark, round(now, 3))

    def posted(self, post: Post, channel_id: str, ts: str) -> None:
        """Note that Slack has taken a message."""
        self._resolved()
        for line in post.lines:
            self.progress.advance(line)
        if not self.ts:
            self.channel_id, self.ts, self.shown = channel_id, ts, post.message

    def found_message(self, ts: str | None) -> None:
        """Note the `ts` of the incident's message that was in doubt; None: it was not posted."""
        self._resolved()
        self.ts = ts or ""

    def found_replies(self, progress: HistoryProgress) -> None:
        """Note how much of the history the thread tells."""
        self._resolved()
        if progress.count > self.progress.count:
            self.progress = progress

    def give_up_search(self) -> None:
        """Give up the search. The incident's message is posted again, because people must be told. Lines are not: the
        message is edited, and shows the state and the last lines."""
        if self.intent is not None:
            self.progress = HistoryProgress(self.intent.last, self.intent.mark)
        self._resolved()

    def _resolved(self) -> None:
        self.intent, self.doubt = None, False

    def _message(self) -> Message:
        message = render(self.incident, self.note, self.form, self.pressed)
        return Message(message.text) if self.plain_text else message

    # what outlives the process

    def state(self) -> dict[str, str]:
        """What another process needs to continue; it always has all keys."""
        intent = self.intent
        return {
            "channel": self.channel_id,
            "ts": self.ts,
            "told": str(self.progress.count),
            "toldLast": str(self.progress.last or ""),
            "posting": f"{intent.first}-{intent.last}" if intent else "",
            "postingLast": str(intent.mark or "") if intent else "",
            "postingSince": f"{intent.since:.3f}" if intent else "",
        } | ({"pressed": " ".join(f"{key}={user}" for key, user in self.pressed.items())} if self.pressed else {})

    def take_up(self, state: Mapping[str, str]) -> None:
        """Continue from what `state` returned in another process, or from an empty mapping. Raises ValueError on any other."""
        self.kept = {}
        if not state:
            return
        try:
            progress = HistoryProgress(int(state["told"]), _mark(state["toldLast"]))
            intent = _intent(state) if state["posting"] else None
            channel_id, ts = state["channel"], state["ts"]
            pressed = dict(_pair(each) for each in state.get("pressed", "").split())
        except KeyError as error:
            raise ValueError(f"there is no {error}") from error
        if bool(progress.count) != bool(progress.last) or bool(ts) > bool(channel_id):
            raise ValueError(f"{dict(state)} cannot be")
        self.channel_id, self.ts, self.progress, self.intent = channel_id, ts, progress, intent
        self.doubt, self.pressed = intent is not None, pressed
        self.kept = dict(state)
        if self.complete:
            self.shown = self._message()  # lines are told after the message was edited to show them

    @property
    def complete(self) -> bool:
        """Whether people have seen all of the history."""
        return bool(self.ts) and not self.progress.unseen(self.incident.history)


def _pair(text: str) -> tuple[str, str]:
    key, user = text.split("=")
    return key, user


def _intent(state: Mapping[str, str]) -> Intent:
    first, last = state["posting"].split("-")
    return Intent(int(first), int(last), _mark(state["postingLast"]), float(state["postingSince"]))


def _mark(text: str) -> LineMark | None:
    return LineMark.parse(text) if text else None
