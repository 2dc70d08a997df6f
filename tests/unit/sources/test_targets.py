"""What labels are about, where those of the exporter stand beside those of the metric."""

import pytest

from healer.model.kube import KubeObject, Meta, OwnerReference, Pod, PodSpec, ReplicaSet
from healer.model.view import View
from healer.model.workload import Workload
from healer.sources.targets import Named, Nameless, TargetLabels, named_by
from healer.workloads.daemonset import DaemonSet
from healer.workloads.deployment import Deployment
from healer.workloads.registry import WORKLOADS
from healer.workloads.statefulset import StatefulSet
from tests.support.groups import Groups
from tests.support.world import NAMESPACE

EXPORTER = "kube-state-metrics-bf559f9d-nt69m"
POD = "gateway-7b5b8c9d4-x2c4v"
LONG = "a-deployment-whose-name-is-so-long-that-names-of-pods-are-cut-off"
"""A name of 65 characters."""


def owned_by(kind: str, name: str, uid: str) -> tuple[OwnerReference, ...]:
    return (OwnerReference(kind=kind, name=name, uid=uid, controller=True),)


@pytest.fixture
def view() -> View:
    """The exporter and two Deployments of one name in two namespaces; pods of other kinds beside them."""
    held = View(WORKLOADS)
    for namespace in ("monitoring", "production"):
        uid = f"{namespace}-gateway"
        held.put(Deployment(Meta(name="gateway", uid=uid, namespace=namespace)))
        owner = owned_by("Deployment", "gateway", uid)
        held.put(ReplicaSet(Meta(name="gateway-7b5b8c9d4", uid=f"{uid}-rs", namespace=namespace, owner_references=owner)))
        pod(held, namespace, POD, "ReplicaSet", "gateway-7b5b8c9d4", f"{uid}-rs")
    held.put(Deployment(Meta(name="kube-state-metrics", uid="ksm", namespace="monitoring")))
    owner = owned_by("Deployment", "kube-state-metrics", "ksm")
    held.put(ReplicaSet(Meta(name="kube-state-metrics-bf559f9d", uid="ksm-rs", namespace="monitoring", owner_references=owner)))
    pod(held, "monitoring", EXPORTER, "ReplicaSet", "kube-state-metrics-bf559f9d", "ksm-rs")
    pod(held, "production", "db-0", "StatefulSet", "db", "db")
    pod(held, "production", "agent-x2c4v", "DaemonSet", "agent", "agent")
    pod(held, "production", "train-x2c4v", "Job", "train", "train")
    return held


def pod(view: View, namespace: str, name: str, kind: str, owner: str, uid: str) -> None:
    meta = Meta(name=name, uid=f"{namespace}/{name}", namespace=namespace, owner_references=owned_by(kind, owner, uid))
    view.put(Pod(meta, spec=PodSpec(node_name="node-1")))


def about(view: View, namespace: str = "production", **labels: str) -> str:
    """What the labels name, as "Kind/namespace/name", or the code of why they name nothing."""
    named = named_by({"namespace": namespace, **labels}, TargetLabels(), view)
    return named.code if isinstance(named, Nameless) else f"{named.kind}/{named.namespace}/{named.name}"


@pytest.mark.parametrize("namespace", ["monitoring", "production"])
def test_the_exporters_pod_beside_the_metrics_deployment_is_not_what_it_is_about(view: View, namespace: str) -> None:
    """kube-state-metrics' own alerts, in its namespace and in another: the Deployment is meant."""
    assert about(view, namespace, deployment="gateway", pod=EXPORTER) == f"Deployment/{namespace}/gateway"


def test_a_pod_is_believed_where_the_workload_owns_it(view: View) -> None:
    assert about(view, deployment="gateway", pod=POD) == f"Pod/production/{POD}"
    assert about(view, deployment="gateway", replicaset="gateway-7b5b8c9d4", pod=POD, node="node-1") == f"Pod/production/{POD}"
    assert about(view, statefulset="db", pod="db-0") == "Pod/production/db-0"
    assert about(view, daemonset="agent", pod="agent-x2c4v") == "Pod/production/agent-x2c4v"
    assert about(view, job_name="train", pod="train-x2c4v") == "Pod/production/train-x2c4v"


def test_a_workload_of_the_same_name_does_not_own_what_another_of_that_name_owned(view: View) -> None:
    """Owners are told apart by uid: the Deployment was deleted and made anew, and what its old pod has is not its trouble."""
    view.drop(Deployment, "production-gateway")
    view.put(Deployment(Meta(name="gateway", uid="made-anew", namespace="production")))
    assert about(view, deployment="gateway", pod=POD) == "Ambiguous"


