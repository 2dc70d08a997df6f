"""The state of the channels in Slack: which refuse messages, which are paused by a rate limit, and which channel stands in.

A limit on posting is a channel's own (https://docs.slack.dev/apis/web-api/rate-limits): one that is exceeded holds up no other.
"""

from collections.abc import Iterable, Sequence

from prometheus_client import Gauge

LONGEST_PAUSE = 600.0
"""The longest pause of a channel in seconds, whatever Slack's Retry-After says."""


class Channels:
    """Times are those of the event loop. `fallback` is the settings' default channel; `usable` is labelled sink and channel."""

    def __init__(self, sink: str, fallback: str, usable: Gauge) -> None:
        self._sink = sink
        self._fallback = fallback
        self._usable = usable
        self._refusing: dict[str, str] = {}
        self._paused: dict[str, float] = {}

    def refused(self, channel: str, code: str) -> None:
        """The channel takes no messages until a person changes something."""
        self._refusing[channel] = code
        self._usable.labels(self._sink, channel).set(0)

    def accepted(self, channel: str) -> None:
        """The channel has taken a message."""
        self._refusing.pop(channel, None)
        self._paused.pop(channel, None)
        self._usable.labels(self._sink, channel).set(1)

    def pause(self, channel: str, now: float, seconds: float) -> None:
        """Send nothing to the channel for `seconds`, at most LONGEST_PAUSE."""
        self._paused[channel] = now + min(seconds, LONGEST_PAUSE)

    def paused_until(self, channel: str) -> float:
        """When the pause of the channel ends; 0 when there is none."""
        return self._paused.get(channel, 0.0)

    def to_tell(self, wanted: Sequence[str]) -> tuple[str, ...]:
        """The channels in which an incident for `wanted` is told: those, and the fallback when one of them refuses."""
        named = tuple(dict.fromkeys(wanted)) or (self._fallback,)
        return (*named, self._fallback) if self._fallback not in named and self._any_refuses(named) else named

    def fallback_note(self, channel: str, wanted: Sequence[str]) -> str:
        """A sentence that says why an incident for `wanted` is told in this channel; empty when it is one of `wanted`."""
        if not wanted or channel in wanted:
            return ""
        named = ", ".join(f"{each} ({self._refusing[each]})" if each in self._refusing else each for each in wanted)
        return f"told here because Slack refuses the rule's channel: {named}"

    def _any_refuses(self, channels: Iterable[str]) -> bool:
        return any(channel in self._refusing for channel in channels)
