"""The rule packs in rules/ as a whole: what they may do, and that each rule says why. The tests beside the rules drive each."""

import re
from pathlib import Path

import pytest

from healer.daemon.rulefiles import is_test, load_rules, vocabulary
from healer.model.duration import parse
from healer.model_servers.registry import SERVERS
from healer.rules.loading import remarks
from healer.rules.pod_detectors import PodsSettings
from healer.rules.rulebook import BoundRule
from healer.rules.schema import Mode, Rule
from healer.rules.served_model import ServedModel
from healer.rules.triggers import ALERT, MODEL
from tests.packs.alert_times import latest, shipped

RULES = Path(__file__).parents[2] / "rules"
PACKED = load_rules([RULES], vocabulary()).rules
"""The rules of the packs, which work as they are."""
FILES = sorted(path for path in RULES.rglob("*.yaml") if not is_test(path))
EVERY = load_rules(FILES, vocabulary()).rules
"""All that is shipped, with those in which names are to be filled in."""
ON_WORKLOADS = {"rollback", "rolloutRestart", "pinModelVersion", "scale"}


def test_each_pack_has_a_rule_set_of_its_name_and_no_surprises() -> None:
    assert remarks(EVERY) == []
    assert sorted({bound.ruleset for bound in PACKED}) == sorted(path.stem for path in RULES.glob("*.yaml") if not is_test(path))


@pytest.mark.parametrize("bound", EVERY, ids=lambda bound: bound.name)
def test_each_rule_says_why_and_when_it_is_wrong(bound: BoundRule) -> None:
    """In sentences, and longer than a name."""
    said = bound.rule.description
    assert said is not None
    assert len(said) > 80
    assert re.search(r"\bwrong\b", said, re.IGNORECASE)
    assert said.endswith(".")


@pytest.mark.parametrize("bound", EVERY, ids=lambda bound: bound.name)
def test_a_rule_promises_another_node_only_where_it_asks_for_one(bound: BoundRule) -> None:
    """A new pod may come to the same node again: only `elsewhere` keeps it off."""
    said = " ".join((bound.rule.description or "").split())
    promised = re.findall(r"(?<!may get )(?<!may come to )(?<!carries the pressure to )another node", said)
    assert promised == [] or any(step.params and getattr(step.params, "elsewhere", False) for step in bound.rule.heal)


def test_each_rule_has_a_mode_a_severity_and_somebody_to_tell() -> None:
    for bound in EVERY:
        assert {"mode", "severity", "notify"} <= bound.rule.model_fields_set, bound.name


def test_the_packs_cover_only_pods_of_their_own_in_production() -> None:
    for bound in PACKED:
        assert bound.scope.namespaces == ("production",)
        assert not bound.scope_covers("production", {"app": "database"}) or bound.ruleset in {"gpu", "workloads"}, bound.name
    of_gpus = {name for bound in PACKED if bound.ruleset == "gpu" for name in bound.rule.when.names}
    assert of_gpus == {"DeviceUnhealthy", "GpuXidDevice", "GpuXidError"}
    assert {step.action for bound in PACKED if bound.ruleset == "workloads" for step in bound.rule.heal} == {"page"}


def test_the_packs_change_whole_workloads_only_when_a_human_approves() -> None:
    """A storm may page, and nothing else."""
    for bound in PACKED:
        if bound.rule.mode is Mode.ENFORCE:
            assert not {step.action for step in bound.rule.heal} & ON_WORKLOADS, bound.name
        assert bound.rule.on_storm is None or bound.rule.on_storm.action == "page"


def test_the_packs_never_act_on_what_a_new_pod_does_not_cure() -> None:
    enforced = [bound.rule for bound in PACKED if bound.rule.mode is Mode.ENFORCE]
    acting = {name for rule in enforced if any(step.pages is None for step in rule.steps) for name in rule.when.names}
    assert "CrashLoopBackOff" in acting
    assert not acting & {"OOMKilled", "CreateContainerConfigError", "Unschedulable", "StuckTerminating", "Evicted", "Failed"}


def test_no_pack_would_evict_what_has_ended_or_is_going() -> None:
    """An eviction of it is no answer, not even in words: people are told."""
    told = [bound.rule for bound in EVERY if {*bound.rule.when.names} & {"StuckTerminating", "Evicted", "Failed"}]
    assert told
    assert {step.action for rule in told for step in rule.steps} == {"page"}


def test_a_model_may_take_sixteen_minutes_to_load_before_the_next_step() -> None:
    """Every step after which new pods have to load."""
    for bound in EVERY:
        for step in bound.rule.heal:
            if bound.rule.mode is not Mode.OBSERVE and step.action in {"evict", "restart", "rollback", "rolloutRestart", "scale"}:
                assert step.verify.within >= parse("20m"), (bound.name, step.action)


