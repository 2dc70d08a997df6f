"""Who else sets the weights of a route, by the marks that controllers leave; and what is no mark."""

from typing import Any

import pytest

from healer.routes.base import CanaryRoute, ReadRoute, Weights, who_sets
from healer.routes.keeper import keeper_of, writer_of

PLACE = CanaryRoute("prod", "HTTPRoute", "model", "v1", "v2")
PART = ("f:spec", "f:rules")
ABORT = "kubectl argo rollouts abort {} -n prod"


def route(part: tuple[str, ...] = PART, **more: Any) -> ReadRoute:
    metadata = {"name": "model", "namespace": "prod", "uid": "u", "resourceVersion": "7"} | more
    return ReadRoute("/path", "7", Weights(((80, 20),)), lambda weights: (), metadata, part)


def owner(api: str, kind: str, name: str = "shop", **more: Any) -> list[dict[str, Any]]:
    return [{"apiVersion": api, "kind": kind, "name": name, "uid": "o", "controller": True} | more]


def written(manager: str, *part: str) -> list[dict[str, Any]]:
    """As the API server notes what a manager has set."""
    fields: dict[str, Any] = {}
    for name in reversed(part or PART):
        fields = {name: fields}
    return [{"manager": manager, "operation": "Update", "fieldsType": "FieldsV1", "fieldsV1": fields}]


@pytest.mark.parametrize(
    ("marks", "name", "way"),
    [
        ({"ownerReferences": owner("flagger.app/v1beta1", "Canary")}, "Flagger (Canary shop)", "roll back by its webhook"),
        ({"labels": {"app.kubernetes.io/managed-by": "flagger"}}, "Flagger", "roll back by its webhook"),
        ({"managedFields": written("flagger")}, "Flagger", "roll back by its webhook"),
        ({"ownerReferences": owner("argoproj.io/v1alpha1", "Rollout")}, "Argo Rollouts (Rollout shop)", ABORT.format("shop")),
        (
            {"annotations": {"argo-rollouts.argoproj.io/managed-by-rollouts": "shop"}},
            "Argo Rollouts (Rollout shop)",
            ABORT.format("shop"),
        ),
        (
            {"annotations": {"rollouts.argoproj.io/gatewayapi-active-rollouts": "prod/shop,prod/other"}},
            "Argo Rollouts (Rollout shop)",
            ABORT.format("shop"),
        ),
        ({"labels": {"rollouts.argoproj.io/gatewayapi-canary": "in-progress"}}, "Argo Rollouts", ABORT.format("NAME")),
        ({"managedFields": written("rollouts-controller")}, "Argo Rollouts", ABORT.format("NAME")),
        (
            {"ownerReferences": owner("serving.kserve.io/v1beta1", "InferenceService")},
            "KServe (InferenceService shop)",
            "canaryTrafficPercent: 0",
        ),
        (
            {"ownerReferences": owner("serving.kserve.io/v1alpha1", "LLMInferenceService")},
            "KServe (LLMInferenceService shop)",
            "spec.router.route.http.spec",
        ),
    ],
)
def test_controllers_that_set_weights_by_design(marks: dict[str, Any], name: str, way: str) -> None:
    """Each with what to do in its own way; that Git manages the object as well makes no difference."""
    for more in ({}, {"labels": marks.get("labels", {}) | {"argocd.argoproj.io/instance": "git"}}):
        keeper = keeper_of(PLACE, route(**(marks | more)))
        assert keeper is not None
        assert (keeper.name, keeper.by_design) == (name, True)
        assert way in keeper.way


@pytest.mark.parametrize(
    ("marks", "name"),
    [
        ({"labels": {"argocd.argoproj.io/instance": "shop"}}, "Argo CD (Application shop)"),
        (
            {"annotations": {"argocd.argoproj.io/tracking-id": "shop:gateway.networking.k8s.io/HTTPRoute:prod/model"}},
            "Argo CD (Application shop)",
        ),
        ({"managedFields": written("argocd-controller")}, "Argo CD"),
        (
            {"labels": {"kustomize.toolkit.fluxcd.io/name": "apps", "kustomize.toolkit.fluxcd.io/namespace": "flux-system"}},
            "Flux (Kustomization flux-system/apps)",
        ),
        ({"managedFields": written("helm-controller")}, "Flux (a HelmRelease)"),
        ({"ownerReferences": owner("example.com/v1", "Canary")}, "the controller of canary/shop, which owns it"),
    ],
)
def test_those_that_put_back_what_is_theirs(marks: dict[str, Any], name: str) -> None:
    keeper = keeper_of(PLACE, route(**marks))
    assert keeper is not None
    assert (keeper.name, keeper.by_design) == (name, False)


@pytest.mark.parametrize(
    "marks",
    [
        {},
        {"labels": {"app.kubernetes.io/managed-by": "Helm", "app.kubernetes.io/instance": "shop"}},
        {"annotations": {"argocd.argoproj.io/tracking-id": "shop:apps/Deployment:prod/model"}},
        {"managedFields": written("flagger", "f:metadata", "f:labels")},
        {"managedFields": written("rollouts-controller", "f:status")},
        {"ownerReferences": owner("apps/v1", "Deployment", controller=False)},
        {"labels": ["not", "a", "map"]},
    ],
)
def test_what_is_no_mark(marks: dict[str, Any]) -> None:
    assert keeper_of(PLACE, route(**marks)) is None


def test_flux_that_was_told_to_leave_it_alone_puts_nothing_back() -> None:
    marks = {"kustomize.toolkit.fluxcd.io/name": "apps"}, {"kustomize.toolkit.fluxcd.io/reconcile": "disabled"}
    assert keeper_of(PLACE, route(labels=marks[0], annotations=marks[1])) is None


@pytest.mark.parametrize(
    ("writer", "words"), [("kubectl-edit", "kubectl-edit has set it last"), ("healer", "something else sets it")]
)
def test_who_wrote_them_last_is_named_where_nobody_manages_them(writer: str, words: str) -> None:
    found = route(managedFields=[*written(writer), *written("terraform", "f:metadata", "f:labels")])
    assert who_sets(PLACE, found) == words
    assert writer_of(found) == ("" if writer == "healer" else writer)


def test_each_kind_of_route_has_its_weights_somewhere_else() -> None:
    """Flagger sets the annotation of the canary Ingress, not its spec."""
    weight = ("f:metadata", "f:annotations", "f:nginx.ingress.kubernetes.io/canary-weight")
    assert keeper_of(PLACE, route(part=weight, managedFields=written("flagger", *weight))) is not None
    assert keeper_of(PLACE, route(part=weight, managedFields=written("flagger", "f:spec", "f:rules"))) is None
