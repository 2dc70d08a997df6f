"""The settings of the Slack sink, and how its channels are written: in the settings, and in `notify` of rules."""

import re
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field

from healer.rules.vocabulary import AddressSpec
from healer.section import PREFIX, Seconds
from healer.sinks.base import Severity, SinkSettings
from healer.sinks.slack.template import load_template

_CHANNEL = re.compile(r"#[^\s#@,A-Z]{1,80}|[CDGUW][A-Z0-9]{8,20}")


def _is_channel(text: str) -> bool:
    """Whether messages can be sent to it: `#name`, or an ID."""
    return _CHANNEL.fullmatch(text) is not None


def _channel_hint(text: str) -> str:
    """How to write the channel that was probably meant."""
    name = re.sub(r"[\s#@,]+", "-", text.lower()).strip("-")[:80] or "ml-oncall"
    return f'write "#{name}", in quotes (a bare # begins a comment), or a Slack ID such as C0123456789'


CHANNEL = AddressSpec(
    kind="",
    noun="channel",
    example='"#ml-oncall"',
    meaning="a Slack channel: its name, or its ID",
    valid=_is_channel,
    hint=_channel_hint,
)
"""Slack's addresses: they have no word and no colon before them."""


def _channel_or_none(text: str) -> str:
    """As `notify` in rules has it; "" for none. A wrong one is not shown: it may be a token."""
    if text and not _is_channel(text):
        raise ValueError(f"this is no channel: {_channel_hint('')}")
    return text


_MENTIONS = re.compile(r"(?P<wide>here|channel|everyone)|(?P<group>S[A-Z0-9]{6,20})|(?P<person>[UW][A-Z0-9]{6,20})")


def _mention_or_none(text: str) -> str:
    """Whom an escalation mentions; "" for nobody."""
    if wrong := [each for each in _listed(text) if _MENTIONS.fullmatch(each) is None]:
        raise ValueError(
            f"{wrong[0][:40]!r} is nobody: write here, channel, a user's ID (U0123456789) or a user group's ID (S0123456789);"
            " several with commas between"
        )
    return text


def _people_or_none(text: str) -> str:
    """Who may press buttons; "" for nobody."""
    if wrong := [each for each in _listed(text) if not re.fullmatch(r"[USW][A-Z0-9]{6,20}", each)]:
        raise ValueError(
            f"{wrong[0][:40]!r} is no ID: write those of users (U0123456789) and user groups (S0123456789), with commas between"
        )
    return text


def _listed(text: str) -> list[str]:
    return [each.strip().removeprefix("@") for each in text.split(",") if each.strip()]


def _mention(name: str) -> str:
    found = _MENTIONS.fullmatch(name)
    if found is None or found["wide"]:
        return f"<!{name}>"
    return f"<!subteam^{name}>" if found["group"] else f"<@{name}>"


