"""A stage: one lab and one daemon with the rules of a file, for all scenes of that file at the same time."""

import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from healer.actions.registry import ACTIONS
from healer.cluster.api import Api
from healer.daemon.rulefiles import load_rules, vocabulary
from healer.engine.tuning import EngineSettings, LimitSettings
from healer.lab import Lab
from healer.lab.apiserver.store import StoreEvent
from healer.lab.custom import INFERENCE_SERVICE, definition
from healer.lab.faults import SeenRequest
from healer.lab.kinds import POD
from healer.lab.objects import Object, condition, labels_of
from healer.model.incident import Incident
from healer.operate.rbac import needed, rule_roles
from healer.rules.happening import EventsSettings
from healer.rules.pod_detectors import PodsSettings
from healer.rules.rulebook import BoundRule, Rulebook, scaled
from healer.rules.schema import Mode, Step
from healer.rules.served_model import ServedModel
from healer.rules.triggers import MODEL
from healer.settings.http import HttpSettings
from healer.settings.sections import Alerts, JournalSettings, LeaderSettings
from healer.sinks.site import Site
from tests.integration.world import NAMESPACE
from tests.packs.drills import RULES
from tests.packs.lab.telling import in_slack, on_page
from tests.seams.house import House, house
from tests.support.kustomize import Manifest, built
from tests.support.model_servers import Servers, model_servers
from tests.support.processes import PATIENCE
from tests.support.rbac import Authorizer
from tests.support.slack import Posted

SPEED = 600
"""The rules run so many times as fast as in production."""
HURRIED, UNHURRIED, UNAPPROVED = "", "unhurried", "unapproved"
"""Before the names of rules, and of the namespaces where they are in force: in a hurry; at their own speed, so that nothing can
last as long as their `for`; in a hurry where nobody approves, and that is over soon."""
NODES = 500
"""No two pods share a node, so that the pods of several scenes make no storm of a node."""
DEPLOY = RULES.parent / "deploy" / "healer"
HOME = "healer"
CLUSTER = "prod-eu-1"
"""The namespace of healer itself."""
_PEOPLE: list[Manifest] = [
    {
        "kind": "ClusterRole",
        "metadata": {"name": "people"},
        "rules": [{"apiGroups": ["healer.dev"], "resources": ["incidents"], "verbs": ["patch"]}],
    },
    {"kind": "ClusterRoleBinding", "metadata": {"name": "people"}, "roleRef": {"kind": "ClusterRole", "name": "people"}},
]
"""Who approves in a scene is a client of the same name."""
Allows = Callable[[SeenRequest], bool]
"""Whether a request is allowed."""
WORKLOAD = "version"
"""The label of pods that has the name of their workload."""

_WRITES = {"create", "update", "patch", "delete", "deletecollection"}
_OWN = {"incidents", "events"}


class Stage:
    """What the scenes of a file share. `servers` answer at the addresses that pods have, where the rules ask model servers."""

    healer: House
    api: Api

    def __init__(self, lab: Lab, rules: Rulebook, servers: Servers, allows: Allows) -> None:
        self.lab = lab
        self._allows = allows
        self.rules = rules
        self.servers = servers
        self.pods: dict[str, dict[str, Object]] = defaultdict(dict)
        """The pods of each workload by name, as they are stored: not to be changed."""
        self._evicted: list[tuple[str, str]] = []
        lab.store.listeners.append(self._changed)

    def _changed(self, collection: str, change: StoreEvent) -> None:
        if collection != POD.stored_in:
            return
        pod, (namespace, name) = change.now.object, change.key
        pods = self.pods[labels_of(pod)[WORKLOAD]]
        if change.type == "DELETED":
            del pods[name]
            return
        pods[name] = pod
        target = condition(pod, "DisruptionTarget")
        if target is not None and target["reason"] == "EvictionByEvictionAPI" and (namespace, name) not in self._evicted:
            self._evicted.append((namespace, name))

    @contextlib.asynccontextmanager
    async def daemon(self, folder: Path) -> AsyncIterator[None]:
        """The daemon runs, and may do what its roles allow.

        What bounds healer as a whole is out of its way: the workloads of the scenes are not one team's. It has time to answer a
        delivery, because the cluster and all scenes share its event loop. An alert is fresh for as long as a scene lasts: no
        Alertmanager repeats it, or could be asked.
        """
        self.lab.faults.answer(403, match=lambda seen: seen.user_agent == "healer" and not self._allows(seen), times=None)
        self._token = folder / "slack-token"
        running = house(
            self.lab,
            folder,
            rulebook=self.rules,
            journal=JournalSettings(),
            pods=PodsSettings(settle=1.5, starting=1.0, restarts_within=60, terminating_grace=0.1),
            engine=EngineSettings(retry=0.2, recheck=0.2, max_wait=60, healthy_after=1.0),
            limits=LimitSettings(breaker_incidents=1000, budget_namespace=1000, budget_cluster=1000),
            events=EventsSettings(fade=1.5),
            leader=LeaderSettings(enabled=False, namespace=HOME),
            site=Site(cluster=CLUSTER),
            alerts=Alerts(freshness=10 * PATIENCE),
            http=HttpSettings(host="127.0.0.1", port=0, accept_timeout=PATIENCE),
        )
        async with (
            running as self.healer,
            contextlib.aclosing(await Api.connect(kubeconfig=str(folder / "kubeconfig"))) as self.api,
        ):
            yield

    async def state(self) -> Mapping[str, Mapping[str, Any]]:
        """What the page shows of the incidents, by their names."""
        return await on_page(self.healer.daemon.port)

    async def shown(self, incident: Incident) -> Posted:
        """How Slack shows a snapshot of an incident, with its thread."""
        return await in_slack(incident, CLUSTER, self._token)

    def changes(self, namespace: str) -> list[tuple[str, str]]:
        """What healer has changed in a namespace: the permission for it, and the name. A dry run changes nothing."""
        evicted = [("pods/eviction", pod) for where, pod in self._evicted if where == namespace]
        asked = [seen for seen in self.lab.requests if seen.namespace == namespace and seen.verb in _WRITES]
        written = [(seen.permission, seen.name) for seen in asked if seen.resource not in _OWN]
        return evicted + [change for change in written if change[0] != "pods/eviction"]


