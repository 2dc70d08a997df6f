"""What a signal costs the engine, by how many rules there are: `python -m tests.benchmarks.decisions COUNT RELATION`.

One rule is about the signals; how the others differ from it is the relation. Prints microseconds a signal, as JSON.
"""

import json
import sys
import time
from collections.abc import Callable
from typing import Literal, get_args

import msgspec

from healer.actions.base import specs
from healer.actions.registry import ACTIONS
from healer.daemon.rulefiles import vocabulary
from healer.engine.engine import Engine
from healer.model.action import Outcome, OutcomeKind
from healer.model.effects import Act, Acted, Tick
from healer.model.kube import Pod, ReplicaSet
from healer.model.signal import Signal
from healer.model.target import Target
from healer.model.view import View
from healer.rules.loading import load_all
from healer.rules.rulebook import Rulebook
from healer.workloads.deployment import Deployment
from healer.workloads.registry import WORKLOADS
from tests.benchmarks.machine import Unmeasurable
from tests.benchmarks.objects import REPLICAS, Workload, pod
from tests.support.world import tuned

Relation = Literal["other names", "other namespaces", "same name, other namespaces"]

FLEET = 500
_DECODED = {"deployments": Deployment, "replicasets": ReplicaSet}


def rules(count: int, relation: Relation) -> str:
    """A rule file: one rule on the alert HighLatency in `production`, and `count` - 1 that its signals do not concern."""
    others = [_rule(f"other-{n}", *_PLACE[relation](n)) for n in range(1, count)]
    return "\n".join([_HEAD, _rule("slow", "HighLatency", "production"), *others])


def pod_rules(count: int) -> str:
    """A rule file on pods' conditions in other namespaces, to be loaded beside the rule pack."""
    conditions = ("CrashLoopBackOff", "NotReady", "Restarting", "OOMKilled", "Failed")
    return "\n".join([_HEAD, *(_rule(f"other-{n}", conditions[n % 5], f"team-{n}", "pod") for n in range(count))])


_HEAD = "apiVersion: healer.dev/v1alpha1\nkind: RuleSet\nmetadata: {name: many}\nspec:\n  rules:"
_PLACE: dict[Relation, Callable[[int], tuple[str, str]]] = {
    "other names": lambda n: (f"Alert{n}", "production"),
    "other namespaces": lambda n: (f"Alert{n}", f"team-{n}"),
    "same name, other namespaces": lambda n: ("HighLatency", f"team-{n}"),
}


_MANY = 1_000_000
_UNLIMITED = tuned(
    node_storm_pods=_MANY, budget_workload=_MANY, budget_namespace=_MANY, budget_cluster=_MANY, breaker_incidents=_MANY
)
"""The limits on all of healer are out of the way: here it does more at once than it would ever dare."""


def _rule(name: str, signal: str, namespace: str, trigger: str = "alert") -> str:
    return f"""
    - name: {name}
      scope: {{namespaces: [{namespace}], selector: {{matchLabels: {{app: tensorflow-serving}}}}}}
      when: {{{trigger}: [{signal}], if: pod.restarts < 1000}}
      heal: [{{evict: {{}}, verify: {{within: 5m, stable: 0s}}}}]
      limits: {{cooldown: 1s}}
      mode: enforce"""


def _view(workloads: list[Workload]) -> View:
    view = View(WORKLOADS)
    for workload in workloads:
        for plural, obj in workload.objects():
            if plural in _DECODED:
                view.put(msgspec.convert(obj, _DECODED[plural]))
        for replica in range(REPLICAS):
            view.put(msgspec.json.decode(pod(workload, replica, 1), type=Pod))
    return view


def measure(count: int, relation: Relation) -> float:
    """Microseconds from a firing signal to its closed incident: matched, guarded, acted on, resolved, verified."""
    loaded, problems = load_all({"many.yaml": rules(count, relation)}, vocabulary())
    if problems:
        raise Unmeasurable(str(problems[0]))
    engine = Engine(Rulebook(loaded), specs(ACTIONS), tuned(breaker_incidents=10 * FLEET))  # they all open at once
    workloads = [Workload(f"tfs-{number:05}") for number in range(FLEET)]
    view = _view(workloads)
    for workload in workloads[:50]:  # warm
        _life(engine, view, workload, 1_000_000.0)
    begun = time.perf_counter()
    for workload in workloads[50:]:
        _life(engine, view, workload, 1_000_000.0)
    return (time.perf_counter() - begun) / (FLEET - 50) * 1e6


def _life(engine: Engine, view: View, workload: Workload, now: float) -> None:
    target = Target("Pod", workload.namespace, workload.pod(0), f"{workload.uid}-0")
    fires = Signal("alert", "HighLatency", target, True, now, workload.uid, workload.uid, "slow")
    act = next(effect for effect in engine.handle(fires, view, now) if isinstance(effect, Act))
    outcome = Outcome(OutcomeKind.RECOVERED, "Recovered", "it was well when read afresh")
    engine.handle(Acted(act.incident.id, act.step, act.attempt, outcome), view, now)
    engine.handle(Signal("alert", "HighLatency", target, False, now, workload.uid, workload.uid), view, now)
    engine.handle(Tick(), view, now)
    if engine.incident(act.incident.id) is not None:
        raise Unmeasurable("the incident is still open: this would measure something else")


if __name__ == "__main__":
    relation: Relation = next(name for name in get_args(Relation) if name == sys.argv[2])
    sys.stdout.write(json.dumps(measure(int(sys.argv[1]), relation)) + "\n")
