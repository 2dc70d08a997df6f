"""What a rule guards: how many pods and workloads, and in words why there are none."""

import pytest

from healer.engine.matching.coverage import Covering, differs
from healer.model.kube import Meta as Metadata
from healer.model.kube import Namespace, OwnerReference, Pod, PodStatus, ReplicaSet
from healer.model.view import View
from healer.rules.loading import load
from healer.rules.scope import Scope
from healer.workloads.deployment import Deployment
from healer.workloads.registry import WORKLOADS
from tests.unit.rules.actions import VOCABULARY
from tests.unit.rules.test_errors import CANARY, GOOD


def owned_by(kind: str, name: str) -> tuple[OwnerReference, ...]:
    return (OwnerReference(kind, name, f"uid-{name}", controller=True),)


def cluster() -> View:
    """A namespace with a Deployment of two replicas and the record of a pod that ended; another namespace with nothing."""
    view = View(WORKLOADS)
    labels = {"app": "tf", "tier": "gpu"}
    for namespace in ("production", "staging"):
        view.put(Namespace(Metadata(name=namespace, uid=f"uid-{namespace}")))
    view.put(Deployment(Metadata(name="tf", uid="uid-tf", namespace="production", labels=labels)))
    owner = owned_by("Deployment", "tf")
    view.put(ReplicaSet(Metadata(name="tf-1", uid="uid-tf-1", namespace="production", owner_references=owner)))
    for name, phase in (("a", "Running"), ("b", "Pending"), ("c", "Failed")):
        owner = owned_by("ReplicaSet", "tf-1")
        meta = Metadata(name=name, uid=f"uid-{name}", namespace="production", labels=labels, owner_references=owner)
        view.put(Pod(meta, status=PodStatus(phase=phase)))
    return view


def covered(
    scope: str, *, when: str = "pod: [CrashLoopBackOff]", heal: str = "evict", watched: tuple[str, ...] = ()
) -> tuple[int, int, tuple[str, ...]]:
    text = GOOD.replace("{namespaces: [production]}", scope).replace("pod: [CrashLoopBackOff]", when).replace("evict", heal)
    text = text if when.startswith("pod") else text.replace("        for: 2m\n", "")
    (rule,), problems = load(text, "f.yaml", VOCABULARY)
    assert problems == []
    found = Covering(cluster(), watched).of(rule)
    assert found.rule == "serving/crash"
    return found.pods, found.workloads, found.doubts


@pytest.mark.parametrize(
    "scope",
    ["{namespaces: [production]}", '{namespaces: ["*"]}', "{namespaces: [production], selector: {matchLabels: {app: tf}}}"],
)
def test_living_pods_and_their_workloads_are_counted(scope: str) -> None:
    assert covered(scope) == (2, 1, ())


@pytest.mark.parametrize(
    ("scope", "doubt"),
    [
        ("{namespaces: [prodcution]}", "there is no namespace 'prodcution'; did you mean 'production'?"),
        ("{namespaces: [staging]}", "there is no pod in staging"),
        (
            "{namespaces: [production], selector: {matchLabels: {ap: tf}}}",
            "no pod in production has a label 'ap'; did you mean 'app'?",
        ),
        (
            "{namespaces: [production], selector: {matchLabels: {app: tff}}}",
            "no pod in production has app=tff; did you mean 'tf'?; there are tf",
        ),
        (
            "{namespaces: [production], selector: {matchExpressions: [{key: tier, operator: DoesNotExist}]}}",
            "no pod in production meets tier DoesNotExist",
        ),
    ],
)
def test_a_scope_that_holds_nothing_says_what_is_wrong_with_it(scope: str, doubt: str) -> None:
    pods, workloads, doubts = covered(scope)
    assert (pods, workloads) == (0, 0)
    assert doubts[0] == doubt


def foreign(view: View) -> View:
    """With two pods of a Job, and one that nobody owns, besides."""
    for name, owner in (("db-0", owned_by("Job", "db")), ("db-1", owned_by("Job", "db")), ("solo", ())):
        view.put(Pod(Metadata(name, f"uid-{name}", "production", labels={"app": "db"}, owner_references=owner)))
    return view