@contextlib.asynccontextmanager
async def stage(file: str, scenes: int, addresses: Sequence[str], *, mode: Mode | None = None) -> AsyncIterator[Stage]:
    """The rules of a shipped file, and a cluster without a healer, for so many scenes. `mode`: that of all rules."""
    async with model_servers(*addresses) as servers, Lab(time_scale=0.02, nodes=NODES) as lab:
        for name in ("namespace.yaml", "crd.yaml"):
            await lab.apply_yaml((DEPLOY / name).read_text("utf-8"))
        await lab.apply([definition(INFERENCE_SERVICE)])
        yield Stage(lab, rulebook(file, scenes, servers.port, mode), servers, permitted(file))


def permitted(file: str) -> Allows:
    """What the roles of deploy/healer allow; for a file that is no pack also what `healer rbac` prints for it."""
    roles = built(DEPLOY)
    if "/" in file:
        roles += rule_roles(needed(load_rules([RULES / file], vocabulary()), ACTIONS), HOME)
    return Authorizer([*roles, *_PEOPLE]).allows


def rulebook(file: str, scenes: int, port: int, mode: Mode | None = None) -> Rulebook:
    """The rules of a file at each pace. Those that ask model servers ask them at that port, and often."""
    shipped = Rulebook(_in_mode(bound, mode) for bound in load_rules([RULES / file], vocabulary()).rules)
    fast = [_patient(bound) for bound in scaled(shipped, 1 / SPEED).rules]
    paces = {HURRIED: [_approved(bound) for bound in fast], UNHURRIED: shipped.rules, UNAPPROVED: fast}
    placed = [
        _within(replace(bound, ruleset=paced(bound.ruleset, pace)), *(place(number, pace) for number in range(scenes)))
        for pace, rules in paces.items()
        for bound in rules
    ]
    return Rulebook(_asked_at(bound, port) for bound in placed)


def _patient(bound: BoundRule) -> BoundRule:
    """With as much time as a scene has for what a loaded machine does late: for a replacement to get ready, and for what is
    counted to happen again. No scene waits for the end of these times, but where a step only tells, or a rule observes."""
    rule = bound.rule
    count = rule.when.count and rule.when.count.model_copy(update={"within": PATIENCE})
    heal = rule.heal if rule.mode is Mode.OBSERVE else tuple(map(_given_time, rule.heal))
    when = rule.when.model_copy(update={"count": count})
    return replace(bound, rule=rule.model_copy(update={"when": when, "heal": heal}))


def _approved(bound: BoundRule) -> BoundRule:
    """With as much time for a human to approve."""
    limits = bound.rule.limits.model_copy(update={"approve_within": PATIENCE})
    return replace(bound, rule=bound.rule.model_copy(update={"limits": limits}))


def _given_time(step: Step) -> Step:
    if step.pages is not None:
        return step
    return step.model_copy(update={"verify": step.verify.model_copy(update={"within": PATIENCE})})


def place(scene: int, pace: str = HURRIED) -> str:
    """The namespace of a scene: each has one of its own, because rules name what is there (a ConfigMap, a route)."""
    return f"{pace or NAMESPACE}-{scene}"


def paced(rule: str, pace: str) -> str:
    """The name under which a rule, by its full name, runs at that pace."""
    return f"{pace}-{rule}" if pace else rule


def _in_mode(bound: BoundRule, mode: Mode | None) -> BoundRule:
    return bound if mode is None else replace(bound, rule=bound.rule.model_copy(update={"mode": mode}))


def _within(bound: BoundRule, *namespaces: str) -> BoundRule:
    scope = bound.scope.model_copy(update={"namespaces": namespaces})
    return replace(bound, rule=bound.rule.model_copy(update={"scope": scope}))


def _asked_at(bound: BoundRule, port: int) -> BoundRule:
    served = bound.rule.when.get(MODEL)
    if served is None:
        return bound
    when = bound.rule.when.model_copy(update={"model": at_hand(served, port, 0.5)})
    heal = tuple(_pinned_at(step, port) if step.action == "pinModelVersion" else step for step in bound.rule.heal)
    return replace(bound, rule=bound.rule.model_copy(update={"when": when, "heal": heal}))


def at_hand(served: ServedModel, port: int, every: float) -> ServedModel:
    """The same model at that port, asked so often. A token has time to come, whatever the speed of the rule."""
    generate = served.generate and served.generate.model_copy(update={"within": 1.0})
    return served.model_copy(update={"port": port, "every": every, "generate": generate})


def _pinned_at(step: Step, port: int) -> Step:
    return step.model_copy(update={"params": step.params.model_copy(update={"port": port})})
