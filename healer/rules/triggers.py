"""The triggers of rules, in one table: what each looks for, how its signals come, and how they end.

Code that treats triggers differently asks their properties (`TRIGGERS[signal.source].fades`); their names are compared nowhere.
A new trigger is an entry here and the file of its source, which the entry names. Whoever adds an entry to the table of a
running process, as a test does, calls `healer.rules.schema.build` afterwards, before the daemon starts.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any, Generic, TypeVar

from cel_expr_python import cel
from pydantic import Field

from healer.model.signal import Signal
from healer.model.target import ActsOn
from healer.rules.asks import asked_by_canary, asked_by_query
from healer.rules.form import Listed, Text
from healer.rules.happening import Happening, odd_reasons, signal_names
from healer.rules.named_workload import NamedWorkload
from healer.rules.node_conditions import NodeConditionText
from healer.rules.pod_conditions import PodConditionName
from healer.rules.positions import Path
from healer.rules.probe import BAD_CANARY, QUERY_SIGNAL, UNKNOWN_VERDICT, Canary, Query
from healer.rules.promql import surprises, unfamiliar
from healer.rules.served_model import ServedModel
from healer.rules.workload_conditions import WorkloadConditionName
from healer.rules.xid import xid_class, xid_of

V = TypeVar("V")

LABELS = cel.Type.Map(cel.Type.STRING, cel.Type.STRING)
PROMETHEUS = "Prometheus"


class Origin(StrEnum):
    """How the signals of a trigger come."""

    WATCHED = "read from the objects that healer watches"
    PUSHED = "sent to healer"
    """Under whatever names their sender gives them."""
    ASKED = "asked for by healer, for one rule"


class Ending(StrEnum):
    """How it is known that a signal ends."""

    OBJECT = "when its target no longer shows it"
    RESOLVED = "when its sender says so"
    ABSENT = "when a complete answer no longer has it"
    FADES = "some minutes after it last happened"
    JUDGED = "when the evidence of several answers says so"


@dataclass(frozen=True, slots=True)
class Variable:
    """A CEL variable of a trigger's own: its type, its meaning for people, and its value of a signal; None: it has none."""

    kind: cel.Type
    meaning: str
    value: Callable[[Signal], object]


@dataclass(frozen=True, eq=False)
class Trigger(Generic[V]):
    """An entry of the table. `V` is what a rule writes below its key of `when`."""

    name: str
    """Its key in `when`, and the `source` of its signals."""
    key: Any
    """The type of that key, as pydantic reads it."""
    meaning: str
    """For docs/rules.md."""
    names: Callable[[V], tuple[str, ...]]
    """The names of the signals that a rule looks for."""
    source: str
    """The declaration of its source (`healer.sources.base`), "module:name": the rule language does not import it."""
    origin: Origin
    ends: Ending
    targets: frozenset[ActsOn] = frozenset({ActsOn.POD, ActsOn.WORKLOAD})
    """What of its targets it can hand to an action: what its signals name, and the workload that this belongs to."""
    repeated_by: str = ""
    """Who has to say again and again that a signal fires, or it no longer counts; "" where a signal fires until it ends."""
    needs: str = ""
    """What must be configured for it, besides the cluster."""
    labelled: bool = False
    """Whether the key `labels` of `when` narrows it."""
    judged_by: str = ""
    """Who weighs all evidence, so that `if`, `for` and `count` are not for it, in words that follow "is not for"."""
    instead: str = ""
    """What to write in place of these keys."""
    variables: Mapping[str, Variable] = field(default_factory=dict)
    """The CEL variables that only its rules have."""
    workloads: Callable[[V], tuple[NamedWorkload, ...]] = lambda value: ()
    """The workloads that a rule names."""
    expressions: Callable[[Any], Iterable[tuple[Path, bool]]] = lambda value: ()
    """Where PromQL may stand below the key, in the plain data of a file; and whether as a template."""
    asks: Callable[[V], str] = lambda value: ""
    """What a rule asks of Prometheus, with its thresholds, for people."""
    remarks: Callable[[V], Iterable[str]] = lambda value: ()
    """What may surprise in a rule: phrases that go on after its name."""

    @property
    def pushed(self) -> bool:
        """Whether others send its signals, under names of their own."""
        return self.origin is Origin.PUSHED

    @property
    def asked(self) -> bool:
        """Whether healer asks for its signals, for one rule each: they concern no other rule."""
        return self.origin is Origin.ASKED

    @property
    def fades(self) -> bool:
        """Whether a signal that nobody repeats no longer counts after a while."""
        return bool(self.repeated_by)

    @property
    def momentary(self) -> bool:
        """Whether its signals are moments, and no states that last."""
        return self.ends is Ending.FADES

    @property
    def read_off_target(self) -> bool:
        """Whether its signals are conditions of the target itself, not what somebody else says about it."""
        return self.ends is Ending.OBJECT

    @property
    def answers_whole(self) -> bool:
        """Whether one answer says all that fires."""
        return self.ends is Ending.ABSENT

    @property
    def judged(self) -> bool:
        """Whether the evidence of several answers gives a verdict."""
        return self.ends is Ending.JUDGED

    @property
    def of_workload_itself(self) -> bool:
        """Whether its signals are conditions of workloads, so that none of its rules takes pods."""
        return self.read_off_target and not self.of_pods

    @property
    def of_pods(self) -> bool:
        """Whether a pod can be the target of what it triggers."""
        return ActsOn.POD in self.targets


def _patterns(names: Iterable[str]) -> Iterator[str]:
    for name in names:
        if _PATTERN.search(name):
            yield f"waits for an alert of the name {name!r}: names are compared whole, not as patterns; list the names"


