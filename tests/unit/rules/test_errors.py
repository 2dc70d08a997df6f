"""Each kind of error in a rule file: where it is, what it says, and the hint."""

import subprocess
import sys
from pathlib import Path

import pytest

from healer.rules.loading import load, load_all
from healer.rules.positions import Problem
from healer.rules.triggers import QUERY
from tests.unit.rules.actions import VOCABULARY

GOOD = """\
apiVersion: healer.dev/v1alpha1
kind: RuleSet
metadata: {name: serving}
spec:
  scope: {namespaces: [production]}
  rules:
    - name: crash
      when:
        pod: [CrashLoopBackOff]
        for: 2m
      heal:
        - evict: {}
"""


def problems(text: str) -> list[Problem]:
    rules, found = load(text, "f.yaml", VOCABULARY)
    assert not rules
    return found


def only(text: str) -> Problem:
    found = problems(text)
    assert len(found) == 1, [str(problem) for problem in found]
    return found[0]


def test_the_file_that_the_errors_are_made_from_is_right() -> None:
    rules, found = load(GOOD, "f.yaml", VOCABULARY)
    assert found == []
    assert [rule.name for rule in rules] == ["serving/crash"]


SERIES = """a{pod=~"{{ pods }}"}"""
CANARY = (
    "canary: {route: {kind: Ingress, name: split}, stable: {deployment: v1}, canary: {deployment: v2}, "
    f"measures: [{{name: errors, total: '{SERIES}', bad: '{SERIES}'}}]}}"
)