def test_a_pod_of_another_workload_and_no_deployment_to_fall_back_on_is_ambiguous(view: View) -> None:
    assert about(view, "monitoring", deployment="away", pod=EXPORTER) == "Ambiguous"
    assert about(view, "monitoring", statefulset="db", pod=EXPORTER) == "Ambiguous"
    assert about(view, "monitoring", daemonset="agent", pod=EXPORTER) == "Ambiguous"
    assert about(view, "monitoring", job_name="train", pod=EXPORTER) == "Ambiguous"
    assert about(view, "monitoring", replicaset="gateway-7b5b8c9d4", pod=EXPORTER) == "Ambiguous"


@pytest.mark.parametrize("label", ["horizontalpodautoscaler", "persistentvolumeclaim", "cronjob", "poddisruptionbudget"])
def test_a_label_of_an_object_that_a_pod_cannot_be_shown_to_belong_to_is_ambiguous(view: View, label: str) -> None:
    assert about(view, "monitoring", pod=EXPORTER, **{label: "gateway"}) == "Ambiguous"


def test_the_pod_whose_proxy_reports_a_request_is_not_the_workload_that_the_request_went_to(view: View) -> None:
    """Istio's metrics carry the caller's pod with reporter="source": the caller of a sick service is no patient."""
    away = {"destination_workload": "gateway", "destination_workload_namespace": "production"}
    assert about(view, "monitoring", pod=EXPORTER, **away) == "Ambiguous"
    assert about(view, "monitoring", pod=POD, **away) == "Ambiguous"
    assert about(view, pod="db-0", **away) == "Ambiguous"
    assert about(view, pod="db-1", destination_workload="gateway") == "Ambiguous"
    assert about(view, deployment="other", **away) == "Ambiguous"
    assert about(view, "monitoring", deployment="gateway", **away) == "Ambiguous"


def test_a_pod_of_the_workload_that_requests_went_to_is_believed(view: View) -> None:
    """With reporter="destination" the proxy is that of the patient."""
    to = {"destination_workload": "gateway", "destination_workload_namespace": "production", "reporter": "destination"}
    assert about(view, pod=POD, **to) == f"Pod/production/{POD}"
    assert about(view, pod="gateway-7b5b8c9d4-gone1", **to) == "Pod/production/gateway-7b5b8c9d4-gone1"
    assert about(view, deployment="gateway", **to) == "Deployment/production/gateway"


def test_a_node_that_the_pod_is_not_on_is_what_the_metric_is_about(view: View) -> None:
    """kube_node_status_condition names a node, and has the namespace and the pod of its exporter."""
    assert about(view, "monitoring", pod=EXPORTER, node="node-2") == "Ambiguous"
    assert about(view, "monitoring", pod=EXPORTER, node="node-1") == f"Pod/monitoring/{EXPORTER}"


@pytest.mark.parametrize(("label", "kind"), [("statefulset", StatefulSet), ("daemonset", DaemonSet)])
def test_a_workload_of_another_kind_by_its_own_label(view: View, label: str, kind: type[KubeObject]) -> None:
    """Beside the exporter's pod too: kube-state-metrics names each kind by a label of its own."""
    name = kind.__name__
    assert about(view, **{label: "store"}) == f"{name}/production/store"
    assert about(view, pod=EXPORTER, **{label: "store"}) == "Ambiguous", "the cluster has no such workload"
    view.put(kind(Meta(name="store", uid="store", namespace="production")))
    assert about(view, pod=EXPORTER, **{label: "store"}) == f"{name}/production/store"
    assert about(view, **{label: "store", f"exported_{label}": "other"}) == "Ambiguous"
    assert about(view, destination_workload="other", **{label: "store"}) == "Ambiguous"
    assert about(view, **{label: "Store"}) == "NoObject"


def test_a_stateful_set_that_was_made_anew_does_not_own_the_pods_of_the_one_before(view: View) -> None:
    """Its pods have the same names: only the uid tells whose they are."""
    view.put(StatefulSet(Meta(name="db", uid="db", namespace="production")))
    assert about(view, statefulset="db", pod="db-0") == "Pod/production/db-0"
    view.drop(StatefulSet, "db")
    view.put(StatefulSet(Meta(name="db", uid="made-anew", namespace="production")))
    assert about(view, statefulset="db", pod="db-0") == "Ambiguous"


def test_a_pod_that_a_stateful_set_no_longer_has_keeps_its_alert(view: View) -> None:
    """It was scaled down: the StatefulSet is not treated for what is gone."""
    view.put(StatefulSet(Meta(name="db", uid="db", namespace="production")))
    assert about(view, statefulset="db", pod="db-7") == "Pod/production/db-7"
    assert about(view, statefulset="db", pod="db-exporter-0") == "StatefulSet/production/db"


def test_two_workloads_are_ambiguous(view: View) -> None:
    """One of the two labels comes from the scrape; which one cannot be known."""
    assert about(view, deployment="gateway", statefulset="db") == "Ambiguous"
    assert about(view, daemonset="agent", statefulset="db") == "Ambiguous"
    assert about(view, statefulset="db", job_name="train") == "Ambiguous"
    assert about(view, "monitoring", deployment="gateway", statefulset="db", pod=EXPORTER) == "Ambiguous"
    assert about(view, deployment="gateway", exported_deployment="other") == "Ambiguous"
    assert about(view, "monitoring", deployment="gateway", exported_deployment="other", pod=EXPORTER) == "Ambiguous"


