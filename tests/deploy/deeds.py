"""What healer, and people with a shipped role, do by the permissions of the roles: each deed with exactly what it asks for.

A deed is done by the code of the daemon against a lab that enforces RBAC. It returns "" once it is done, or what it says of why
not. A deed that tries for ever is stopped when the API client has told that a permission is missing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
from pydantic import BaseModel

from healer import shipped
from healer.actions.base import Clients, Temporary
from healer.actions.evict import EvictParams
from healer.actions.registry import ACTIONS
from healer.actions.rollback import RollbackParams
from healer.actions.scale import ScaleParams
from healer.actions.shift_traffic import ShiftTrafficParams
from healer.cluster.api import Api
from healer.cluster.endpoints import ServiceEndpoints
from healer.cluster.errors import Backoff
from healer.cluster.lease import Lease, LeaseSettings
from healer.cluster.poll import NamespacePoll
from healer.cluster.resources import AUTOSCALERS, EVENTS, NODES, RULESETS, Resource
from healer.cluster.watch import Reflector
from healer.daemon.commands import Commands
from healer.daemon.metrics import Metrics
from healer.daemon.object_events import ObjectEvents
from healer.daemon.rulefiles import vocabulary
from healer.daemon.ruleset_status import RuleSetStatuses
from healer.daemon.rulesets import RuleSets
from healer.http.reviews import Reviewer, ReviewError
from healer.journal.kube import KubeJournal
from healer.journal.stored import INCIDENTS
from healer.journal.watch import Incidents
from healer.lab import Lab, serving
from healer.lab.apiserver.admission import AdmissionRequest
from healer.lab.canary import CANARY, ROUTE, STABLE, versions
from healer.lab.custom import CLONESET, as_cloneset, as_rollout, definition
from healer.lab.custom import ROLLOUT as LAB_ROLLOUT
from healer.lab.faults import SeenRequest
from healer.lab.groups import LEADER_WORKER_SET, serving_groups
from healer.lab.kinds import AUTOSCALER
from healer.lab.objects import Object, is_ready
from healer.model.action import Outcome, OutcomeKind, Permission, Permissions, permissions
from healer.model.annotations import APPROVED_BY, UNDONE_BY
from healer.model.effects import Act
from healer.model.incident import Incident, Reason, State
from healer.model.ruleset import RuleSet
from healer.model.target import Target
from healer.model.temporary import changes
from healer.model.view import View, target_of
from healer.operate.approve import approve
from healer.operate.objects import annotate, object_ref
from healer.operate.who import explained
from healer.routes.registry import ROUTERS
from healer.rules.grants import RuleSetSettings
from healer.rules.named_workload import NamedWorkload
from healer.rules.probe import RouteRef, Side
from healer.rules.schema import Mode
from healer.sinks.commands import CommandRefused
from healer.workloads.registry import WORKLOADS, core_resources
from tests.deploy.test_admission import Review, changed
from tests.support.kustomize import built
from tests.unit.actions.conftest import NAMESPACE, Bench
from tests.unit.actions.test_pin_model_version import standing
from tests.unit.journal.incidents import incident, then
from tests.unit.routes.conftest import gateway, istio, route

NAME, CURE = "serving", "2.17.0"
HOME = "healer"
_INCIDENTS = f"{INCIDENTS.plural}.{INCIDENTS.api_group}"
TOKEN, AUDIENCE, WEBHOOK = "a-token-of-alertmanager", "healer", ("post", "/webhooks/alertmanager")
ROOT = Path(__file__).parents[2]
SERVING = "tensorflow-serving"
"""The Deployment whose servers have versions of a model."""


@dataclass
class Trial:
    """One lab with a client of healer's; what was let in and what was refused since `begin`."""

    lab: Lab
    api: Api
    kubeconfig: str
    within: str
    """The namespace that healer is confined to; empty for the whole cluster."""
    asked: set[Permission] = field(default_factory=set)
    let_in: list[Permission] = field(default_factory=list)
    may: Callable[[SeenRequest], bool] = lambda _: True

    def begin(self, allows: Callable[[SeenRequest], bool]) -> None:
        """Enforce these permissions from now on."""

        def authorized(seen: SeenRequest) -> bool:
            permission, allowed = Permission(seen.group, seen.permission, seen.verb), allows(seen)
            self.asked.add(permission)
            if allowed:
                self.let_in.append(permission)
            return allowed

        self.may = authorized
        self.lab.authorize(authorized)

    @property
    def missing(self) -> set[Permission]:
        """What the client has told to be missing: in the log, in /readyz and in `healer status`."""
        return {Permission(each.group, each.resource, each.verb) for each in self.api.contact.missing}

    async def until(self, holds: Callable[[], bool]) -> bool:
        """Whether that holds before the client tells of a missing permission. A client has no event for what it was answered."""
        while not holds():
            if self.missing:
                return False
            await asyncio.sleep(0.002)
        return True