CASES = {
    # replaced, by what, line, column, message, hint
    "unknown key, near": ("for: 2m", "fro: 2m", 10, 9, "unknown key 'fro'", "did you mean for?"),
    "unknown key, another case": ("    - name", "    - Name", 7, 7, "unknown key 'Name'", "did you mean name?"),
    "unknown key, far": (
        "for: 2m",
        "zzz: 2m",
        10,
        9,
        "unknown key 'zzz'",
        "the keys here are pod, workload, event, node, alert, query, model, canary, labels, if, for, count",
    ),
    "field by its Python name": ("for: 2m", "held_for: 2m", 10, 9, "unknown key 'held_for'", "the keys here are "),
    "merge key": ("for: 2m", "<<: {for: 2m}", 10, 9, "merge keys (<<) are not supported", "write the keys out"),
    "an event that lasts": (
        "pod: [CrashLoopBackOff]",
        "event: {reasons: [BackOff]}",
        10,
        14,
        "for is not for a rule on 'event': what it looks for is a moment, and does not last",
        "how often it must have happened is `count`",
    ),
    "a portion without its sign": (
        "      heal:",
        "      limits: {maxUnhealthy: 0.4}\n      heal:",
        11,
        30,
        "0.4 is neither a percentage nor a number of replicas",
        "a percentage of the desired replicas (40%), or a whole number of pods (3)",
    ),
    "a portion in words": (
        "      heal:",
        "      limits: {maxUnhealthy: half}\n      heal:",
        11,
        30,
        "'half' is neither a percentage nor a number of replicas",
        "(40%)",
    ),
    "more than all of them": (
        "      heal:",
        "      limits: {maxUnhealthy: 101%}\n      heal:",
        11,
        30,
        "'101%' is neither a percentage nor a number of replicas",
        "(40%)",
    ),
    "a portion of none": (
        "      heal:",
        "      limits: {maxUnhealthy: 0}\n      heal:",
        11,
        30,
        "0 is too few",
        "one sick pod alone is never a storm",
    ),
    "a list for a portion": (
        "      heal:",
        "      limits: {maxUnhealthy: [40%]}\n      heal:",
        11,
        16,
        "neither a percentage nor a number",
        "(40%)",
    ),
    "a breaker that never trips": (
        "      heal:",
        "      limits: {breaker: {failures: 0, reset: 1h}}\n      heal:",
        11,
        36,
        "failures must be at least 1, not 0",
        "",
    ),
    "a breaker that never closes": (
        "      heal:",
        "      limits: {breaker: {failures: 3}}\n      heal:",
        11,
        16,
        "the key 'reset' is missing",
        "After this time one incident may act again",
    ),
    "an approval that is never in time": (
        "      heal:",
        "      limits: {approveWithin: 0s}\n      heal:",
        11,
        31,
        "approveWithin must be more than 0s, not 0s",
        "",
    ),
    "storm step on a pod": (
        "      heal:",
        "      onStorm:\n        evict: {}\n      heal:",
        12,
        9,
        "evict acts on a pod, and onStorm is taken on the workload",
        "actions that fit: page, scale",
    ),
    "storm step as a list": (
        "      heal:",
        "      onStorm: [{page: {}}]\n      heal:",
        11,
        16,
        "onStorm must be a mapping, not a list",
        "one step, without a dash: onStorm: {page: {}}",
    ),
    "unknown storm step": (
        "      heal:",
        "      onStorm: {pgae: {}}\n      heal:",
        11,
        17,
        "there is no action 'pgae'",
        "did you mean page?",
    ),
    "bad channel of a page": (
        "      heal:",
        "      onStorm: {page: {channels: [sre]}}\n      heal:",
        11,
        35,
        "'sre' is not a channel",
        'write "#sre", in quotes',
    ),
    "unknown mode": (
        "      heal:",
        "      mode: enforced\n      heal:",
        11,
        13,
        "mode 'enforced' is not known",
        "did you mean enforce?",
    ),
    "boolean for a mode": (
        "      heal:",
        "      mode: on\n      heal:",
        11,
        13,
        "mode 'on' is not known",
        "one of observe, approve, enforce",
    ),
    "unknown condition": (
        "CrashLoopBackOff",
        "CrashLopBackOff",
        9,
        15,
        "'CrashLopBackOff' is not known",
        "did you mean CrashLoopBackOff?",
    ),
    "condition twice": (
        "[CrashLoopBackOff]",
        "[OOMKilled, OOMKilled]",
        9,
        26,
        "'OOMKilled' is listed twice",
        "delete one",
    ),
    "unknown action": ("evict", "evcit", 12, 11, "there is no action 'evcit'", "did you mean evict?"),
    "unknown action, far": (
        "evict",
        "dance",
        12,
        11,
        "there is no action 'dance'",
        "the actions are evict, page, restart, scale",
    ),
    "two actions in a step": (
        "- evict: {}",
        "- evict: {}\n          restart: {}",
        12,
        11,
        "a step names exactly one action, not 2: evict, restart",
        "one list entry each",
    ),
    "no action in a step": ("- evict: {}", "- verify: {}", 12, 11, "this one names none", "one list entry each"),
    "action without a value": ("- evict: {}", "- evict:", 12, 17, "'evict' has no value", "give it one or delete it"),
    "parameter of an action that has none": (
        "evict: {}",
        "evict: {grace: 3}",
        12,
        19,
        "the action 'evict' has no parameter 'grace'",
        "it takes none: write {}",
    ),
    "action that the trigger cannot feed": (
        "pod: [CrashLoopBackOff]\n        for: 2m",
        CANARY,
        11,
        11,
        "evict acts on a pod, and a rule on 'canary' names none",
        "actions that fit: page, scale",
    ),
    "no steps": ("heal:\n        - evict: {}", "heal: []", 11, 13, "heal must not be empty", "at least one entry"),
    "step that is no mapping": ("- evict: {}", "- evict", 12, 11, "an entry of heal must be a mapping, not a text", ""),
    "bare number for a duration": ("for: 2m", "for: 120", 10, 14, "120 has no unit", "write a number with a unit"),
    "clock time for a duration": ("for: 2m", "for: 1:30", 10, 14, "90 has no unit", "write a number with a unit"),
    "no duration": ("for: 2m", "for: 2 minutes", 10, 14, "'2 minutes' is not a duration", "500ms, 90s, 2m, 1h30m, 1d"),
    "too long a duration": ("for: 2m", "for: 31d", 10, 14, "'31d' is longer than 30d", "write a number with a unit"),
    "list for a duration": ("for: 2m", "for: [2m]", 10, 9, "not a duration", "write a number with a unit"),
    "for and count": (
        "for: 2m",
        "for: 2m\n        count: {atLeast: 2, within: 1h}",
        11,
        9,
        "for and count exclude each other",
        "held without a break is `for`, seen often is `count`",
    ),
    "count of one": ("for: 2m", "count: {atLeast: 1, within: 1h}", 10, 26, "atLeast must be at least 2, not 1", "seen once"),
    "number in quotes": (
        "for: 2m",
        'count: {atLeast: "2", within: 1h}',
        10,
        26,
        "atLeast must be a whole number, not the text '2'",
        "without quotes",
    ),
    "half a number": ("for: 2m", "count: {atLeast: 2.5, within: 1h}", 10, 26, "atLeast must be a whole number, not 2.5", ""),
    "missing key": (
        "for: 2m",
        "count: {atLeast: 2}",
        10,
        9,
        "the key 'within' is missing",
        "The sliding window in which occurrences are counted",
    ),
    "a budget without its time": (
        "      heal:",
        "      limits: {budget: {actions: 3}}\n      heal:",
        11,
        16,
        "the key 'per' is missing",
        "write a time, such as `per: 1h`: In any period of this length.",
    ),
    "missing key of a rule": ("      heal:\n        - evict: {}\n", "", 7, 7, "the key 'heal' is missing", "a ladder"),
    "no trigger": (
        "        pod: [CrashLoopBackOff]\n",
        "",
        8,
        7,
        "exactly one of pod, workload, event, node, alert, query, model, canary is needed, none is given",
        "one trigger a rule",
    ),
    "both triggers": (
        "for: 2m",
        "alert: [A]",
        8,
        7,
        "exactly one of pod, workload, event, node, alert, query, model, canary is needed, pod and alert are given",
        "write a second rule for the other",
    ),
    "labels of a pod trigger": (
        "for: 2m",
        "labels: {a: b}",
        10,
        9,
        "labels are those of an alert",
        "select pods by scope.selector",
    ),
    "label that is a number": (
        "pod: [CrashLoopBackOff]",
        "alert: [A]\n        labels: {a: 1}",
        10,
        21,
        "1 is not a text",
        'YAML takes it for a number; write "1", in quotes',
    ),
    "text for a list": (
        "[CrashLoopBackOff]",
        "CrashLoopBackOff",
        9,
        14,
        "pod must be a list, not a text",
        "write pod: [CrashLoopBackOff]",
    ),
    "empty list of conditions": ("[CrashLoopBackOff]", "[]", 9, 14, "pod must not be empty", "at least one entry"),
    "no value": ("for: 2m", "if:", 10, 12, "'if' has no value", "delete it"),
    "empty condition": ("for: 2m", 'if: ""', 10, 13, "if must not be empty", "give it a text"),
    "misspelt variable": (
        "for: 2m",
        "if: pod.restrats >= 5",
        10,
        13,
        "there is no variable 'pod.restrats'",
        "did you mean pod.restarts?",
    ),
    "misspelt variable in the middle": (
        "for: 2m",
        "if: pod.ready && pod.foo > 5",
        10,
        26,
        "there is no variable 'pod.foo'",
        "known here: pod.age, pod.labels, ",
    ),
    "misspelt variable after quotes and escapes": (
        "for: 2m",
        r'''if: "pod.name != \"\u0061\" && pod.nam == ''"''',
        10,
        40,
        "there is no variable 'pod.nam'",
        "did you mean pod.name?",
    ),
    "misspelt variable after doubled quotes": (
        "for: 2m",
        "if: 'pod.name != ''a'' && pod.nam == ''b'''",
        10,
        35,
        "there is no variable 'pod.nam'",
        "did you mean pod.name?",
    ),
    "misspelt variable in a literal block": (
        "for: 2m",
        "if: |\n          pod.ready &&\n            pod.nodes == ''",
        12,
        13,
        "there is no variable 'pod.nodes'",
        "did you mean pod.node?",
    ),
    "misspelt variable in a folded block": (
        "for: 2m",
        "if: >\n          pod.ready &&\n          pod.nodes == ''",
        12,
        11,
        "there is no variable 'pod.nodes'",
        "did you mean pod.node?",
    ),
    "variable of the other trigger": (
        "for: 2m",
        "if: alert.name == 'x'",
        10,
        13,
        "there is no variable 'alert.name'",
        "for rules with the trigger `alert`",
    ),
    "wrong type in a condition": (
        "for: 2m",
        "if: pod.restarts > 'a'",
        10,
        26,
        "'>' cannot be applied to a whole number and a text",
        "without quotes",
    ),
    "condition that is a number": (
        "for: 2m",
        "if: pod.restarts",
        10,
        13,
        "the expression is of type int, not true or false",
        "compare it",
    ),
    "half a condition": ("for: 2m", "if: pod.ready &&", 10, 25, "syntax error: mismatched input end of the expression", ""),
    "has() of a variable": ("for: 2m", "if: has(pod.ready)", 10, 13, "has(pod.ready) asks nothing", "has(pod.labels.app)"),
    "bad duration in a condition": (
        "for: 2m",
        "if: pod.age > duration('5 m')",
        10,
        32,
        "duration('5 m'): ",
        "such as duration('90s')",
    ),
    "bad pattern in a condition": (
        "for: 2m",
        "if: pod.name.matches('[')",
        10,
        30,
        "matches('['): invalid regular expression",
        "",
    ),
    "no scope at all": ("  scope: {namespaces: [production]}\n", "", 6, 7, "the rule has no scope", "say which namespaces"),
    "scope without namespaces": (
        "{namespaces: [production]}",
        "{selector: {matchLabels: {a: b}}}",
        5,
        3,
        "the key 'namespaces' is missing",
        '["*"] for every namespace',
    ),
    "no namespaces": ("[production]", "[]", 5, 23, "namespaces must not be empty", "at least one entry"),
    "pattern for a namespace": ("[production]", "[prod-*]", 5, 24, "'prod-*' is not a namespace", "write each namespace in full"),
    "star among others": ("[production]", '["*", production]', 5, 11, '"*" is every namespace', "keep one or the other"),
    "empty selector": (
        "[production]}",
        "[production], selector: {}}",
        5,
        37,
        "an empty selector selects everything",
        "leave `selector` out",
    ),
    "bad label key": (
        "[production]}",
        '[production], selector: {matchLabels: {"a/": b}}}',
        5,
        62,
        "'a/' is not a valid label key",
        "[prefix/]name",
    ),
    "bad label value": (
        "[production]}",
        '[production], selector: {matchLabels: {a: "b c"}}}',
        5,
        65,
        "'b c' is not a valid label value",
        "at most 63",
    ),
    "unknown operator": (
        "[production]}",
        "[production], selector: {matchExpressions: [{key: a, operator: in, values: [b]}]}}",
        5,
        86,
        "operator 'in' is not known",
        "did you mean In?",
    ),
    "In without values": (
        "[production]}",
        "[production], selector: {matchExpressions: [{key: a, operator: In}]}}",
        5,
        86,
        "In needs values",
        "at least one value",
    ),
    "Exists with values": (
        "[production]}",
        "[production], selector: {matchExpressions: [{key: a, operator: Exists, values: [b]}]}}",
        5,
        94,
        "Exists takes no values",
        "use In or NotIn",
    ),
    "In with an empty list": (
        "[production]}",
        "[production], selector: {matchExpressions: [{key: a, operator: In, values: []}]}}",
        5,
        86,
        "In needs values",
        "at least one value",
    ),
    "label that must be and must not be": (
        "[production]}",
        "[production], selector: {matchLabels: {a: b}, matchExpressions: [{key: a, operator: DoesNotExist}]}}",
        5,
        88,
        "can never match: the label 'a' is both needed and forbidden",
        "all of matchLabels and matchExpressions must hold",
    ),
    "label whose only value is denied": (
        "[production]}",
        "[production], selector: {matchLabels: {a: b}, matchExpressions: [{key: a, operator: NotIn, values: [b]}]}}",
        5,
        88,
        "can never match: no value of the label 'a' is left",
        "all of matchLabels and matchExpressions must hold",
    ),
    "labels with nothing in common": (
        "[production]}",
        "[production], selector: {matchExpressions: [{key: a, operator: In, values: [b]}, {key: a, operator: In, values: [c]}]}}",
        5,
        104,
        "can never match: no value of the label 'a' is left",
        "all of matchLabels and matchExpressions must hold",
    ),
    "never stable": (
        "- evict: {}",
        "- evict: {}\n          verify: {within: 1m, stable: 2m}",
        13,
        40,
        "stable is longer than within",
        "make within the longer one",
    ),
    "floor of none": (
        "      heal:",
        "      limits: {minReady: 0}\n      heal:",
        11,
        26,
        "minReady must be at least 1, not 0",
        "last ready",
    ),
    "cooldown of none": (
        "      heal:",
        "      limits: {cooldown: 0s}\n      heal:",
        11,
        26,
        "cooldown must be more than 0s, not 0s",
        "",
    ),
    "budget of none": (
        "      heal:",
        "      limits: {budget: {actions: 0, per: 1h}}\n      heal:",
        11,
        34,
        "actions must be at least 1, not 0",
        "mode: observe",
    ),
    "list for limits": (
        "      heal:",
        "      limits: [1m]\n      heal:",
        11,
        15,
        "limits must be a mapping, not a list",
        "cooldown, minReady, budget",
    ),
    "no channel": (
        "      heal:",
        "      notify: [ml-oncall]\n      heal:",
        11,
        16,
        "'ml-oncall' is not a channel",
        'write "#ml-oncall", in quotes',
    ),
    "channel that is a comment": (
        "      heal:",
        "      notify:\n        - #ml-oncall\n      heal:",
        12,
        10,
        "this entry has no value",
        "what begins with # needs quotes",
    ),
    "rule's name": ("name: crash", "name: Crash", 7, 13, "'Crash' is not a valid name", "lower-case letters"),
    "rule set's name": ("name: serving", "name: a.b", 3, 18, "'a.b' is not a valid name", "lower-case letters"),
    "rule that is no mapping": (
        "    - name",
        "    - 3\n    - name",
        7,
        7,
        "an entry of rules must be a mapping, not a number",
        "its keys are name, ",
    ),
    "no rules": (GOOD[GOOD.index("  rules:") :], "  rules: []\n", 6, 10, "rules must not be empty", "at least one entry"),
    "wrong kind": ("RuleSet", "ConfigMap", 2, 7, "kind is 'ConfigMap', not 'RuleSet'", "a rule file holds kind: RuleSet"),
    "tests of rules": ("RuleSet", "RuleTest", 2, 7, "kind is 'RuleTest', not 'RuleSet'", "play it by `healer test`"),
    "a scenario": ("RuleSet", "Scenario", 2, 7, "kind is 'Scenario', not 'RuleSet'", "play it by `healer simulate`"),
    "wrong version": ("v1alpha1", "v1", 1, 13, "apiVersion is 'healer.dev/v1', not 'healer.dev/v1alpha1'", "alone"),
    "no version": ("apiVersion: healer.dev/v1alpha1\n", "", 1, 1, "the key 'apiVersion' is missing", "The language's version"),
    "key twice": ("for: 2m", "for: 2m\n        for: 3m", 11, 9, "the key 'for' is given twice", "the first is on line 10"),
    "key that is a list": ("for: 2m", "[a]: 2m", 10, 9, "a key must be a word", "quote it"),
    "tag": ("for: 2m", "for: !!binary aGk=", 10, 14, "the tag !!binary has no meaning here", "delete it"),
    "tab": ("        for: 2m", "\tfor: 2m", 10, 1, "not valid YAML: ", "no tab for indentation"),
    "colon in a value": ("for: 2m", "if: a: b", 10, 14, "not valid YAML: mapping values are not allowed", "in quotes"),
    "comment in a list": (
        "[CrashLoopBackOff]",
        "[ #CrashLoopBackOff]",
        9,
        16,
        "# begins a comment here",
        'write "#name", in quotes',
    ),
    "comment in a list of channels": (
        "      heal:",
        "      notify: [#ml-oncall]\n      mode: enforce\n      heal:",
        11,
        16,
        "# begins a comment here",
        "the rest of the line is lost",
    ),
    "variable in a flow text of several lines": (
        "for: 2m",
        "if: pod.ready &&\n          pod.nodes == ''",
        11,
        11,
        "there is no variable 'pod.nodes'",
        "did you mean pod.node?",
    ),
    "variable in a quoted text of several lines": (
        "for: 2m",
        'if: "pod.ready\n          && pod.nodes == pod.name"',
        11,
        14,
        "there is no variable 'pod.nodes'",
        "did you mean pod.node?",
    ),
    "action as a text": ("- evict: {}", "- evict", 12, 11, "an entry of heal must be a mapping", "write evict: {}"),
    "ladder as a mapping": ("- evict: {}", "evict: {}", 12, 9, "heal must be a list", "write heal: [{evict: ...}]"),
    "verify below the action": (
        "evict: {}",
        "evict: {verify: {}}",
        12,
        19,
        "has no parameter 'verify'",
        "verify stands beside evict",
    ),
    "and in words": ("for: 2m", "if: pod.ready and pod.restarts > 3", 10, 23, "syntax error", "CEL writes && for and"),
    "or in words": ("for: 2m", "if: pod.ready or true", 10, 23, "syntax error", "CEL writes || for or"),
    "not in words": ("for: 2m", "if: not pod.ready", 10, 17, "syntax error", "CEL writes ! for not"),
    "one equals sign": ("for: 2m", "if: pod.restarts = 3", 10, 26, "syntax error", "CEL compares with =="),
    "true in capitals": ("for: 2m", "if: pod.ready == True", 10, 26, "there is no variable 'True'", "CEL writes true"),
    "and in capitals": ("for: 2m", "if: pod.ready AND pod.restarts > 3", 10, 23, "syntax error", "CEL writes && for and"),
    "or in capitals": ("for: 2m", "if: pod.ready OR true", 10, 23, "syntax error", "CEL writes || for or"),
    "not in capitals": ("for: 2m", "if: NOT pod.ready", 10, 17, "syntax error", "CEL writes ! for not"),
    "in in capitals": ("for: 2m", "if: pod.phase IN ['Failed']", 10, 23, "syntax error", "CEL writes in, in small letters"),
    "true in all capitals": ("for: 2m", "if: pod.ready == TRUE", 10, 26, "there is no variable 'TRUE'", "CEL writes true"),
    "None": ("for: 2m", "if: pod.reason == None", 10, 27, "there is no variable 'None'", "nothing here is null"),
    "null": ("for: 2m", "if: pod.reason != null", 10, 24, "'!=' cannot be applied to a text and null", "pod.reason == ''"),
    "is": ("for: 2m", "if: pod.reason is null", 10, 24, "syntax error", "CEL compares with =="),
    "not equal as in SQL": ("for: 2m", "if: pod.restarts <> 3", 10, 27, "syntax error", "CEL writes != for <>"),
    "a quoted false": (
        "for: 2m",
        'if: pod.ready == "false"',
        10,
        23,
        "'==' cannot be applied to a true-or-false and a text",
        "pod.ready == false, or !pod.ready",
    ),
    "a quoted number": (
        "for: 2m",
        'if: pod.restarts >= "5"',
        10,
        26,
        "'>=' cannot be applied to a whole number and a text",
        "a number stands without quotes",
    ),
    "an age without a duration": ("for: 2m", "if: pod.age > 10", 10, 21, "cannot be applied to", "pod.age > duration('10m')"),
    "a label of the other trigger": (
        "for: 2m",
        "if: alert.labels.team == 'ml'",
        10,
        13,
        "there is no variable 'alert.labels.team'",
        "alert.labels.team is for rules with the trigger `alert`",
    ),
    "channel with a space": ("for: 2m", "for: 2m\n      notify: [ml oncall]", 11, 16, "is not a channel", 'write "#ml-oncall"'),
    "channel without a name": ("for: 2m", 'for: 2m\n      notify: [""]', 11, 16, "is not a channel", 'write "#ml-oncall"'),
}


