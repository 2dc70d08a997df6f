"""The rule language: what to look for, what to do about it, and within which limits.

These models are the schema. Their keys are those of the YAML, a key that is not declared here is an error, and docs/rules.md is
made from the descriptions of the fields. A file is validated with a `Vocabulary` as the context. Models that are built from code
have no context: numbers are seconds then, and fields may have their Python names.
"""

import json
from collections.abc import Iterator, Mapping
from enum import StrEnum
from functools import cache, cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, SerializeAsAny, ValidationError, ValidationInfo, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from healer.model.duration import Duration
from healer.rules.form import Listed, Model, Name, Text, Whole, fault
from healer.rules.named_workload import NamedWorkload
from healer.rules.pod_conditions import POD_CONDITIONS
from healer.rules.portion import Portion
from healer.rules.scope import Scope
from healer.rules.triggers import POD, TRIGGERS, Trigger, V
from healer.rules.vocabulary import Address, Vocabulary

API_VERSION = "healer.dev/v1alpha1"
MOST_STEPS = 100
"""Steps of a ladder; the definition of incidents allows no more (a test says so)."""
MOST_CHANNELS = 100
"""Channels of a rule, in `notify` and in all its pages together; the definition of incidents allows no more."""


class Mode(StrEnum):
    """How far a rule may go."""

    OBSERVE = "observe"
    """Decide and notify; change nothing."""
    APPROVE = "approve"
    """Act when a human has approved the step."""
    ENFORCE = "enforce"
    """Act."""


class Severity(StrEnum):
    """How urgent an incident is; it sets the colour of messages."""

    CRITICAL = "critical"
    WARNING = "warning"
    INFO = "info"


class Count(Model):
    """How often a condition must occur."""

    at_least: Annotated[Whole, Field(ge=2, le=1000)]
    """How many distinct occurrences are needed. A rule without `count` needs one."""
    within: Annotated[Duration, Field(gt=0)]
    """The sliding window in which occurrences are counted."""
    same_revision: bool = False
    """Count only occurrences at the same revision of the workload: pods of another revision count for themselves."""