Run = Callable[[Trial], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class Deed:
    """Something that is done, and the permissions that it asks for: no more, no less."""

    name: str
    asks: Permissions
    run: Run
    prepare: Run | None = None
    """Makes what there is before; not by healer."""


@asynccontextmanager
async def trial(folder: Path, within: str = "") -> AsyncIterator[Trial]:
    """A lab in which everything is allowed until the deed begins."""
    async with Lab(start_delay=0.002, termination_delay=0.002) as lab:
        await lab.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": each}} for each in (NAMESPACE, HOME)])
        await lab.apply([definition(LAB_ROLLOUT), definition(CLONESET), definition(LEADER_WORKER_SET)])
        await lab.apply_yaml(shipped.DEFINITION.read_text("utf-8"))
        lab.write_kubeconfig(folder / "config")
        api = await Api.connect(kubeconfig=str(folder / "config"))
        try:
            yield Trial(lab, api, str(folder / "config"), within)
        finally:
            await api.aclose()


@asynccontextmanager
async def _running(forever: Coroutine[Any, Any, Any]) -> AsyncIterator[None]:
    task = asyncio.create_task(forever)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


# what healer watches


def _watches(resource: Resource) -> Deed:
    async def run(trial: Trial) -> str:
        namespace = trial.within if resource.namespaced else ""
        watch = Permission(resource.api_group, resource.plural, "watch")
        reflector = Reflector(trial.api, resource, View(WORKLOADS), lambda _: None, namespace=namespace)
        async with _running(reflector.run()):
            opened = await trial.until(lambda: reflector.synced.is_set() and watch in trial.let_in)
            return "" if opened else f"{resource.plural} are not watched: {reflector.trouble}"

    return Deed(f"watch {resource.plural}", permissions(resource.api_group, resource.plural, "list watch"), run)


async def _polls(trial: Trial) -> str:
    poll = NamespacePoll(trial.api, View(WORKLOADS), NAMESPACE, every=60.0)
    async with _running(poll.run()):
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
        async with _running(journal.run()):
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
    async with _running(incidents.run()):
        opened = await trial.until(lambda: trial.let_in.count(watch) >= len(incidents.reflectors))
        return "" if opened else f"no approval is heard: {[each.trouble for each in incidents.reflectors]}"


async def _leads(trial: Trial) -> str:
    """Twice, so that the Lease is made, and renewed."""
    renewed = Permission("coordination.k8s.io", "leases", "update")
    settings = LeaseSettings(namespace=HOME, renew=0.005, retry=0.005)
    lease = Lease(trial.api, settings, "healer-0")

    async def term() -> None:
        await asyncio.Event().wait()

    async with _running(lease.run(term)):
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
    async with _running(events.run()):
        events.acted(act, Outcome(OutcomeKind.DONE, "Evicted", "it is evicted"), "it crashes")
        posted = await trial.until(lambda: bool(trial.lab.objects("events")))
        return "" if posted else "no Event is posted"


async def _says_so_on_its_lease(trial: Trial) -> str:
    """What became of the rule files; the Event carries the uid of the Lease."""
    metrics = Metrics()
    events = ObjectEvents(trial.api, metrics, "healer-0")
    async with _running(events.run()):
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
    rulesets = RuleSets(view, RuleSetSettings(enabled=True), vocabulary(), lambda _: [], Mode.ENFORCE)
    await rulesets.look(())
    statuses = RuleSetStatuses(trial.api, rulesets, list, lambda: True, lambda *_: None)
    async with _running(statuses.run()):
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


# what it does


def _looked(trial: Trial, name: str, kind: str) -> Bench:
    """A bench with a view of the cluster as it is, the workload and the first of its pods."""
    view = View(WORKLOADS)
    for each in core_resources():
        for obj in trial.lab.objects(f"{each.plural}.{each.api_group}".rstrip(".")):
            view.put(msgspec.convert(obj, each.kind))
    found = view.workload_named(kind, NAMESPACE, name)
    assert found is not None
    workload = target_of(found)
    pod = min(view.pods_of(workload), key=lambda pod: pod.metadata.name)
    return Bench(trial.lab, trial.api, view, target_of(pod), workload, trial.kubeconfig)


def _serves(count: int, image: str = "") -> Callable[[Lab], bool]:
    def holds(lab: Lab) -> bool:
        pods = lab.objects("pods", NAMESPACE)
        right = [pod for pod in pods if is_ready(pod) and pod["spec"]["containers"][0]["image"].endswith(image)]
        return len(pods) == len(right) == count and "deletionTimestamp" not in str(pods)

    return holds


def _manifests(kind: str) -> list[Object]:
    """A serving workload of the kind with two units."""
    (deployment, *_) = serving(NAME, NAMESPACE, replicas=2, min_available=None)
    match kind:
        case "Deployment":
            return [deployment]
        case "StatefulSet":
            return [deployment | {"kind": kind, "spec": {k: deployment["spec"][k] for k in ("replicas", "selector", "template")}}]
        case "DaemonSet":
            return [deployment | {"kind": kind, "spec": {k: deployment["spec"][k] for k in ("selector", "template")}}]
        case "Rollout":
            return [as_rollout(deployment)]
        case "CloneSet":
            return [as_cloneset(deployment)]
        case _:
            return serving_groups(NAME, NAMESPACE, groups=2, size=1)[1:]


def _has(kind: str, *, bad: bool = False) -> Run:
    """The workload serves; `bad`: with a new revision."""

    async def prepare(trial: Trial) -> str:
        lab = trial.lab
        await lab.apply(_manifests(kind))
        await lab.wait_for(_serves(2))
        if bad and kind != "LeaderWorkerSet":
            served = lab.api.kinds.of(*(_manifests(kind)[0][key] for key in ("apiVersion", "kind")))
            assert served is not None

            def ship(obj: Object) -> None:
                obj["spec"]["template"]["spec"]["containers"][0]["image"] = f"tensorflow/serving:{CURE}"

            lab.api.modify(served, NAMESPACE, NAME, ship)
            await lab.wait_for(_serves(2, CURE))
            await lab.wait_for(lambda _: _settled(trial, kind))
        return ""

    return prepare


def _settled(trial: Trial, kind: str) -> bool:
    found = _looked(trial, NAME, kind).view.workload_named(kind, NAMESPACE, NAME)
    return found is not None and found.rollout is None


async def _undone(bench: Bench, action: str) -> str:
    does = ACTIONS[action]
    assert isinstance(does, Temporary)
    for key, change in changes(bench.kept).items():
        way = await does.reversal(Clients(bench.api), bench.incident(), key, change)
        await way.put_back(bench.api, force=False)
    return ""


def _acts(
    action: str, kind: str, params: BaseModel | None = None, *, name: str = NAME, expected: str = "", pod: bool = False
) -> Run:
    async def run(trial: Trial) -> str:
        bench = _looked(trial, name, kind)
        outcome = await bench.attempt(action, params=params, target=bench.target if pod else bench.workload)
        if outcome.kind is not OutcomeKind.DONE and outcome.reason != expected:
            return f"{outcome.reason}: {outcome.text}"
        return await _undone(bench, action) if bench.kept and isinstance(ACTIONS[action], Temporary) else ""

    return run


async def _is_tainted(trial: Trial) -> str:
    await _has("Deployment")(trial)
    for node in trial.lab.objects("nodes"):
        trial.lab.taint_node(node["metadata"]["name"], "example.com/gpu-broken")
    return ""


async def _evicts_elsewhere(trial: Trial) -> str:
    """Its other permissions are those of "evict a pod", which the packs have."""
    of_nodes = trial.may
    trial.lab.authorize(lambda seen: seen.permission != "nodes" or of_nodes(seen))
    return await _acts("evict", "Deployment", EvictParams(elsewhere=True), pod=True)(trial)


async def _has_three(trial: Trial) -> str:
    await trial.lab.apply(serving(SERVING, NAMESPACE, replicas=3, min_available=None))
    await trial.lab.wait_for(_serves(3))
    return ""


async def _pins(trial: Trial) -> str:
    async with standing(_looked(trial, SERVING, "Deployment")) as stand:
        outcome = await stand.pin()
    return "" if outcome.kind is OutcomeKind.DONE else f"{outcome.reason}: {outcome.text}"


async def _has_an_autoscaler(trial: Trial) -> str:
    spec = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": NAME},
        "minReplicas": 2,
        "maxReplicas": 6,
    }
    trial.lab.api.create(AUTOSCALER, NAMESPACE, {"metadata": {"name": NAME, "namespace": NAMESPACE}, "spec": spec})
    return await _has("Deployment")(trial)


