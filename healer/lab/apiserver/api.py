"""Reads and writes of single objects by the rules of the API server, without HTTP.

The HTTP server and the lab's controllers both use this, so the rules for clients apply to controllers too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from healer.lab.apiserver import quota, schema, status
from healer.lab.apiserver.admission import Admission, AdmissionRequest
from healer.lab.apiserver.selectors import label_selector
from healer.lab.apiserver.store import Key, Store
from healer.lab.apiserver.validation import check_metadata
from healer.lab.apiserver.validations import violations
from healer.lab.kinds import DAEMONSET, DEPLOYMENT, NAMESPACE, POD, RESOURCE_QUOTA, Kind, Kinds
from healer.lab.objects import Object, clone, labels_of, new_uid, suffix, timestamp

_LONGEST_PREFIX = 58
"""The longest prefix of a generated name. A longer one is cut: five more characters make a DNS label (names/generate.go)."""
TEMPLATE_GENERATION = "deprecated.daemonset.template.generation"
"""The annotation of a DaemonSet in which the server counts its templates."""
_SYSTEM_FIELDS = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation")


@dataclass(frozen=True, slots=True)
class DeleteOptions:
    """meta/v1 DeleteOptions. `grace` in seconds; None: the grace period of the object."""

    uid: str | None = None
    resource_version: str | None = None
    grace: int | None = None
    dry_run: bool = False
    orphan: bool = False

    @classmethod
    def read(cls, body: Mapping[str, Any]) -> DeleteOptions:
        """Parse the body of a request."""
        preconditions = body.get("preconditions") or {}
        return cls(
            uid=preconditions.get("uid"),
            resource_version=preconditions.get("resourceVersion"),
            grace=body.get("gracePeriodSeconds"),
            dry_run="All" in (body.get("dryRun") or []),
            orphan=body.get("propagationPolicy") == "Orphan",
        )


class ObjectApi:
    """Create, read, update and delete. Every method raises ApiRefusal where the API server answers with an error."""

    def __init__(self, store: Store, kinds: Kinds) -> None:
        self.store = store
        self.kinds = kinds
        self.admission = Admission()

    def get(self, kind: Kind, namespace: str, name: str) -> Object:
        """The stored object. Do not change it in place."""
        found = self.store.get(kind.stored_in, (namespace, name))
        if found is None:
            raise status.not_found(kind, name)
        return found

    def objects(self, kind: Kind, namespace: str | None = None) -> list[Object]:
        """All stored objects of a kind. Do not change them in place."""
        stored = self.store.collection(kind.stored_in).objects
        return [item.object for key, item in stored.items() if namespace is None or key[0] == namespace]

    def selected(self, kind: Kind, namespace: str, selector: Mapping[str, Any] | None) -> list[Object]:
        """The stored objects of a namespace that a LabelSelector selects. Do not change them in place."""
        equal = (selector or {}).get("matchLabels")
        near = self.store.labelled(kind.stored_in, namespace, equal) if equal else self.objects(kind, namespace)
        selects = label_selector(selector)
        return [obj for obj in near if selects(labels_of(obj))]

    def shown(self, kind: Kind, obj: Object) -> Object:
        """A stored object in the form of an API answer."""
        return kind.head | kind.show(obj)

    def create(self, kind: Kind, namespace: str, body: Object, *, dry_run: bool = False) -> Object:
        """Store a new object."""
        obj = _accepted(kind, body)
        metadata = obj["metadata"]
        if not metadata.get("name") and metadata.get("generateName"):
            metadata["name"] = self._free_name(kind, namespace, metadata["generateName"])
        self._check_namespace(kind, namespace, metadata)
        if "status" in kind.subresources and not kind.created_with_status:
            obj.pop("status", None)
        if metadata.pop("resourceVersion", None):
            raise status.ApiRefusal(500, "", "resourceVersion should not be set on objects to be created")
        self._check(kind, obj, None)
        self.admission.check(AdmissionRequest("create", kind, kind.plural, namespace, metadata["name"], obj))
        if kind is POD:
            quota.refuse(kind, obj, self.objects(RESOURCE_QUOTA, namespace), self.objects(POD, namespace))
        key: Key = (namespace, metadata["name"])
        if self.store.get(kind.stored_in, key) is not None:
            raise status.already_exists(kind, metadata["name"])
        for field in _SYSTEM_FIELDS:
            metadata.pop(field, None)
        metadata["uid"] = new_uid()
        metadata["creationTimestamp"] = timestamp()
        if kind.counts_generation:
            metadata["generation"] = 1
        _count_templates(kind, obj, None)
        return obj if dry_run else self.store.put(kind.stored_in, key, obj)

    def update(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        body: Object,
        *,
        subresource: str = "",
        dry_run: bool = False,
    ) -> tuple[Object, bool]:
        """Replace an object or its status. Returns the stored object, and whether it was created."""
        old = self.store.get(kind.stored_in, (namespace, name))
        if old is None and kind.create_on_update and not subresource:
            return self.create(kind, namespace, body, dry_run=dry_run), True
        if old is None:
            raise status.not_found(kind, name)
        new = _accepted(kind, body)
        self._check_identity(kind, name, new, old)
        new = _merged(kind, new, old, subresource)
        self._check(kind, new, old)
        _count_generation(kind, new, old, subresource)
        _count_templates(kind, new, old)
        resource = f"{kind.plural}/{subresource}" if subresource else kind.plural
        self.admission.check(AdmissionRequest("update", kind, resource, namespace, name, new))
        if new == old or dry_run:
            return new, False
        stored = self.store.put(kind.stored_in, (namespace, name), new)
        self._finish(kind, stored)
        return stored, False

    def modify(self, kind: Kind, namespace: str, name: str, change: Callable[[Object], None], *, subresource: str = "") -> Object:
        """Read an object, let `change` edit a copy, and write it. No other write can come between, so there is no conflict."""
        obj = clone(self.get(kind, namespace, name))
        change(obj)
        return self.update(kind, namespace, name, obj, subresource=subresource)[0]

    def bind(self, namespace: str, name: str, node: str, change: Callable[[Object], None]) -> Object:
        """Bind a pod to a node, as the binding subresource does. Pod updates may not change nodeName."""
        pod = clone(self.get(POD, namespace, name))
        pod["spec"]["nodeName"] = node
        change(pod)
        return self.store.put(POD.stored_in, (namespace, name), pod)

    def delete(
        self, kind: Kind, namespace: str, name: str, options: DeleteOptions = DeleteOptions(), *, admitted: bool = False
    ) -> Object:
        """Delete an object, or set its deletionTimestamp. Returns the body of the answer: the object or a Status.

        `admitted`: admission control has passed already, as for an eviction.
        """
        obj = self.get(kind, namespace, name)
        self.check_preconditions(kind, obj, options)
        if not admitted:
            self.admission.check(AdmissionRequest("delete", kind, kind.plural, namespace, name, obj))
        if options.orphan and not options.dry_run:
            self._orphan(obj["metadata"]["uid"])
        grace = _grace(kind, obj, options)
        if "deletionTimestamp" in obj["metadata"]:
            last = self._shorten_grace(kind, obj, grace, options)
        elif kind in (POD, NAMESPACE) or obj["metadata"].get("finalizers"):
            last = self._mark_deleted(kind, obj, grace, options)
        else:
            last = obj if options.dry_run else self.store.remove(kind.stored_in, (namespace, name))
            if not kind.returns_deleted:
                return status.success(_deleted_details(kind, obj))
        return self.shown(kind, last)

    def check_preconditions(self, kind: Kind, obj: Object, options: DeleteOptions) -> None:
        """Raises ApiRefusal 409 unless uid and resourceVersion match the preconditions."""
        metadata = obj["metadata"]
        if options.uid and options.uid != metadata["uid"]:
            why = (
                f"the UID in the precondition ({options.uid}) does not match the UID in record ({metadata['uid']}). "
                "The object might have been deleted and then recreated"
            )
            raise status.failed_precondition(kind, metadata["name"], why)
        if options.resource_version and options.resource_version != metadata["resourceVersion"]:
            why = (
                f"the ResourceVersion in the precondition ({options.resource_version}) does not match the "
                f"ResourceVersion in record ({metadata['resourceVersion']}). The object might have been modified"
            )
            raise status.failed_precondition(kind, metadata["name"], why)

    def _free_name(self, kind: Kind, namespace: str, prefix: str) -> str:
        """A generated name. Retries a taken name, up to eight attempts (the feature RetryGenerateName)."""
        names = [prefix[:_LONGEST_PREFIX] + suffix() for _ in range(8)]
        taken = self.store.collection(kind.stored_in).objects
        return next((name for name in names if (namespace, name) not in taken), names[-1])

    def _check_namespace(self, kind: Kind, namespace: str, metadata: Object) -> None:
        if not kind.namespaced:
            metadata.pop("namespace", None)
            return
        if metadata.setdefault("namespace", namespace) != namespace:
            message = "the namespace of the provided object does not match the namespace sent on the request"
            raise status.bad_request(message)
        stored = self.get(NAMESPACE, "", namespace)
        if "deletionTimestamp" in stored["metadata"]:
            why = f"unable to create new content in namespace {namespace} because it is being terminated"
            cause = status.Cause("metadata.namespace", f"namespace {namespace} is being terminated", "NamespaceTerminating")
            raise status.forbidden_because(kind, metadata.get("name") or "", why, [cause])

    def _check(self, kind: Kind, new: Object, old: Object | None) -> None:
        if kind.custom:
            schema.fill(new, kind.schema)
            causes = check_metadata(new["metadata"]) + violations(new, old, kind.schema)
        else:
            kind.fill(new)
            causes = check_metadata(new["metadata"]) + kind.check(new)
            if old is not None and not causes:
                causes = kind.check_update(new, old)
        if causes:
            raise status.invalid(kind, new["metadata"].get("name") or "", causes)

    def _check_identity(self, kind: Kind, name: str, new: Object, old: Object) -> None:
        metadata, known = new["metadata"], old["metadata"]
        if metadata.setdefault("name", name) != name:
            given = metadata["name"]
            raise status.bad_request(f"the name of the object ({given}) does not match the name on the URL ({name})")
        if metadata.get("uid", known["uid"]) != known["uid"]:
            path = f"{known['namespace']}/{name}" if known.get("namespace") else name
            why = (
                f"StorageError: invalid object, Code: 4, Key: /registry/{kind.plural}/{path}, ResourceVersion: 0, "
                f"AdditionalErrorMsg: Precondition failed: UID in precondition: {metadata['uid']}, "
                f"UID in object meta: {known['uid']}"
            )
            raise status.conflict(kind, name, why)
        version = metadata.get("resourceVersion")
        if not version and not kind.unconditional:
            message = "Invalid value: 0: must be specified for an update"
            raise status.invalid_update(kind, name, status.Cause("metadata.resourceVersion", message))
        if version and version != known["resourceVersion"]:
            raise status.conflict(kind, name)

    def _mark_deleted(self, kind: Kind, obj: Object, grace: int, options: DeleteOptions) -> Object:
        marked = clone(obj)
        metadata = marked["metadata"]
        metadata["deletionTimestamp"] = timestamp(grace)
        if kind is not NAMESPACE:
            metadata["deletionGracePeriodSeconds"] = grace
        if kind.counts_generation:
            metadata["generation"] += 1
        if kind is NAMESPACE:
            marked["status"]["phase"] = "Terminating"
        if options.dry_run:
            return marked
        stored = self.store.put(kind.stored_in, _key(obj), marked)
        self._finish(kind, stored)
        return stored

    def _shorten_grace(self, kind: Kind, obj: Object, grace: int, options: DeleteOptions) -> Object:
        """Delete a terminating object again. A shorter grace period replaces the present one; with 0 the object is removed."""
        pending = obj["metadata"].get("deletionGracePeriodSeconds") or 0
        if options.grace is None or grace >= pending or options.dry_run:
            return obj
        marked = clone(obj)
        marked["metadata"]["deletionTimestamp"] = timestamp(grace)
        marked["metadata"]["deletionGracePeriodSeconds"] = grace
        stored = self.store.put(kind.stored_in, _key(obj), marked)
        self._finish(kind, stored)
        return stored

    def _finish(self, kind: Kind, obj: Object) -> None:
        """Remove a terminating object without grace period and finalizers."""
        metadata = obj["metadata"]
        waiting = metadata.get("deletionGracePeriodSeconds") or metadata.get("finalizers") or kind is NAMESPACE
        if "deletionTimestamp" in metadata and not waiting:
            self.store.remove(kind.stored_in, _key(obj))

    def _orphan(self, uid: str) -> None:
        for kind in {kind.stored_in: kind for kind in self.kinds}.values():
            for obj in self.objects(kind):
                owners = obj["metadata"].get("ownerReferences") or []
                if any(owner["uid"] == uid for owner in owners):
                    orphan = clone(obj)
                    orphan["metadata"]["ownerReferences"] = [owner for owner in owners if owner["uid"] != uid]
                    self.store.put(kind.stored_in, _key(obj), orphan)


def _key(obj: Object) -> Key:
    return obj["metadata"].get("namespace") or "", obj["metadata"]["name"]


def _accepted(kind: Kind, body: Object) -> Object:
    """A copy of the body in the stored form: with metadata, without kind and apiVersion."""
    obj = kind.accept({key: clone(value) for key, value in body.items() if key not in ("kind", "apiVersion")})
    obj.setdefault("metadata", {}).pop("managedFields", None)
    return obj


def _merged(kind: Kind, new: Object, old: Object, subresource: str) -> Object:
    """The stored object with the fields that a write to the object or to its status may change."""
    if subresource == "status":
        changed = ("status",) if kind.custom else tuple(key for key in new if key != "spec")
        base = {key: value for key, value in old.items() if key not in changed}
        merged = base | {key: new[key] for key in changed if key in new}
    elif "status" in kind.subresources:
        merged = {key: value for key, value in new.items() if key != "status"}
        if "status" in old:
            merged["status"] = old["status"]
    else:
        merged = new
    metadata, known = dict(merged["metadata"]), old["metadata"]
    for field in (*_SYSTEM_FIELDS, "namespace", "resourceVersion", "generateName"):
        metadata.pop(field, None)
        if field in known:
            metadata[field] = known[field]
    if subresource == "status" and not kind.custom and "ownerReferences" in known:
        metadata["ownerReferences"] = known["ownerReferences"]
    return clone(merged | {"metadata": metadata})


def _count_generation(kind: Kind, new: Object, old: Object, subresource: str) -> None:
    if not kind.counts_generation or subresource == "status":
        return
    uncounted = ("metadata", "status")
    changed = {k: v for k, v in new.items() if k not in uncounted} != {k: v for k, v in old.items() if k not in uncounted}
    if (
        kind is DEPLOYMENT
    ):  # a Deployment's generation also counts changes of annotations (pkg/registry/apps/deployment/strategy.go)
        changed |= new["metadata"].get("annotations") != old["metadata"].get("annotations")
    if changed:
        new["metadata"]["generation"] = (old["metadata"].get("generation") or 0) + 1


def _count_templates(kind: Kind, new: Object, old: Object | None) -> None:
    """Count the templates of a DaemonSet in an annotation of the server's own (pkg/registry/apps/daemonset/strategy.go)."""
    if kind is not DAEMONSET:
        return
    count = 1
    if old is not None:
        changed = new["spec"]["template"] != old["spec"]["template"]
        count = int(old["metadata"]["annotations"][TEMPLATE_GENERATION]) + changed
    new["metadata"]["annotations"] = {**(new["metadata"].get("annotations") or {}), TEMPLATE_GENERATION: str(count)}


def _grace(kind: Kind, obj: Object, options: DeleteOptions) -> int:
    """The grace period in seconds. It is 0 for all kinds but pods (pkg/registry/core/pod/strategy.go)."""
    if kind is not POD or not obj["spec"].get("nodeName"):
        return 0
    if (obj.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
        return 0
    grace: int = obj["spec"]["terminationGracePeriodSeconds"] if options.grace is None else options.grace
    return 1 if grace < 0 else grace


def _deleted_details(kind: Kind, obj: Object) -> Object:
    metadata = obj["metadata"]
    group = {"group": kind.group} if kind.group else {}
    return {"name": metadata["name"], **group, "kind": kind.plural, "uid": metadata["uid"]}
