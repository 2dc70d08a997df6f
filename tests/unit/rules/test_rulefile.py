"""What a right rule file means: values, defaults, scopes, several documents."""

from dataclasses import replace

from healer.model.action import ActionSpec
from healer.model.target import ActsOn
from healer.rules.loading import load, load_all, remarks
from healer.rules.schema import Breaker, Budget, Count, Limits, Mode, PageParams, Severity, Verify
from tests.unit.rules.actions import VOCABULARY, Scaling
from tests.unit.rules.test_errors import GOOD

FULL = """\
apiVersion: healer.dev/v1alpha1
kind: RuleSet
metadata: {name: serving}
spec:
  scope:
    namespaces: [production, staging]
    selector:
      matchLabels: {app: tf, example.com/team: ml}
      matchExpressions:
        - {key: track, operator: NotIn, values: [canary]}
        - {key: app, operator: Exists}
  rules:
    - name: slow
      when:
        alert: [Slow, "Slower than ever"]
        labels: {team: "1"}
        if: has(alert.labels.pod) && pod.age > duration('1m')
        count: {atLeast: 3, within: 1h30m}
      scope: {namespaces: ["*"]}
      heal:
        - scale: {replicas: 4}
          verify: {within: 2m, stable: 500ms}
        - evict: {}
      limits:
        cooldown: 1d
        minReady: 2
        budget: {actions: 1, per: 6h}
        maxUnhealthy: 3
        breaker: {failures: 2, reset: 3h}
        approveWithin: 20m
      onStorm:
        page: {channels: ["#sre"]}
        verify: {within: 1h, stable: 5m}
      mode: enforce
      severity: info
      notify: ["#ml-oncall", C0123456789]
"""


def test_a_name_of_an_alert_that_looks_like_a_pattern_is_remarked() -> None:
    """Names are compared whole: such a rule would wait for ever."""
    text = GOOD.replace("pod: [CrashLoopBackOff]", 'alert: ["GPU.*", HighLatency]').replace(
        "- evict: {}", "- evict: {}\n      mode: enforce"
    )
    rules, problems = load(text, "f.yaml", VOCABULARY)
    assert problems == []
    (remark,) = remarks(rules)
    assert remark.startswith("f.yaml:7: serving/crash waits for an alert of the name 'GPU.*'")


def test_every_value_is_what_was_written() -> None:
    rules, problems = load(FULL, "f.yaml", VOCABULARY)
    assert problems == []
    (bound,) = rules
    rule = bound.rule
    assert (bound.name, bound.where) == ("serving/slow", "f.yaml:13")
    assert (rule.when.trigger.name, rule.when.names) == ("alert", ("Slow", "Slower than ever"))
    assert rule.when.labels == {"team": "1"}
    assert rule.when.count == Count(at_least=3, within=5400.0)
    assert bound.condition is not None
    assert bound.condition.expression == "has(alert.labels.pod) && pod.age > duration('1m')"
    assert [(step.action, step.verify) for step in rule.heal] == [
        ("scale", Verify(within=120.0, stable=0.5)),
        ("evict", Verify()),
    ]
    assert rule.heal[0].params == Scaling(replicas=4)
    assert rule.limits == Limits(
        cooldown=86400.0,
        min_ready=2,
        budget=Budget(actions=1, per=21600.0),
        max_unhealthy=3,
        breaker=Breaker(failures=2, reset=10800.0),
        approve_within=1200.0,
    )
    assert rule.on_storm is not None
    assert (rule.on_storm.action, rule.on_storm.verify) == ("page", Verify(within=3600.0, stable=300.0))
    assert rule.on_storm.params == PageParams(channels=("#sre",))
    assert (rule.mode, rule.severity, rule.notify) == (Mode.ENFORCE, Severity.INFO, ("#ml-oncall", "C0123456789"))
    assert bound.scope.namespaces == ("*",)
    assert bound.scope.selector is None
    assert remarks(rules) == []


def test_what_is_not_written_is_the_careful_choice() -> None:
    (bound,), _ = load(GOOD, "f.yaml", VOCABULARY)
    rule = bound.rule
    assert rule.mode is Mode.OBSERVE
    assert rule.limits == Limits(
        cooldown=600.0,
        min_ready=1,
        budget=Budget(actions=5, per=3600.0),
        max_unhealthy="50%",
        breaker=Breaker(failures=3, reset=3600.0),
        approve_within=3600.0,
    )
    assert rule.on_storm is None
    assert rule.heal[0].verify == Verify(within=300.0, stable=30.0)
    assert (rule.when.condition, rule.when.count, rule.notify, rule.severity) == (None, None, (), Severity.WARNING)
    assert remarks([bound]) == ["f.yaml:7: serving/crash has no mode, so it only observes; write mode: enforce to let it act"]


def test_the_scope_of_the_rule_set_holds_for_rules_without_their_own() -> None:
    text = FULL.replace('      scope: {namespaces: ["*"]}\n', "")
    (bound,), problems = load(text, "f.yaml", VOCABULARY)
    assert problems == []
    labels = {"app": "tf", "example.com/team": "ml"}
    assert bound.scope_covers("production", labels)
    assert bound.scope_covers("staging", {**labels, "track": "stable"})
    assert not bound.scope_covers("elsewhere", labels)
    assert not bound.scope_covers("production", {**labels, "track": "canary"})
    assert not bound.scope_covers("production", {"app": "tf"})


def test_a_scope_of_its_own_replaces_the_rule_sets_as_a_whole() -> None:
    (bound,), _ = load(FULL, "f.yaml", VOCABULARY)
    assert bound.scope_covers("elsewhere", {})


def test_several_documents_and_files() -> None:
    other = GOOD.replace("serving", "other")
    rules, problems = load_all(
        {"a.yaml": f"---\n{GOOD}---\n{other}---\n", "b.yaml": FULL.replace("serving", "third")}, VOCABULARY
    )
    assert problems == []
    assert [rule.name for rule in rules] == ["serving/crash", "other/crash", "third/slow"]


def test_anchors_may_be_used() -> None:
    text = GOOD.replace("for: 2m", "for: &long 2m").replace("- evict: {}", "- evict: {}\n          verify: {within: *long}")
    (bound,), problems = load(text, "f.yaml", VOCABULARY)
    assert problems == []
    assert bound.rule.heal[0].verify.within == 120.0


def test_a_step_pages_by_its_parameters_and_not_by_the_name_of_its_action() -> None:
    """The channels of all its steps are those that a rule pages, that of a storm included."""

    class CallParams(PageParams):
        number: str

    call = ActionSpec("call", CallParams, frozenset({ActsOn.WORKLOAD}), False, "call somebody about")
    known = replace(VOCABULARY, actions={**VOCABULARY.actions, "call": call})
    steps = "        - call: {number: '1', channels: ['#a']}\n      onStorm: {page: {channels: ['#b']}}\n"
    rules, problems = load(GOOD + steps, "f.yaml", known)
    assert problems == []
    assert [step.pages for step in rules[0].rule.steps] == [None, ("#a",), ("#b",)]
    assert rules[0].rule.paged == ("#a", "#b")
