"""The outcome of a request that the API server refuses."""

import re
from dataclasses import replace

from healer.cluster.api import ApiError, ApiUnavailable, ClusterError
from healer.engine.safety.guards.replicas import rollout_veto
from healer.model.action import Outcome, OutcomeKind
from healer.model.incident import Reason

_LACKS_RIGHTS = re.compile(r'is forbidden: User ".*" cannot ')
"""The text of a refusal for missing rights. Admission plugins, webhooks and policies answer 403 too, with other texts."""


def refusal(error: ClusterError, doing: str) -> Outcome:
    """The outcome of a request that was refused or not answered, where the action knows nothing more specific.

    A request without an answer, or with a 5xx, may have had its effect: the next attempt reads first.
    """
    if not isinstance(error, ApiError):
        reason = "NoAnswer" if isinstance(error, ApiUnavailable) else "Unreadable"
        return Outcome(OutcomeKind.FAILED, reason, f"{doing}: {error}")
    text = f"{doing}: the API server answered {error.status} {error.reason}: {error.message}"
    if error.is_forbidden:
        hint = " (grant it in healer's role: deploy/healer)" if _LACKS_RIGHTS.search(error.message) else ""
        return Outcome(OutcomeKind.REFUSED, "Forbidden", f"{text}{hint}")
    if error.is_throttled:
        return Outcome(OutcomeKind.DEFERRED, "Throttled", text, error.retry_after)
    if error.is_unauthorized or error.status >= 500:
        return Outcome(OutcomeKind.FAILED, "ServerError", text, error.retry_after)
    return Outcome(OutcomeKind.REFUSED, "Rejected", text)


def unread(error: ClusterError, doing: str) -> Outcome:
    """The same for a request that only reads: without an answer nothing was changed, so that the attempt did not fail."""
    outcome = refusal(error, doing)
    return replace(outcome, kind=OutcomeKind.DEFERRED) if outcome.kind is OutcomeKind.FAILED else outcome


def under_way(rollout: Reason) -> Outcome:
    """The outcome of an action that a rollout keeps back, which has begun since the guards allowed the action."""
    veto = rollout_veto(rollout, fresh=True)
    return Outcome(OutcomeKind.DEFERRED, veto.reason.code, veto.reason.text)
