"""The ledger: each trigger, condition, workload kind, server and action has a lab scenario where it heals and one where it holds.

The scenes of the shipped rules (`rows`, which the tests in `lab` play) come first: what they show is read off the
rules. `ELSEWHERE` names the tests for the rest. An entry of a registry that is in neither fails here, and so does one in both.
"""

import ast
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import pytest

from healer.actions.registry import ACTIONS
from healer.model_servers.registry import SERVERS
from healer.rules.pod_conditions import POD_CONDITIONS
from healer.rules.triggers import MODEL, POD, TRIGGERS, WORKLOAD
from healer.rules.workload_conditions import WORKLOAD_CONDITIONS
from healer.workloads.registry import WORKLOADS
from tests.packs.drills import rules_of
from tests.packs.rows import ROWS

TESTS = Path(__file__).parents[1] / "integration"
RULES = {row.rule: rules_of(row.ruleset).by_name[row.rule].rule for row in ROWS if row.holds}
"""The rules with a scene in which they heal, and one in which they hold back."""
SERVED = [served for rule in RULES.values() if (served := rule.when.get(MODEL)) is not None]
SCENES: dict[str, Iterable[str]] = {
    "trigger": {rule.when.trigger.name for rule in RULES.values()},
    "condition of a pod": {name for rule in RULES.values() if rule.when.trigger is POD for name in rule.when.names},
    "condition of a workload": {name for rule in RULES.values() if rule.when.trigger is WORKLOAD for name in rule.when.names},
    "workload kind": {"Deployment"},
    "model server": {served.server for served in SERVED},
    "action": {row.action for row in ROWS if row.rule in RULES},
    "condition of a model": {f"{served.server} {name}" for served in SERVED for name in served.conditions},
}
"""What the scenes of the rows show. Each of their workloads is a Deployment: `Scene.serve` makes no other."""
REGISTRIES: dict[str, Iterable[str]] = {
    "trigger": TRIGGERS,
    "condition of a pod": POD_CONDITIONS,
    "condition of a workload": WORKLOAD_CONDITIONS,
    "workload kind": WORKLOADS,
    "model server": SERVERS,
    "action": ACTIONS,
    "condition of a model": {f"{name} {condition}" for name, server in SERVERS.items() for condition in server.conditions},
}

_VERSION = (
    "test_model_servers::test_a_version_that_triton_has_not_is_healed_where_it_is_wanted_and_one_that_others_have_is_no_reason"
)
_LATE = "test_model_servers::test_a_server_that_does_not_come_up_is_evicted_after_that_long_and_not_before"
_SHUT = "test_model_servers::test_a_server_that_opens_no_port_is_evicted_and_one_that_is_ready_was_or_is_slow_is_not"
_GROUPS, _KINDS, _CUSTOM = "test_groups", "test_workload_kinds", "test_custom_kinds"
ELSEWHERE: dict[str, dict[str, tuple[str, str]]] = {
    "workload kind": {
        "StatefulSet": (
            f"{_KINDS}::test_a_crash_loop_in_a_statefulset_is_healed",
            f"{_KINDS}::test_during_a_rollout_of_a_statefulset_no_pod_is_taken",
        ),
        "DaemonSet": (
            f"{_KINDS}::test_a_bad_revision_of_a_daemonset_is_rolled_back",
            f"{_KINDS}::test_a_daemonset_is_left_alone_unless_the_rule_names_its_kind",
        ),
        "Rollout": (
            f"{_CUSTOM}::test_a_crashing_pod_is_evicted",
            f"{_CUSTOM}::test_a_canary_in_progress_is_not_rolled_back",
        ),
        "CloneSet": (
            f"{_CUSTOM}::test_a_bad_revision_is_rolled_back",
            f"{_CUSTOM}::test_a_restart_that_would_restart_nothing_is_refused",
        ),
        "LeaderWorkerSet": (
            f"{_GROUPS}::test_a_group_of_which_all_ranks_hang_is_restarted_once",
            f"{_GROUPS}::test_two_sick_groups_of_three_are_a_storm_and_none_is_taken",
        ),
    },
    "condition of a model": {
        "triton ModelVersionMissing": (_VERSION, _VERSION),
        "sglang EngineStuckStarting": (_LATE, _LATE),
        "vllm EngineStuckStarting": (_SHUT, _SHUT),
    },
    "action": {
        "restart": (
            "test_healing::test_a_restart_deletes_a_pod_that_no_budget_covers",
            f"{_GROUPS}::test_a_restart_is_refused_where_a_budget_covers_what_goes_along",
        ),
        "collect": (
            "test_collect::test_the_logs_and_events_of_a_pod_are_kept_before_it_is_evicted",
            "test_collect::test_a_rule_that_observes_keeps_nothing_and_says_what_both_steps_would_do",
        ),
        "job": (
            "test_job::test_a_job_runs_once_and_knows_what_is_sick",
            "test_job::test_a_template_without_the_label_is_not_run",
        ),
        "quarantine": (
            "test_quarantine::test_another_pod_takes_its_place_and_the_sick_one_is_kept_and_released",
            "test_quarantine::test_a_budget_of_all_pods_cannot_be_left",
        ),
        "rolloutRestart": (
            f"{_CUSTOM}::test_a_rollout_is_restarted_by_its_own_field",
            f"{_CUSTOM}::test_a_restart_that_would_restart_nothing_is_refused",
        ),
        "cordon": (
            "test_cordon::test_the_replacement_comes_to_another_node_and_the_node_takes_pods_again",
            "test_cordon::test_a_node_that_somebody_else_has_in_hand_is_left_as_it_is",
        ),
        "silence": (
            "test_silence::test_the_incident_goes_on_under_its_own_silence_hears_the_end_and_ends_it",
            "test_silence::test_a_silence_of_somebody_else_stops_healer_besides_its_own",
        ),
    },
}
"""By registry and name: the test in tests/integration in which it heals, and the one in which it holds back."""


@pytest.mark.parametrize("registry", REGISTRIES)
def test_each_entry_has_a_scenario_in_which_it_heals_and_one_in_which_it_holds_back(registry: str) -> None:
    listed = [*SCENES[registry], *ELSEWHERE.get(registry, {})]
    assert sorted(listed) == sorted(REGISTRIES[registry])


def test_each_scenario_that_is_named_is_a_test() -> None:
    named = {each for entries in ELSEWHERE.values() for pair in entries.values() for each in pair}
    assert {each for each in named if each.partition("::")[2] not in _tests(each.partition("::")[0])} == set()


@cache
def _tests(module: str) -> set[str]:
    """The names of the tests of a file."""
    tree = ast.parse((TESTS / f"{module}.py").read_text("utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.AsyncFunctionDef)}
