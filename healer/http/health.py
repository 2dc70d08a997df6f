"""What the probes answer: checks, each with its reason."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from healer.model.redact import redact


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at; `reason` says in words why it is well or not ("pods synced 2 s ago").

    One that is `told` is for people: it does not decide what the probe answers, because no restart and no other replica mends it.
    """

    name: str
    ok: bool
    reason: str
    told: bool = False


LEADERSHIP, ALONE = "leadership", "acts alone, without an election"
"""The check that says who leads, and what it says where nobody is elected."""


def plain(checks: Sequence[Check]) -> dict[str, Any]:
    """As the probes answer."""
    ok = all(check.ok or check.told for check in checks)
    return {"ok": ok, "checks": {check.name: {"ok": check.ok, "reason": redact(check.reason)} for check in checks}}


def is_alone(answer: bytes) -> bool:
    """Whether the daemon that has answered a probe so acts without an election. Raises ValueError."""
    checks = json.loads(answer)["checks"]
    return bool(checks.get(LEADERSHIP, {}).get("reason") == ALONE)


@dataclass(frozen=True, slots=True)
class Health:
    """`live`: when one fails, only a restart helps. `ready`: when one fails, healer cannot decide signals now."""

    live: Sequence[Check] = ()
    ready: Sequence[Check] = ()
