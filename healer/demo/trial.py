"""What happens to the canary: it gets a fifth of the requests, answers them all, and then fails every fifth of them."""

from healer.demo.cluster import CANARY, STABLE, WEIGHT, canary, ready_pods, split, weight
from healer.demo.stage import Stage

FAILING = 0.2
"""The share of its requests that the canary fails in the end."""
_GOOD = 25_000
"""Requests that it answers before: enough to be found good."""
_BEFORE = 30_000
"""Requests that stable gets alone: so that all is scraped when the canary comes."""


async def trial(stage: Stage) -> None:
    """The scenario. Raises TimeoutError when the canary does not start, or does not lose its traffic."""
    await stage.lab.apply(canary())
    await stage.until(lambda lab: bool(ready_pods(lab, CANARY)))
    async with stage.traffic as traffic:
        await traffic.until(STABLE, _BEFORE)
        stage.timeline.say("lab", f"an Ingress gives {WEIGHT} % of the requests to {CANARY}, {STABLE} keeps the others")
        await stage.lab.apply(split())
        await traffic.until(CANARY, _GOOD)
        stage.timeline.say("lab", f"{CANARY} begins to fail {100 * FAILING:.0f} % of its requests")
        traffic.versions[CANARY].failing = FAILING
        await stage.until(lambda lab: weight(lab) == 0)
        stage.timeline.say("lab", f"the Ingress gives no more requests to {CANARY}")