@pytest.mark.parametrize(("old", "new", "line", "column", "message", "hint"), CASES.values(), ids=CASES.keys())
def test_error(old: str, new: str, line: int, column: int, message: str, hint: str) -> None:
    assert old in GOOD
    problem = only(GOOD.replace(old, new, 1))
    assert message in problem.message
    assert hint in problem.hint
    assert (problem.line, problem.column) == (line, column)
    assert str(problem).startswith(f"f.yaml:{line}:{column}: {problem.message}")
    assert problem.path or problem.message.startswith("not valid YAML")


@pytest.mark.parametrize("word", ["deployment", "statefulset"])
@pytest.mark.parametrize("namespaces", ['"*"', "production, staging"])
def test_a_query_that_names_a_workload_needs_one_namespace(namespaces: str, word: str) -> None:
    """The first of several would be taken, and perhaps the wrong one restarted."""
    query = f"query: {{expr: up, above: 1, {word}: tf}}"
    text = GOOD.replace("pod: [CrashLoopBackOff]", query).replace("evict", "page")
    assert load(text, "f.yaml", VOCABULARY)[1] == []
    problem = only(text.replace("[production]", f"[{namespaces}]"))
    assert (problem.line, problem.path) == (9, f"spec.rules[0].when.query.{word}")
    assert problem.message.startswith(f"{word} names 'tf'")
    assert "in which of them?" in problem.message
    assert "a scope of its own with one namespace" in problem.hint


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n", "---\n---\n"])
def test_a_file_without_rules(text: str) -> None:
    assert str(only(text)) == "f.yaml:1:1: the file holds no rules\n    hint: begin with apiVersion: healer.dev/v1alpha1"


