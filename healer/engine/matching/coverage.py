"""What each rule guards: the pods and workloads of its scope that it could treat now, and why there are none where it has none.

A rule whose scope has a misspelt namespace or label is right as a text, and guards nothing: nobody would know until the night it
is needed.
"""

import difflib
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from healer.engine.matching.fit import pages
from healer.model.kube import LabelRequirement, LabelSelector, Namespace, Pod, matches
from healer.model.view import View
from healer.model.workload import SupportedKind, Workload
from healer.rules.form import ANYWHERE
from healer.rules.named_workload import NamedWorkload
from healer.rules.rulebook import BoundRule
from healer.rules.scope import Scope

_NAMED = 3
"""Values of a label that a text names."""


"""The kind and the name of a workload."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """How many pods and workloads a rule could treat, and in words what keeps it from treating more than none.

    A rule that pages treats all of its scope: people can be told of anything. `watched`: the workloads in the scope that no step
    of the rule can act on, for what owns them; a pod that nobody owns is one.
    """

    rule: str
    pods: int
    workloads: int
    doubts: tuple[str, ...]
    watched: int = 0

    def __str__(self) -> str:
        text = f"{self.rule} covers {counted(self.pods, 'pod')} of {counted(self.workloads, 'workload')}"
        if not self.watched:
            return text
        kind = "a kind" if self.watched == 1 else "kinds"
        return f"{text} (and {counted(self.watched, 'workload')} of {kind} that healer cannot act on)"


def counted(number: int, what: str) -> str:
    """ "1 pod", "3 pods"."""
    return f"{number} {what}" + ("" if number == 1 else "s")


class Covering:
    """The pods and workloads of a view as they are now, by namespace, so that each rule is asked only of its own.

    `watched`: the namespaces that healer watches; empty for all. One object serves all rules of one look, and no later one.
    """

    def __init__(self, view: View, watched: Collection[str] = ()) -> None:
        self._view = view
        self._watched = frozenset(watched)
        self._pods: dict[str, list[Pod]] = defaultdict(list)
        self._workloads: dict[str, list[Workload]] = defaultdict(list)
        for pod in view.pods():
            if not pod.finished:
                self._pods[pod.metadata.namespace].append(pod)
        for workload in view.workloads():
            if view.workload_of(workload) != workload.target:
                continue  # a part of another one
            self._workloads[workload.metadata.namespace].append(workload)
        self._known: dict[str, Coverage] = {}

    def of(self, bound: BoundRule) -> Coverage:
        """What a rule covers. Costs a look at each pod of its namespaces, once for all rules of the same scope."""
        when = bound.rule.when
        named = when.workloads
        key = f"{bound.scope!r} {named} {pages(bound)} {when.trigger.of_pods}"
        if key not in self._known:
            untreated = dict[str, str]()
            of_pods = when.trigger.of_pods
            pods, workloads = self._in(bound, untreated) if of_pods else self._of_workloads(bound.scope, named)
            doubts = [*self._namespaces(bound.scope), *self._absent(bound.scope, named)]
            if not doubts and not workloads and not (named and not of_pods):
                none = [_none_treated(untreated.values(), self._view.supported_kinds)] if untreated else []
                doubts = none or list(self._selector(bound.scope, self._labels(bound.scope, of_pods), of_pods))
            self._known[key] = Coverage("", pods, workloads, tuple(doubts), len(untreated))
        return replace(self._known[key], rule=bound.name)

    def _spaces(self, scope: Scope) -> list[str]:
        if ANYWHERE not in scope.namespaces:
            return list(scope.namespaces)
        return sorted({*self._pods, *self._workloads})

    def _in(self, bound: BoundRule, untreated: dict[str, str]) -> tuple[int, int]:
        """The pods that the scope selects; their workloads, and those that it selects by their own labels.

        Those that the rule's steps cannot act on go to `untreated`, by uid, with the kind of their owner.
        """
        all_of_it = pages(bound)
        pods, kinds = 0, dict[str, str]()
        for namespace in self._spaces(bound.scope):
            for pod in self._pods.get(namespace, ()):
                if self._selects(bound.scope, self._owner(pod), pod.metadata.labels):
                    uid = self._view.workload_uid(pod) or pod.metadata.uid
                    if uid not in kinds:
                        kinds[uid] = self._owner(pod)
                    pods += all_of_it or kinds[uid] in self._view.supported_kinds
            for workload in self._workloads.get(namespace, ()):
                if self._selects(bound.scope, workload.kind, workload.metadata.labels):
                    kinds[workload.metadata.uid] = workload.kind
        if not all_of_it:
            untreated |= {uid: kind for uid, kind in kinds.items() if kind not in self._view.supported_kinds}
        return pods, len(kinds) - len(untreated)

    def _selects(self, scope: Scope, kind: str, labels: Mapping[str, str]) -> bool:
        """Whether a scope covers an object with these labels, whose workload is of that kind."""
        covered = scope.covers_kind(kind, self._view.supported_kinds)
        return covered and (scope.selector is None or matches(scope.selector.struct, labels))

    def _owner(self, pod: Pod) -> str:
        """The kind of the pod's workload; "" when nobody owns it. Where its ReplicaSet is not known, one that healer treats is
        expected."""
        top = self._view.workload_of(pod)
        if top is not None:
            return top.kind
        return "" if pod.metadata.controller is None else next(iter(self._view.supported_kinds), "")

    def _of_workloads(self, scope: Scope, named: Collection[NamedWorkload]) -> tuple[int, int]:
        """The pods of the workloads that the rule names (a canary and its stable), else of those that its scope selects."""
        uids = {
            workload.metadata.uid
            for namespace in self._spaces(scope)
            for workload in self._workloads.get(namespace, ())
            if (
                NamedWorkload(workload.metadata.name, workload.kind) in named
                if named
                else self._selects(scope, workload.kind, workload.metadata.labels)
            )
        }
        pods = sum(self._view.workload_uid(pod) in uids for space in self._spaces(scope) for pod in self._pods.get(space, ()))
        return pods, len(uids)

    def _labels(self, scope: Scope, of_pods: bool) -> list[Mapping[str, str]]:
        """The labels of all pods, or workloads, in the namespaces of a scope."""
        held: Mapping[str, Sequence[Pod | Workload]] = self._pods if of_pods else self._workloads
        return [each.metadata.labels for namespace in self._spaces(scope) for each in held.get(namespace, ())]

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

    def _absent(self, scope: Scope, named: Iterable[NamedWorkload]) -> Iterator[str]:
        """Workloads that the rule names and that are not there."""
        spaces = self._spaces(scope)
        there = {(each.kind, each.metadata.name) for namespace in spaces for each in self._workloads.get(namespace, ())}
        for each in named:
            if (each.kind, each.name) not in there:
                near = _meant(each.name, [other for of, other in there if of == each.kind])
                yield f"there is no {each.kind.lower()} {each.name!r} in {_where(scope)}{near}"

    def _selector(self, scope: Scope, labels: Sequence[Mapping[str, str]], of_pods: bool) -> Iterator[str]:
        """Which requirement none of these pods, or workloads, meets; where each is met by some, that none meets all."""
        what = "pod" if of_pods else "workload"
        if not labels:
            yield f"there is no {what} in {_where(scope)}"
            return
        if scope.selector is None:
            return
        unmet = list(_unmet(scope.selector.struct, labels, what, _where(scope)))
        yield from unmet or [f"no {what} in {_where(scope)} meets all of the selector, though each of its parts is met by some"]


def differs(
    scope: Scope, namespace: str, labels: Mapping[str, str], kind: str, supported_kinds: Mapping[str, SupportedKind]
) -> str:
    """What keeps an object of that namespace with these labels out of a scope, in words; empty when it is in it.

    `kind` is that of its workload; "" where it is not known.
    """
    if not scope.covers(namespace):
        return f"its namespace is {namespace}, and the scope is {_some(scope.namespaces)}"
    if kind and not scope.covers_kind(kind, supported_kinds):
        return f"its workload is a {kind}, and the scope {scope.kinds_phrase}"
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


def _none_treated(kinds: Iterable[str], treated: Iterable[str]) -> str:
    named = sorted({kind or "pods that nobody owns" for kind in kinds})
    acts_on = ", ".join(f"{kind}s" for kind in treated)
    return f"healer cannot act on anything in its scope: it acts on {acts_on}, and there are {', '.join(named)}"


def _unmet(selector: LabelSelector, found: Sequence[Mapping[str, str]], what: str, where: str) -> Iterator[str]:
    keys = {key for labels in found for key in labels}
    for key, value in selector.match_labels.items():
        values = sorted({labels[key] for labels in found if key in labels})
        if not values:
            yield f"no {what} in {where} has a label {key!r}{_meant(key, keys)}"
        elif value not in values:
            yield f"no {what} in {where} has {key}={value}{_meant(value, values)}; there are {_some(values)}"
    for requirement in selector.match_expressions:
        if not any(matches(LabelSelector({}, (requirement,)), labels) for labels in found):
            yield f"no {what} in {where} meets {_written(requirement)}"


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