def _has_a_canary(kind: str) -> Run:
    async def prepare(trial: Trial) -> str:
        await trial.lab.apply([gateway(), istio(), *versions(NAMESPACE), *route(kind)])
        await trial.lab.wait_for(_serves(4))
        return ""

    return prepare


def _side(name: str) -> Side:
    return Side(workload=NamedWorkload(name))


def _shifts(kind: str) -> Deed:
    params = ShiftTrafficParams(to=0, route=RouteRef(kind=kind, name=ROUTE), stable=_side(STABLE), canary=_side(CANARY))
    reads = permissions("discovery.k8s.io", "endpointslices", "list") | _of("Deployment", "get")
    asks = reads | ROUTERS[kind].reads | ROUTERS[kind].writes
    return Deed(f"shift traffic by {kind}", asks, _acts("shiftTraffic", "Deployment", params, name=CANARY), _has_a_canary(kind))


def _of(kind: str, verbs: str, subresource: str = "") -> Permissions:
    resource = WORKLOADS[kind].resource
    return permissions(resource.api_group, resource.plural + subresource, verbs)


def _rolls_back(kind: str) -> Deed:
    """A LeaderWorkerSet is read, and never rolled back."""
    never = "NoEarlierRevision" if kind == "LeaderWorkerSet" else ""
    asks = _of(kind, "get" if never else "get patch") | WORKLOADS[kind].reads
    return Deed(f"roll a {kind} back", asks, _acts("rollback", kind, RollbackParams(), expected=never), _has(kind, bad=True))


