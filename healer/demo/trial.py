"""What happens to the canary: it gets a fifth of the traffic, serves it as well as stable, then fails every fifth request."""

from healer.demo.cluster import CANARY, STABLE, WEIGHT, canary, ready_pods, weight
from healer.demo.stage import Stage

FAILING = 0.2
"""The share of its requests that the canary fails in the end."""
_GOOD = 250
"""Requests that it answers as well as stable before."""


async def trial(stage: Stage) -> None:
    """The scenario. Raises TimeoutError when the canary does not start, or does not lose its traffic."""
    await stage.lab.apply(canary())
    await stage.until(lambda lab: bool(ready_pods(lab, CANARY)))
    async with stage.traffic as traffic:
        stage.timeline.say("lab", f"Ingress: {WEIGHT} % of the requests go to {CANARY}, the others to {STABLE}")
        await traffic.until(_GOOD)
        stage.timeline.say("lab", f"{CANARY} has answered {_GOOD} requests as well as {STABLE}, and begins to fail {FAILING:.0%}")
        traffic.versions[CANARY].failing = FAILING
        await stage.until(lambda lab: weight(lab) == 0)
        stage.timeline.say("lab", f"Ingress: no request goes to {CANARY} any more")