@pytest.mark.parametrize(
    ("gone", "deployment"),
    [
        ("gateway-7b5b8c9d4-bcdfg", "gateway"),
        (f"{LONG[:58]}bcdfg", LONG),
        (f"{LONG[:50]}-7b5b8c9bcdfg", LONG[:50]),
    ],
)
def test_a_pod_that_was_replaced_does_not_turn_its_alert_on_the_deployment(view: View, gone: str, deployment: str) -> None:
    """The alert lingers when its pod is gone: nothing is to be done to the workload for it."""
    view.put(Deployment(Meta(name=LONG, uid="long", namespace="production")))
    view.put(Deployment(Meta(name=LONG[:50], uid="shorter", namespace="production")))
    assert about(view, deployment=deployment, pod=gone) == f"Pod/production/{gone}"


def test_a_pod_that_was_never_one_of_the_deployment_gives_way_to_it(view: View) -> None:
    assert about(view, deployment="gateway", pod="gateway-exporter-eu-west-0") == "Deployment/production/gateway"
    assert about(view, deployment="gateway", pod="gateway-exporter-0") == "Deployment/production/gateway"
    assert about(view, deployment="gateway", pod="exporter-0") == "Deployment/production/gateway"


def test_a_pod_whose_replica_set_is_not_known_yet_keeps_its_alert(view: View) -> None:
    """The engine waits until the owner is known; the Deployment must not be treated in the meantime."""
    view.drop(ReplicaSet, "production-gateway-rs")
    assert about(view, deployment="gateway", pod=POD) == f"Pod/production/{POD}"


def test_what_is_said_names_the_labels_and_what_to_do(view: View) -> None:
    named = named_by({"namespace": "monitoring", "statefulset": "db", "pod": EXPORTER}, TargetLabels(), view)
    assert named == Nameless(
        "Ambiguous",
        f"pod '{EXPORTER}' is not one of StatefulSet 'db', which label 'statefulset' names: "
        "drop the labels of the exporter (`without` in the expression, or labeldrop)",
    )


@pytest.mark.parametrize("name", ["x" * 254, "ann@example.com", "Gateway", "a b", "-a", "a-", "a/b", "ä"])
def test_what_no_object_can_be_named_names_none(view: View, name: str) -> None:
    """It would be shown as a name, whatever it is."""
    assert about(view, pod=name) == about(view, deployment=name) == about(view, name, pod=POD) == "NoObject"


def test_the_labels_can_be_others(view: View) -> None:
    names = TargetLabels(namespace="ns", pod="kubernetes_pod", deployment="app")
    labels = {"ns": "monitoring", "kubernetes_pod": EXPORTER, "app": "gateway", "namespace": "x", "pod": "y", "deployment": "z"}
    assert named_by(labels, names, view) == Named("Deployment", "monitoring", "gateway")
    labels = {"ns": "monitoring", "statefulset": "gateway", "deployment": "z"}
    assert named_by(labels, names, view) == Named("StatefulSet", "monitoring", "gateway")


def test_what_no_label_names_is_said_with_all_labels_that_would(view: View) -> None:
    named = named_by({"namespace": "production", "job": "x"}, TargetLabels(deployment="app"), view)
    assert isinstance(named, Nameless)
    assert named.reason.startswith("it has no label 'pod' or 'app' or 'statefulset' or 'daemonset'")


def test_the_stateful_set_of_a_group_leads_to_the_leader_worker_set() -> None:
    """kube-state-metrics names the StatefulSet of the workers: it is a part of the LeaderWorkerSet."""
    world = Groups(2, 3)
    labels = {"namespace": NAMESPACE, "statefulset": "vllm-1"}
    named = named_by(labels, TargetLabels(), world.view)
    assert isinstance(named, Named)
    found = named.find(world.view)
    assert isinstance(found, Workload)
    assert found.target == world.workload


@pytest.mark.parametrize("owner", [{"statefulset": "vllm-1"}, {"leaderworkerset": "vllm"}])
def test_a_worker_is_believed_with_the_name_of_what_owns_it(owner: dict[str, str]) -> None:
    labels = {"namespace": NAMESPACE, "pod": "vllm-1-2"} | owner
    assert named_by(labels, TargetLabels(), Groups(2, 3).view) == Named("Pod", NAMESPACE, "vllm-1-2")


def test_a_worker_of_another_group_gives_way_to_the_group_that_is_named() -> None:
    labels = {"namespace": NAMESPACE, "pod": "vllm-1-2", "statefulset": "vllm-0"}
    assert named_by(labels, TargetLabels(), Groups(2, 3).view) == Named("StatefulSet", NAMESPACE, "vllm-0")
