"""What a scenario file says: a cluster and its traffic, faults, what people do meanwhile, and what a good engineer would do.

These models are the schema. Their keys are those of the YAML, and a key that is not declared here is an error. All times of a
scenario are durations from its beginning.
"""

from collections.abc import Collection
from typing import Annotated, Any, Literal, Self, TypeGuard

from pydantic import Field, model_validator
from pydantic.alias_generators import to_camel

from healer.actions.registry import ACTIONS
from healer.lab.kubelet.behaviour import BEHAVIOURS
from healer.model.duration import Duration, about
from healer.rehearsal.simulate.cluster_spec import ClusterSpec, Moment, Part, Percent, PrometheusSpec, Weight
from healer.rules.form import LabelKey, LabelValue, Model, Name, Number, Text, Whole, fault, one_of
from healer.rules.portion import Portion
from healer.rules.schema import Metadata

KIND = "Scenario"
_SHOWN = tuple(sorted(name for name, frames in BEHAVIOURS.items() if frames is not None and name not in ("ok", "slow")))
"""How a sick pod can show itself to the kubelet: the lab's behaviours."""


class TargetSpec(Model):
    """What a fault strikes. Several keys narrow it down."""

    workload: Name | None = None
    """Without it, every workload."""
    pods: Portion | None = None
    """So many of its pods, drawn by the seed; without it, all of them."""
    node: Name | None = None
    """`any` is a node that is drawn by the seed, of those with pods of the workload."""
    zone: Name | None = None
    image: Text | None = None
    """Only pods with this image."""
    new: bool = False
    """Only pods that are made while the fault lasts: what runs goes on."""


class SickAnswers(Model):
    """How a sick pod answers while it is in the Service. (A pod that is not ready is not in it.)"""

    fail: Part = 0.0
    """So many of its requests fail."""
    capacity: Percent = 1.0
    """So much of its capacity is left."""
    slower: Annotated[Number, Field(ge=1, le=1000)] = 1.0
    """Its requests take so many times as long; they are answered all the same."""


class FaultAlert(Model):
    """An alert that somebody has for this very fault."""

    name: Text
    after: Annotated[Duration, Field(ge=0)] = 60.0
    """From the beginning of the fault until the alert fires: its `for`, and the time that the metrics take to show it."""
    of: Annotated[str, one_of("pod", "workload", "node")] = "pod"
    labels: dict[LabelKey, LabelValue] = Field(default_factory=dict)
    summary: str = ""


class NodeSign(Model):
    """A condition that an agent writes on the node, as node-problem-detector does; `Ready: Unknown` loses the node."""

    type: Text
    status: Annotated[str, one_of("True", "False", "Unknown")] = "True"
    reason: Text = "Problem"
    message: str = ""


class EventSign(Model):
    """An Event about each pod that is struck, as the kubelet or the scheduler posts it."""

    reason: Text
    type: Annotated[str, one_of("Normal", "Warning")] = "Warning"
    note: str = ""


class ProbeSign(Model):
    """What a rule that asks finds: a query that passes its threshold, a model server's condition, a canary that is judged bad."""

    rule: Text
    """The rule's full name: `ruleset/rule`."""
    condition: Text | None = None
    """The condition that a `model` rule looks for."""
    of: Annotated[str, one_of("pod", "workload")] = "pod"


class Shows(Model):
    """How a fault is seen."""

    pod: Annotated[str, one_of(*_SHOWN)] | None = None
    """What the kubelet reports of the pod: one of the lab's behaviours."""
    answers: SickAnswers = SickAnswers()
    alert: FaultAlert | None = None
    event: EventSign | None = None
    probes: tuple[ProbeSign, ...] = ()
    """The rules that ask, and find it."""
    node: NodeSign | None = None
    """What is written on the node that it strikes (`target.node`, `target.zone`)."""


DRAWN = "any"
"""In place of a node's name: the seed draws one."""
SITS = ("container", "pod", "node", "zone", "revision", "workload", "cluster")
"""Where a fault can sit."""


