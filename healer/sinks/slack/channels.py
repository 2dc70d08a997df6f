"""What is known of channels in Slack: which refuse messages, which are to be left alone for a while, and where else to tell.

A limit on posting is a channel's own (https://docs.slack.dev/apis/web-api/rate-limits): one that is exceeded holds up no other.
"""

from collections.abc import Iterable, Sequence

from prometheus_client import Gauge

LONGEST_REST = 600.0
"""Seconds for which a channel is left alone, whatever Slack's Retry-After says."""


class Channels:
    """Times are those of the event loop. `fallback` is the settings' default channel; `usable` is labelled sink and channel."""

    def __init__(self, sink: str, fallback: str, usable: Gauge) -> None:
        self._sink = sink
        self._fallback = fallback
        self._usable = usable
        self._refusing: dict[str, str] = {}
        self._resting: dict[str, float] = {}

    def refused(self, channel: str, code: str) -> None:
        """The channel takes no messages until a person changes something."""
        self._refusing[channel] = code
        self._usable.labels(self._sink, channel).set(0)

    def took(self, channel: str) -> None:
        """The channel has taken a message."""
        self._refusing.pop(channel, None)
        self._resting.pop(channel, None)
        self._usable.labels(self._sink, channel).set(1)

    def rest(self, channel: str, now: float, seconds: float) -> None:
        """Leave the channel alone for so long, at most LONGEST_REST."""
        self._resting[channel] = now + min(seconds, LONGEST_REST)

    def rests_until(self, channel: str) -> float:
        """Until when the channel is left alone; 0 when it is not."""
        return self._resting.get(channel, 0.0)

    def for_people(self, wanted: Sequence[str]) -> tuple[str, ...]:
        """Where to tell what is meant for these channels: there, and in the fallback where one of them refuses."""
        named = tuple(dict.fromkeys(wanted)) or (self._fallback,)
        return (*named, self._fallback) if self._fallback not in named and self._any_refuses(named) else named

    def stands_in(self, channel: str, wanted: Sequence[str]) -> str:
        """Why an incident that is meant for other channels is told in this one, in words; empty when it is one of those."""
        if not wanted or channel in wanted:
            return ""
        named = ", ".join(f"{each} ({self._refusing[each]})" if each in self._refusing else each for each in wanted)
        return f"told here because Slack refuses the rule's channel: {named}"

    def _any_refuses(self, channels: Iterable[str]) -> bool:
        return any(channel in self._refusing for channel in channels)
