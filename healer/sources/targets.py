"""Labels of Prometheus, on an alert or on a series, as the object that they name."""

from collections.abc import Mapping
from dataclasses import dataclass

from healer.model.kube import Deployment, Pod
from healer.model.view import View


@dataclass(frozen=True, slots=True)
class TargetLabels:
    """The labels that name a target."""

    namespace: str = "namespace"
    pod: str = "pod"
    deployment: str = "deployment"


@dataclass(frozen=True, slots=True)
class Named:
    """A pod or a Deployment by name; whether the cluster has it is another matter."""

    kind: str
    namespace: str
    name: str

    def held(self, view: View) -> Pod | Deployment | None:
        """What has that name now."""
        find = view.pod_named if self.kind == "Pod" else view.deployment_named
        return find(self.namespace, self.name)


@dataclass(frozen=True, slots=True)
class Nameless:
    """Why labels name nothing: `code` is one CamelCase word of a bounded set (metrics), `reason` goes on after "it"."""

    code: str
    reason: str


def named_by(labels: Mapping[str, str], names: TargetLabels) -> Named | Nameless:
    """What these labels are about; a pod wins over a Deployment."""
    kind = "Pod" if labels.get(names.pod) else "Deployment"
    label = names.pod if kind == "Pod" else names.deployment
    for used in (names.namespace, label):
        if not labels.get(used):
            wanted = repr(used) if used == names.namespace else f"{names.pod!r} or {names.deployment!r}"
            return Nameless("NoLabel", f"it has no label {wanted}")
        # Prometheus renames a label of the metric that clashes with one of the scraped target to exported_<label>. Then the plain
        # one names the exporter (kube-state-metrics, say), and acting on it would hit a bystander.
        exported = labels.get(f"exported_{used}")
        if exported is not None and exported != labels[used]:
            hint = "set honor_labels on the scrape, or healer's target labels"
            return Nameless("Ambiguous", f"labels {used!r} and 'exported_{used}' differ: {hint}")
    return Named(kind, labels[names.namespace], labels[label])
