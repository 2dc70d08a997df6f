"""The other manager of an object, which would revert a change of healer's: a GitOps controller, or the operator that owns it.

Sources: Argo CD's user guide, "Resource Tracking"; Flux's kustomize-controller and helm-controller. The label
app.kubernetes.io/instance is not used: Argo CD before 3.0 tracks by it, but many Helm charts set it as well. In that case
managedFields, in which the API server records who set the template, shows which one it is.
"""

from typing import Any

import msgspec

from healer.model.kube import Annotations, Meta, OwnerReference
from healer.model.operators import OwningOperator, owning

_WRITERS = {
    "argocd-controller": "Argo CD",
    "argocd-application-controller": "Argo CD",
    "kustomize-controller": "Flux (a Kustomization)",
    "helm-controller": "Flux (a HelmRelease)",
}
_KUSTOMIZE, _HELM = "kustomize.toolkit.fluxcd.io", "helm.toolkit.fluxcd.io"

Part = tuple[str, ...]
"""The path to a part of an object, as in managedFields."""


class ManagerMarks(Annotations, frozen=True):
    """Annotations that tell a GitOps controller what not to change."""

    flux_reconcile: str = msgspec.field(default="", name="kustomize.toolkit.fluxcd.io/reconcile")
    flux_ssa: str = msgspec.field(default="", name="kustomize.toolkit.fluxcd.io/ssa")


class ManagedFields(msgspec.Struct, rename="camel", frozen=True):
    """The fields that one writer last set, as the API server records them (metav1.ManagedFieldsEntry)."""

    manager: str = ""
    subresource: str = ""
    fields: dict[str, Any] = msgspec.field(default_factory=dict, name="fieldsV1")


class OwnedBy(OwnerReference, frozen=True, kw_only=True):
    """An owner reference with the API group of the owner."""

    api_version: str = ""

    @property
    def group(self) -> str:
        """The API group; "" for the core group."""
        return self.api_version.rpartition("/")[0]

    def is_a(self, kind: str, group: str) -> bool:
        """Whether the owner is of that kind."""
        return (self.kind, self.group) == (kind, group)


class WrittenMeta(Meta, frozen=True):
    """Metadata with managedFields."""

    owner_references: tuple[OwnedBy, ...] = ()
    annotations: ManagerMarks = ManagerMarks()
    managed_fields: tuple[ManagedFields, ...] = ()


def manager_of(metadata: WrittenMeta, *, kind: str, part: Part = ("f:spec", "f:template")) -> str | None:
    """A description of the manager of an object of that kind; None when no manager is known.

    `part` is the part that is about to be changed. A GitOps controller that has set it manages the object.
    """
    operator = operator_of(metadata)
    return gitops_of(metadata, kind, part) or (None if operator is None else operator.name)


def gitops_of(metadata: WrittenMeta, kind: str, part: Part) -> str | None:
    """A description of the GitOps controller that manages the object; None when no such controller is known."""
    return _argo(metadata, kind) or _flux(metadata) or _writer(metadata, part)


def operator_of(metadata: WrittenMeta) -> OwningOperator | None:
    """The operator that owns the object; None when it has no owner."""
    owner = next((each for each in metadata.owner_references if each.controller), None)
    return None if owner is None else owning(owner.kind, owner.name, owner.group)


def writers_of(metadata: WrittenMeta, part: Part) -> set[str]:
    """The managers, as managedFields names them, that have set a part of an object."""
    return {entry.manager for entry in metadata.managed_fields if _sets(entry, part)}


def _argo(metadata: WrittenMeta, kind: str) -> str | None:
    application = _tracked(metadata, kind) or metadata.labels.get("argocd.argoproj.io/instance")
    return f"Argo CD (Application {application})" if application else None


def _tracked(metadata: WrittenMeta, of: str) -> str | None:
    """The Application of a tracking id, APPLICATION:GROUP/KIND:NAMESPACE/NAME.

    None when the id names another object: the annotation was copied from it, and Argo CD does not manage the copy.
    """
    application, _, rest = metadata.annotations.argocd.partition(":")
    kind, _, named = rest.partition(":")
    if rest and (kind.rpartition("/")[2], named) != (of, f"{metadata.namespace}/{metadata.name}"):
        return None
    return application


def _flux(metadata: WrittenMeta) -> str | None:
    for group, kind in ((_KUSTOMIZE, "Kustomization"), (_HELM, "HelmRelease")):
        name = metadata.labels.get(f"{group}/name")
        if name and not (group == _KUSTOMIZE and _is_excluded(metadata)):
            return f"Flux ({kind} {metadata.labels.get(f'{group}/namespace', '')}/{name})"
    return None


def _is_excluded(metadata: WrittenMeta) -> bool:
    """Whether the annotations tell kustomize-controller not to change the object."""
    marks = metadata.annotations
    return marks.flux_reconcile.lower() == "disabled" or marks.flux_ssa.lower() in ("ignore", "ifnotpresent")


def _writer(metadata: WrittenMeta, part: Part) -> str | None:
    """The GitOps controller that has set the part that is about to be changed, whatever the labels are."""
    writers = writers_of(metadata, part) & _WRITERS.keys()
    if _is_excluded(metadata):
        writers.discard("kustomize-controller")
    return _WRITERS[min(writers)] if writers else None


def _sets(entry: ManagedFields, part: Part) -> bool:
    fields: object = entry.fields
    for name in part:
        fields = fields.get(name) if isinstance(fields, dict) else None
    return fields is not None
