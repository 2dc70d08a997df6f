"""The CEL expression of a rule's `if`: compiled when the rule is read, evaluated on the facts of a signal.

Variables are declared by their dotted names with exact types, so that a misspelt variable or a wrong type is an error when the
rule is read.
"""

import difflib
import re
from collections.abc import Mapping
from datetime import timedelta
from functools import cache, lru_cache
from typing import Any

from cel_expr_python import cel

from healer.model.kube import Pod
from healer.model.signal import Signal
from healer.model.target import Target
from healer.model.view import View, epoch
from healer.model.workload import Workload
from healer.rules import condition_bounds
from healer.rules.condition_bounds import OF_FILES, ConditionBounds
from healer.rules.triggers import LABELS, TRIGGERS, Trigger

COMMON: dict[str, tuple[cel.Type, str]] = {
    "pod.name": (cel.Type.STRING, "the pod's name"),
    "pod.namespace": (cel.Type.STRING, "its namespace"),
    "pod.node": (cel.Type.STRING, 'the node it is on; "" before it is scheduled'),
    "pod.phase": (cel.Type.STRING, "Pending, Running, Succeeded, Failed or Unknown"),
    "pod.reason": (
        cel.Type.STRING,
        'why it is as it is: status.reason, else that of the first container that waits or ended; else ""',
    ),
    "pod.ready": (cel.Type.BOOL, "whether it serves"),
    "pod.wasReady": (cel.Type.BOOL, "whether it is not ready, and its processes that run now were"),
    "pod.restarts": (cel.Type.INT, "restarts of all its containers over its life"),
    "pod.maxRestarts": (cel.Type.INT, "restarts of its most restarted container over its life"),
    "pod.age": (cel.Type.DURATION, "since its creation; compare with duration('10m')"),
    "pod.labels": (LABELS, "its labels"),
    "workload.kind": (cel.Type.STRING, "the kind of the top controller, such as Deployment"),
    "workload.name": (cel.Type.STRING, "its name"),
    "workload.namespace": (cel.Type.STRING, "its namespace"),
    "workload.replicas": (cel.Type.INT, "desired replicas; only of a workload that healer treats"),
    "workload.ready": (cel.Type.INT, "ready replicas; only of a workload that healer treats"),
    "workload.labels": (LABELS, "its labels; only of a workload that healer treats"),
    "signal.name": (cel.Type.STRING, "the condition or the alert that was seen"),
    "signal.message": (cel.Type.STRING, "what the source said about it"),
}
"""The variables of every rule: name -> type, meaning. A trigger has further ones of its own, and none of a pod where it is about
no pods."""
_OF_POD = "pod."

_ERROR = re.compile(r"ERROR: <input>:(\d+):(\d+): (.*?)(?=\n |\nERROR:| \[INVALID_ARGUMENT\]|$)", re.DOTALL)
_EXPECTING = re.compile(r" expecting \{.*\}", re.DOTALL)
_UNDECLARED = re.compile(r"undeclared reference to '([\w.]+)'")
_CODE = re.compile(r"^[A-Z_]+: | \[[A-Z_]+\]$")
_ABSENT = re.compile(r'No value with name "([\w.]+)"')
_STRING = r"""[rR]?(?:'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*")"""
_LITERAL = re.compile(rf"(?:\b(duration|timestamp|matches)\s*\(\s*({_STRING})\s*\))|{_STRING}")
_TEXT = re.compile(_STRING)
_OVERLOAD = re.compile(r"found no matching overload for '([^']+)' applied to '\(([^']*)\)'")
_NO_NULL = "nothing here is null: a text that is not there is empty, pod.reason == ''"
_WORD_OPERATORS = {
    "and": "CEL writes && for and",
    "or": "CEL writes || for or",
    "not": "CEL writes ! for not: !pod.ready",
    "true": "CEL writes true",
    "false": "CEL writes false",
    "none": _NO_NULL,
    "null": _NO_NULL,
    "nil": _NO_NULL,
    "is": "CEL compares with ==: pod.phase == 'Pending'",
    "in": "CEL writes in, in small letters: pod.phase in ['Pending', 'Failed']",
}
"""By the word in lower case."""
_WORD_OPERATOR = re.compile(r"(?<![.\w])((?i:and|or|not|is)|I[nN]|iN)(?![.\w])")
_SINGLE_EQUALS = re.compile(r"(?<![=!<>])=(?![=~])")
_TYPE_NAMES = {
    "bool": "a true-or-false",
    "string": "a text",
    "int": "a whole number",
    "double": "a number with decimals",
    "null_type": "null",
}
_HAS_VARIABLE = re.compile(r"\bhas\s*\(\s*(\w+\.\w+)\s*\)")


class ConditionError(ValueError):
    """An expression that cannot be used. `line` and `column` count from 1 within the expression."""

    def __init__(self, message: str, hint: str = "", line: int = 1, column: int = 1) -> None:
        super().__init__(message)
        self.hint, self.line, self.column = hint, line, column


class ConditionFailed(Exception):
    """An expression cannot be evaluated on these facts, and why. The rule does not match then."""