class FaultSpec(Model):
    """A fault. Where it sits says what cures it."""

    name: Name
    at: Moment | None = None
    """When it strikes. Either this or `perDay`."""
    per_day: Annotated[Number, Field(gt=0, le=1000)] | None = None
    """It strikes so often a day on the average, at times that the seed draws."""
    target: TargetSpec = TargetSpec()
    sits: Annotated[str, one_of(*SITS)] = "pod"
    """`container`: a restart of the container cures it, and so does another pod. `pod`: another pod does. `node`, `zone`: a pod
    on another node, in another zone, is well. `revision`: another revision is well, so a rollback cures it. `workload`,
    `cluster`: nothing that healer can do cures it: it takes its time, or a person."""
    lasts: Annotated[Duration, Field(gt=0)] | None = None
    """It ends by itself. Without it, it lasts until it is cured."""
    human: Annotated[Duration, Field(gt=0)] | None = None
    """So long after healer has asked a person for help, somebody has mended it."""
    returns: Annotated[Duration, Field(gt=0)] | None = None
    """So long after it was cured, it strikes again: a leak, for example."""
    shows: Shows

    @model_validator(mode="after")
    def _timed(self) -> Self:
        if (self.at is None) == (self.per_day is None):
            raise fault("a fault has either at or perDay", "at: 2h strikes once; perDay: 4 strikes at drawn times")
        if self.sits == "zone" and self.target.zone is None:
            raise fault("a fault that sits in a zone names it", "target: {zone: NAME}", ("target",))
        if self.sits == "node" and self.target.node is None:
            raise fault("a fault that sits in a node names it", "target: {node: any}, or a name", ("target",))
        return self


class OfWorkload(Model):
    """A workload by name."""

    workload: Name


class NodeName(Model):
    """A node by name."""

    node: Name


class NewImage(Model):
    """A new image for a workload."""

    workload: Name
    image: Text


class NewReplicas(Model):
    """Another number of replicas."""

    workload: Name
    replicas: Annotated[Whole, Field(ge=0, le=2000)]


class NewWeight(Model):
    """Another share of the requests for a canary."""

    workload: Name
    weight: Weight


class NewSilence(Model):
    """A silence in Alertmanager, of the alerts that have all of these labels."""

    matchers: Annotated[dict[LabelKey, LabelValue], Field(min_length=1)]
    lasts: Annotated[Duration, Field(gt=0, alias="for")]
    comment: str = ""


OPERATIONS = ("rollout", "scale", "split", "drain", "uncordon", "restart", "gitops", "pause", "resume", "silence")


class OperationSpec(Model):
    """What people, or their pipelines, do to the cluster meanwhile."""

    at: Moment
    rollout: NewImage | None = None
    scale: NewReplicas | None = None
    split: NewWeight | None = None
    """The canary gets another share, in full percent, as by the next step of its rollout."""
    drain: NodeName | None = None
    """Cordon a node and evict its pods, as `kubectl drain`."""
    uncordon: NodeName | None = None
    restart: OfWorkload | None = None
    """As `kubectl rollout restart`."""
    gitops: OfWorkload | None = None
    """From now on a controller puts the manifest back as it is now, within a minute of each change."""
    pause: OfWorkload | None = None
    """Annotate the workload so that healer leaves it alone."""
    resume: OfWorkload | None = None
    silence: NewSilence | None = None
    """Silence alerts in Alertmanager."""

    @property
    def what(self) -> str:
        """The one that is given."""
        return next(name for name in OPERATIONS if getattr(self, name) is not None)

    @model_validator(mode="after")
    def _one(self) -> Self:
        given = [name for name in OPERATIONS if getattr(self, name) is not None]
        if len(given) != 1:
            raise fault("an operation is exactly one thing", f"one of {', '.join(OPERATIONS)}")
        return self


