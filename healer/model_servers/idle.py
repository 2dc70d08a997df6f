"""Whether an idle engine still works: when it is asked for one token, and what its replies are evidence of. No I/O.

The gauges of an engine are set by its steps. An engine that hangs while it has nothing to do shows nothing in work for ever, and
requests that come then never reach it: only a request shows that.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf

from healer.model_servers.heartbeat import Beats, Standstill
from healer.model_servers.status import TokensAsked
from healer.rules.served_model import Generate

_LONGEST_PAUSE = 3600.0
"""Seconds: the longest pause between two requests to an engine that gives no token."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What came of a request for a token. One that is not `late` and not `refused` brought the token."""

    engine: str
    """The engine that was asked, by its name in the metrics."""
    late: bool = False
    """Whether the server did not answer in time."""
    refused: str = ""
    """Why there is an answer, or no connection, but no token."""

    @property
    def token(self) -> bool:
        """Whether the engine has generated one."""
        return not self.late and not self.refused


def due(
    generate: Generate, beats: Beats, engines: Mapping[str, Standstill], asked: Mapping[str, TokensAsked], now: float
) -> str | None:
    """The engine of a server that is to be asked now, if any. `beats` are those of a look that was just made.

    None while any engine of the server has work, or requests wait: a token is never asked for beside those of users. The pause
    doubles with each request in a row that brought no token.
    """
    if not all(beat.idle for beat in beats.values()):
        return None
    for name in sorted(beats, key=lambda name: asked[name].at if name in asked else -inf):
        known = engines.get(name)
        if known is None or known.beat != beats[name] or now - known.since < generate.every:
            continue
        before = asked.get(name)
        if before is None or now - before.at >= min(_LONGEST_PAUSE, generate.every * 2**before.vain):
            return name
    return None


def replied(
    asked: Mapping[str, TokensAsked], reply: Reply, engines: Mapping[str, Standstill], now: float
) -> dict[str, TokensAsked]:
    """What is known of the requests to these engines after one more, which was sent at that time."""
    before = asked.get(reply.engine)
    missed = counted(before, engines[reply.engine])
    vain = 0 if reply.token else 1 if before is None else before.vain + 1
    misses = 0 if not reply.late else 1 if missed is None else missed.misses + 1
    others = {name: one for name, one in asked.items() if name in engines}
    return {**others, reply.engine: TokensAsked(now, vain, misses, reply.refused)}


def counted(asked: TokensAsked | None, engine: Standstill) -> TokensAsked | None:
    """What still counts of the requests to an engine: one that has made a step since the last one works."""
    return asked if asked is not None and engine.since <= asked.at else None
