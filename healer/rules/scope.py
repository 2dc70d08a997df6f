"""Where a rule holds: namespaces, and a label selector as Kubernetes has it."""

from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from healer.model.kube import LabelRequirement, LabelSelector
from healer.model.workload import SupportedKind
from healer.rules.form import ANYWHERE, LabelKey, LabelValue, Listed, Model, Namespace, fault
from healer.rules.vocabulary import WorkloadKindName


class Requirement(Model):
    """One requirement on a label, as in Kubernetes."""

    key: LabelKey
    """The label."""
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    """NotIn and DoesNotExist also match when the label is absent."""
    values: tuple[LabelValue, ...] = ()
    """Needed by In and NotIn, refused by the others."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.operator in ("In", "NotIn") and not self.values:
            raise fault(f"{self.operator} needs values", "list at least one value", ("operator",))
        if self.operator in ("Exists", "DoesNotExist") and self.values:
            raise fault(f"{self.operator} takes no values", "delete values, or use In or NotIn", ("values",))
        return self


class Selector(Model):
    """A label selector, as in Kubernetes: all of it must match."""

    match_labels: Mapping[LabelKey, LabelValue] = Field(default_factory=dict)
    """Labels with exactly these values."""
    match_expressions: tuple[Requirement, ...] = ()
    """Further requirements."""

    @model_validator(mode="after")
    def _can_match(self) -> Self:
        if not self.match_labels and not self.match_expressions:
            raise fault("an empty selector selects everything", "leave `selector` out if you mean that")
        for index, requirement in enumerate(self.match_expressions):
            asked = [r for r in self.match_expressions[: index + 1] if r.key == requirement.key]
            if why := self._impossible(requirement.key, asked):
                hint = "all of matchLabels and matchExpressions must hold: delete what you do not mean"
                raise fault(f"this selector can never match: {why}", hint, ("matchExpressions", index))
        return self

    def _impossible(self, key: str, asked: list[Requirement]) -> str:
        """Why no object can meet all requirements on a label, in words; "" when one can."""
        operators = {requirement.operator for requirement in asked}
        if "DoesNotExist" in operators and (key in self.match_labels or operators & {"In", "Exists"}):
            return f"the label {key!r} is both needed and forbidden"
        allowed = [set(requirement.values) for requirement in asked if requirement.operator == "In"]
        if key in self.match_labels:
            allowed.append({self.match_labels[key]})
        denied = {value for requirement in asked if requirement.operator == "NotIn" for value in requirement.values}
        return f"no value of the label {key!r} is left" if allowed and not set.intersection(*allowed) - denied else ""

    @cached_property
    def struct(self) -> LabelSelector:
        """The same as the value that `healer.model.kube.matches` takes."""
        return LabelSelector(
            dict(self.match_labels),
            tuple(LabelRequirement(key=r.key, operator=r.operator, values=r.values) for r in self.match_expressions),
        )


class Scope(Model):
    """Where a rule holds."""

    namespaces: Annotated[tuple[Namespace, ...], Field(min_length=1), Listed]
    """Namespaces, by name; every namespace only when written as `["*"]`."""
    kinds: Annotated[tuple[WorkloadKindName, ...], Listed] = ()
    """Kinds of workloads, any of the [workload kinds](#workload-kinds). By default all but those that must be named."""
    selector: Selector | None = None
    """Selects by the labels of the pod; by those of the workload when a signal is about a workload. By default every pod of the
    namespaces."""

    @model_validator(mode="after")
    def _star_alone(self) -> Self:
        if ANYWHERE in self.namespaces and len(self.namespaces) > 1:
            raise fault('"*" is every namespace, the others add nothing', "keep one or the other", ("namespaces",))
        return self

    def covers_kind(self, kind: str, kinds: Mapping[str, SupportedKind]) -> bool:
        """Whether a workload of that kind is in the scope. `kinds` are those that healer can treat; it only watches others."""
        if self.kinds:
            return kind in self.kinds
        return kind not in kinds or not kinds[kind].only_named

    @property
    def kinds_phrase(self) -> str:
        """What it says of kinds, as the end of a sentence."""
        return f"is for the kinds {', '.join(self.kinds)}" if self.kinds else "does not name its kind: list it in `scope.kinds`"

    def covers(self, namespace: str) -> bool:
        """Whether the namespace is in the scope."""
        return namespace in self.namespaces or ANYWHERE in self.namespaces
