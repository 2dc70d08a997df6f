"""Who else writes a Deployment: the markers of Argo CD, Flux and operators, and what is none."""

from typing import Any

import msgspec
import pytest

from healer.cluster.managed import WrittenMeta, manager_of

ARGO, FLUX = "argocd.argoproj.io", "kustomize.toolkit.fluxcd.io"


def managed(**more: Any) -> str | None:
    return manager_of(msgspec.convert({"name": "model", "namespace": "prod", "uid": "u", **more}, WrittenMeta), kind="Deployment")


def fields(manager: str, **more: Any) -> list[dict[str, Any]]:
    """As a 1.36 API server notes a Deployment's template that this manager has set."""
    template: dict[str, Any] = {"f:spec": {"f:replicas": {}, "f:template": {"f:metadata": {"f:labels": {"f:app": {}}}}}}
    return [
        {"manager": manager, "operation": "Apply", "apiVersion": "apps/v1", "fieldsType": "FieldsV1", "fieldsV1": template} | more
    ]


def test_nobody() -> None:
    assert managed() is None


@pytest.mark.parametrize(
    ("tracking", "owner"),
    [
        ("shop:apps/Deployment:prod/model", "Argo CD (Application shop)"),
        ("argocd_shop:apps/Deployment:prod/model", "Argo CD (Application argocd_shop)"),
        ("shop:extensions/Deployment:prod/model", "Argo CD (Application shop)"),
        ("shop", "Argo CD (Application shop)"),
        ("shop:apps/Deployment:prod/another", None),
        ("shop:apps/Deployment:elsewhere/model", None),
        ("shop:serving.example.com/Model:prod/model", None),
        ("", None),
    ],
)
def test_argo_s_tracking_id_counts_when_it_names_this_object(tracking: str, owner: str | None) -> None:
    """An operator that copies annotations copies this one, too; Argo CD does not take such an object for its own."""
    assert managed(annotations={f"{ARGO}/tracking-id": tracking}) == owner


def test_argo_s_own_label() -> None:
    assert managed(labels={f"{ARGO}/instance": "shop"}) == "Argo CD (Application shop)"


def test_the_instance_label_of_helm_charts_says_nothing() -> None:
    labels = {"app.kubernetes.io/instance": "shop", "app.kubernetes.io/managed-by": "Helm"}
    assert managed(labels=labels) is None
    assert managed(labels=labels, managedFields=fields("helm")) is None
    assert managed(labels=labels, managedFields=fields("argocd-controller", operation="Update")) == "Argo CD"


def test_flux_s_labels() -> None:
    labels = {f"{FLUX}/name": "apps", f"{FLUX}/namespace": "flux-system"}
    assert managed(labels=labels) == "Flux (Kustomization flux-system/apps)"
    helm = "helm.toolkit.fluxcd.io"
    labels = {f"{helm}/name": "model", f"{helm}/namespace": "prod"}
    assert managed(labels=labels) == "Flux (HelmRelease prod/model)"


@pytest.mark.parametrize(
    ("mark", "value"), [("reconcile", "disabled"), ("reconcile", "Disabled"), ("ssa", "Ignore"), ("ssa", "IfNotPresent")]
)
def test_what_flux_was_told_to_let_go(mark: str, value: str) -> None:
    labels, annotations = {f"{FLUX}/name": "apps"}, {f"{FLUX}/{mark}": value}
    assert managed(labels=labels, annotations=annotations, managedFields=fields("kustomize-controller")) is None
    assert managed(labels=labels, annotations={f"{FLUX}/{mark}": "Merge"}) is not None


@pytest.mark.parametrize(
    ("manager", "owner"),
    [
        ("argocd-controller", "Argo CD"),
        ("argocd-application-controller", "Argo CD"),
        ("kustomize-controller", "Flux (a Kustomization)"),
        ("helm-controller", "Flux (a HelmRelease)"),
        ("argocd-server", None),
        ("kubectl-client-side-apply", None),
        ("healer", None),
    ],
)
def test_who_has_set_the_template(manager: str, owner: str | None) -> None:
    assert managed(managedFields=fields(manager)) == owner


def test_who_has_set_something_else_only() -> None:
    assert managed(managedFields=fields("argocd-controller", fieldsV1={"f:metadata": {"f:labels": {}}})) is None
    assert managed(managedFields=fields("argocd-controller", fieldsV1={"f:spec": {"f:replicas": {}}})) is None
    assert managed(managedFields=[{"manager": "argocd-controller"}]) is None


def test_an_operator() -> None:
    owner = {"apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService", "name": "bert", "uid": "o"}
    assert managed(ownerReferences=[owner]) is None
    assert managed(ownerReferences=[owner | {"controller": True}]) == "KServe (InferenceService bert)"
    foreign = owner | {"apiVersion": "example.com/v1", "controller": True}
    assert managed(ownerReferences=[foreign]) == "the controller of inferenceservice/bert, which owns it"