_PATTERN = re.compile(r"[*+?|^$()\[\]\\]")
"""What names of alerts have only where a regular expression or a glob was meant."""


def _of_measures(written: Any) -> Iterator[tuple[Path, bool]]:
    measures = written.get("measures") if isinstance(written, dict) else None
    for number, measure in enumerate(measures if isinstance(measures, list) else ()):
        for key in ("total", "bad", "histogram"):
            if isinstance(measure, dict) and key in measure:
                yield ("measures", number, key), True


POD: Trigger[tuple[str, ...]] = Trigger(
    "pod",
    Annotated[tuple[PodConditionName, ...], Field(min_length=1), Listed],
    "any of these conditions of a pod.",
    names=lambda names: names,
    source="healer.sources.pods:SOURCE",
    origin=Origin.WATCHED,
    ends=Ending.OBJECT,
)
WORKLOAD: Trigger[tuple[str, ...]] = Trigger(
    "workload",
    Annotated[tuple[WorkloadConditionName, ...], Field(min_length=1), Listed],
    "any of these conditions of a workload.",
    names=lambda names: names,
    source="healer.sources.workloads:SOURCE",
    origin=Origin.WATCHED,
    ends=Ending.OBJECT,
    targets=frozenset({ActsOn.WORKLOAD}),
)
EVENT: Trigger[Happening] = Trigger(
    "event",
    Happening,
    "an Event of Kubernetes about a pod or a workload.",
    names=signal_names,
    source="healer.sources.events:SOURCE",
    origin=Origin.WATCHED,
    ends=Ending.FADES,
    variables={
        "event.reason": Variable(cel.Type.STRING, "the event's reason", lambda signal: signal.labels.get("reason")),
        "event.type": Variable(cel.Type.STRING, "Warning or Normal", lambda signal: signal.labels.get("type")),
        "event.message": Variable(cel.Type.STRING, "its note", lambda signal: signal.message),
        "event.count": Variable(
            cel.Type.INT,
            "how often this event has happened in all, as its reporter counts",
            lambda signal: int(signal.labels["count"]) if "count" in signal.labels else None,
        ),
    },
    remarks=odd_reasons,
)
NODE: Trigger[tuple[str, ...]] = Trigger(
    "node",
    Annotated[tuple[NodeConditionText, ...], Field(min_length=1), Listed],
    "any of these conditions or taints of the node that a pod is on.",
    names=lambda names: names,
    source="healer.sources.nodes:SOURCE",
    origin=Origin.WATCHED,
    ends=Ending.OBJECT,
)
ALERT: Trigger[tuple[str, ...]] = Trigger(
    "alert",
    Annotated[tuple[Text, ...], Field(min_length=1), Listed],
    "any of these alerts of Alertmanager, by the label `alertname`, whole and case-sensitive.",
    names=lambda names: names,
    source="healer.sources.alertmanager.webhook:SOURCE",
    origin=Origin.PUSHED,
    ends=Ending.RESOLVED,
    repeated_by="Alertmanager",
    labelled=True,
    variables={
        "alert.name": Variable(cel.Type.STRING, "the alert's name", lambda signal: signal.name),
        "alert.labels": Variable(LABELS, "all its labels", lambda signal: dict(signal.labels)),
        "alert.annotations": Variable(
            LABELS, "its annotations; of a text, the first 1,024 characters", lambda signal: dict(signal.annotations)
        ),
        "alert.xid": Variable(
            cel.Type.INT, "the number of the Xid error of a GPU, from the label or the annotation `xid` or `err_code`", xid_of
        ),
        "alert.xidClass": Variable(
            cel.Type.STRING, "application, device or unknown, by [the number of the Xid error](#xid-errors-of-gpus)", xid_class
        ),
    },
    remarks=_patterns,
)
QUERY: Trigger[Query] = Trigger(
    "query",
    Query,
    "a PromQL expression passes a threshold.",
    names=lambda query: (QUERY_SIGNAL,),
    source="healer.sources.prometheus.query:SOURCE",
    origin=Origin.ASKED,
    ends=Ending.ABSENT,
    needs=PROMETHEUS,
    variables={"query.labels": Variable(LABELS, "all labels of the series", lambda signal: dict(signal.labels))},
    workloads=lambda query: () if query.workload is None else (query.workload,),
    expressions=lambda written: [(("expr",), False)],
    asks=asked_by_query,
    remarks=surprises,
)
MODEL: Trigger[ServedModel] = Trigger(
    "model",
    ServedModel,
    "a model server's own status of a model.",
    names=lambda model: model.conditions,
    source="healer.sources.model:SOURCE",
    origin=Origin.ASKED,
    ends=Ending.ABSENT,
)
CANARY: Trigger[Canary] = Trigger(
    "canary",
    Canary,
    "the judge finds that the canary is bad.",
    names=lambda canary: (BAD_CANARY, UNKNOWN_VERDICT),
    source="healer.sources.canary.canary:SOURCE",
    origin=Origin.ASKED,
    ends=Ending.JUDGED,
    targets=frozenset({ActsOn.WORKLOAD}),
    needs=PROMETHEUS,
    judged_by="a canary, whose judge weighs all its evidence",
    instead="alpha, measures and every say when a canary is bad",
    workloads=lambda canary: (canary.stable.workload, canary.canary.workload),
    expressions=_of_measures,
    asks=asked_by_canary,
    remarks=lambda canary: (phrase for measure in canary.measures for phrase in unfamiliar(measure)),
)

TRIGGERS: dict[str, Trigger[Any]] = {
    trigger.name: trigger for trigger in (POD, WORKLOAD, EVENT, NODE, ALERT, QUERY, MODEL, CANARY)
}
"""The table, in the order of docs and messages."""
