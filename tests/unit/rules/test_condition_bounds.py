"""What a condition may cost: what could hold the loop is refused when it is read, and too large facts are not looked at."""

import re

import pytest

from healer.rules.condition import CelCondition, ConditionError, ConditionFailed
from healer.rules.condition_bounds import OF_FILES, OF_TENANTS, ConditionBounds
from healer.rules.triggers import ALERT, POD

LABELS = "pod.labels"
ORDINARY = (
    "(?i)(out of memory|oom|cuda error|nccl timeout|ecc error)",
    "(?i)(retrying|recovered|warning only|will restart)",
    "(?i)(NCCL|CUDA).*(timeout|error)",
    "(?i)(out of memory|cuda error|nccl (timeout|error)|xid [0-9]+|uncorrectable ecc)",
    "(?i).*(CUDA error: an illegal memory access was encountered|CUDA out of memory|NCCL error|ncclUnhandledCudaError).*",
)
NESTED_3 = f"{LABELS}.all(a, {LABELS}.exists(b, {LABELS}.exists_one(c, a == b || c == a)))"


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        (NESTED_3, "are nested deeper than 2"),
        (f"{LABELS}.map(a, {LABELS}.map(b, {LABELS}.map(c, a))).size() > 0", "are nested deeper than 2"),
        (f"{LABELS} .map (a, ({LABELS}. filter( b, [1, 2].all (c, c > 0)))).size() > 0", "are nested deeper than 2"),
        (f"{LABELS}.map(a, {LABELS}.map(b, signal.message + signal.message + a + b)).size() > 0", "more than 2 sums inside"),
        (f"[{LABELS}].all(m, m.map(a, {{a: signal.message + signal.message + signal.message + a}}).size() > 0)", "2 sums inside"),
        (f"{LABELS}.exists(a, signal.message.matches(a))", "the pattern of matches() is not known"),
        ("pod.name.matches('^' + pod.namespace)", "the pattern of matches() is not known"),
        ("matches(pod.name, pod.namespace)", "the pattern of matches() is not known"),
        ("pod.name == '''a' ''' || pod.name.matches(pod.node) || pod.name == '''b' '''", "the pattern of matches() is not known"),
        ("pod.name.matches(// 'x'\n pod.node)", "the pattern of matches() is not known"),
        ("pod.name.matches('.{900}z')", "the condition may take"),
        ("pod.name.matches('((a?){30}){30}b')", "the condition may take"),
        (r"pod.name.matches('\\pL{300}b')", "the condition may take"),
        (r"pod.name.matches('(?:x{30}\\Q)\\E){30}y')", "the condition may take"),
        (" || ".join(["signal.message.matches('.{90}z')"] * 20), "the condition may take"),
        (f"{LABELS}.exists(a, signal.message.matches('[a-z]{{9}}x'))", "the condition may take"),
        (f"{LABELS}.exists(a, {LABELS}.exists(b, a.matches('x')))", "the condition may take"),
        (f"{LABELS}.exists(a, {LABELS}.exists(b, signal.message.contains(a + b)))", "the condition may take"),
        (
            f"{LABELS}.exists(a, {LABELS}.exists(b, signal.message.size() == pod.name.size() + pod.node.size()))",
            "the condition may take",
        ),
        (f"{LABELS}.exists(a, {' || '.join(['signal.message.contains(a)'] * 15)})", "the condition may take"),
        (f"pod.name.matches('{'.{900}zz' * 20}')", "the condition may take"),
        (f"pod.name.matches('{'(a?){900}b' * 50}')", "the condition may take"),
        (rf"pod.name.matches('[\\pL\\pN]{{200}}{'x' * 100}')", "the condition may take"),
        (f"{LABELS}.all(a, {' && '.join([f'{LABELS} in [workload.labels]'] * 20)})", "the condition may take"),
        (f"dyn({LABELS}) == dyn(workload.labels)", "the condition may take"),
        (f"dyn({LABELS}) in [dyn(workload.labels)]", "the condition may take"),
        (f"(true ? dyn({LABELS}) : 1) != (true ? dyn({LABELS}) : 1)", "the condition may take"),
        (f"[dyn({LABELS})][0] == [dyn({LABELS})][0]", "the condition may take"),
        (f"[{LABELS}] == [{LABELS}]", "the condition may take"),
        (f"{LABELS}.map(a, {LABELS}) == {LABELS}.map(a, {LABELS})", "the condition may take"),
        (f"{LABELS}.all(a, {' && '.join([f'{LABELS} == {LABELS}'] * 20)})", "the condition may take"),
        (f"{LABELS}.all(a, {LABELS}.all(b, {' && '.join(['bytes(a) != bytes(b)'] * 2)}))", "the condition may take"),
        (f"{LABELS}.all(a, {' && '.join(['timestamp(a).getHours(a) != 7'] * 9)})", "the condition may take"),
        ("pod.ready" + " || pod.ready" * 100, "more than 1024 characters"),
        ("(" * 600 + "pod.ready" + ")" * 600, "more than 1024 characters"),
    ],
)
def test_what_could_cost_too_much_is_refused_in_what_tenants_write(expression: str, message: str) -> None:
    with pytest.raises(ConditionError, match=re.escape(message)) as refused:
        CelCondition(expression, POD, OF_TENANTS)
    assert refused.value.hint


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        (f"pod.name.matches('{'x' * 1025}')", "the pattern of matches() has more than 1024 characters"),
        ("pod.name.matches(pod.node)", "the pattern of matches() is not known"),
        (r"pod.name.matches('\\pL{300}b')", "the condition may take"),
        (" || ".join(["signal.message.matches('.{30}z')"] * 200), "the condition may take"),
        (f"{LABELS}.all(a, {' && '.join([f'{LABELS} in [workload.labels]'] * 220)})", "the condition may take"),
        (f"{LABELS}.all(a, dyn({LABELS}) == dyn(workload.labels))", "the condition may take"),
        ("pod.ready" + " || pod.ready" * 1000, "more than 8192 characters"),
        ("(" * 5000 + "pod.ready" + ")" * 5000, "more than 8192 characters"),
    ],
)
def test_of_an_operators_rules_what_is_absurd_is_refused(expression: str, message: str) -> None:
    with pytest.raises(ConditionError, match=re.escape(message)) as refused:
        CelCondition(expression, POD)
    assert refused.value.hint


