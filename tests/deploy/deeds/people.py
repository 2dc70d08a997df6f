"""What people do by the role of approvers, and what healer does for people on its page."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

from healer.daemon.commands import Commands
from healer.journal.kube import KubeJournal
from healer.journal.stored import INCIDENTS
from healer.lab.apiserver.admission import AdmissionRequest
from healer.lab.faults import SeenRequest
from healer.model.action import permissions
from healer.model.annotations import APPROVED_BY, UNDONE_BY
from healer.model.incident import Reason, State
from healer.operate.approve import approve
from healer.operate.objects import annotate, object_ref
from healer.operate.who import explained
from healer.sinks.commands import CommandRefused
from healer.workloads.registry import WORKLOADS
from tests.deploy.deeds.acting import NAME, manifests, of
from tests.deploy.deeds.always import has_a_lease, watches
from tests.deploy.deeds.trials import HOME, Deed, Run, Trial, running
from tests.deploy.test_admission import Review, changed
from tests.support.kustomize import built
from tests.unit.actions.conftest import NAMESPACE
from tests.unit.journal.incidents import incident, then

ROOT = Path(__file__).parents[3]

# what people do

_PERSON = "ann"


async def _has_an_incident(trial: Trial) -> str:
    """It waits for approval."""
    journal = KubeJournal(trial.api)
    asks = then(incident(namespace=NAMESPACE), State.WAITING)
    asks = replace(asks, reason=Reason("NeedsApproval", "a human decides"), mode="approve", asked_at=asks.changed_at)
    async with running(journal.run()):
        journal.note(asks)
        await journal.durable([asks.id])
    return ""


async def _has_a_request(trial: Trial) -> str:
    """An incident that waits for approval, and the admission policy, with a real CEL, for all requests of people."""
    await _has_an_incident(trial)
    review = Review(built(ROOT / "deploy/healer"))

    def refused(key: str, verb: str) -> Callable[[AdmissionRequest], bool]:
        def match(asked: AdmissionRequest) -> bool:
            if key not in (asked.obj["metadata"].get("annotations") or {}):
                return False
            check = SeenRequest("", "", verb, INCIDENTS.api_group, INCIDENTS.plural, "", asked.namespace, asked.name)
            may = [verb] if trial.may(check) else []
            return bool(review.denied("UPDATE", _PERSON, new=changed(f"metadata annotations {key}", _PERSON), may=may))

        return match

    for key, verb in ((APPROVED_BY, "approve"), (UNDONE_BY, "undo")):
        (message,) = review.denied("UPDATE", _PERSON, new=changed(f"metadata annotations {key}", _PERSON))
        trial.lab.admission.policy(
            message, reason="Forbidden", verb="update", resource=INCIDENTS.plural, match=refused(key, verb)
        )
    return ""


async def _approves(trial: Trial) -> str:
    await approve(trial.api, NAMESPACE, incident().id, _PERSON, lambda _: None)
    return ""


async def _signs_an_undo(trial: Trial) -> str:
    """What `healer undo` writes on the incident before it changes anything; the rest it does with other rights of the person."""
    with explained("undo", incident().id, NAMESPACE):
        await annotate(trial.api, object_ref("Incident", NAMESPACE, incident().id), {UNDONE_BY: _PERSON})
    return ""


_ASKED = permissions(INCIDENTS.api_group, INCIDENTS.plural, "patch")
PEOPLE: tuple[Deed, ...] = (
    watches(INCIDENTS),
    Deed("approve", _ASKED | permissions(INCIDENTS.api_group, INCIDENTS.plural, "get approve"), _approves, _has_a_request),
    Deed("undo", _ASKED | permissions(INCIDENTS.api_group, INCIDENTS.plural, "undo"), _signs_an_undo, _has_a_request),
)
"""What approvers do."""

# what healer does for people


def _commands(command: Callable[[Commands], Awaitable[str]]) -> Run:
    async def run(trial: Trial) -> str:
        try:
            said = await command(Commands(trial.api, HOME, "healer"))
        except CommandRefused as error:
            return str(error)
        return said if "note:" in said else ""

    return run


def _is_served(kind: str) -> Run:
    """The workload is there, and healer's Lease."""

    async def prepare(trial: Trial) -> str:
        await trial.lab.apply(manifests(kind))
        return await has_a_lease(trial)

    return prepare


async def _approves_for_people(commands: Commands) -> str:
    return await commands.approve(NAMESPACE, incident().id, _PERSON)


def _pauses(what: str) -> Run:
    async def command(commands: Commands) -> str:
        return await commands.pause(what, NAMESPACE, _PERSON)

    return _commands(command)


_LEASE = permissions("coordination.k8s.io", "leases", "get")
_SAYS = permissions("events.k8s.io", "events", "create")
_IN_NAMESPACE = permissions("", "namespaces", "get")
CONTROLS: tuple[Deed, ...] = (
    Deed(
        "approve for a person",
        permissions(INCIDENTS.api_group, INCIDENTS.plural, "get patch"),
        _commands(_approves_for_people),
        _has_an_incident,
    ),
    *(
        Deed(
            f"pause a {kind} for a person",
            of(kind, "get patch") | _IN_NAMESPACE | _LEASE | _SAYS,
            _pauses(f"{WORKLOADS[kind].words[0]}/{NAME}"),
            _is_served(kind),
        )
        for kind in WORKLOADS
    ),
    Deed(
        "pause a namespace for a person",
        permissions("", "namespaces", "get patch") | _LEASE | _SAYS,
        _pauses(f"namespace/{NAMESPACE}"),
        has_a_lease,
    ),
    Deed(
        "pause everything for a person",
        permissions("coordination.k8s.io", "leases", "get patch") | _SAYS,
        _pauses("everything"),
        has_a_lease,
    ),
)
"""What healer does for people on its page."""
