"""What each rule guards: the pods and workloads in its scope now, and why there are none where there are none.

A rule whose scope has a misspelt namespace or label is right as a text, and guards nothing: nobody would know until the night it
is needed.
"""

import difflib
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from healer.engine.rulebook import BoundRule
from healer.model.form import ANYWHERE
from healer.model.kube import Deployment, LabelRequirement, LabelSelector, Namespace, Pod
from healer.model.rule import Scope
from healer.model.selector import matches
from healer.model.view import View

_NAMED = 3
"""Values of a label that a text names."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """How many pods and workloads a rule is about, and in words what keeps it from being about more than none."""

    rule: str
    pods: int
    workloads: int
    doubts: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.rule} covers {counted(self.pods, 'pod')} of {counted(self.workloads, 'workload')}"


def counted(number: int, what: str) -> str:
    """ "1 pod", "3 pods"."""
    return f"{number} {what}" + ("" if number == 1 else "s")


class Covering:
    """The pods and Deployments of a view as they are now, by namespace, so that each rule is asked only of its own.

    `watched`: the namespaces that healer watches; empty for all. One object serves all rules of one look, and no later one.
    """

    def __init__(self, view: View, watched: Collection[str] = ()) -> None:
        self._view = view
        self._watched = frozenset(watched)
        self._pods: dict[str, list[Pod]] = defaultdict(list)
        self._deployments: dict[str, list[Deployment]] = defaultdict(list)
        for pod in view.pods():
            if pod.status.phase not in ("Succeeded", "Failed"):
                self._pods[pod.metadata.namespace].append(pod)
        for deployment in view.deployments():
            self._deployments[deployment.metadata.namespace].append(deployment)
        self._known: dict[str, Coverage] = {}

    def of(self, bound: BoundRule) -> Coverage:
        """What a rule covers. Costs a look at each pod of its namespaces, once for all rules of the same scope."""
        when = bound.rule.when
        named = [name for name in _deployments_named(bound) if name]
        key = f"{bound.scope!r} {named}"
        if key not in self._known:
            pods, workloads = self._canary(bound, named) if when.canary is not None else self._in(bound.scope)
            doubts = [*self._namespaces(bound.scope), *self._absent(bound.scope, named)]
            if not doubts and not workloads and when.canary is None:
                doubts = list(self._selector(bound.scope))
            self._known[key] = Coverage("", pods, workloads, tuple(doubts))
        known = self._known[key]
        return Coverage(bound.name, known.pods, known.workloads, known.doubts)

    def _spaces(self, scope: Scope) -> list[str]:
        if ANYWHERE not in scope.namespaces:
            return list(scope.namespaces)
        return sorted({*self._pods, *self._deployments})

    def _in(self, scope: Scope) -> tuple[int, int]:
        """The pods that the scope selects; their workloads, and the Deployments that it selects by their own labels."""
        selector = None if scope.selector is None else scope.selector.struct
        pods, workloads = 0, set[str]()
        for namespace in self._spaces(scope):
            for pod in self._pods.get(namespace, ()):
                if selector is None or matches(selector, pod.metadata.labels):
                    pods += 1
                    workloads.add(self._view.workload_uid(pod) or pod.metadata.uid)
            for deployment in self._deployments.get(namespace, ()):
                if selector is None or matches(selector, deployment.metadata.labels):
                    workloads.add(deployment.metadata.uid)
        return pods, len(workloads)

    def _canary(self, bound: BoundRule, named: Iterable[str]) -> tuple[int, int]:
        """The pods of the canary and of stable."""
        uids = {
            deployment.metadata.uid
            for namespace in self._spaces(bound.scope)
            for deployment in self._deployments.get(namespace, ())
            if deployment.metadata.name in named
        }
        pods = sum(
            self._view.workload_uid(pod) in uids for space in self._spaces(bound.scope) for pod in self._pods.get(space, ())
        )
        return pods, len(uids)

    # what is wrong

    def _namespaces(self, scope: Scope) -> Iterator[str]:
        existing = self._view.names(Namespace)
        for namespace in scope.namespaces:
            if namespace == ANYWHERE:
                continue
            if self._watched and namespace not in self._watched:
                yield f"healer does not watch the namespace {namespace!r}: cluster.namespaces has {_some(self._watched)}"
            elif existing and namespace not in existing:
                yield f"there is no namespace {namespace!r}{_meant(namespace, existing)}"

    def _absent(self, scope: Scope, named: Iterable[str]) -> Iterator[str]:
        """Deployments that the rule names and that are not there."""
        spaces = self._spaces(scope)
        there = {each.metadata.name for namespace in spaces for each in self._deployments.get(namespace, ())}
        for name in named:
            if name not in there:
                yield f"there is no deployment {name!r} in {_where(scope)}{_meant(name, there)}"

    def _selector(self, scope: Scope) -> Iterator[str]:
        """Which requirement no pod meets; where each is met by some, that no pod meets all."""
        pods = [pod.metadata.labels for namespace in self._spaces(scope) for pod in self._pods.get(namespace, ())]
        if not pods:
            yield f"there is no pod in {_where(scope)}"
            return
        if scope.selector is None:
            return
        unmet = list(_unmet(scope.selector.struct, pods, _where(scope)))
        yield from unmet or [f"no pod in {_where(scope)} meets all of the selector, though each of its parts is met by some"]


def differs(scope: Scope, namespace: str, labels: Mapping[str, str]) -> str:
    """What keeps an object of that namespace with these labels out of a scope, in words; empty when it is in it."""
    if not scope.covers(namespace):
        return f"its namespace is {namespace}, and the scope is {_some(scope.namespaces)}"
    if scope.selector is None:
        return ""
    selector = scope.selector.struct
    for key, value in selector.match_labels.items():
        if labels.get(key) != value:
            has = f"is {labels[key]!r}" if key in labels else f"is missing{_meant(key, labels)}"
            return f"its label {key!r} {has}, and the selector wants {value!r}"
    for requirement in selector.match_expressions:
        if not matches(LabelSelector({}, (requirement,)), labels):
            return f"its label {requirement.key!r} does not meet {_written(requirement)}"
    return ""


def _deployments_named(bound: BoundRule) -> list[str]:
    when = bound.rule.when
    if when.canary is not None:
        return [when.canary.stable.deployment, when.canary.canary.deployment]
    return [when.query.deployment or ""] if when.query is not None else []


def _unmet(selector: LabelSelector, pods: Sequence[Mapping[str, str]], where: str) -> Iterator[str]:
    keys = {key for labels in pods for key in labels}
    for key, value in selector.match_labels.items():
        values = sorted({labels[key] for labels in pods if key in labels})
        if not values:
            yield f"no pod in {where} has a label {key!r}{_meant(key, keys)}"
        elif value not in values:
            yield f"no pod in {where} has {key}={value}{_meant(value, values)}; there are {_some(values)}"
    for requirement in selector.match_expressions:
        if not any(matches(LabelSelector({}, (requirement,)), labels) for labels in pods):
            yield f"no pod in {where} meets {_written(requirement)}"


def _written(requirement: LabelRequirement) -> str:
    values = f" ({', '.join(requirement.values)})" if requirement.values else ""
    return f"{requirement.key} {requirement.operator}{values}"


def _where(scope: Scope) -> str:
    return "the cluster" if ANYWHERE in scope.namespaces else _some(scope.namespaces)


def _some(names: Iterable[str]) -> str:
    names = sorted(names)
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _meant(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, sorted(known)[:1000], n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""
