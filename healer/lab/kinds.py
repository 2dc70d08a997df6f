"""The kinds that the lab serves: a table of built-in kinds, and the kinds that CustomResourceDefinitions add."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from healer.lab.apiserver import autoscaling, defaults, networking, shapes, validation
from healer.lab.apiserver.fields import EVENT_FIELDS, NAMES, POD_FIELDS
from healer.lab.objects import Object


def same(obj: Object) -> Object:
    """Return the object unchanged."""
    return obj


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of object: its names, its subresources, and the rules for writing it."""

    group: str = ""
    version: str = "v1"
    plural: str
    kind: str
    short_names: tuple[str, ...] = ()
    namespaced: bool = True
    subresources: tuple[str, ...] = ()
    counts_generation: bool = False
    """metadata.generation starts at 1 and goes up when the spec changes."""
    unconditional: bool = True
    """PUT without a resourceVersion is allowed."""
    create_on_update: bool = False
    """PUT of a name that does not exist creates it."""
    returns_deleted: bool = False
    """DELETE answers with the object, not with a Status."""
    created_with_status: bool = False
    """POST keeps the status although it has a subresource of its own: kubelets register nodes so."""
    fields: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: NAMES)
    fill: Callable[[Object], None] = defaults.nothing
    check: validation.Check = validation.nothing
    check_update: validation.UpdateCheck = validation.no_change_rule
    collection: str = ""
    """The name of the store's collection; empty for the kind's own. Two kinds may show the same stored objects."""
    show: Callable[[Object], Object] = same
    accept: Callable[[Object], Object] = same
    bookmark: Mapping[str, object] = field(default_factory=dict)
    """The fields besides metadata that a bookmark of this kind has."""
    schema: Object = field(default_factory=lambda: shapes.OPEN)
    """The fields of the kind as a structural schema. The schema of a built-in kind may be open."""
    custom: bool = False
    """Whether a CustomResourceDefinition defines the kind."""
    columns: tuple[tuple[str, str, str, int], ...] = ()
    """Name, type, JSON path and priority of the additional printer columns of a custom resource."""

    @property
    def api_version(self) -> str:
        """The apiVersion of objects: `v1`, `apps/v1`."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def resource(self) -> str:
        """The resource name in messages: `pods`, `deployments.apps`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def qualified_kind(self) -> str:
        """The kind in validation errors: `Pod`, `Deployment.apps`."""
        return f"{self.kind}.{self.group}" if self.group else self.kind

    @property
    def stored_in(self) -> str:
        """The name of the collection in the store."""
        return self.collection or self.resource

    @property
    def head(self) -> Object:
        """The fields kind and apiVersion, which stored objects do not have."""
        return {"kind": self.kind, "apiVersion": self.api_version}


