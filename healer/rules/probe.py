"""What rules write about two of the triggers that healer asks for: a query, and a canary."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Protocol, Self, runtime_checkable

from pydantic import BeforeValidator, Field, PrivateAttr, ValidationInfo, model_validator
from pydantic_core import PydanticCustomError

from healer.model.duration import Duration
from healer.rules.form import Model, Name, Number, Text, Whole, fault
from healer.rules.named_workload import DEPLOYMENT, NamedWorkload, NamesWorkload, words
from healer.rules.vocabulary import RouterKind, RouterSpec, Vocabulary

PLACEHOLDERS = ("workload", "deployment", "namespace", "pods", "window")
"""The placeholders of a PromQL template: the workload, the same where it is a Deployment, its namespace, its pods as a regular
expression, the time between looks."""

QUERY_SIGNAL = "QueryPassed"
"""The signal of a query that passes its threshold."""
BAD_CANARY = "BadCanary"
"""The signal of a canary that was judged BAD and gets traffic."""
UNKNOWN_VERDICT = "UnknownVerdict"
"""The signal of a canary that gets traffic and cannot be judged: healer only notifies."""

_PLACEHOLDER = re.compile(r"\{\{\s*(.*?)\s*\}\}")
_SHARE = re.compile(r"(\d{1,2}(?:\.\d{1,6})?)%", re.ASCII)


def _template(text: str) -> str:
    for name in _PLACEHOLDER.findall(text):
        if name not in PLACEHOLDERS:
            known = ", ".join(f"{{{{ {each} }}}}" for each in PLACEHOLDERS)
            raise fault(f"{{{{ {name} }}}} is no placeholder", f"there are {known}")
    return text


def fill(template: str, values: dict[str, str]) -> str:
    """A template with its placeholders filled in. Raises KeyError for a placeholder without a value."""
    return _PLACEHOLDER.sub(lambda found: values[found[1]], template)


def named(template: str) -> frozenset[str]:
    """The placeholders of a template."""
    return frozenset(_PLACEHOLDER.findall(template))


class InShares:
    """Marks a field that holds a share, for whoever walks the models (the reference in docs/rules.md)."""


def _share(value: Any, info: ValidationInfo) -> Any:
    """In a file a percentage; in code a number between 0 and 1."""
    hint = "write a percentage above 0% and below 100%: 0.5%"
    if isinstance(value, str):
        if (found := _SHARE.fullmatch(value)) and 0 < float(found[1]) < 100:
            return float(found[1]) / 100
        raise PydanticCustomError("rule", "{value} is no share of the requests", {"value": repr(value), "hint": hint})
    if info.context is not None:
        raise PydanticCustomError("rule", "not a percentage", {"hint": hint})
    return value


Promql = Annotated[Text, BeforeValidator(lambda value: _template(value) if isinstance(value, str) else value)]
Share = Annotated[float, BeforeValidator(_share), Field(gt=0, lt=1), InShares()]
Every = Annotated[Duration, Field(ge=1, le=3600)]


class RouteRef(Model):
    """The object that splits traffic."""

    kind: RouterKind
    """One of the [router kinds](#router-kinds)."""
    name: Name
    """Its name."""
    namespace: Name | None = None
    """Its namespace, if it is not that of the workloads."""

    @model_validator(mode="after")
    def _at_home(self, info: ValidationInfo) -> Self:
        known: Vocabulary | None = info.context
        if known is not None and self.namespace is not None and not known.routers[self.kind].other_namespace:
            message = f"a route of kind {self.kind} leads only to Services of its own namespace"
            raise fault(message, "delete the line", ("namespace",))
        return self

    def apart(self, namespace: str) -> str:
        """Its namespace if it is not that of the workloads; else ""."""
        return "" if self.namespace in (None, namespace) else str(self.namespace)


class Side(NamesWorkload):
    """One side of the split."""

    workload: NamedWorkload
    """The Deployment. The word of another of the [workload kinds](#workload-kinds) names a workload of that kind in its place."""
    service: Name | None = None
    """The Service in front of it, as the route names it; by default it has the workload's name."""
    subset: Name | None = None
    """VirtualService only: the subset of that Service, as the destination names it. Both sides may be subsets of one Service."""
    pool: Name | None = None
    """HTTPRoute only: the InferencePool in front of it, in place of a Service."""

    @model_validator(mode="after")
    def _one_backend(self) -> Self:
        if self.pool is not None and (self.service is not None or self.subset is not None):
            raise fault("a side has a pool, or a Service", "delete the line, or those of service and subset", ("pool",))
        return self

    @property
    def backend(self) -> str:
        """What the route names, in words: "models", "models (subset v1)" or "InferencePool models"."""
        if self.pool is not None:
            return pool_words(self.pool)
        service = self.service or self.workload.name
        return service if self.subset is None else f"{service} ({subset_words(self.subset)})"

    @property
    def counted_by(self) -> NamedWorkload | None:
        """The workload whose ready pods count, when no Service has them as its endpoints; else None."""
        return None if self.subset is None and self.pool is None else self.workload


def subset_words(subset: str) -> str:
    """How messages name a subset of a Service."""
    return f"subset {subset}"


def pool_words(pool: str) -> str:
    """How messages name an InferencePool."""
    return f"InferencePool {pool}"


def unfit(route: RouteRef, stable: Side, canary: Side, routers: Mapping[str, RouterSpec] | None) -> PydanticCustomError | None:
    """Why a route of this kind cannot split traffic between these two sides; None when it can.

    `routers` are the kinds by name; None for models that are built from code, whose kinds are not checked.
    """
    router = None if routers is None else routers[route.kind]
    if router is not None and routers is not None and (wrong := _unfit_side(router, routers, stable, canary)) is not None:
        return wrong
    if router is not None and router.revisions:
        named = NamedWorkload(route.name, route.kind)
        if (stable.workload, canary.workload) == (named, named):
            return None
        message = f"both sides of a route of kind {route.kind} are revisions of {named}"
        return fault(message, f"write {route.kind.lower()}: {route.name} in both", ("canary",))
    if stable.workload == canary.workload:
        kind = canary.workload.kind
        return fault(f"stable and canary are the same {kind}", f"a canary is a {kind} of its own", ("canary", kind.lower()))
    if stable.pool is not None and stable.pool == canary.pool:
        return fault("stable and canary have the same InferencePool", "each needs its own", ("canary", "pool"))
    if (stable.pool, canary.pool) != (None, None):
        return None
    if (stable.service or stable.workload.name) != (canary.service or canary.workload.name):
        return None
    if stable.subset == canary.subset:
        hint = "each needs its own" + ("; or name a subset for each" if router is not None and router.subsets else "")
        same = "the same subset of the same Service" if stable.subset else "the same Service"
        return fault(f"stable and canary have {same}", hint, ("canary", "subset" if stable.subset else "service"))
    if stable.subset is None or canary.subset is None:
        lacking = "stable" if stable.subset is None else "canary"
        return fault(f"{lacking} has the whole Service, and so the other side's subset too", "name its subset", (lacking,))
    return None


def _unfit_side(router: RouterSpec, routers: Mapping[str, RouterSpec], stable: Side, canary: Side) -> PydanticCustomError | None:
    """Why a route of this kind cannot lead to a side; None when it can."""
    for at, side in (("stable", stable), ("canary", canary)):
        if side.subset is not None and not router.subsets:
            kinds = " or ".join(each.kind for each in routers.values() if each.subsets)
            hint = "delete the line, and give each version a Service of its own"
            return fault(f"a route of kind {router.kind} has no subsets; {kinds} has them", hint, (at, "subset"))
        if side.pool is not None and not router.pools:
            kinds = " or ".join(each.kind for each in routers.values() if each.pools)
            message = f"a route of kind {router.kind} leads to no InferencePool; {kinds} does"
            return fault(message, "write service", (at, "pool"))
    return None


@runtime_checkable
class Diversion(Protocol):
    """The parameters of an action that takes traffic off one side for the other."""

    stable: Side | None
    """The side that serves then."""


def diverted_to(params: object) -> Side | None:
    """The side that serves after an action with these parameters; None when they name none."""
    return params.stable if isinstance(params, Diversion) else None


class Measure(Model):
    """What is compared: `total` and `bad` requests, or requests `slowerThan` a time by a `histogram`."""

    name: Name
    """Its name in messages."""
    total: Promql | None = None
    """PromQL: the requests. Counters, or with {{ window }} the increase within it."""
    bad: Promql | None = None
    """PromQL: the bad ones among them, in the same form."""
    histogram: Promql | None = None
    """PromQL: a histogram's `_bucket` series."""
    slower_than: Annotated[Duration | None, Field(gt=0)] = None
    """A request that takes longer is bad. The next higher edge of the histogram is used."""
    unit: Literal["s", "ms", "us"] = "s"
    """The unit of the histogram's edges; TensorFlow Serving's are in microseconds."""
    tolerance: Annotated[Number, Field(ge=1, le=100)] = 1.5
    """The canary's bad share may be up to so many times that of stable."""
    slo: Share | None = None
    """A bad share above this condemns the canary whatever stable does: for when stable is gone, or bad as well."""
    warmup: Annotated[Duration | None, Field(ge=0, le=86400)] = None
    """A server's first requests are no evidence for so long; with 0s all are. The default for a histogram is two looks and 20
    requests, because a cold server is slow; for `total` and `bad` it is 0s."""

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        counters = (self.total, self.bad)
        timing = (self.histogram, self.slower_than)
        if (None in counters) == (None in timing) or (None in counters and counters != (None, None)):
            raise fault(
                "a measure is either total and bad, or histogram and slowerThan", "give both keys of one of the two pairs"
            )
        if None not in counters and timing != (None, None):
            raise fault("a measure is either total and bad, or histogram and slowerThan", "delete the keys of one of the two")
        for key, template in self.promql():
            if not named(template) & {"workload", "deployment", "pods"}:
                hint = 'name the workload: pod=~"{{ pods }}", or {{ workload }}'
                raise fault("both sides would be counted together", hint, (key,))
        if self.total and self.bad and self.windowed != ("window" in named(self.bad)):
            raise fault("one of total and bad has {{ window }}, the other has not", "counters both, or increases both", ("bad",))
        return self

    def promql(self) -> list[tuple[str, str]]:
        """The expressions that it has, by their keys."""
        given = (("total", self.total), ("bad", self.bad), ("histogram", self.histogram))
        return [(key, text) for key, text in given if text is not None]

    @property
    def windowed(self) -> bool:
        """Whether the expressions give increases within a window, and no counters."""
        return "window" in named(self.total or self.histogram or "")


class Canary(Model):
    """A canary beside its stable version, judged by its requests."""

    route: RouteRef
    """What splits the traffic between them."""
    stable: Side
    """The version that is trusted."""
    canary: Side
    """The version that is judged."""
    every: Every = 30.0
    """Time between two looks."""
    alpha: Annotated[Number, Field(gt=0, le=0.2)] = 0.01
    """The chance of ever condemning a good canary, over all looks and all measures."""
    measures: Annotated[tuple[Measure, ...], Field(min_length=1)]
    """What is compared. `alpha` is divided among them."""
    hold: Annotated[Duration, Field(gt=0)] = 1800.0
    """How long the weight stays as it is while nothing can be judged; then a human is asked."""

    @model_validator(mode="after")
    def _two_sides(self, info: ValidationInfo) -> Self:
        names = [measure.name for measure in self.measures]
        if len(set(names)) < len(names):
            raise fault("two measures have the same name", "rename one", ("measures",))
        if (other := next((side for side in (self.stable, self.canary) if side.workload.kind != DEPLOYMENT), None)) is not None:
            for number, measure in enumerate(self.measures):
                for key, template in measure.promql():
                    if "deployment" in named(template):
                        message = f"{{{{ deployment }}}} is the name of a Deployment, and {other.workload} is none"
                        raise fault(message, "write {{ workload }}", ("measures", number, key))
        known: Vocabulary | None = info.context
        if (wrong := unfit(self.route, self.stable, self.canary, None if known is None else known.routers)) is not None:
            raise wrong
        if known is not None and known.routers[self.route.kind].revisions:
            for number, measure in enumerate(self.measures):
                for key, template in measure.promql():
                    if "pods" not in named(template):
                        message = "both sides are revisions of one workload, and only their pods tell them apart"
                        raise fault(message, 'select by pod=~"{{ pods }}"', ("measures", number, key))
        return self


class Outliers(Model):
    """How far a pod's value must be from those of the other pods of its workload and revision, besides passing the threshold."""

    difference: Annotated[Number, Field(gt=0)]
    """It is further from their median than this, in the unit of the expression. Needed, because pods that are all alike have no
    deviation."""
    deviations: Annotated[Number, Field(ge=3, le=100)] = 5.0
    """And further than so many standard deviations (1.4826 times the median absolute deviation)."""
    peers: Annotated[Whole, Field(ge=3, le=1000)] = 4
    """At least so many other ready pods have a value."""


class Query(NamesWorkload):
    """A PromQL expression with a threshold. Each series of the answer is about the pod or workload that its labels name."""

    expr: Text
    """The expression; labels as in the settings `alerts` name the target."""
    above: Number | None = None
    """It fires while the value is larger ..."""
    below: Number | None = None
    """... or smaller than this. One of the two."""
    unit: Text | None = None
    """The unit of its value, for people: ms, requests/s."""
    every: Every = 30.0
    """Time between two queries."""
    workload: NamedWorkload | None = None
    """The Deployment that a series without such labels is about; it needs a scope of one namespace. The word of another of the
    [workload kinds](#workload-kinds) names a workload of that kind in its place."""
    outliers: Outliers | None = None
    """It fires only for a pod that is also an [outlier](#outliers) among the pods of its workload."""
    _words: tuple[str, ...] = PrivateAttr(default=())

    @model_validator(mode="after")
    def _of_pods(self, info: ValidationInfo) -> Self:
        if self.outliers is not None and self.workload is not None:
            word = next(word for word, kind in words(info.context).items() if kind == self.workload.kind)
            raise fault(f"outliers compares pods, and {word} names no pod", "delete the line", (word,))
        return self

    @property
    def words(self) -> tuple[str, ...]:
        """The labels that name workloads, as far as the settings give them no other names."""
        return self._words

    @model_validator(mode="after")
    def _with_words(self, info: ValidationInfo) -> Self:
        self._words = tuple(words(info.context))
        return self

    @model_validator(mode="after")
    def _one_threshold(self) -> Self:
        if (self.above is None) == (self.below is None):
            raise fault("exactly one of above, below is needed", "the value that it must not pass, as in above: 5")
        return self