class CelCondition:
    """A compiled expression. Raises ConditionError when `expression` cannot be compiled, or is not true or false,
    or could cost more than `bounds`."""

    def __init__(self, expression: str, trigger: Trigger[Any], bounds: ConditionBounds = OF_FILES) -> None:
        self.expression = expression
        self.trigger = trigger
        self.longest: float
        """How many milliseconds it may take for one signal."""
        self._compiled, self.longest = _compile(expression, trigger, bounds)

    def holds(self, facts: Mapping[str, object]) -> bool:
        """Whether the expression is true of the facts (see `facts`). Raises ConditionFailed when it cannot be evaluated."""
        try:
            return _evaluate(self._compiled, condition_bounds.seen(facts, self.expression))
        except condition_bounds.TooLarge as error:
            raise ConditionFailed(str(error)) from None


def variables(trigger: Trigger[Any]) -> dict[str, tuple[cel.Type, str]]:
    """What an expression in a rule with that trigger may speak of: name -> type, meaning."""
    common = {name: said for name, said in COMMON.items() if trigger.of_pods or not name.startswith(_OF_POD)}
    return common | {name: (variable.kind, variable.meaning) for name, variable in trigger.variables.items()}


@cache
def _env(trigger: Trigger[Any]) -> cel.Env:
    return cel.NewEnv(variables={name: kind for name, (kind, _) in variables(trigger).items()})


@lru_cache(256)
def _compile(expression: str, trigger: Trigger[Any], bounds: ConditionBounds) -> tuple[cel.Expression, float]:
    """The compiled expression, and how many milliseconds it may take. Each one is checked, and then used."""
    try:
        condition_bounds.check_length(expression, bounds)
        compiled = _env(trigger).compile(expression)
        longest = condition_bounds.longest(compiled.serialize(), bounds)
    except condition_bounds.TooCostly as error:
        raise ConditionError(str(error), error.hint, *_position(expression, error.offset)) from None
    except RuntimeError as error:  # the only class that the library raises
        raise _explained(str(error), expression, trigger) from None
    kind = compiled.return_type()
    if kind != cel.Type.BOOL:
        raise ConditionError(f"the expression is {_said(kind)}, not true or false", "compare it with something")
    for found in _HAS_VARIABLE.finditer(expression):
        if found[1] in variables(trigger):
            hint = "has() is for the keys of a map: has(pod.labels.app)"
            raise ConditionError(
                f"has({found[1]}) asks nothing: the variable is always declared", hint, *_position(expression, found.start())
            )
    _check_literals(expression, trigger)
    return compiled, longest


def _evaluate(compiled: cel.Expression, facts: Mapping[str, object]) -> bool:
    """The library returns an error as a value, but raises when it gives up (an expression that runs too long)."""
    try:
        answer = compiled.eval(data=facts)
    except RuntimeError as error:
        raise ConditionFailed(_in_words(str(error))) from None
    if answer.type() != cel.Type.BOOL:
        raise ConditionFailed(_in_words(str(answer.value())))
    return bool(answer.value())


def _check_literals(expression: str, trigger: Trigger[Any]) -> None:
    """Check the texts in duration('...'), timestamp('...') and matches('...'): CEL reads them only at run time."""
    for found in _LITERAL.finditer(expression):
        function, literal = found[1], found[2]
        if function is None:
            continue
        call = f"''.matches({literal})" if function == "matches" else f"{function}({literal}) == {function}({literal})"
        try:
            _evaluate(_env(trigger).compile(call), {})
        except ConditionFailed as error:
            hint = "such as duration('90s') or duration('1h30m')" if function == "duration" else ""
            raise ConditionError(f"{function}({literal}): {error}", hint, *_position(expression, found.start(2))) from None


def _explained(text: str, expression: str, trigger: Trigger[Any]) -> ConditionError:
    """The first of the compiler's errors, with a hint."""
    found = _ERROR.search(text)
    if found is None:
        return ConditionError(text)
    line, column, message = int(found[1]), int(found[2]), found[3].strip()
    undeclared = _UNDECLARED.search(message)
    if undeclared is None:
        message = _EXPECTING.sub("", message).replace("'<EOF>'", "end of the expression")
        overload = _OVERLOAD.search(message)
        if overload is not None:
            return ConditionError(*_mismatch(overload[1], overload[2]), line, column)
        return ConditionError(message[0].lower() + message[1:], _foreign(expression), line, column)
    name = undeclared[1]
    if name.lower() in _WORD_OPERATORS:
        column_of = expression.split("\n")[line - 1].find(name) + 1
        return ConditionError(f"there is no variable {name!r}", _WORD_OPERATORS[name.lower()], line, column_of or column)
    # CEL points at the last dot; people look for the beginning of the word.
    start = expression.split("\n")[line - 1].rfind(name, 0, column - 1 + len(name))
    return ConditionError(f"there is no variable {name!r}", _meant(name, trigger), line, start + 1 if start >= 0 else column)