@pytest.mark.parametrize("text", ["just words", "- a\n- b\n", "3"])
def test_a_document_that_is_no_mapping(text: str) -> None:
    assert only(text).message.startswith("a document must be a mapping, not a ")


def test_a_rule_name_twice_in_a_file() -> None:
    problem = only(GOOD + GOOD[GOOD.index("    - name") :])
    assert (problem.line, problem.column, problem.message) == (13, 13, "the rule name 'crash' is given twice")
    assert problem.hint == "the first is on line 7: rename one"


def test_a_rule_set_twice_in_two_files() -> None:
    _, found = load_all({"a.yaml": GOOD, "b.yaml": GOOD}, VOCABULARY)
    assert [str(problem).splitlines()[0] for problem in found] == ["b.yaml:3:18: the rule set 'serving' is already in a.yaml:3"]


def test_a_rule_set_twice_in_one_file() -> None:
    rules, found = load(f"{GOOD}---\n{GOOD}", "f.yaml", VOCABULARY)
    assert [(problem.line, problem.message) for problem in found] == [(16, "the rule set 'serving' is already in f.yaml:3")]
    assert len(rules) == 1  # of the first document


def test_all_problems_are_told_at_once_in_the_order_of_the_lines() -> None:
    text = (
        GOOD.replace("RuleSet", "RuleSet\nextra: 1")
        .replace("CrashLoop", "CrashLop")
        .replace("for: 2m", "if: pod.x\n        fro: 3")
    )
    text = text.replace("evict: {}", "evcit: {}\n          verify: {within: 1}")
    assert [(problem.line, problem.column) for problem in problems(text)] == [
        (3, 1),
        (10, 15),
        (11, 13),
        (12, 9),
        (14, 11),
        (15, 28),
    ]


