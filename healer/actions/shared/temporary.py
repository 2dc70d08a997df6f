"""What temporary changes share: the note before the request, the one PATCH, and `healer undo` of all that stands."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from healer.actions.base import Call, Clients, Reversal, Temporary
from healer.actions.shared.refusal import refusal
from healer.cluster.api import Api, ApiError, ClusterError
from healer.model.action import Outcome, OutcomeKind
from healer.model.incident import Incident
from healer.model.kube import Pod
from healer.model.temporary import MOST_BYTES, End, TemporaryChange, changes
from healer.model.workload import Workload

TRIES = 4
"""How often an object is read anew that others write meanwhile."""


@dataclass(frozen=True, slots=True)
class TemporaryPatch:
    """One PATCH of one object, and what is noted of it under `key`. `body` must contain the resourceVersion that was read."""

    path: str
    body: object
    key: str
    change: TemporaryChange
    doing: str
    """It in words: "scale deployment/x"."""


async def keep(call: Call, made: Mapping[str, TemporaryChange]) -> Outcome | None:
    """Journal changes, by what is changed, before they are made; an outcome forbids to make them."""
    texts = {key: str(change) for key, change in made.items()}
    for key in (key for key, text in texts.items() if len(text.encode()) > MOST_BYTES):
        text = f"{key}: what it was before is too long to be kept, so it is left alone"
        return Outcome(OutcomeKind.REFUSED, "NoteTooLong", text)
    return await call.keep({**call.kept, **texts})


async def send(call: Call, patch: TemporaryPatch, fresh: Pod | Workload) -> Outcome | None:
    """Journal the change, then send the one PATCH. Returns None when it was accepted, else the outcome.

    `fresh` is the incident's target as it was just read. A dry run journals nothing, because there is nothing to take back.
    """
    dry_run = call.act.dry_run
    if not dry_run and (unkept := await keep(call, {patch.key: patch.change})) is not None:
        return unkept
    if (unwanted := call.still_wanted(call.act, fresh)) is not None:
        return Outcome(OutcomeKind.RECOVERED, unwanted.code, unwanted.text)
    if (forbidden := call.sending()) is not None:
        return forbidden
    try:
        await call.api.request(
            "PATCH",
            patch.path,
            query={"dryRun": "All"} if dry_run else None,
            body=patch.body,
            content_type="application/merge-patch+json",
        )
    except ApiError as error:
        if error.is_conflict:
            text = f"{patch.key} changed between the look and the request to {patch.doing}: looking again ({error.message})"
            return Outcome(OutcomeKind.DEFERRED, "Changed", text, error.retry_after)
        return refusal(error, patch.doing)
    except ClusterError as error:
        return refusal(error, patch.doing)
    return None


async def standing(action: Temporary, api: Api, incident: Incident, kept: Mapping[str, str]) -> Sequence[Reversal]:
    """The ways back of all changes of an incident that healer has not taken back itself. See `Undoable`."""
    left = {key: change for key, change in changes(kept).items() if change.ended is not End.TAKEN_BACK}
    return [await action.reversal(Clients(api), incident, key, change) for key, change in left.items()]
