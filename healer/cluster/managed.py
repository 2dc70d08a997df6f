"""Who else writes an object and would put its own content back: a GitOps controller, or the operator that owns it.

Sources: Argo CD's user guide, "Resource Tracking"; Flux's kustomize-controller and helm-controller. The label
app.kubernetes.io/instance says nothing: Argo CD before 3.0 tracks by it, and half of all Helm charts set it, too. There the API
server's own note of who set the template (managedFields) tells them apart.
"""

from typing import Any

import msgspec

from healer.model.kube import Annotations, Meta

_WRITERS = {
    "argocd-controller": "Argo CD",
    "argocd-application-controller": "Argo CD",
    "kustomize-controller": "Flux (a Kustomization)",
    "helm-controller": "Flux (a HelmRelease)",
}
_KUSTOMIZE, _HELM = "kustomize.toolkit.fluxcd.io", "helm.toolkit.fluxcd.io"

Part = tuple[str, ...]
"""The way to a part of an object, as managedFields has it."""


class ManagerMarks(Annotations, frozen=True):
    """Annotations that say what a GitOps controller is to leave alone."""

    flux_reconcile: str = msgspec.field(default="", name="kustomize.toolkit.fluxcd.io/reconcile")
    flux_ssa: str = msgspec.field(default="", name="kustomize.toolkit.fluxcd.io/ssa")


class ManagedFields(msgspec.Struct, rename="camel", frozen=True):
    """Which fields a writer last set, as the API server has noted it (metav1.ManagedFieldsEntry)."""

    manager: str = ""
    subresource: str = ""
    fields: dict[str, Any] = msgspec.field(default_factory=dict, name="fieldsV1")


class WrittenMeta(Meta, frozen=True):
    """Metadata with who wrote what."""

    annotations: ManagerMarks = ManagerMarks()
    managed_fields: tuple[ManagedFields, ...] = ()


def manager_of(metadata: WrittenMeta, *, kind: str, part: Part = ("f:spec", "f:template")) -> str | None:
    """Who manages an object of that kind, in words; None when nobody is known to.

    `part` is what is about to be changed: a GitOps controller that has set it manages it.
    """
    return gitops_of(metadata, kind, part) or operator_of(metadata)


def gitops_of(metadata: WrittenMeta, kind: str, part: Part) -> str | None:
    """The same, of GitOps controllers alone."""
    return _argo(metadata, kind) or _flux(metadata) or _writer(metadata, part)


def operator_of(metadata: WrittenMeta) -> str | None:
    """The same, of the operator that owns it."""
    owner = metadata.controller
    return None if owner is None else f"the controller of {owner.kind.lower()}/{owner.name}, which owns it"


def writers_of(metadata: WrittenMeta, part: Part) -> set[str]:
    """Who has set a part of an object, by the names that they go by in managedFields."""
    return {entry.manager for entry in metadata.managed_fields if _sets(entry, part)}


def _argo(metadata: WrittenMeta, kind: str) -> str | None:
    application = _tracked(metadata, kind) or metadata.labels.get("argocd.argoproj.io/instance")
    return f"Argo CD (Application {application})" if application else None


def _tracked(metadata: WrittenMeta, of: str) -> str | None:
    """The Application of a tracking id, APPLICATION:GROUP/KIND:NAMESPACE/NAME. One that names another object was copied from it,
    and Argo CD does not take this one for its own."""
    application, _, rest = metadata.annotations.argocd.partition(":")
    kind, _, named = rest.partition(":")
    if rest and (kind.rpartition("/")[2], named) != (of, f"{metadata.namespace}/{metadata.name}"):
        return None
    return application


def _flux(metadata: WrittenMeta) -> str | None:
    for group, kind in ((_KUSTOMIZE, "Kustomization"), (_HELM, "HelmRelease")):
        name = metadata.labels.get(f"{group}/name")
        if name and not (group == _KUSTOMIZE and _let_go(metadata)):
            return f"Flux ({kind} {metadata.labels.get(f'{group}/namespace', '')}/{name})"
    return None


def _let_go(metadata: WrittenMeta) -> bool:
    """Whether kustomize-controller was told to leave the object as it is."""
    marks = metadata.annotations
    return marks.flux_reconcile.lower() == "disabled" or marks.flux_ssa.lower() in ("ignore", "ifnotpresent")


def _writer(metadata: WrittenMeta, part: Part) -> str | None:
    """A GitOps controller that has set what is about to be changed, labels or not."""
    writers = writers_of(metadata, part) & _WRITERS.keys()
    if _let_go(metadata):
        writers.discard("kustomize-controller")
    return _WRITERS[min(writers)] if writers else None


def _sets(entry: ManagedFields, part: Part) -> bool:
    fields: object = entry.fields
    for name in part:
        fields = fields.get(name) if isinstance(fields, dict) else None
    return fields is not None