POD = Kind(
    schema=shapes.POD,
    plural="pods",
    kind="Pod",
    short_names=("po",),
    subresources=("status", "eviction", "log"),
    counts_generation=True,
    returns_deleted=True,
    fields=POD_FIELDS,
    fill=defaults.pod,
    check=validation.pod,
    check_update=validation.pod_update,
    bookmark={"spec": {"containers": None}, "status": {}},
)
NAMESPACE = Kind(
    plural="namespaces",
    kind="Namespace",
    short_names=("ns",),
    namespaced=False,
    subresources=("status",),
    returns_deleted=True,
    fields={**NAMES, "status.phase": ("status", "phase")},
    fill=defaults.namespace,
    bookmark={"spec": {}, "status": {}},
)
NODE = Kind(
    plural="nodes",
    kind="Node",
    fields=NAMES | {"spec.unschedulable": ("spec", "unschedulable")},
    short_names=("no",),
    namespaced=False,
    subresources=("status",),
    created_with_status=True,
)
EVENT = Kind(
    schema=shapes.EVENT,
    plural="events",
    kind="Event",
    short_names=("ev",),
    create_on_update=True,
    fields=EVENT_FIELDS,
    fill=defaults.event,
    check=validation.event,
)
DEPLOYMENT = Kind(
    schema=shapes.DEPLOYMENT,
    group="apps",
    plural="deployments",
    kind="Deployment",
    short_names=("deploy",),
    subresources=("status", "scale"),
    counts_generation=True,
    fill=defaults.deployment,
    check=validation.workload,
    check_update=validation.workload_update,
)
REPLICASET = Kind(
    schema=shapes.REPLICASET,
    group="apps",
    plural="replicasets",
    kind="ReplicaSet",
    short_names=("rs",),
    subresources=("status", "scale"),
    counts_generation=True,
    fields={**NAMES, "status.replicas": ("status", "replicas")},
    fill=defaults.replicaset,
    check=validation.workload,
    check_update=validation.workload_update,
)
STATEFULSET = Kind(
    group="apps",
    plural="statefulsets",
    kind="StatefulSet",
    short_names=("sts",),
    subresources=("status", "scale"),
    counts_generation=True,
    fill=defaults.statefulset,
    check=validation.workload,
    check_update=validation.workload_update,
)
DAEMONSET = Kind(
    group="apps",
    plural="daemonsets",
    kind="DaemonSet",
    short_names=("ds",),
    subresources=("status",),
    counts_generation=True,
    fill=defaults.daemonset,
    check=validation.workload,
    check_update=validation.workload_update,
)
CONTROLLER_REVISION = Kind(group="apps", plural="controllerrevisions", kind="ControllerRevision")
JOB = Kind(
    group="batch",
    plural="jobs",
    kind="Job",
    subresources=("status",),
    counts_generation=True,
    fill=defaults.job,
    check=validation.job,
    check_update=validation.job_update,
)
DISRUPTION_BUDGET = Kind(
    schema=shapes.DISRUPTION_BUDGET,
    group="policy",
    plural="poddisruptionbudgets",
    kind="PodDisruptionBudget",
    short_names=("pdb",),
    subresources=("status",),
    counts_generation=True,
    unconditional=False,
    fill=defaults.disruption_budget,
    check=validation.disruption_budget,
)
DEFINITION = Kind(
    group="apiextensions.k8s.io",
    plural="customresourcedefinitions",
    kind="CustomResourceDefinition",
    short_names=("crd", "crds"),
    namespaced=False,
    subresources=("status",),
    counts_generation=True,
    unconditional=False,
    returns_deleted=True,
    fill=defaults.custom_resource_definition,
)
SERVICE = Kind(
    schema=shapes.SERVICE,
    plural="services",
    kind="Service",
    short_names=("svc",),
    subresources=("status",),
    create_on_update=True,
    returns_deleted=True,
    fill=networking.service,
    check=networking.check_service,
    check_update=networking.check_service_update,
)
INGRESS = Kind(
    schema=shapes.INGRESS,
    group="networking.k8s.io",
    plural="ingresses",
    kind="Ingress",
    short_names=("ing",),
    subresources=("status",),
    counts_generation=True,
    fill=networking.ingress,
    check=networking.check_ingress,
)
ENDPOINT_SLICE = Kind(
    schema=shapes.ENDPOINT_SLICE,
    group="discovery.k8s.io",
    plural="endpointslices",
    kind="EndpointSlice",
    counts_generation=True,
    fill=networking.endpoint_slice,
    check=networking.check_endpoint_slice,
    check_update=networking.check_endpoint_slice_update,
)
AUTOSCALER = Kind(
    group="autoscaling",
    version="v2",
    plural="horizontalpodautoscalers",
    kind="HorizontalPodAutoscaler",
    short_names=("hpa",),
    subresources=("status",),
    fill=autoscaling.autoscaler,
    check=autoscaling.check_autoscaler,
)
RESOURCE_QUOTA = Kind(
    plural="resourcequotas",
    kind="ResourceQuota",
    short_names=("quota",),
    subresources=("status",),
    returns_deleted=True,
    fill=defaults.resource_quota,
)
_STORED = (
    ("", "serviceaccounts", "ServiceAccount", "sa"),
    ("", "persistentvolumeclaims", "PersistentVolumeClaim", "pvc"),
    ("", "secrets", "Secret", ""),
    ("networking.k8s.io", "networkpolicies", "NetworkPolicy", "netpol"),
    ("rbac.authorization.k8s.io", "roles", "Role", ""),
    ("rbac.authorization.k8s.io", "rolebindings", "RoleBinding", ""),
)
"""Group, plural, kind and short name of what the lab stores and does nothing with."""
_STORED_FOR_ALL = (
    ("rbac.authorization.k8s.io", "clusterroles", "ClusterRole"),
    ("rbac.authorization.k8s.io", "clusterrolebindings", "ClusterRoleBinding"),
    ("admissionregistration.k8s.io", "validatingadmissionpolicies", "ValidatingAdmissionPolicy"),
    ("admissionregistration.k8s.io", "validatingadmissionpolicybindings", "ValidatingAdmissionPolicyBinding"),
)
"""The same, of no namespace."""
BUILT_IN = (
    POD,
    NAMESPACE,
    NODE,
    EVENT,
    DEPLOYMENT,
    REPLICASET,
    STATEFULSET,
    DAEMONSET,
    CONTROLLER_REVISION,
    JOB,
    DISRUPTION_BUDGET,
    DEFINITION,
    SERVICE,
    ENDPOINT_SLICE,
    INGRESS,
    AUTOSCALER,
    RESOURCE_QUOTA,
    *(Kind(group=g, plural=p, kind=k, short_names=(s,) if s else ()) for g, p, k, s in _STORED),
    *(Kind(group=g, plural=p, kind=k, namespaced=False) for g, p, k in _STORED_FOR_ALL),
    Kind(plural="endpoints", kind="Endpoints", short_names=("ep",), create_on_update=True),
    Kind(group="batch", plural="cronjobs", kind="CronJob", short_names=("cj",), subresources=("status",)),
    Kind(
        plural="configmaps",
        kind="ConfigMap",
        short_names=("cm",),
        schema=shapes.CONFIG_MAP,
        check=validation.config_map,
        check_update=validation.config_map_update,
    ),
    Kind(
        group="coordination.k8s.io",
        plural="leases",
        kind="Lease",
        schema=shapes.LEASE,
        unconditional=False,
        create_on_update=True,
        bookmark={"spec": {}},
    ),
    Kind(
        group="events.k8s.io",
        plural="events",
        kind="Event",
        short_names=("ev",),
        create_on_update=True,
        schema=shapes.EVENT,
        fill=defaults.event,
        check=validation.new_event,
        collection="events",
        show=defaults.new_event,
        accept=defaults.core_event,
    ),
)


