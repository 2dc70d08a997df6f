"""What healer does whatever its rules are: it watches, keeps its journal and its Lease, says what it did, knows who asks."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import replace

import msgspec

from healer import shipped
from healer.actions.registry import ACTIONS
from healer.cluster.endpoints import ServiceEndpoints
from healer.cluster.errors import Backoff
from healer.cluster.lease import Lease, LeaseSettings
from healer.cluster.poll import NamespacePoll
from healer.cluster.resources import NODES, RULESETS, Resource
from healer.cluster.watch import Reflector
from healer.daemon.metrics import Metrics
from healer.daemon.object_events import ObjectEvents
from healer.daemon.rulefiles import vocabulary
from healer.daemon.ruleset_reading import RuleSetReader
from healer.daemon.ruleset_status import RuleSetStatuses
from healer.daemon.rulesets import RuleSets
from healer.http.reviews import Reviewer, ReviewError
from healer.journal.kube import KubeJournal
from healer.journal.stored import INCIDENTS
from healer.journal.watch import Incidents
from healer.model.action import Outcome, OutcomeKind, Permission, permissions
from healer.model.effects import Act
from healer.model.incident import Incident, State
from healer.model.ruleset import RuleSet
from healer.model.target import Target
from healer.model.view import View
from healer.rules.grants import RuleSetSettings
from healer.rules.schema import Mode
from healer.workloads.registry import WORKLOADS, core_resources
from tests.deploy.deeds.trials import HOME, Deed, Run, Trial, running
from tests.unit.actions.conftest import NAMESPACE
from tests.unit.journal.incidents import incident, then

_INCIDENTS = f"{INCIDENTS.plural}.{INCIDENTS.api_group}"
TOKEN, AUDIENCE, WEBHOOK = "a-token-of-alertmanager", "healer", ("post", "/webhooks/alertmanager")


# what healer watches


def watches(resource: Resource) -> Deed:
    async def run(trial: Trial) -> str:
        namespace = trial.within if resource.namespaced else ""
        watch = Permission(resource.api_group, resource.plural, "watch")
        reflector = Reflector(trial.api, resource, View(WORKLOADS), lambda _: None, namespace=namespace)
        async with running(reflector.run()):
            opened = await trial.until(lambda: reflector.synced.is_set() and watch in trial.let_in)
            return "" if opened else f"{resource.plural} are not watched: {reflector.trouble}"

    return Deed(f"watch {resource.plural}", permissions(resource.api_group, resource.plural, "list watch"), run)


async def _polls(trial: Trial) -> str:
    poll = NamespacePoll(trial.api, View(WORKLOADS), NAMESPACE, every=60.0)
    async with running(poll.run()):
        await poll.synced.wait()
        return poll.trouble


# the journal, the lease, Events, tokens


async def _written(trial: Trial, journal: KubeJournal, noted: Incident) -> bool:
    """Whether that is stored before a permission is found missing: the journal tries until it is granted."""
    storing = asyncio.create_task(journal.durable([noted.id]))
    try:
        return await trial.until(storing.done)
    finally:
        storing.cancel()
        await asyncio.gather(storing, return_exceptions=True)


def _journals(opened: Incident) -> Run:
    """A life of an incident: opened, written over what a person wrote meanwhile, read by a successor, deleted."""

    async def run(trial: Trial) -> str:
        hurry = Backoff(0.001, 0.002, 60.0, trial.api.clock.steady, lambda: 1.0)
        namespaces = (trial.within, HOME) if trial.within else ()
        journal = KubeJournal(trial.api, keep=0, backoff=hurry, namespaces=namespaces, home=HOME)
        closed, place = then(opened, State.CLOSED), opened.workload.namespace or HOME
        kind = trial.lab.api.kinds.named(_INCIDENTS)
        async with running(journal.run()):
            journal.note(opened)
            if not await _written(trial, journal, opened):
                return "the incident is not opened in the journal"
            trial.lab.api.modify(kind, place, opened.id, lambda obj: obj["metadata"].update(labels={"team": "ml"}))
            journal.note(closed)
            if not await _written(trial, journal, closed):
                return "the incident is not written over what a person has written"
            await KubeJournal(trial.api, namespaces=namespaces, home=HOME).load()
            await journal.prune(closed.changed_at)
        return "the old incident is not deleted" if trial.lab.objects(_INCIDENTS) else ""

    return run


async def _heeds_approvals(trial: Trial) -> str:
    namespaces = (trial.within, HOME) if trial.within else ()
    incidents = Incidents(trial.api, lambda name, by: None, uid_of=lambda _: "", namespaces=namespaces)
    watch = Permission(INCIDENTS.api_group, INCIDENTS.plural, "watch")
    async with running(incidents.run()):
        opened = await trial.until(lambda: trial.let_in.count(watch) >= len(incidents.reflectors))
        return "" if opened else f"no approval is heard: {[each.trouble for each in incidents.reflectors]}"


async def _leads(trial: Trial) -> str:
    """Twice, so that the Lease is made, and renewed."""
    renewed = Permission("coordination.k8s.io", "leases", "update")
    settings = LeaseSettings(namespace=HOME, renew=0.005, retry=0.005)
    lease = Lease(trial.api, settings, "healer-0")

    async def term() -> None:
        await asyncio.Event().wait()

    async with running(lease.run(term)):
        leads = await trial.until(lambda: lease.is_leader() and trial.let_in.count(renewed) > 1)
        return "" if leads else f"nobody leads: {lease.trouble}"


async def _finds_its_replicas(trial: Trial) -> str:
    await ServiceEndpoints(trial.api, HOME, "healer").addresses()
    return ""


async def _says_so_on_the_object(trial: Trial) -> str:
    pod = Target("Pod", NAMESPACE, "serving-1", "u")
    act = Act(incident(), 0, 1, "evict", ACTIONS["evict"].spec.params(), pod, dry_run=False, min_ready=0, seen_at=1.0)
    metrics = Metrics()
    events = ObjectEvents(trial.api, metrics, "healer-0")
    async with running(events.run()):
        events.acted(act, Outcome(OutcomeKind.DONE, "Evicted", "it is evicted"), "it crashes")
        posted = await trial.until(lambda: bool(trial.lab.objects("events")))
        return "" if posted else "no Event is posted"


async def _says_so_on_its_lease(trial: Trial) -> str:
    """What became of the rule files; the Event carries the uid of the Lease."""
    metrics = Metrics()
    events = ObjectEvents(trial.api, metrics, "healer-0")
    async with running(events.run()):
        events.say(Target("Lease", HOME, "healer", ""), "12 rules are in force", reason="RulesReloaded", action="reload rules")
        posted = await trial.until(lambda: bool(trial.lab.objects("events")))
        return "" if posted else "no Event is posted"


async def _has_a_ruleset(trial: Trial) -> str:
    rule = {"name": "crash", "when": {"pod": ["CrashLoopBackOff"]}, "heal": [{"evict": {}}]}
    body = {"apiVersion": "healer.dev/v1alpha1", "kind": "RuleSet", "metadata": {"name": "mine", "namespace": NAMESPACE}}
    await trial.lab.apply_yaml(shipped.RULESETS.read_text("utf-8"))
    await trial.lab.apply(body | {"spec": {"rules": [rule]}})
    return ""


async def _judges(trial: Trial) -> str:
    """Read the RuleSet that there is, and write into it what became of it."""
    view = View(WORKLOADS)
    (found,) = trial.lab.objects(f"{RULESETS.plural}.{RULESETS.api_group}")
    view.put(msgspec.json.decode(msgspec.json.encode(found), type=RuleSet))
    settings = RuleSetSettings(enabled=True)
    reader = RuleSetReader(settings, vocabulary(), lambda _: [], Mode.ENFORCE, trial.api.clock.steady)
    rulesets = RuleSets(view, settings, reader)
    await rulesets.look(())
    statuses = RuleSetStatuses(trial.api, rulesets, list, lambda: True, lambda *_: None)
    async with running(statuses.run()):
        written = await trial.until(
            lambda: "conditions" in trial.lab.objects(f"{RULESETS.plural}.{RULESETS.api_group}")[0].get("status", {})
        )
        return "" if written else "nothing is written into the RuleSet"


async def _knows_alertmanager(trial: Trial) -> str:
    trial.lab.reviews.add_token(TOKEN, "system:serviceaccount:monitoring:alertmanager", AUDIENCE)
    trial.lab.reviews.grant("system:serviceaccount:monitoring:alertmanager", *WEBHOOK)
    try:
        async with aclosing(Reviewer(trial.api, AUDIENCE, 60.0, 1, trial.api.clock.steady)) as reviewer:
            return "" if await reviewer.user(TOKEN, *WEBHOOK, "here") else "Alertmanager is not let in"
    except ReviewError as error:
        return str(error)


async def has_a_lease(trial: Trial) -> str:
    """That of the healer that is asked."""
    body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "healer"}, "spec": {}}
    await trial.api.request("POST", f"/apis/coordination.k8s.io/v1/namespaces/{HOME}/leases", body=body)
    return ""


_JOURNAL = permissions(INCIDENTS.api_group, INCIDENTS.plural, "create get list delete") | permissions(
    INCIDENTS.api_group, f"{INCIDENTS.plural}/status", "update"
)
_OF_A_NODE = replace(incident("node-1"), workload=Target("Node", "", "node-1", "u"), targets={})
WATCHES = {each.plural: watches(each) for each in core_resources()}
ALWAYS: tuple[Deed, ...] = (
    Deed("journal", _JOURNAL, _journals(incident(namespace=NAMESPACE))),
    Deed("journal an incident of a node", _JOURNAL, _journals(_OF_A_NODE)),
    Deed("heed approvals", permissions("healer.dev", "incidents", "list watch"), _heeds_approvals),
    Deed("lead", permissions("coordination.k8s.io", "leases", "get create update"), _leads),
    Deed("find the other replicas", permissions("discovery.k8s.io", "endpointslices", "list"), _finds_its_replicas),
    Deed("say on an object what was done", permissions("events.k8s.io", "events", "create"), _says_so_on_the_object),
    Deed(
        "say on the Lease what became of rule files",
        permissions("events.k8s.io", "events", "create") | permissions("coordination.k8s.io", "leases", "get"),
        _says_so_on_its_lease,
        has_a_lease,
    ),
)
"""What healer does, whatever its rules are."""
WATCH_NODES = watches(NODES)
WATCH_RULESETS = replace(watches(RULESETS), prepare=_has_a_ruleset)
JUDGE = Deed(
    "write into a RuleSet what became of it", permissions("healer.dev", "rulesets/status", "patch"), _judges, _has_a_ruleset
)
POLL = Deed("poll a Namespace", permissions("", "namespaces", "get"), _polls)
REVIEW = Deed(
    "know Alertmanager by its token",
    permissions("authentication.k8s.io", "tokenreviews", "create")
    | permissions("authorization.k8s.io", "subjectaccessreviews", "create"),
    _knows_alertmanager,
)