def test_syntax_errors_leave_the_documents_before_them_judged() -> None:
    found = problems(GOOD.replace("for:", "fro:") + "---\na: [\n")
    assert [problem.message.split(":")[0] for problem in found] == ["unknown key 'fro'", "not valid YAML"]


def test_of_another_kind_only_the_kind_is_told() -> None:
    assert only("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata: {}\n").path == "kind"


def test_nesting_and_aliases_without_end_are_refused() -> None:
    bomb = "a: &a [x]\n" + "".join(
        f"{b}: &{b} [{','.join([f'*{a}'] * 10)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
    )
    for text in ("[" * 100 + "]" * 100, "[" * 5000 + "]" * 5000, "a: &a [*a]\n", bomb):
        assert any("nested too deeply" in problem.message for problem in problems(text))


@pytest.mark.parametrize("unit", ["[", "{a: ", "- ", "? ", "a: [", "&a ["])
def test_nesting_that_libyaml_dies_of_is_refused_with_its_place(unit: str, tmp_path: Path) -> None:
    """In a process of its own: what is tried here is a segmentation fault."""
    file = tmp_path / "deep.yaml"
    file.write_text("x: 1\n---\n" + unit * 60_000)
    code = f"from healer.rules.positions import documents; print(*documents(open({str(file)!r}).read(), 'deep.yaml')[1])"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.startswith("deep.yaml:3:")
    assert "nested too deeply" in said


