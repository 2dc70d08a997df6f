"""A canary of Argo Rollouts: both sides are revisions of one workload."""

from typing import Any

import msgspec

from healer.daemon.rulefiles import vocabulary
from healer.model.kube import KubeObject, Pod, ReplicaSet
from healer.model.view import View
from healer.rules.loading import load
from healer.rules.probe import Canary
from healer.sources.canary.canary import sides_of
from healer.workloads.registry import WORKLOADS
from healer.workloads.rollout import Rollout
from tests.integration.world import rule, ruleset

SIDE = {"rollout": "tf"}


def canary(total: str = 'a{pod=~"{{ pods }}"}') -> tuple[Canary | None, list[str]]:
    """The trigger of a rule for a Rollout, and what is wrong with it."""
    measures = [{"name": "errors", "total": total, "bad": 'b{pod=~"{{ pods }}"}'}]
    trigger = {"route": {"kind": "Rollout", "name": "tf"}, "stable": SIDE, "canary": SIDE, "measures": measures}
    step = [{"shiftTraffic": {"to": 0}, "verify": {"within": "5m", "stable": "1m"}}]
    bound, problems = load(ruleset(rule("bad-canary", when={"canary": trigger}, heal=step)), "f.yaml", vocabulary())
    return (bound[0].rule.when.value if bound else None), [problem.message for problem in problems]


def view(stable: str, *more: str, **status: Any) -> View:
    """A Rollout with pods of the revisions a and b, and a pod of each that is given."""
    seen = View(WORKLOADS)

    def put(kind: type[KubeObject], name: str, owner: dict[str, Any] | None = None, **more: Any) -> None:
        metadata = {"name": name, "namespace": "production", "uid": name} | more.pop("metadata", {})
        owners = {} if owner is None else {"ownerReferences": [owner | {"controller": True}]}
        seen.put(msgspec.convert({"metadata": metadata | owners, **more}, kind))

    counts = {"observedGeneration": "0", "replicas": 3, "updatedReplicas": 1, "currentPodHash": "b", "stableRS": stable}
    put(Rollout, "tf", status=counts | status)
    for digest, pods in (("a", 2), ("b", 1), *((each, 1) for each in more)):
        put(ReplicaSet, f"tf-{digest}", {"kind": "Rollout", "name": "tf", "uid": "tf"})
        for number in range(pods):
            labels = {"rollouts-pod-template-hash": digest}
            owner = {"kind": "ReplicaSet", "name": f"tf-{digest}", "uid": f"tf-{digest}"}
            put(Pod, f"tf-{digest}-{number}", owner, metadata={"labels": labels})
    return seen


def test_each_side_has_the_pods_of_its_revision() -> None:
    """Also after an abort, while pods of the canary are left."""
    trigger, problems = canary()
    assert problems == []
    assert trigger is not None
    for status in ({}, {"abort": True}):
        tried, stable = sides_of(view("a", **status), trigger, "production")
        assert tried is not None
        assert stable is not None
        assert (tried.pods, stable.pods) == (("tf-b-0",), ("tf-a-0", "tf-a-1"))


def test_the_pods_of_an_earlier_canary_are_not_held_against_the_newest() -> None:
    """While both serve it is rolling, and nothing is judged."""
    trigger, _ = canary()
    assert trigger is not None
    tried, stable = sides_of(view("a", "c", currentPodHash="c"), trigger, "production")
    assert tried is not None
    assert stable is not None
    assert (tried.revision, tried.rolling, stable.rolling) == ("c", True, False)
    tried, _ = sides_of(view("a"), trigger, "production")
    assert tried is not None
    assert not tried.rolling


def test_measures_must_tell_the_sides_apart() -> None:
    """By the pods: the workload is the same."""
    _, problems = canary('a{workload="{{ workload }}"}')
    assert problems == ["both sides are revisions of one workload, and only their pods tell them apart"]
