"""Workloads whose unit is a group of pods: a group is one patient, one disruption, one of those that a limit counts."""

from typing import Any

import msgspec

from healer.engine.incidents.verification import unhealthy
from healer.model.effects import Verb
from healer.model.incident import State
from healer.model.kube import Pod
from tests.support.groups import Groups
from tests.support.world import Drill, Yaml, codes, rule, rulebook, state, tuned
from tests.unit.engine.incidents.test_restart import restarted

HANG = rule("hang", when={"alert": ["Hang"]}, limits={"maxUnhealthy": "50%"})


def drill(*rules: Yaml, groups: int = 4, **more: Any) -> Drill:
    return Drill(rulebook(*(rules or (HANG,))), Groups(groups, **more), tuned())


def world(d: Drill) -> Groups:
    assert isinstance(d.world, Groups)
    return d.world


def hang(d: Drill, index: int, *, firing: bool = True) -> None:
    """Every rank of a group hangs, and an alert says so of each, in one delivery."""
    d.together(*(d.alarm(name, "Hang", firing=firing) for name in world(d).members(index)))


def test_a_group_whose_ranks_all_hang_is_restarted_once() -> None:
    d = drill()
    hang(d, 2)
    assert d.acted_on == ["vllm-2"]
    assert "its group, that of leader pod/vllm-2, is replaced as a whole (3 pods)" in d.history[-1].reason.text
    d.answer()
    d.wait(20)  # its alerts fire, and its controller has not begun yet
    world(d).go(2)
    d.wait(20)
    world(d).restart(2)
    hang(d, 2, firing=False)
    d.wait(60)
    assert d.acted_on == ["vllm-2"]
    assert state(d) is State.HEALED


def test_a_worker_that_is_evicted_takes_its_group_along() -> None:
    d = drill(rule())
    d.world.crash("vllm-1-2")
    assert d.acted_on == ["vllm-1-2"]
    d.answer()
    disruption = d.incident.disruption
    assert disruption is not None
    assert disruption.along == {d.world.target(name).uid for name in ("vllm-1", "vllm-1-1")}
    assert not disruption.ready, "a group with a crashing rank serves nobody"


def test_sick_groups_are_counted_for_storms_not_their_pods() -> None:
    d = drill()
    hang(d, 0)
    assert d.acted_on == ["vllm-0"], "three of twelve pods are sick, and one group of four"
    d.answer()
    hang(d, 1)
    hang(d, 3)
    assert d.incident.storm
    assert d.history[-1].reason.text.startswith("3 of 4 groups are sick at once, more than 50%")
    assert d.acted_on == ["vllm-0"]


def test_the_next_group_waits_until_the_new_one_is_ready_as_a_whole() -> None:
    d = drill(rule("hang", when={"alert": ["Hang"]}, limits={"maxUnhealthy": "100%"}))
    hang(d, 0)
    d.answer()
    hang(d, 1)
    world(d).end(0)
    world(d).begin(0)
    for name in world(d).members(0)[:-1]:
        d.world.mend(name)
        d.wait(15)
    assert d.acted_on == ["vllm-0"], "a leader without all its workers serves nobody"
    d.world.mend(world(d).members(0)[-1])
    d.wait(15)
    assert d.acted_on == ["vllm-0", "vllm-1"]


def test_the_last_ready_group_is_not_taken() -> None:
    d = drill(rule("hang", when={"alert": ["Hang"]}, limits={"maxUnhealthy": "100%"}), groups=2)
    d.world.unready("vllm-0-1")
    hang(d, 1)
    assert codes(d.effects, Verb.DEFER) == ["BelowFloor"]
    assert "it would leave 0 ready replicas" in d.history[-1].reason.text
    assert d.acts == []


def test_a_group_with_one_rank_down_may_be_taken_at_the_floor() -> None:
    d = drill(rule(limits={"maxUnhealthy": "100%"}), groups=2)
    d.world.crash("vllm-0-1")
    assert d.acted_on == ["vllm-0-1"]


def test_pods_that_are_replaced_for_themselves_are_patients_of_their_own() -> None:
    d = drill(restart_policy="None")
    hang(d, 0)
    d.answer()
    assert d.acted_on == ["vllm-0"]
    assert d.incident.disruption is not None
    assert len(d.incident.disruption.along) == 2, "the workers go with their leader"

    d = drill(restart_policy="None")
    for worker in ("vllm-0-1", "vllm-0-2"):
        d.alert(worker, "Hang")
    d.answer()
    assert d.acted_on == ["vllm-0-1"], "the group is not replaced by its controller"
    d.world.terminate("vllm-0-1")
    d.wait(15)
    assert d.acted_on == ["vllm-0-1", "vllm-0-2"], "the group serves nobody already"


def test_a_group_of_which_a_worker_was_replaced_is_good_again_when_all_of_it_is_ready() -> None:
    d = drill(rule("hang", when={"alert": ["Hang"]}, limits={"maxUnhealthy": "100%"}), restart_policy="None")
    d.world.unready("vllm-3-1")  # so that the workload is not at its desired count
    d.alert("vllm-0-1", "Hang")
    d.answer()
    d.alert("vllm-1-1", "Hang")
    d.world.terminate("vllm-0-1")
    d.wait(30)
    assert d.acted_on == ["vllm-0-1"]
    world(d).replace_worker("vllm-0-1")
    d.wait(30)
    assert d.acted_on == ["vllm-0-1", "vllm-1-1"]


def test_the_pods_of_a_group_that_goes_are_no_further_units_when_their_owners_are_gone() -> None:
    d = drill()
    hang(d, 0)
    d.answer()
    world(d).go(0)
    world(d).orphan(0)
    for name in ("vllm-0-1", "vllm-0-2"):
        d.alert(name, "Hang", occurrence="1")  # Alertmanager repeats them
    hang(d, 1)
    assert not d.incident.storm, "two groups of four are sick, of which 50 % may be"


def test_a_group_that_serves_nobody_needs_no_replacement_whichever_rank_is_taken() -> None:
    d = drill()
    d.world.unready("vllm-1-1")
    d.alert("vllm-1-2", "Hang")
    assert d.incident.disruption is not None
    assert (d.acted_on, d.incident.disruption.ready) == (["vllm-1-2"], False)


def test_a_workload_is_well_when_all_its_groups_are_ready_whatever_its_status_says_still() -> None:
    d = drill(groups=2)
    d.world.unready("vllm-1-2")
    view, lws = d.world.view, world(d).lws
    view.put(msgspec.structs.replace(lws, status=msgspec.structs.replace(lws.status, ready_replicas=2)))
    found = unhealthy(view, d.world.workload)
    assert found is not None
    assert found.text == "1 of 2 groups are ready"


def test_what_was_taken_along_is_not_taken_again_after_a_restart() -> None:
    d = drill()
    hang(d, 2)
    d.answer()
    again = restarted(d)
    again.together(*(again.alarm(name, "Hang") for name in world(d).members(2)))
    again.wait(30)
    assert again.acts == []
    world(again).restart(2)
    again.together(*(again.alarm(name, "Hang", firing=False) for name in world(d).members(2)))
    again.wait(60)
    assert state(again) is State.HEALED


def test_an_alert_about_a_pod_that_goes_with_its_group_is_about_the_past() -> None:
    d = drill()
    d.alert("vllm-2-1", "Hang")
    d.answer()
    world(d).go(2)
    assert isinstance(d.world.view.pod(d.world.target("vllm-2-2").uid), Pod)
    d.alert("vllm-2-2", "Hang")
    assert codes(d.effects, Verb.IGNORE)[-1:] == ["PodGone"]