def test_text_that_is_not_unicode() -> None:
    problem = only("apiVersion: healer.dev/v1alpha1\nkind: \ud800\n")
    assert (problem.line, problem.column, problem.message) == (2, 7, "the text is not valid Unicode")


@pytest.mark.parametrize(("value", "why"), [('"4"', "not the text '4'"), ("true", "not true"), ("4.5", "not 4.5")])
def test_the_parameters_of_an_action_are_not_coerced(value: str, why: str) -> None:
    text = GOOD.replace("pod: [CrashLoopBackOff]", "alert: [A]").replace("evict: {}", f"scale: {{replicas: {value}}}")
    problem = only(text)
    assert (problem.line, problem.column) == (12, 29)
    assert problem.message == f"replicas must be a whole number, {why}"


def test_what_an_incident_could_not_hold_is_an_error_of_the_rule() -> None:
    """The definition of incidents would refuse each one of it: healer could never act."""

    def channels(start: int, end: int) -> str:
        return ", ".join(f'"#c{number}"' for number in range(start, end))

    def rule(notify: int, paged: int, steps: int = 1) -> str:
        text = GOOD + "        - evict: {}\n" * (steps - 2) + f"        - page: {{channels: [{channels(50, 50 + paged)}]}}\n"
        return text + f"      notify: [{channels(0, notify)}]\n"

    rules, found = load(rule(100, 50, 100), "f.yaml", VOCABULARY)
    assert found == []
    assert rules
    problem = only(rule(101, 0))
    assert "101 channels, in notify and in pages, are more than the 100" in str(problem)
    assert "101 channels" in str(only(rule(100, 51)))
    assert "100" in str(only(rule(1, 1, 101)))