def _scales(kind: str) -> Deed:
    asks = _of(kind, "get") | _of(kind, "get patch", "/scale") | permissions("autoscaling", "horizontalpodautoscalers", "list")
    return Deed(f"scale a {kind}", asks, _acts("scale", kind, ScaleParams(max=5)), _has(kind))


_HEALED = ("Deployment", "StatefulSet", "Rollout", "CloneSet", "LeaderWorkerSet")
_POD = permissions("", "pods", "get")

# what people do

_PERSON = "ann"


async def _has_an_incident(trial: Trial) -> str:
    """It waits for approval."""
    journal = KubeJournal(trial.api)
    asks = then(incident(namespace=NAMESPACE), State.WAITING)
    asks = replace(asks, reason=Reason("NeedsApproval", "a human decides"), mode="approve", asked_at=asks.changed_at)
    async with _running(journal.run()):
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
    _watches(INCIDENTS),
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


async def _has_a_lease(trial: Trial) -> str:
    """That of the healer that is asked."""
    body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "healer"}, "spec": {}}
    await trial.api.request("POST", f"/apis/coordination.k8s.io/v1/namespaces/{HOME}/leases", body=body)
    return ""


def _is_served(kind: str) -> Run:
    """The workload is there, and healer's Lease."""

    async def prepare(trial: Trial) -> str:
        await trial.lab.apply(_manifests(kind))
        return await _has_a_lease(trial)

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
            _of(kind, "get patch") | _IN_NAMESPACE | _LEASE | _SAYS,
            _pauses(f"{WORKLOADS[kind].words[0]}/{NAME}"),
            _is_served(kind),
        )
        for kind in WORKLOADS
    ),
    Deed(
        "pause a namespace for a person",
        permissions("", "namespaces", "get patch") | _LEASE | _SAYS,
        _pauses(f"namespace/{NAMESPACE}"),
        _has_a_lease,
    ),
    Deed(
        "pause everything for a person",
        permissions("coordination.k8s.io", "leases", "get patch") | _SAYS,
        _pauses("everything"),
        _has_a_lease,
    ),
)
"""What healer does for people on its page."""

