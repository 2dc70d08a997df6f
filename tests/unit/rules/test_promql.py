"""PromQL in rules: what no server reads is an error at its place; what only some servers read, or what surprises, is a remark."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from healer.rules.loading import load, remarks
from healer.rules.operands import without_counterpart
from healer.rules.promql import promql_fault
from tests.unit.rules.actions import VOCABULARY

RULES = """apiVersion: healer.dev/v1alpha1
kind: RuleSet
metadata: {name: test}
spec:
  scope: {namespaces: [production]}
  rules:
    - name: slow
      when:
        query:
          expr: EXPR
          above: 1
      heal: [{page: {}}]
      mode: enforce
"""
CANARY = """apiVersion: healer.dev/v1alpha1
kind: RuleSet
metadata: {name: test}
spec:
  scope: {namespaces: [production]}
  rules:
    - name: canary
      when:
        canary:
          route: {kind: Ingress, name: split}
          stable: {deployment: v1}
          canary: {deployment: v2}
          measures:
            - name: errors
              total: 'increase(requests_total{pod=~"{{ pods }}"}[{{ window }}])'
              bad: 'BAD'
      heal: [{page: {}}]
      mode: enforce
"""


def in_block(expr: str) -> str:
    return RULES.replace("EXPR", "|-\n" + "\n".join(f"            {line}" for line in expr.split("\n")))


def checked(expr: str, **more: str) -> tuple[list[str], list[str]]:
    """The problems and the remarks on a rule with that expression, written as a block."""
    text = in_block(expr)
    for key, value in more.items():
        text = text.replace("above: 1", f"above: 1\n          {key}: {value}")
    rules, problems = load(text, "r.yaml", VOCABULARY)
    return [str(problem) for problem in problems], remarks(rules)


@pytest.mark.parametrize(
    ("expr", "line", "column", "says"),
    [
        ("sum(rate(x[5m])", 11, 16, "'(' is not closed"),
        ("sum(rate(x[5m]))) > 1", 11, 29, "')' closes nothing"),
        ("rate(x[5m)", 11, 22, "')' stands where ']' is needed"),
        ('x{pod="a}', 11, 19, "the text that begins here does not end"),
        ("x{pod=}", 11, 14, "cannot be read from '{pod=}' on"),
        ("sum by (namespace) (\n  rate(x[5m])\n) > > 3", 13, 15, "cannot be read from '>' on"),
        ("x and", 11, 15, "cannot be read from 'and' on"),
        ("sum by namespace (x)", 11, 17, "cannot be read from 'by' on"),
        ('x{a=~"["}', 11, 13, "illegal regex"),
        ("rate(x[$__interval])", 11, 13, "unexpected character inside brackets"),
        ("x[5m]", 11, 13, "a range of values"),
        ("'x'", 11, 13, "a text, not a number"),
        ('x{pod=~"{{ pods }}"}[', 11, 33, "is not closed"),
        ("{{ deployment }}_x", 11, 13, "this is no PromQL"),
    ],
)
def test_what_no_server_reads_is_an_error_where_it_stands(expr: str, line: int, column: int, says: str) -> None:
    """With the line and the column in the file, and a hint."""
    rules, problems = load(in_block(expr), "r.yaml", VOCABULARY)
    assert rules == []
    [problem] = problems
    assert says in problem.message
    assert (problem.line, problem.column) == (line, column)
    assert problem.hint


def test_an_expression_in_quotes_has_its_column_too() -> None:
    [problem] = load(RULES.replace("EXPR", "'sum(x) by (pod'"), "r.yaml", VOCABULARY)[1]
    assert (problem.line, problem.column) == (10, 17 + len("'sum(x) by "))


@pytest.mark.parametrize(
    "expr",
    [
        "ts_of_what_is_to_come(x)",
        "rate(x)",
        "sum(rate(x[5m])) by (namespace, pod) keep_metric_names",
        "WITH (f = x) f",
        "x default 0",
        "rate(x[5i])",
        "x[1h + 5m] / 3",
        "rate(x[5m] smoothed)",
        '{"a.b", namespace="c"} > 1Ki',
        "time() > 5",
        "sum(1)",
        'x{a=~"\\\\Qa.b\\\\E"}',
    ],
)
def test_what_some_server_may_read_is_no_error(expr: str) -> None:
    """Newer functions, MetricsQL: the server that is asked decides, and `check` remarks on it."""
    problems, said = checked(expr)
    assert problems == []
    assert expr.startswith("x{") or any("plain PromQL does not know" in remark for remark in said)


@pytest.mark.parametrize(
    ("expr", "says"),
    [
        ("sum by (namespace, pod) (x) > 0.05", "write the left side of '>' alone as expr, and above: 0.05"),
        ("(sum by (namespace, pod) (x) <= (3))", "write the left side of '<=' alone as expr, and below: 3"),
        ("x == bool 1", "gives 1 or 0"),
        ("x > 1 and y < 3", "write the left side of '>' alone as expr, and above: 1"),
        ("x > y", "and the limit as above or below"),
    ],
)
def test_an_expression_that_compares_by_itself_is_a_remark(expr: str, says: str) -> None:
    """It says what to write instead; the rule holds."""
    problems, said = checked(expr)
    assert problems == []
    [remark] = said
    assert remark.startswith("r.yaml:7: test/slow has an expr that compares by itself")
    assert says in remark


def test_a_limit_on_the_left_is_told_as_it_is_written() -> None:
    assert "write the right side of '<' alone as expr, and above: 0.05" in checked("0.05 < sum by (namespace, pod) (x)")[1][0]
    assert "write the right side of '>=' alone as expr, and below: 3" in checked("3 >= x")[1][0]


@pytest.mark.parametrize(
    "expr",
    [
        "(x > 0.5) * 100",
        "100 * (x > 0.5)",
        "-(x > 0.5)",
        "round(x > 0.5)",
        "clamp_max(x > 0.5, 1)",
        "sum by (namespace, pod) (x > 0.5)",
        "topk(3, x > 0.5)",
        "label_replace(x > 0.5, 'pod', '$1', 'p', '(.*)')",
        "max_over_time((x > 0.5)[5m:30s])",
        "(x > 0.5) / y",
        "sum without (container) (x > 0.5) and y",
        "(x > 0.5) * on (namespace, pod) group_left (node) y",
    ],
)
def test_a_comparison_inside_is_a_remark(expr: str) -> None:
    """Whether there is a series hangs on it, and no value below the limit can be told."""
    problems, [remark] = checked(expr)
    assert problems == []
    assert "test/slow has an expr that compares inside (x{} > 0.5): " in remark
    assert "take the comparison out" in remark


@pytest.mark.parametrize("limit", ["above: 1", "below: -1"])
def test_a_constant_for_want_of_series_is_a_remark(limit: str) -> None:
    """It names no target; a rule that names the Deployment may have it, where it means nothing."""
    text = in_block("sum by (namespace, pod) (x) or vector(0)")
    [remark] = remarks(load(text.replace("above: 1", limit), "r.yaml", VOCABULARY)[0])
    assert "`or vector(0)`: that series has no labels and names no target; write the expr without it" in remark
    named = text.replace("above: 1", f"{limit}\n          deployment: serving")
    assert remarks(load(named, "r.yaml", VOCABULARY)[0]) == []


@pytest.mark.parametrize(("constant", "limit", "says"), [("0", "below: 1", "below 1"), ("(5)", "above: 1", "above 1")])
def test_a_constant_beyond_the_limit_is_no_sickness(constant: str, limit: str, says: str) -> None:
    """Whether the rule names the Deployment or not: it would be sick whenever nothing is."""
    text = in_block(f"(x or vector({constant}))").replace("above: 1", limit)
    for more in ("", "\n          deployment: serving"):
        [remark] = remarks(load(text.replace(limit, limit + more), "r.yaml", VOCABULARY)[0])
        assert f"which is {says} whenever nothing else is there" in remark


@pytest.mark.parametrize(
    "expr",
    [
        "sum(x)",
        "max by (pod) (x)",
        "sum by (namespace, app) (x) / sum by (namespace, app) (y)",
        "histogram_quantile(0.99, sum by (le, namespace) (rate(x[5m])))",
        "scalar(x)",
        "topk(3, sum by (app) (x))",
        "a / on (namespace) b",
        "sum(x) or sum(y)",
        "5",
    ],
)
def test_an_aggregation_that_drops_the_target_is_a_remark(expr: str) -> None:
    """Unless the rule names the Deployment."""
    problems, [remark] = checked(expr)
    assert problems == []
    assert "by (namespace, pod) or by (namespace, deployment)" in remark
    assert checked(expr, deployment="serving") == ([], [])


@pytest.mark.parametrize(
    "expr",
    [
        "x",
        "rate(x[5m])",
        "sum by (namespace, pod) (x) / 3",
        "1 - max by (deployment, namespace) (x)",
        "sum by (namespace, statefulset) (x)",
        "sum without (container) (x)",
        "sum by (namespace, pod, le) (x) * on (namespace, pod) group_left (node) y",
        "label_replace(sum by (namespace, p) (x), 'pod', '$1', 'p', '(.*)')",
        "topk(3, x)",
        "x unless sum(y)",
        "x and y > 3",
        "x unless on (pod) (y > 3)",
        "x / (y > 0)",
        "count by (namespace, pod) (x == 0)",
        "count_over_time((x > 0.5)[1h:])",
        "avg_over_time((x > bool 0.5)[5m:30s])",
        "(x > bool 0.5) + (y > bool 0.5)",
        "absent(x{namespace='a', pod='b'} > 0.5)",
        "x or y",
        "recorded:x:rate5m # a comment (",
    ],
)
def test_nothing_is_said_of_an_expression_as_it_should_be(expr: str) -> None:
    assert checked(expr) == ([], [])


def test_the_measures_of_a_canary_are_read_with_their_places_filled() -> None:
    """A fault stands where it was written, whatever is filled in before it."""
    good = 'increase(errors_total{pod=~"{{ pods }}"}[{{ window }}])'
    assert load(CANARY.replace("BAD", good), "r.yaml", VOCABULARY)[1] == []
    [problem] = load(CANARY.replace("BAD", good.removesuffix(")")), "r.yaml", VOCABULARY)[1]
    assert (problem.line, problem.path, problem.message) == (
        16,
        "spec.rules[0].when.canary.measures[0].bad",
        "this is no PromQL: '(' is not closed",
    )
    assert problem.column == len("              bad: 'increase(")
    rules, problems = load(CANARY.replace("BAD", good.replace("increase", "increase_pure")), "r.yaml", VOCABULARY)
    assert problems == []
    [remark] = remarks(rules)
    assert "increase_pure" in remark


def test_an_expression_has_no_more_operators_than_the_parser_takes_quickly() -> None:
    found = promql_fault("+".join(["up"] * 301), template=False)
    assert found is None
    found = promql_fault("+".join(["up"] * 302), template=False)
    assert found is not None
    assert (found.message, found.column) == ("more than 300 operators", 3 * 301)
    assert without_counterpart("-".join(["up"] * 301)), "as deep as it may be"


@pytest.mark.parametrize("text", ["(" * 60_000, "-" * 60_000 + "x", "+".join("x" * 30_000), "[" * 60_000, "x{" * 30_000])
def test_no_expression_overflows_the_parser(text: str) -> None:
    """A parser in another language ends the process when its stack is full."""
    found: Any = promql_fault(text, template=False)
    assert found is None or found.line == 1


@given(st.text("sumxby()[]{}<>=!~\"'`,+-*/ 5m\n{{ pods }}#", max_size=60))
def test_no_text_makes_it_fail(text: str) -> None:
    found = promql_fault(text, template=True)
    assert found is None or (found.line >= 1 and found.column >= 1 and found.message and found.hint)


@pytest.mark.parametrize(
    ("expr", "left_out"),
    [
        ("a - b", "((a{}) > 0) unless (b{})"),
        ("sum(a - on (pod) group_left () b)", "((a{}) > 0) unless on (pod) (b{})"),
        ("(1 - a) * b", "((b{}) != 0) unless ((1 - a{})) or (vector(1) != 0) unless on () (a{})"),
        ("a / b", "((a{}) != 0) unless (b{})"),
        ("a - b - c", "((a{} - b{}) > 0) unless (c{}) or ((a{}) > 0) unless (b{})"),
        ("-(b - a)", "((b{}) != 0) unless (a{}) or ((a{}) != 0) unless (b{})"),
        ("-1 * (b - a)", "((b{}) != 0) unless (a{}) or ((a{}) != 0) unless (b{})"),
        ("a + b", "((a{}) != 0) unless (b{}) or ((b{}) != 0) unless (a{})"),
        ("a / t * t", "((a{}) != 0) unless (t{})"),
        ("a * on (pod) group_left () (ready == 1)", ""),
        ("a - scalar(b)", ""),
        ("a - time()", ""),
        ("a - (2 * 3)", ""),
        ("a * 100", ""),
        ("a - (b or a * 0)", "((a{}) > 0) unless ((b{} or  a{} * 0))"),
        ("(a - b) or a", ""),
        ("(a - b) or vector(0)", "((a{}) > 0) unless (b{})"),
        ("a -", ""),
    ],
)
def test_what_a_difference_leaves_out(expr: str, left_out: str) -> None:
    assert without_counterpart(expr) == left_out


@pytest.mark.parametrize("text", [r'"2\\d\\d"', r'"q\"q"', r"'it\'s'", r"`2\d`", '"# no comment"', r'"healer_0_"', '"a - b"'])
def test_texts_come_back_as_they_were_written(text: str) -> None:
    """The parser prints them without their escapes, and no server would read that."""
    assert without_counterpart(f"a{{x={text}}} - b{{x!={text}}}  # - c") == f"((a{{x={text}}}) > 0) unless (b{{x!={text}}})"


def test_a_filter_that_is_joined_is_no_remark() -> None:
    """The comparison on the one side of a join chooses; on the many side it hides values."""
    many, one = "sum by (namespace, pod) (e)", "(ready == 1)"
    assert checked(f"{many} * on (namespace, pod) group_left () {one}")[1] == []
    assert checked(f"{one} * on (namespace, pod) group_right () {many}")[1] == []
    [remark] = checked("(e > 1) * on (namespace, pod) group_left () ready")[1]
    assert "compares inside" in remark


def test_a_constant_that_stands_first_is_a_remark_too() -> None:
    [remark] = checked("vector(0) or sum by (namespace, pod) (x)")[1]
    assert "`vector(0) or`: that series has no labels and names no target" in remark