class When(Model):
    """What a rule looks for: exactly one trigger (`build` gives it a key for each), narrowed by the other keys."""

    labels: Mapping[Text, Text] = Field(default_factory=dict)
    """With `alert` only: labels that the alert must have, with exactly these values."""
    condition: Annotated[Text | None, Field(alias="if")] = None
    """A CEL expression that must be true. Unknown variables and wrong types are errors when the file is read."""
    held_for: Annotated[Duration, Field(ge=0, alias="for")] = 0.0
    """The condition must have lasted so long without a break."""
    count: Count | None = None
    """The condition must have occurred so often. Not together with `for`."""

    @model_validator(mode="after")
    def _one_trigger(self) -> Self:
        every = ", ".join(TRIGGERS)
        given = [name for name in TRIGGERS if getattr(self, name) is not None]
        if len(given) != 1:
            found = f"{' and '.join(given)} are given" if given else "none is given"
            hint = "one trigger a rule: write a second rule for the other" if given else f"one trigger a rule: {every}"
            raise fault(f"exactly one of {every} is needed, {found}", hint)
        if self.labels and not self.trigger.labelled:
            raise fault(
                "labels are those of an alert, and this is no alert trigger", "select pods by scope.selector", ("labels",)
            )
        if self.count is not None and self.held_for > 0:
            raise fault("for and count exclude each other", "held without a break is `for`, seen often is `count`", ("count",))
        if self.trigger.momentary and self.held_for > 0:
            what = f"for is not for a rule on {self.trigger.name!r}: what it looks for is a moment, and does not last"
            raise fault(what, "how often it must have happened is `count`: count: {atLeast: 3, within: 10m}", ("for",))
        if self.trigger.judged_by:
            for key, written in (
                ("if", self.condition is not None),
                ("for", self.held_for > 0),
                ("count", self.count is not None),
            ):
                if written:
                    raise fault(f"{key} is not for {self.trigger.judged_by}", f"delete it: {self.trigger.instead}", (key,))
        return self

    @cached_property
    def trigger(self) -> Trigger[Any]:
        """The trigger that the rule has."""
        return next(trigger for name, trigger in TRIGGERS.items() if getattr(self, name) is not None)

    def get(self, trigger: Trigger[V]) -> V | None:
        """What the rule writes below that trigger's key; None when it has another trigger."""
        written: V | None = getattr(self, trigger.name)
        return written

    @property
    def value(self) -> Any:
        """What the rule writes below its trigger's key."""
        return getattr(self, self.trigger.name)

    @property
    def of_records(self) -> bool:
        """Whether it looks only at records of finished pods, which say nothing about the health of the workload."""
        names = self.get(POD)
        return names is not None and all(POD_CONDITIONS[name].of_records for name in names)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of the signals that the rule looks for. Each signal is asked about by them."""
        return self.trigger.names(self.value)

    @property
    def workloads(self) -> tuple[NamedWorkload, ...]:
        """The workloads that the trigger names."""
        return self.trigger.workloads(self.value)


class Verify(Model):
    """When a step counts as having helped: the workload has its desired number of ready replicas, and the signal has ended."""

    within: Annotated[Duration, Field(gt=0)] = 300.0
    """If the workload is not healed by then, the next step is taken."""
    stable: Annotated[Duration, Field(ge=0)] = 30.0
    """The workload must have been healthy for so long."""

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        if self.stable > self.within:
            raise fault("stable is longer than within: this could never be verified", "make within the longer one", ("stable",))
        return self


class Step(Model):
    """A step of the ladder: the name of the action is the only key besides `verify`, and has its parameters below it."""

    action: str
    """The action's name."""
    params: SerializeAsAny[BaseModel]
    """The action's parameters."""
    verify: Verify = Verify()
    """When the step counts as having helped."""

    @model_validator(mode="before")
    @classmethod
    def _from_file(cls, data: Any, info: ValidationInfo) -> Any:
        """Turn `{evict: {...}, verify: {...}}` into the fields, and report all errors at once."""
        known: Vocabulary | None = info.context
        if known is None or not isinstance(data, dict):
            return data
        actions = known.actions
        named = [key for key in data if key != "verify"]
        errors: list[dict[str, Any]] = []
        for key in named:
            if key not in actions:
                errors.append({"type": "unknown_action", "loc": (key,), "msg": f"there is no action {key!r}"})
        if len(named) != 1:
            msg = "a step names exactly one action" + (
                f", not {len(named)}: {', '.join(named)}" if named else ", this one names none"
            )
            errors.append(
                {"type": "rule", "loc": (), "msg": msg, "ctx": {"hint": "steps are tried in turn: one list entry each"}}
            )
        read: dict[str, Any] = {"action": named[0] if named else ""}
        for key in [*(key for key in named if key in actions), "verify"]:
            try:
                if key == "verify":
                    read["verify"] = Verify.model_validate(data.get(key, {}), context=known, by_alias=True, by_name=False)
                else:  # an action's model may be any pydantic model: as strict JSON nothing in it is coerced
                    params = actions[key].params
                    read["params"] = params.model_validate_json(
                        json.dumps(data[key]), strict=True, context=known, by_alias=True, by_name=False
                    )
            except ValidationError as error:
                errors += [{**e, "loc": (key, *e["loc"])} for e in error.errors(include_url=False)]
        if errors:
            raise PydanticCustomError("several", "several", {"errors": errors})
        return read

    @property
    def pages(self) -> tuple[str, ...] | None:
        """The channels that it pages besides those of `notify`; None for a step that pages nobody.

        A step pages when its action takes PageParams, whatever the action's name is.
        """
        return self.params.channels if isinstance(self.params, PageParams) else None


class PageParams(Model):
    """The parameters of an action that pages people."""

    channels: Annotated[tuple[Address, ...], Listed] = ()
    """[Addresses](#addresses) to notify besides those of `notify`."""


class Budget(Model):
    """How many actions a rule may take in a time."""

    actions: Annotated[Whole, Field(ge=1)]
    """At most so many actions."""
    per: Annotated[Duration, Field(gt=0)]
    """In any period of this length."""


class Breaker(Model):
    """When a rule stops by itself."""

    failures: Annotated[Whole, Field(ge=1)]
    """After so many incidents of the rule in a row, on any workloads, in which healer acted and a human was needed in the end."""
    reset: Annotated[Duration, Field(gt=0)]
    """After this time one incident may act again: when it heals, the breaker closes; when it fails, the breaker opens again."""


class Limits(Model):
    """The limits of a rule's actions. A limit that is not written has its default: a rule always has limits."""

    cooldown: Annotated[Duration, Field(gt=0)] = 600.0
    """After it has healed a workload, the rule does not act on it for so long."""
    min_ready: Annotated[Whole, Field(ge=1)] = 1
    """No action may leave fewer ready replicas."""
    budget: Budget = Budget(actions=5, per=3600.0)
    """At most so many actions of this rule on one revision of one workload."""
    max_unhealthy: Portion = "50%"
    """When more of the desired replicas are sick at once, and at least two, it is a storm: pods are not treated one by one."""
    breaker: Breaker = Breaker(failures=3, reset=3600.0)
    """After so many failed incidents in a row the rule does not act for a while."""
    approve_within: Annotated[Duration, Field(gt=0)] = 3600.0
    """With `mode: approve`: a step that nobody has approved by then is left to a human."""