ANY = "*"
"""Any action that changes the cluster."""


class Deed(Model):
    """Actions of healer, as an expectation names them."""

    action: Annotated[str, one_of(ANY, *sorted(ACTIONS))]
    """An action; `*` is any that changes the cluster."""
    workload: Name | None = None
    """On it or its pods; without it, on any."""
    after: Moment = 0.0
    before: Moment | None = None
    """From when to when it counts."""
    why: str = ""
    """For the reader."""


class Should(Deed):
    """What a good engineer would do."""

    at_least: Annotated[Whole, Field(ge=1)] = 1
    at_most: Annotated[Whole, Field(ge=1)] | None = None


class MustNot(Deed):
    """What a good engineer would not do."""

    more_than: Annotated[Whole, Field(ge=0)] = 0
    """So often is no harm."""


class Told(Model):
    """Of what people must hear: they are called to help (an incident escalates, or pages), or asked to approve an action."""

    workload: Name | None = None
    """About it; without it, about any workload, or a node, or the cluster."""
    approve: Annotated[str, one_of(*sorted(name for name, action in ACTIONS.items() if action.spec.changes))] | None = None
    """The action that they are asked to approve; without it, they are called."""
    after: Moment = 0.0
    before: Moment | None = None
    """From when to when it counts."""
    why: str = ""
    """For the reader."""


class Expectation(Model):
    """What a good engineer would and would not do, for a corpus to be judged by."""

    verdict: Annotated[str, one_of("healed", "held")] = "healed"
    """`healed`: all that healer can mend is well again. `held`: there is nothing that healer can mend, and it changes nothing
    but what `should` names."""
    should: tuple[Should, ...] = ()
    must_not: tuple[MustNot, ...] = ()
    told: tuple[Told, ...] = ()
    """What people must hear of."""
    availability: Part | None = None
    """At least so much of the requests is answered, with healer."""
    heals_within: Annotated[Duration, Field(gt=0)] | None = None
    """The longest time from a fault's beginning until it is cured, of those that are cured."""


