"""The fields by which the lists of a kind can be selected."""

NAMES: dict[str, tuple[str, ...]] = {
    "metadata.name": ("metadata", "name"),
    "metadata.namespace": ("metadata", "namespace"),
}
POD_FIELDS: dict[str, tuple[str, ...]] = NAMES | {
    "status.phase": ("status", "phase"),
    "status.podIP": ("status", "podIP"),
    "spec.nodeName": ("spec", "nodeName"),
    "spec.restartPolicy": ("spec", "restartPolicy"),
    "spec.schedulerName": ("spec", "schedulerName"),
    "spec.serviceAccountName": ("spec", "serviceAccountName"),
}
EVENT_FIELDS: dict[str, tuple[str, ...]] = (
    NAMES
    | {name: (name,) for name in ("reason", "type", "reportingComponent")}
    | {
        f"involvedObject.{name}": ("involvedObject", name)
        for name in ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
    }
)