@pytest.mark.parametrize("bounds", [OF_FILES, OF_TENANTS])
@pytest.mark.parametrize(
    "expression",
    [
        *(f"signal.message.matches('{pattern}')" for pattern in ORDINARY),
        f"signal.message.matches('{ORDINARY[0]}') && !signal.message.matches('{ORDINARY[1]}')",
        f"{LABELS}.exists(a, {LABELS}[a].matches('^(prod|stage)-[a-z0-9]+$')) && signal.message.matches('{ORDINARY[2]}')",
        f"{LABELS}.exists(a, a.matches('^app(-.*)?$')) && signal.message.matches('(?i)timeout|deadline exceeded')",
        r"signal.message.matches('[\\p{L} ]+ failed')",
        r"signal.message.matches('\\p{L}+')",
        "signal.message.matches('^.{0,200}timeout.{0,200}$')",
        f"{LABELS} == workload.labels && {LABELS} != {{}} && {LABELS}.map(a, a) != []",
        f"{LABELS}.app in ['a', 'b'] && {LABELS}.all(a, a in workload.labels && a in ['app', 'team'])",
        "pod.age > duration('10m') && dyn(pod.phase) == 'Running' && pod.phase in ['Running', 'Failed']",
        f"{LABELS}.all(a, {LABELS}.exists(b, a == b))",
        f"{LABELS}.exists(a, a == 'x.all(b.all(c.all(') && {LABELS}.exists(a, a != '+++')",
        f"{LABELS}.map(a, a).filter(b, b != '').exists(c, c == 'app') && {LABELS}.all(a, true)",
        f"{LABELS}.exists(a, a.matches('^app-') || {LABELS}[a].matches('^gpu-.'))",
        f"{LABELS}.exists(a, a.startsWith('app') && {LABELS}[a].contains('canary'))",
        "pod.name.matches(r'^llama-[0-9a-f]+-[a-z0-9]{5}$')",
        "signal.message.matches('(?i)(cuda|nccl|xid).*(error|timeout|out of memory)')",
        f"signal.message.matches('{'|'.join(f'error number {number}' for number in range(50))}')",
        "pod.restarts + pod.restarts + pod.restarts + pod.restarts > 3",
        "pod.name.startsWith(pod.namespace + '-')",
    ],
)
def test_what_rules_need_is_not_refused(expression: str, bounds: ConditionBounds) -> None:
    CelCondition(expression, POD, bounds)


def alert(labels: dict[str, str], annotations: dict[str, str]) -> dict[str, object]:
    return {"alert.labels": labels, "alert.annotations": annotations}


def test_more_than_a_condition_may_see_is_not_evaluated_and_said() -> None:
    condition = CelCondition("alert.labels.exists(a, a == 'k1')", ALERT)
    with pytest.raises(ConditionFailed, match=r"alert\.labels has 5000 keys, and a condition sees at most 128"):
        condition.holds(alert({f"k{number}": "" for number in range(5000)}, {}))
    with pytest.raises(ConditionFailed, match=r"alert\.labels has \d+ characters, and a condition sees at most 16384"):
        condition.holds(alert({f"k{number}": "x" * 1000 for number in range(100)}, {}))


def test_only_what_an_expression_names_is_looked_at() -> None:
    """An alert with a long description is judged by its labels all the same."""
    many = {f"k{number}": "x" * 5000 for number in range(5000)}
    assert CelCondition("alert.labels.team == 'ml'", ALERT).holds(alert({"team": "ml"}, many))


def test_a_long_text_is_cut() -> None:
    facts = alert({}, {"description": "x" * 100_000 + "end"})
    assert CelCondition("alert.annotations.description.size() == 1024", ALERT).holds(facts)


def test_the_largest_facts_run_out_of_rounds() -> None:
    """All that a condition may see, in macros as deep as they may be: CEL gives up, and the rule has not matched."""
    condition = CelCondition("alert.labels.all(a, alert.labels.all(b, a != b || a == b))", ALERT)
    facts = alert({f"{number:03}": "x" * 100 for number in range(128)}, {})
    with pytest.raises(ConditionFailed, match=r"[Bb]udget"):
        condition.holds(facts)