class ScenarioSpec(Model):
    """The scenario."""

    about: Text
    """What happens, in a sentence or two."""
    lasts: Annotated[Duration, Field(gt=0, le=30 * 86400)] = 86400.0
    """How long is simulated."""
    starts: Annotated[Duration, Field(ge=0, lt=86400)] = 0.0
    """The time of the day at which it begins."""
    rules: tuple[Text, ...] = ()
    """Rule files and folders, relative to this file; `--rules` replaces them."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """Settings of healer, as its settings file has them."""
    cluster: ClusterSpec
    prometheus: PrometheusSpec = PrometheusSpec()
    faults: tuple[FaultSpec, ...] = ()
    """None is a control: nothing is wrong, whatever it looks like."""
    operations: tuple[OperationSpec, ...] = ()
    expect: Expectation = Expectation()

    @model_validator(mode="after")
    def _refers(self) -> Self:
        """Every workload, node and zone that is named is there, and each fault has a name of its own."""
        self._in_time()
        workloads = {each.name for each in self.cluster.workloads}
        nodes = {f"node-{number}" for number in range(self.cluster.nodes)} | {DRAWN}
        seen: set[str] = set()
        for index, each in enumerate(self.faults):
            _known("workload", each.target.workload, workloads, ("faults", index, "target", "workload"))
            _known("node", each.target.node, nodes, ("faults", index, "target", "node"))
            _known("zone", each.target.zone, set(self.cluster.zones), ("faults", index, "target", "zone"))
            if each.name in seen:
                raise fault(f"the fault {each.name!r} is given twice", "rename one", ("faults", index, "name"))
            seen.add(each.name)
            self._strikes(each, ("faults", index, "target"))
        kinds = {each.name: each.kind for each in self.cluster.workloads}
        canaries = {each.name for each in self.cluster.workloads if each.canary is not None}
        for index, operation in enumerate(self.operations):
            named = getattr(operation, operation.what)
            if operation.scale is not None and kinds.get(operation.scale.workload) == "DaemonSet":
                raise fault(
                    "a DaemonSet has as many pods as there are nodes",
                    "scale another workload",
                    ("operations", index, "scale", "workload"),
                )
            if operation.split is not None:
                _known("canary", operation.split.workload, canaries, ("operations", index, "split", "workload"))
            at = ("operations", index, operation.what)
            _known("workload", getattr(named, "workload", None), workloads, (*at, "workload"))
            _known("node", getattr(named, "node", None), nodes - {DRAWN}, (*at, "node"))
        for part in ("should", "must_not", "told"):
            for index, deed in enumerate(getattr(self.expect, part)):
                _possible(deed, self.lasts, ("expect", to_camel(part), index))
                _known("workload", deed.workload, workloads, ("expect", to_camel(part), index, "workload"))
        return self

    def _in_time(self) -> None:
        """Everything begins before the end."""
        for part in ("faults", "operations"):
            for index, each in enumerate(getattr(self, part)):
                if each.at is not None and each.at >= self.lasts:
                    what = "a fault strikes" if part == "faults" else "an operation begins"
                    hint = f"the scenario lasts {about(self.lasts)}: set an earlier time, or a longer `lasts`"
                    raise fault(f"{what} after {about(each.at)}, and then the scenario is over", hint, (part, index, "at"))

    def _strikes(self, spec: FaultSpec, at: tuple[str | int, ...]) -> None:
        """Whether there can be a pod that the fault strikes."""
        named = [each for each in self.cluster.workloads if spec.target.workload in (None, each.name)]
        if spec.target.image is not None:
            images = {each.image for each in named} | {each.rollout.image for each in self.operations if each.rollout is not None}
            _known("image", spec.target.image, images, (*at, "image"))
        most = sum(each.replicas if each.kind != "DaemonSet" else self.cluster.nodes for each in named)
        scaled = any(each.autoscale is not None for each in named) or any(each.scale is not None for each in self.operations)
        if isinstance(spec.target.pods, int) and spec.target.pods > most and not scaled:
            hint = f"strike at most {most}, or leave pods out for all of them"
            raise fault(f"there are never {spec.target.pods} pods to strike", hint, (*at, "pods"))
        zone = self.cluster.zones[int(spec.target.node[5:]) % len(self.cluster.zones)] if _is_numbered(spec.target.node) else None
        if zone is not None and spec.target.zone not in (None, zone):
            raise fault(f"{spec.target.node} is in {zone}", f"write zone: {zone}, or leave one of the two out", (*at, "zone"))


def _is_numbered(node: str | None) -> TypeGuard[str]:
    """Whether it names a node, and is not drawn."""
    return node is not None and node != DRAWN


def _possible(deed: Deed | Told, lasts: float, at: tuple[str | int, ...]) -> None:
    """Whether a deed can be done so often in its time."""
    if deed.before is not None and deed.before <= deed.after:
        raise fault("before is not later than after", "nothing can be done in that time", (*at, "before"))
    if deed.after >= lasts:
        raise fault(f"after {about(deed.after)} the scenario is over", f"it lasts {about(lasts)}", (*at, "after"))
    if isinstance(deed, Should) and deed.at_most is not None and deed.at_most < deed.at_least:
        raise fault(f"it cannot be done {deed.at_least} times and at most {deed.at_most}", "raise atMost", (*at, "atMost"))


def _known(what: str, name: str | None, known: Collection[str], at: tuple[str | int, ...]) -> None:
    if name is not None and name not in known:
        raise fault(f"there is no {what} {name!r} in the cluster", f"there are {', '.join(sorted(known))}", at)


class Scenario(Model):
    """A scenario file of `healer simulate`."""

    api_version: Literal["healer.dev/v1alpha1"]
    kind: Literal["Scenario"]
    metadata: Metadata
    spec: ScenarioSpec