def test_a_threshold_is_a_number_and_not_what_reads_like_one() -> None:
    """Nothing is coerced: whoever writes a text or a yes means something else, or has a wrong quote somewhere."""
    text = (
        "apiVersion: healer.dev/v1alpha1\nkind: RuleSet\nmetadata: {name: a}\nspec:\n  scope: {namespaces: [a]}\n  rules:\n"
        "    - {name: one, when: {query: {expr: x, above: LIMIT}}, heal: [{page: {}}]}\n"
    )
    for limit, said in (
        ('"5"', "must be a number, not the text '5'"),
        ("yes", "must be a number, not yes"),
    ):
        assert said in only(text.replace("LIMIT", limit)).message
    for limit, value in (("1e-3", 0.001), ("5", 5.0), ("-2.5E+1", -25.0)):
        ((bound,), problems) = load(text.replace("LIMIT", limit), "f.yaml", VOCABULARY)
        query = bound.rule.when.get(QUERY)
        assert (problems, query and query.above) == ([], value)


@pytest.mark.parametrize("hint", ["!pod.ready", "{pod: [NotReady], if: !pod.ready}"])
def test_a_condition_that_begins_with_an_exclamation_mark_is_told_to_be_quoted(hint: str) -> None:
    """YAML takes it for a tag; without it the rule would be wider than it was meant."""
    when = hint if hint.startswith("{") else f"\n        pod: [NotReady]\n        if: {hint}"
    text = (
        "apiVersion: healer.dev/v1alpha1\nkind: RuleSet\nmetadata: {name: a}\nspec:\n  scope: {namespaces: [a]}\n  rules:\n"
        f"    - name: one\n      when: {when}\n      heal: [{{page: {{}}}}]\n"
    )
    assert '"!pod.ready"' in only(text).hint