def test_an_alert_has_time_to_end_before_the_next_step() -> None:
    """A rate over five minutes, and five more of Alertmanager's group_interval."""
    waits = [
        step.verify.within
        for bound in PACKED
        if bound.rule.when.trigger is ALERT
        for step in bound.rule.heal
        if step.pages is None
    ]
    assert waits
    assert min(waits) > parse("10m")


def test_a_successor_is_watched_until_its_own_alert_would_have_fired() -> None:
    """The alert on the pod that was taken ends with its series, and the successor serves as if it were well. What is called
    healed too early begins again as another incident, at the first step. A rule on pods that are not ready needs no such time: no
    workload is healed with one. An alert on a workload goes on firing."""
    hasty, seen = [], set()
    for bound in EVERY:
        for step in (
            bound.rule.heal if bound.rule.when.trigger is ALERT and "!pod.ready" not in (bound.rule.when.condition or "") else ()
        ):
            if step.action == "evict":
                seen |= {*bound.rule.when.names}
                hasty += [(bound.name, name) for name in bound.rule.when.names if step.verify.stable <= latest(name)]
    assert seen > {"TFServingErrorsHigh", "VllmEngineStalled", "SglangEngineStalled", "TritonFailuresHigh", "KServeErrorsHigh"}
    assert hasty == []


def _found_after(served: ServedModel) -> float:
    """Seconds after which an engine that hangs is found at the latest; one that hangs idle, where it is asked for tokens."""
    generate, looks = served.generate, 2 * served.every
    if generate is None:
        return served.stalled + looks
    pauses = sum(generate.every * float(2**number) for number in range(generate.misses))
    return pauses + generate.misses * (served.every + generate.within) + looks


def test_a_successor_is_watched_until_its_engine_would_have_been_found_to_hang() -> None:
    """The same for what healer reads off the engines itself."""
    hasty, seen = [], set()
    for bound in EVERY:
        served = bound.rule.when.get(MODEL)
        if served is None or not any(SERVERS[served.server].conditions[name].by_heartbeat for name in served.conditions):
            continue
        seen |= {bound.ruleset}
        hasty += [bound.name for step in bound.rule.heal if step.action == "evict" and step.verify.stable <= _found_after(served)]
    assert seen == {"models-vllm", "models-vllm-idle", "models-sglang"}
    assert hasty == []


LOADED = parse("20m")
"""The slowest load, sixteen minutes, and a quarter of it: before that, nothing is taken or reported because it is not up yet."""
DOWNLOADED = parse("1h")
"""As long a download of weights may show no progress before its pod is taken."""
ON_ITS_WAY = {"NotStarting", "NotReady", "ImagePullBackOff", "ErrImagePull", "Unschedulable"}
LOADING = {"ModelStuckLoading", "ModelStuckStarting", "EngineStuckStarting"}
UP_LATE = [bound for bound in EVERY if {*bound.rule.when.names} & (ON_ITS_WAY | LOADING | {"ModelVersionMissing"})]


def _waits(rule: Rule) -> float:
    """Seconds from the beginning of a load that shows no progress to the rule's first step."""
    model = rule.when.get(MODEL)
    loading = model.loading if model is not None and {*model.conditions} & LOADING else 0
    starting = PodsSettings().starting if "NotStarting" in rule.when.names else 0
    return rule.when.held_for + starting + (loading or 0)


def test_the_packs_have_a_rule_on_each_way_of_not_being_up() -> None:
    assert {name for bound in UP_LATE for name in bound.rule.when.names} >= ON_ITS_WAY | {"ModelStuckLoading"}
    assert {bound.ruleset for bound in UP_LATE} >= {"tensorflow-serving", "vllm", "sglang", "triton", "kserve"}


@pytest.mark.parametrize("bound", UP_LATE, ids=lambda bound: bound.name)
def test_no_rule_begins_before_the_slowest_load_is_over(bound: BoundRule) -> None:
    """The rule's own times, as they are in its file: other tests run them faster, and would not see a shorter one."""
    takes = any(step.pages is None for step in bound.rule.steps)
    least = DOWNLOADED if takes and "NotStarting" in bound.rule.when.names else LOADED
    assert _waits(bound.rule) >= least


def test_no_alert_reports_a_pod_that_is_down_before_the_slowest_load_is_over() -> None:
    """The rules on these alerts have no `for`: the alert waits."""
    waits = {name: parse(alert["for"]) for name, alert in shipped().items() if name.endswith("Down")}
    answered = {name for bound in EVERY if bound.rule.when.trigger is ALERT for name in bound.rule.when.names}
    down = {name for name in answered if name.endswith("Down")} - {"ModelServiceDown"}
    assert {*waits} >= down >= {"VllmDown", "SglangDown", "TritonDown", "TFServingDown"}
    assert [name for name in sorted(down) if waits[name] < LOADED] == []