class Kinds:
    """The registry of kinds: the built-in ones, and those of the definitions that exist now."""

    def __init__(self) -> None:
        self._kinds = {(kind.group, kind.version, kind.plural): kind for kind in BUILT_IN}

    def __iter__(self) -> Iterator[Kind]:
        return iter(list(self._kinds.values()))

    def find(self, group: str, version: str, plural: str) -> Kind | None:
        """The kind that a URL names, if it is served."""
        return self._kinds.get((group, version, plural))

    def of(self, api_version: str, kind: str) -> Kind | None:
        """The kind that a manifest names, if it is served."""
        return next((row for row in self if row.api_version == api_version and row.kind == kind), None)

    def named(self, resource: str) -> Kind:
        """The kind with the resource name `pods`, `deployments.apps` or `deployments`. Raises KeyError if unknown."""
        for row in self:
            if resource in (row.resource, row.plural):
                return row
        raise KeyError(f"the lab serves no resource {resource!r}")

    def serves(self, group: str, version: str) -> bool:
        """Whether any kind of the group and version is served."""
        return any((row.group, row.version) == (group, version) for row in self)

    def has_built_in(self, group: str) -> bool:
        """Whether the group has a built-in kind in any version."""
        return any(row.group == group for row in self if not row.custom)

    def define(self, definition: Object) -> None:
        """Serve the kinds of a CustomResourceDefinition."""
        for kind in _custom_kinds(definition):
            self._kinds[(kind.group, kind.version, kind.plural)] = kind

    def undefine(self, definition: Object) -> None:
        """Stop serving the kinds of a CustomResourceDefinition."""
        for kind in _custom_kinds(definition):
            self._kinds.pop((kind.group, kind.version, kind.plural), None)


def _custom_kinds(definition: Object) -> Iterator[Kind]:
    spec = definition["spec"]
    for version in spec["versions"]:
        if version.get("served"):
            yield Kind(
                group=spec["group"],
                version=version["name"],
                plural=spec["names"]["plural"],
                kind=spec["names"]["kind"],
                short_names=tuple(spec["names"].get("shortNames") or ()),
                namespaced=spec.get("scope") == "Namespaced",
                subresources=tuple(version.get("subresources") or ()),
                counts_generation=True,
                unconditional=False,
                custom=True,
                schema=(version.get("schema") or {}).get("openAPIV3Schema") or {},
                columns=tuple(
                    (column["name"], column["type"], column["jsonPath"], column.get("priority", 0))
                    for column in version.get("additionalPrinterColumns") or []
                ),
            )
