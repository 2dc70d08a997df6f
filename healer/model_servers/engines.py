"""The conditions of inference engines: they are dead, stand still, or do not come up."""

from healer.model.duration import about
from healer.model_servers.status import EngineSeen, Observation, StatusCondition, Unclear

ONCE = "one look is not enough to say whether it moves"


def stalled(seen: Observation) -> str | Unclear | None:
    """An engine with requests in work that has done nothing for longer than the rule's `stalled`.

    An engine is well only when it was seen to move, or has nothing to do and is not asked for tokens. One that stands still for
    less is unclear: it may have begun before healer was restarted.
    """
    if isinstance(seen.engines, str):
        return Unclear(seen.engines)
    waiting: list[str] = []
    told: list[str] = []
    for name, engine in seen.engines.items():
        if not engine.busy:
            said = _mute(name, engine, seen)
            if isinstance(said, str):
                return said
            if said is not None:
                (waiting if said.expected else told).append(said.why)
            continue
        if engine.still > seen.asked.stalled:
            return f"{name} has requests in work and has made no step for {about(engine.still)} ({seen.status})"
        if engine.still or not engine.moved:
            waiting.append(f"{name}: " + (f"no step for {about(engine.still)}" if engine.still else ONCE))
    return Unclear("; ".join(told or waiting), expected=not told) if told or waiting else None


def _mute(name: str, engine: EngineSeen, seen: Observation) -> str | Unclear | None:
    """An engine with nothing in work that leaves requests for a token unanswered, where the rule has it asked for them.

    One that was not seen to make a step yet is unclear until it is asked: it may hang since before healer was restarted.
    """
    generate, tokens = seen.asked.generate, engine.tokens
    if generate is None or not engine.awake:
        return None
    if not engine.waits:
        return Unclear(f"{name} is not asked for a token: its metrics do not say how many requests wait")
    if tokens is None:
        return None if engine.moved else Unclear(f"{name} was not asked for a token yet", expected=True)
    if tokens.refused:
        return Unclear(f"{name} brings no token: {tokens.refused}")
    if tokens.misses == 0:
        return Unclear(f"{name} answers a request for a token, and its metrics show no step")
    missed = f"{name} has left {tokens.misses} requests for one token unanswered, each for {about(generate.within)}"
    if tokens.misses < generate.misses or engine.still <= seen.asked.stalled:
        return Unclear(missed, expected=True)
    if not seen.tokens_come:
        return Unclear(f"{missed}; but no server of the rule has answered such a request since healer asks")
    if seen.suspects and tokens.misses == generate.misses:  # signs that begin together are to be seen together
        return Unclear(f"{missed}; as many as {seen.suspects} other pods may have the same", expected=True)
    return f"{missed}, and has made no step for {about(engine.still)} ({seen.status})"


def unhealthy(seen: Observation) -> str | Unclear | None:
    """Its health check has failed for longer than `stalled`, after it passed in the same process, and no engine moves."""
    if seen.status.ready:
        return None
    if not seen.served:
        return Unclear("it was not ready yet since healer looks at this process", expected=True)
    if isinstance(seen.engines, str):
        return Unclear(seen.engines)
    still = min((engine.still for engine in seen.engines.values()), default=0.0)
    if seen.unready <= seen.asked.stalled or still <= seen.asked.stalled:
        return Unclear(f"it is not ready for {about(seen.unready)}, and still for {about(still)}", expected=True)
    return f"its health check fails for {about(seen.unready)}, and no engine has made a step ({seen.status})"


def stuck_starting(seen: Observation) -> str | Unclear | None:
    """It has not been ready for longer than `loading`, in a process that was never ready while healer looked."""
    if seen.status.ready or seen.served:
        return None
    if seen.unready <= seen.asked.loading:
        return Unclear(f"it has not been ready for {about(seen.unready)}", expected=True)
    return f"it has not been ready for {about(seen.unready)}, since healer looks at this process ({seen.status})"


def no_longer_ready(seen: Observation) -> str | Unclear | None:
    """A model that is not ready, after it was ready in the same process."""
    if seen.status.ready:
        return None
    if seen.served:
        return f"it is not ready, and it was in the same process ({seen.status})"
    return Unclear("it was not ready yet since healer looks at this process", expected=True)


STALLED = StatusCondition(
    "an engine has requests in work and makes no step for longer than `stalled`, although its health check passes",
    by_heartbeat=True,
    detect=stalled,
)
"""The condition of a server whose metrics show the steps of its engines."""
