"""The language of tests of rules: a file has the rules, a cluster, and tests; a test has events and what is expected of healer.

These models are the schema. Their keys are those of the YAML, and the tables of docs/rules-as-code.md are made from their fields.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from healer.model.action import OutcomeKind
from healer.model.duration import Duration
from healer.model.effects import Verb
from healer.model.incident import State
from healer.rehearsal.testing.events.base import Played
from healer.rehearsal.testing.events.cluster import KubeEvent, NodeEvent, PodEvent, RolloutEvent, ScaleEvent, WorkloadEvent
from healer.rehearsal.testing.events.people import ApproveEvent, PauseEvent, ResumeEvent
from healer.rehearsal.testing.events.told import AlertEvent, CanaryEvent, ModelEvent, QueryEvent
from healer.rules.form import LabelKey, LabelValue, Listed, Model, Name, Text, Whole, fault
from healer.rules.schema import Mode
from healer.rules.vocabulary import Address, WorkloadKindName

KIND = "RuleTest"
GROUPED = "LeaderWorkerSet"
"""The kind whose replicas are groups."""


class CaseWorkload(Model):
    """A workload whose pods are ready at the start. They are named NAME-1, NAME-2 ...; those of a StatefulSet from NAME-0 on. The
    groups of a LeaderWorkerSet are NAME-0 with its workers NAME-0-1, NAME-0-2 ..., NAME-1 and so on."""

    name: Name
    """Its name."""
    kind: WorkloadKindName = "Deployment"
    """Its kind: Deployment, StatefulSet, DaemonSet, Rollout (of Argo), CloneSet (of OpenKruise) or LeaderWorkerSet."""
    namespace: Name | None = None
    """Its namespace, if it is not that of the cluster. Its pods are then named NAMESPACE/NAME."""
    replicas: Annotated[Whole, Field(ge=0, le=1000)] = 3
    """The replicas that it wants; of a LeaderWorkerSet groups."""
    size: Annotated[Whole, Field(ge=1, le=100)] | None = None
    """The pods of a group of a LeaderWorkerSet, its leader among them; by default 2."""
    labels: Mapping[LabelKey, LabelValue] | None = None
    """Its labels and those of its pods; by default `app: NAME`."""
    revision: Text = "1"
    """Its revision."""
    nodes: Annotated[tuple[Name, ...], Field(min_length=1)] = ("node-1", "node-2", "node-3")
    """Where its pods are, in turn."""

    @model_validator(mode="after")
    def _of_groups(self) -> Self:
        if self.size is not None and self.kind != GROUPED:
            raise fault(f"a {self.kind} has no groups", f"size is for a {GROUPED}", ("size",))
        return self

    @property
    def pods(self) -> int:
        """The pods of a replica."""
        return (self.size or 2) if self.kind == GROUPED else 1


class CaseNode(Model):
    """A node. Without any, healer sees no nodes, as without HEALER_CLUSTER__NODES."""

    name: Name
    """Its name."""
    cordoned: bool = False
    """Whether it takes no pods."""


class CaseBudget(Model):
    """A PodDisruptionBudget."""

    name: Name
    """Its name."""
    labels: Mapping[LabelKey, LabelValue]
    """The labels of the pods that it covers."""
    min_available: Annotated[Whole, Field(ge=0)] = 1
    """It refuses an eviction that would leave fewer ready pods."""


class CaseAutoscaler(Model):
    """A HorizontalPodAutoscaler. `scale` says what it does."""

    workload: Name
    """The workload that it scales."""
    namespace: Name | None = None
    """Its namespace, if it is not that of the cluster."""
    max: Annotated[Whole, Field(ge=1, le=1000)]
    """The replicas that it gives the workload at most."""


class CaseCluster(Model):
    """The cluster at the start."""

    namespace: Name = "production"
    """The namespace of all that names none."""
    workloads: tuple[CaseWorkload, ...] = ()
    """Its workloads; by default a Deployment `serving` of three replicas."""
    nodes: tuple[CaseNode, ...] = ()
    """Its nodes."""
    budgets: tuple[CaseBudget, ...] = ()
    """Its PodDisruptionBudgets."""
    autoscalers: tuple[CaseAutoscaler, ...] = ()
    """Its HorizontalPodAutoscalers."""

    @property
    def served(self) -> tuple[CaseWorkload, ...]:
        """The workloads that there are."""
        return self.workloads or (CaseWorkload(name="serving"),)


class After(Model):
    """What follows an action."""

    action: Text
    """The action."""
    outcome: OutcomeKind = OutcomeKind.DONE
    """How it ends: `done` the cluster accepts it; `deferred` not now; `refused` not at all; `failed` nobody knows."""
    reason: Text | None = None
    """The code of an outcome that is not `done`: `BudgetRefused`."""
    helps: bool = True
    """Whether it cures: the new pods are ready, the signals end. Otherwise the new pods have what the old ones had."""
    takes: Annotated[Duration, Field(gt=0)] = 60.0
    """How long it takes until that is so."""
    attempts: Annotated[Whole, Field(ge=1)] | None = None
    """For how many attempts this holds. Then the next entry of the action holds; without one, they are done, and help. By default
    for all."""


class TimedEvent(Model):
    """Something that happens: a time, and exactly one of the other keys."""

    at: Annotated[Duration, Field(ge=0)] = 0.0
    """When, from the beginning. What happens at the same time is seen together."""
    pod: PodEvent | None = None
    """A pod shows a condition."""
    workload: WorkloadEvent | None = None
    """A workload shows a condition."""
    event: KubeEvent | None = None
    """An Event of Kubernetes."""
    node: NodeEvent | None = None
    """A node shows a condition or a taint."""
    alert: AlertEvent | None = None
    """An alert fires, or is resolved."""
    query: QueryEvent | None = None
    """Prometheus answers the query of a rule."""
    model: ModelEvent | None = None
    """A model server answers."""
    canary: CanaryEvent | None = None
    """A canary is judged."""
    rollout: RolloutEvent | None = None
    """A rollout begins, or goes on."""
    scale: ScaleEvent | None = None
    """A workload is scaled."""
    approve: ApproveEvent | None = None
    """A human approves what waits."""
    pause: PauseEvent | None = None
    """Somebody pauses healer."""
    resume: ResumeEvent | None = None
    """Somebody ends a pause."""

    @model_validator(mode="after")
    def _one_event(self) -> Self:
        keys = [name for name in type(self).model_fields if name != "at"]
        given = [name for name in keys if getattr(self, name) is not None]
        if len(given) != 1:
            found = f"{' and '.join(given)} are given" if given else "none is given"
            raise fault(f"an event has exactly one of {', '.join(keys)}; {found}", "one list entry each, with the same `at`")
        return self

    @property
    def key(self) -> str:
        """The key that it has."""
        return next(name for name in type(self).model_fields if name != "at" and getattr(self, name) is not None)

    @property
    def played(self) -> Played:
        """What happens."""
        event: Played = getattr(self, self.key)
        return event

    @property
    def ends(self) -> float:
        """When the last of it happens, in seconds from the beginning."""
        return self.at + self.played.span


class ExpectedAct(Model):
    """An action that healer takes. Keys that are not written are not compared."""

    action: Text
    """The action."""
    target: Text | None = None
    """The pod or the workload, by name."""
    rule: Text | None = None
    """The rule: its name, or RULESET/NAME."""
    step: Annotated[Whole, Field(ge=1)] | None = None
    """The step of the ladder, from 1."""
    at: Annotated[Duration, Field(ge=0)] | None = None
    """When."""


class ExpectedDecision(Model):
    """A decision that healer makes. Keys that are not written are not compared."""

    reason: Text
    """The code of its reason, as `healer explain` has it: Storm, BelowFloor, NotLongEnough."""
    rule: Text | None = None
    """The rule: its name, or RULESET/NAME."""
    verb: Verb | None = None
    """What it is."""
    target: Text | None = None
    """The pod or the workload, by name."""
    says: Text | None = None
    """Words that its reason has: `2 of 4`."""


class ExpectedIncident(Model):
    """An incident as it stands then. Keys that are not written are not compared."""

    rule: Text
    """The rule: its name, or RULESET/NAME."""
    state: State
    """Its state."""
    workload: Text | None = None
    """Its workload."""
    reason: Text | None = None
    """The code of the reason of its state."""


class Checkpoint(Model):
    """What must be so at a time. What is not written is not compared."""

    at: Annotated[Duration, Field(ge=0)] | None = None
    """When, from the beginning, after all else of that moment; by default at the end. Each at a time of its own; their order in
    the file does not matter."""
    acts: tuple[ExpectedAct, ...] | None = None
    """All that healer has done until then, in this order, `page` among it, and nothing else; `[]`: nothing."""
    would_act: tuple[ExpectedAct, ...] | None = None
    """The same for rules that observe: what they would have done."""
    decisions: tuple[ExpectedDecision, ...] = ()
    """Decisions that were made until then, in this order; others may be between them."""
    incidents: tuple[ExpectedIncident, ...] | None = None
    """All incidents that there were until then, in the order in which they opened; `[]`: none."""
    told: Annotated[tuple[Address, ...], Listed] | None = None
    """All addresses to which something was told until then, in any order; `[]`: nobody that a rule names."""

    @model_validator(mode="after")
    def _something(self) -> Self:
        compared = (self.acts, self.would_act, self.incidents, self.told)
        if not self.decisions and all(each is None for each in compared):
            raise fault("nothing is expected, so that this cannot fail", "write acts: [] where nothing may be done")
        return self

    @property
    def rules_named(self) -> Mapping[str, list[str | None]]:
        """The rules that the entries of each key name."""
        return {
            "acts": [each.rule for each in self.acts or ()],
            "wouldAct": [each.rule for each in self.would_act or ()],
            "decisions": [each.rule for each in self.decisions],
            "incidents": [each.rule for each in self.incidents or ()],
        }


class RuleCase(Model):
    """One test."""

    name: Text
    """What it shows, in words."""
    rules: tuple[Text, ...] = ()
    """The rules in force, by name; by default all of the file's rules."""
    cluster: CaseCluster | None = None
    """The cluster at the start, in place of that of the file."""
    mode: Mode | None = None
    """The mode of the rules in force, in place of that of the file."""
    settings: Mapping[Text, Mapping[Text, Any]] = Field(default_factory=dict)
    """Settings, as in a file for `--config`, besides those of the file: `{limits: {budget_workload: 1}}`."""
    after: tuple[After, ...] = ()
    """What follows actions, the attempts of all incidents counted. An action that is not named is done, and helps within a
    minute."""
    events: tuple[TimedEvent, ...] = ()
    """What happens."""
    lasts: Annotated[Duration, Field(gt=0)] | None = None
    """When the test ends; by default two hours after the last event, and not before the last expectation."""
    expect: Annotated[tuple[Checkpoint, ...], Field(min_length=1)]
    """What must be so."""

    @property
    def length(self) -> float:
        """When it ends, in seconds from the beginning."""
        last = max((event.ends for event in self.events), default=0.0)
        return self.lasts or max(last + 7200.0, *(check.at or 0.0 for check in self.expect))


class RuleTest(Model):
    """A file of tests."""

    api_version: Literal["healer.dev/v1alpha1"]
    """The language's version."""
    kind: Literal["RuleTest"]
    """What the file is."""
    rules: tuple[Text, ...] = ()
    """The rule files, relative to this one, or patterns such as `"*.yaml"`; by default NAME.yaml beside NAME.test.yaml."""
    cluster: CaseCluster | None = None
    """The cluster of all tests that have none of their own."""
    mode: Mode | None = None
    """The mode of all rules, in place of their own: `enforce` to see what rules would do that still observe."""
    settings: Mapping[Text, Mapping[Text, Any]] = Field(default_factory=dict)
    """Settings for all tests, as in a file for `--config`."""
    tests: Annotated[tuple[RuleCase, ...], Field(min_length=1)]
    """The tests."""

    @model_validator(mode="after")
    def _named_apart(self) -> Self:
        names = [case.name for case in self.tests]
        for number, name in enumerate(names):
            if name in names[:number]:
                raise fault(f"two tests have the name {name!r}", "say what each of them shows", ("tests", number, "name"))
        return self
