"""What the probes answer: checks, each with its reason."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at; `reason` says in words why it is well or not ("pods synced 2 s ago").

    One that is `told` is for people: it does not decide what the probe answers, because no restart and no other replica mends it.
    """

    name: str
    ok: bool
    reason: str
    told: bool = False


@dataclass(frozen=True, slots=True)
class Health:
    """`live`: when one fails, only a restart helps. `ready`: when one fails, healer cannot decide signals now."""

    live: Sequence[Check] = ()
    ready: Sequence[Check] = ()