@pytest.mark.parametrize("limit", [".inf", "-.inf", ".nan", "1e400"])
@pytest.mark.parametrize("side", ["above", "below"])
def test_a_threshold_is_a_finite_number(side: str, limit: str) -> None:
    """A value beyond infinity does not come: such a rule fires for nothing, or always."""
    text = (
        "apiVersion: healer.dev/v1alpha1\nkind: RuleSet\nmetadata: {name: a}\nspec:\n  scope: {namespaces: [a]}\n  rules:\n"
        f"    - {{name: one, when: {{query: {{expr: x, {side}: {limit}}}}}, heal: [{{page: {{}}}}]}}\n"
    )
    problem = only(text)
    assert (problem.line, problem.message) == (7, f"{side} must be a finite number, not {limit}")


def test_a_missing_kind_of_route_names_the_kinds() -> None:
    """A hint is read in a terminal: it holds no link, and says what there is."""
    problem = only(
        GOOD.replace("pod: [CrashLoopBackOff]\n        for: 2m", CANARY.replace("kind: Ingress, ", ""), 1).replace(
            "evict", "page"
        )
    )
    assert problem.message == "the key 'kind' is missing"
    assert "](" not in problem.hint
    for kind in VOCABULARY.routers:
        assert f"{kind}: " in problem.hint


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("[CrashLoopBackOff]", "[{condition: CrashLoopBackOff}]", "StuckTerminating"),
        ("[CrashLoopBackOff]", "[[NotReady]]", "StuckTerminating"),
    ],
)
def test_a_name_of_another_type_is_told_which_names_there_are(old: str, new: str, named: str) -> None:
    assert named in only(GOOD.replace(old, new, 1)).message
