"""The answers of the probes: checks, each with its reason."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from healer.model.redact import redact


@dataclass(frozen=True, slots=True)
class Check:
    """One check; `reason` says in words why it passes or not ("pods synced 2 s ago").

    An `informative` check is for people: it does not decide the probe's answer, because no restart and no other replica mends it.
    """

    name: str
    ok: bool
    reason: str
    informative: bool = False


LEADERSHIP, ALONE, NOT_BEGUN = "leadership", "acts alone, without an election", "not begun yet"
"""The name of the check that says who leads, and its reasons where there is no election."""


def plain_checks(checks: Sequence[Check]) -> dict[str, Any]:
    """The body of a probe's answer."""
    ok = all(check.ok or check.informative for check in checks)
    return {"ok": ok, "checks": {check.name: {"ok": check.ok, "reason": redact(check.reason)} for check in checks}}


class _CheckSaid(msgspec.Struct):
    reason: str


class _ProbeChecks(msgspec.Struct):
    checks: dict[str, _CheckSaid]


def without_election(answer: bytes) -> bool:
    """Whether the daemon that gave this answer of a probe acts without an election. Raises ValueError when it does not say so."""
    try:
        said = msgspec.json.decode(answer, type=_ProbeChecks).checks[LEADERSHIP].reason
    except (msgspec.MsgspecError, UnicodeDecodeError, KeyError) as error:
        raise ValueError("the answer does not say who leads") from error
    if said == NOT_BEGUN:
        raise ValueError(f"it has {NOT_BEGUN}")
    return said == ALONE


@dataclass(frozen=True, slots=True)
class Health:
    """The checks of liveness (when one fails, only a restart helps) and of readiness (while one fails, no signal is decided)."""

    live: Sequence[Check] = ()
    ready: Sequence[Check] = ()