def _foreign(expression: str) -> str:
    """A hint when the expression, outside of its texts, is written as in another language; "" else."""
    bare = _TEXT.sub("''", expression)
    if (word := _WORD_OPERATOR.search(bare)) is not None:
        return _WORD_OPERATORS[word[1].lower()]
    if "<>" in bare:
        return "CEL writes != for <>"
    if _SINGLE_EQUALS.search(bare):
        return "CEL compares with ==: pod.phase == 'Pending'"
    return ""


def _mismatch(operator: str, types: str) -> tuple[str, str]:
    """What is wrong with operands whose types do not fit, and what to write instead."""
    sign = operator.strip("_@")
    operands = [kind.strip() for kind in types.split(",")]
    message = f"{sign!r} cannot be applied to {' and '.join(_TYPE_NAMES.get(kind, kind) for kind in operands)}"
    match set(operands):
        case kinds if "null_type" in kinds:
            return message, _NO_NULL
        case kinds if kinds == {"bool", "string"}:
            return message, "true and false stand without quotes: pod.ready == false, or !pod.ready"
        case kinds if kinds == {"int", "string"}:
            return message, "a number stands without quotes: pod.restarts >= 5"
        case kinds if kinds == {"int", "double"}:
            return message, "compare with a whole number: pod.restarts >= 5"
        case kinds if any("duration" in kind.lower() for kind in kinds):
            return message, "compare a duration with a duration: pod.age > duration('10m')"
    return message, "compare values of one type; docs/rules.md has the type of each variable"


def _meant(name: str, trigger: Trigger[Any]) -> str:
    if name.startswith(_OF_POD) and not trigger.of_pods:
        return f"a rule on {trigger.name!r} is about workloads, and not about one pod: ask for workload.ready or workload.labels"
    for other in TRIGGERS.values():
        if other is not trigger and any(name == known or name.startswith(f"{known}.") for known in other.variables):
            return f"{name} is for rules with the trigger `{other.name}`"
    known = variables(trigger)
    family = sorted(other for other in known if other.partition(".")[0] == name.partition(".")[0])
    # Names of a family are alike because of their common beginning: compare the rest.
    tails = {other.partition(".")[2]: other for other in family}
    near = difflib.get_close_matches(name.partition(".")[2], tails, n=1) if family else []
    close = [tails[tail] for tail in near] or difflib.get_close_matches(name, known, n=1, cutoff=0.8)
    return f"did you mean {close[0]}?" if close else f"known here: {', '.join(family or sorted(known))}"


def _position(expression: str, offset: int) -> tuple[int, int]:
    before = expression[:offset]
    return before.count("\n") + 1, offset - (before.rfind("\n") + 1) + 1


def _said(kind: cel.Type) -> str:
    return f"of type {kind.name().lower()}"


def _in_words(error: str) -> str:
    """A run-time error of CEL's, for people."""
    absent = _ABSENT.search(error)
    if absent:
        return f"{absent[1]} is not known of this target"
    return _CODE.sub("", error)


def facts(signal: Signal, view: View, now: float, fresh: Pod | Workload | None = None) -> dict[str, object]:
    """The variables of a signal, from the view. `now` is in seconds since the epoch. Unknown ones are left out.

    `fresh` is the signal's target as it was just read; by default it is the one of the view.
    """
    known: dict[str, object] = {"signal.name": signal.name, "signal.message": signal.message}
    own = {name: variable.value(signal) for name, variable in TRIGGERS[signal.source].variables.items()}
    known |= {name: value for name, value in own.items() if value is not None}
    target = fresh or view.find(signal.target)
    if isinstance(target, Pod):
        known |= _of_pod(target, now)
        workload = view.workload_of(target)
        if workload is not None:
            known |= _of_workload(workload, view.workload(workload.uid))
    elif signal.target.kind != "Pod":
        known |= _of_workload(signal.target, target)
    return known


def _of_pod(pod: Pod, now: float) -> dict[str, object]:
    meta, created = pod.metadata, epoch(pod.metadata.creation_timestamp)
    known: dict[str, object] = {
        "pod.name": meta.name,
        "pod.namespace": meta.namespace,
        "pod.node": pod.spec.node_name,
        "pod.phase": pod.status.phase,
        "pod.reason": _reason(pod),
        "pod.ready": pod.ready,
        "pod.wasReady": pod.was_ready,
        "pod.restarts": pod.restarts,
        "pod.maxRestarts": pod.max_restarts,
        "pod.labels": meta.labels,
    }
    if created is not None:
        known["pod.age"] = timedelta(seconds=max(0.0, now - created))
    return known


def _reason(pod: Pod) -> str:
    if pod.status.reason:
        return pod.status.reason
    for status in (*pod.status.init_container_statuses, *pod.status.container_statuses):
        for state in (status.state.waiting, status.state.terminated):
            if state is not None and state.reason and state.reason != "Completed":
                return state.reason
    return ""


def _of_workload(target: Target, workload: Workload | None) -> dict[str, object]:
    known: dict[str, object] = {
        "workload.kind": target.kind,
        "workload.name": target.name,
        "workload.namespace": target.namespace,
    }
    if workload is not None:
        known["workload.replicas"] = workload.desired
        known["workload.ready"] = workload.ready
        known["workload.labels"] = workload.metadata.labels
    return known