class SlackSettings(SinkSettings):
    """Messages in Slack."""

    token_file: Path | None = None
    """A file with the bot token. Without one, nothing is sent to Slack.

    Scopes: chat:write (chat:write.public for channels that the app has not joined); and, so that after a crash healer can see
    whether a message was already posted, channels:history and channels:read (groups:history and groups:read in private channels)
    and the app invited to the channel. Without these, after a crash at the wrong moment the message may be there twice or a reply
    be missing; the log says so.
    """
    channel: Annotated[str, AfterValidator(_channel_or_none)] = ""
    """The default channel, `#ml-oncall` or an ID such as C0123456789: where incidents of rules without `notify` go, and those of
    rules whose channel Slack refuses."""
    mention: Annotated[str, AfterValidator(_mention_or_none)] = ""
    """Whom an escalation mentions: `here`, `channel`, the ID of a user (U0123456789) or of a user group (S0123456789), several
    with commas between. An escalation is a reply that the channel shows as well; without a mention it rings nobody's phone."""
    template_file: Path | None = None
    """A file with a message of your own: text with gaps such as `{{ cause }}`, read at the start. docs/slack.md has the gaps."""
    away: Seconds = Field(600.0, gt=0)
    """After Slack could not be reached for so long, threads get the present state, and not every line from the time between."""
    fold_after: int = Field(20, ge=0)
    """So many incidents within `fold_within` have messages of their own in a channel. Further ones share a message that counts
    and lists them, until one needs a human. 0: each has its own."""
    fold_within: Seconds = Field(300.0, gt=0)
    """See `fold_after`."""
    fold_every: Seconds = Field(5.0, ge=0)
    """The message that incidents share is edited at most so often."""
    digest: str = Field("", pattern=r"^(([01][0-9]|2[0-3]):[0-5][0-9])?$")
    """When the digest of a day is posted in the default channel: `07:30`, in UTC. Empty: never. Nor is it after a day without
    incidents."""
    app_token_file: Path | None = None
    """A file with an app-level token (xapp-..., scope connections:write): people can press buttons in Slack, by Socket Mode,
    without a way in from outside. Interactivity must be on in the app's settings."""
    signing_secret_file: Path | None = None
    """A file with the app's signing secret: people can press buttons, and Slack posts to `/slack/interactions` of healer, which
    must be reachable for it."""
    allow: Annotated[str, AfterValidator(_people_or_none)] = ""
    """Who may press buttons: IDs of users (U0123456789) and of user groups (S0123456789; scope usergroups:read), with commas
    between. They act with the rights of healer's own account. Empty: nobody, and there are no buttons."""
    severities: tuple[Severity, ...] = ("critical", "warning", "info")
    """The severities of the incidents that go to `channel` because their rule has no `notify`: `warning,info`, where another
    sink is told of the critical ones."""
    base_url: str = "https://slack.com/api/"
    """Slack's API; tests name a local server here."""
    timeout: Seconds = Field(10.0, gt=0)
    """Seconds for one call."""
    backoff: Seconds = Field(1.0, gt=0)
    """The first wait after Slack could not be reached; doubled each time ..."""
    backoff_most: Seconds = Field(60.0, gt=0)
    """... up to this."""
    reconsider: Seconds = Field(300.0, gt=0)
    """Before a message that Slack refused is tried again; doubled each time, too."""
    settle: Seconds = Field(3.0, ge=0)
    """After which Slack surely shows a message that it took."""
    patience: Seconds = Field(30.0, ge=0)
    """To wait for the journal before an incident's message is posted."""
    capacity: int = Field(1000, gt=0)
    """Threads that are remembered."""

    required: ClassVar = ("token_file", "channel")

    def until_digest(self, now: float) -> float:
        """The seconds from `now`, since the epoch, until the next digest."""
        hour, minute = map(int, self.digest.split(":"))
        return (hour * 3600 + minute * 60 - now) % 86_400 or 86_400.0

    @property
    def allowed(self) -> frozenset[str]:
        """`allow`, one by one."""
        return frozenset(_listed(self.allow))

    @property
    def buttons(self) -> bool:
        """Whether messages have buttons."""
        return bool(self.allow) and (self.app_token_file is not None or self.signing_secret_file is not None)

    @property
    def mentions(self) -> str:
        """`mention` as Slack obeys it."""
        return " ".join(map(_mention, _listed(self.mention)))

    @property
    def enabled(self) -> bool:
        """Whether there is a token."""
        return self.token_file is not None

    @property
    def secret(self) -> Path | None:
        """The token."""
        return self.token_file

    @property
    def by_default(self) -> frozenset[str]:
        """`severities`, where there is a default channel."""
        return frozenset(self.severities) if self.enabled and self.channel else frozenset()

    def template_faults(self) -> list[str]:
        """What is wrong with the message of users, where they have one."""
        try:
            if self.template_file is not None:
                load_template(self.template_file)
        except ValueError as error:
            return [str(error)]
        return []

    @property
    def incomplete(self) -> str:
        """A channel alone tells nobody, and buttons need people who may press them."""
        if self.token_file is not None and not self.allow and (self.app_token_file or self.signing_secret_file):
            return f"Slack has no buttons, because nobody may press them: name people in {PREFIX}SLACK__ALLOW"
        if self.token_file is not None and self.allow and not self.buttons:
            return (
                f"{PREFIX}SLACK__ALLOW names people, and there are no buttons to press: name a file in "
                f"{PREFIX}SLACK__APP_TOKEN_FILE or {PREFIX}SLACK__SIGNING_SECRET_FILE"
            )
        if self.token_file is not None or not self.channel:
            return ""
        return (
            f"{PREFIX}SLACK__CHANNEL is {self.channel}, and there is no token: nothing is sent to Slack; "
            f"name the token's file in {PREFIX}SLACK__TOKEN_FILE"
        )