# what healer does

_JOURNAL = permissions(INCIDENTS.api_group, INCIDENTS.plural, "create get list delete") | permissions(
    INCIDENTS.api_group, f"{INCIDENTS.plural}/status", "update"
)
_OF_A_NODE = replace(incident("node-1"), workload=Target("Node", "", "node-1", "u"), targets={})
WATCHES = {each.plural: _watches(each) for each in core_resources()}
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
        _has_a_lease,
    ),
)
"""What healer does, whatever its rules are."""
WATCH_NODES = _watches(NODES)
WATCH_RULESETS = replace(_watches(RULESETS), prepare=_has_a_ruleset)
JUDGE = Deed(
    "write into a RuleSet what became of it", permissions("healer.dev", "rulesets/status", "patch"), _judges, _has_a_ruleset
)
READ_NODE = Deed("evict a pod from a node that takes none", permissions("", "nodes", "get"), _evicts_elsewhere, _is_tainted)
PIN = Deed("pin a model version", permissions("", "configmaps", "get patch") | _of("Deployment", "get"), _pins, _has_three)
EVICTIONS: tuple[Deed, ...] = tuple(
    Deed(
        f"evict a pod of a {kind}",
        _POD | _of(kind, "get") | permissions("", "pods/eviction", "create"),
        _acts("evict", kind, pod=True),
        _has(kind),
    )
    for kind in _HEALED
)
POLL = Deed("poll a Namespace", permissions("", "namespaces", "get"), _polls)
REVIEW = Deed(
    "know Alertmanager by its token",
    permissions("authentication.k8s.io", "tokenreviews", "create")
    | permissions("authorization.k8s.io", "subjectaccessreviews", "create"),
    _knows_alertmanager,
)
_HPA = "horizontalpodautoscalers"
PACKS: tuple[Deed, ...] = (
    Deed(
        "evict a pod",
        _POD | _of("Deployment", "get") | permissions("", "pods/eviction", "create"),
        _acts("evict", "Deployment", pod=True),
        _has("Deployment"),
    ),
    *(_rolls_back(kind) for kind in _HEALED),
    *(_scales(kind) for kind in _HEALED),
    Deed(
        "scale by an autoscaler",
        _of("Deployment", "get") | _of("Deployment", "get", "/scale") | permissions("autoscaling", _HPA, "get list patch"),
        _acts("scale", "Deployment", ScaleParams(max=5)),
        _has_an_autoscaler,
    ),
    _watches(AUTOSCALERS),
    _watches(EVENTS),
)
"""What the shipped rules have it do."""
SHIFTS = {kind: _shifts(kind) for kind in ("Ingress", "HTTPRoute", "VirtualService")}