class Rule(Model):
    """One rule."""

    name: Name
    """Unique in its rule set; the rule's full name is "ruleset/rule"."""
    description: Text | None = None
    """For people: why this is the right answer, and when it is the wrong one. `healer explain` shows it."""
    when: When
    """What to look for."""
    scope: Scope | None = None
    """Where the rule holds. Replaces the rule set's `scope` as a whole; one of the two is needed."""
    heal: Annotated[tuple[Step, ...], Field(min_length=1, max_length=MOST_STEPS)]
    """What to do: a ladder of steps, taken in order until the workload is verified healthy."""
    on_storm: Step | None = None
    """What to do, once, when too many pods of the workload are sick at once. By default healer waits, and notifies."""
    limits: Limits = Limits()
    """The limits of its actions."""
    mode: Mode = Mode.OBSERVE
    """`observe` decides and tells but changes nothing; `approve` asks a human before each step; only a written `enforce` acts."""
    severity: Severity = Severity.WARNING
    """How urgent its incidents are."""
    notify: Annotated[tuple[Address, ...], Listed] = ()
    """Whom to notify, by their [addresses](#addresses), instead of the default channel of the settings."""

    @property
    def steps(self) -> tuple[Step, ...]:
        """All its steps: the ladder, then that of a storm."""
        return self.heal if self.on_storm is None else (*self.heal, self.on_storm)

    @property
    def paged(self) -> tuple[str, ...]:
        """The channels that its steps page."""
        return tuple(channel for step in self.steps for channel in step.pages or ())

    @model_validator(mode="after")
    def _can_be_kept(self) -> Self:
        """An incident of the rule must fit its object in the cluster, or healer could not act on it."""
        channels = {*self.notify, *self.paged}
        if len(channels) > MOST_CHANNELS:
            raise fault(
                f"{len(channels)} channels, in notify and in pages, are more than the {MOST_CHANNELS} that an incident can have",
                "tell fewer channels",
                ("notify",),
            )
        return self


class Metadata(Model):
    """The rule set's name."""

    name: Name
    """Unique among all loaded rule sets."""


class Spec(Model):
    """The rules."""

    scope: Scope | None = None
    """Default scope of every rule below."""
    rules: Annotated[tuple[Rule, ...], Field(min_length=1)]
    """In any order; each rule is evaluated by itself."""


class RuleSet(Model):
    """A document of a rule file."""

    api_version: Literal["healer.dev/v1alpha1"]
    """The language's version."""
    kind: Literal["RuleSet"]
    """What the document is."""
    metadata: Metadata
    """Its name."""
    spec: Spec
    """Its rules."""


def build() -> None:
    """Give `when` a key for each trigger of the table. Call it again when the table, or a type in it, has changed."""
    own = {name: field for name, field in When.model_fields.items() if name in When.__annotations__}
    keys = {
        name: FieldInfo.from_annotated_attribute(trigger.key | None, Field(None, description=f"Trigger: {trigger.meaning}"))
        for name, trigger in TRIGGERS.items()
    }
    When.__pydantic_fields__ = {**keys, **own}
    for model in (When, Rule, Spec, RuleSet):
        model.model_rebuild(force=True)
    models_of.cache_clear()


def models_by_path(model: type[Model] = RuleSet) -> Iterator[tuple[tuple[str, ...], type[Model]]]:
    """Every mapping of the language: the path to it ("*" for a list entry) and the model that reads it."""
    yield (), model
    for field_name, field in model.model_fields.items():
        key = field.alias or field_name
        for below, many in _models_in(field.annotation):
            for path, found in models_by_path(below):
                yield ((key, "*", *path) if many else (key, *path)), found


def _models_in(annotation: Any) -> Iterator[tuple[type[Model], bool]]:
    """The rule models that an annotation mentions, and whether as entries of a tuple."""
    if isinstance(annotation, type) and issubclass(annotation, Model):
        yield annotation, False
    for argument in getattr(annotation, "__args__", ()):
        for found, many in _models_in(argument):
            yield found, many or getattr(annotation, "__origin__", None) is tuple


@cache
def models_of(root: type[Model]) -> dict[tuple[str, ...], type[Model]]:
    """The same of `root`, to look up many paths."""
    return dict(models_by_path(root))


build()