@pytest.mark.parametrize(
    ("scope", "heal", "said"),
    [
        (
            "{namespaces: [production]}",
            "evict",
            "covers 2 pods of 1 workload (and 2 workloads of kinds that healer cannot act on)",
        ),
        (
            "{namespaces: [production], selector: {matchLabels: {app: db}}}",
            "evict",
            "covers 0 pods of 0 workloads (and 2 workloads of kinds that healer cannot act on)",
        ),
        ("{namespaces: [production]}", "page", "covers 5 pods of 3 workloads"),
    ],
)
def test_what_no_step_can_act_on_is_not_counted(scope: str, heal: str, said: str) -> None:
    """But named; a rule that tells people covers all."""
    text = GOOD.replace("{namespaces: [production]}", scope).replace("evict", heal)
    (bound,), _ = load(text, "f.yaml", VOCABULARY)
    assert str(Covering(foreign(cluster())).of(bound)) == f"serving/crash {said}"


def test_rules_of_one_scope_are_counted_by_their_own_steps() -> None:
    (evicts,), _ = load(GOOD, "f.yaml", VOCABULARY)
    (pages,), _ = load(GOOD.replace("evict", "page").replace("name: crash", "name: tell"), "f.yaml", VOCABULARY)
    covering = Covering(foreign(cluster()))
    assert [(found.rule, found.pods, found.watched) for found in map(covering.of, (evicts, pages))] == [
        ("serving/crash", 2, 2),
        ("serving/tell", 5, 0),
    ]


def test_a_scope_of_which_nothing_can_be_treated_is_a_doubt() -> None:
    """The doubt names kinds and no numbers, so that it is the same while pods come and go."""
    (bound,), _ = load(
        GOOD.replace("{namespaces: [production]}", "{namespaces: [production], selector: {matchLabels: {app: db}}}"),
        "f.yaml",
        VOCABULARY,
    )
    treated = ", ".join(f"{kind}s" for kind in WORKLOADS)
    assert Covering(foreign(cluster())).of(bound).doubts == (
        f"healer cannot act on anything in its scope: it acts on {treated}, and there are Job, pods that nobody owns",
    )


def test_a_misspelt_namespace_beside_a_right_one_is_seen() -> None:
    pods, _, doubts = covered("{namespaces: [production, stagin]}")
    assert pods == 2
    assert doubts == ("there is no namespace 'stagin'; did you mean 'staging'?",)


def test_a_namespace_that_healer_does_not_watch_is_said() -> None:
    _, _, doubts = covered("{namespaces: [production]}", watched=("staging",))
    assert doubts[0] == "healer does not watch the namespace 'production': cluster.namespaces has staging"


def test_a_canary_whose_deployment_is_not_there_is_said() -> None:
    pods, workloads, doubts = covered("{namespaces: [production]}", when=CANARY.replace("v1", "tf"), heal="page")
    assert (pods, workloads) == (2, 1)
    assert doubts == ("there is no deployment 'v2' in production",)


def test_a_query_whose_deployment_is_not_there_is_said() -> None:
    _, _, doubts = covered("{namespaces: [production]}", when="query: {expr: up, above: 1, deployment: tfs}", heal="page")
    assert doubts == ("there is no deployment 'tfs' in production; did you mean 'tf'?",)


@pytest.mark.parametrize(
    ("scope", "said"),
    [
        ({"namespaces": ["production"]}, ""),
        ({"namespaces": ["*"], "selector": {"matchLabels": {"app": "tf"}}}, ""),
        ({"namespaces": ["staging"]}, "its namespace is production, and the scope is staging"),
        ({"namespaces": ["*"], "selector": {"matchLabels": {"app": "x"}}}, "its label 'app' is 'tf', and the selector wants 'x'"),
        (
            {"namespaces": ["*"], "selector": {"matchLabels": {"ap": "tf"}}},
            "its label 'ap' is missing; did you mean 'app'?, and the selector wants 'tf'",
        ),
        (
            {"namespaces": ["*"], "selector": {"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["tf"]}]}},
            "its label 'app' does not meet app NotIn (tf)",
        ),
    ],
)
def test_what_keeps_an_object_out_of_a_scope(scope: dict[str, object], said: str) -> None:
    assert differs(Scope.model_validate(scope), "production", {"app": "tf"}, "Deployment", WORKLOADS) == said
