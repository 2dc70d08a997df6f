"""Each trigger of the table has a source that makes its signals the way the table says."""

from dataclasses import replace

import pytest

from healer.cluster.resources import Resource
from healer.model.incident import Symptom
from healer.model.kube import KubeObject, Meta, Pod
from healer.operate.rbac import observed
from healer.rules.pod_detectors import PodsSettings
from healer.rules.schema import build
from healer.rules.triggers import POD, TRIGGERS, Origin
from healer.sources.base import Asked, Pushed, Watched, source_of, watched_resources
from healer.sources.pods import PodSource
from healer.sources.watched import WatchedSources
from tests.support.world import rule, rulebook

KINDS = {Origin.WATCHED: Watched, Origin.PUSHED: Pushed, Origin.ASKED: Asked}


def test_each_source_makes_signals_the_way_the_table_says() -> None:
    for name, trigger in TRIGGERS.items():
        assert type(source_of(trigger)) is KINDS[trigger.origin], name


class ConfigMap(KubeObject, frozen=True):
    """A kind that no rule of healer needs."""


CONFIG_MAPS = Watched(
    (ConfigMap,),
    lambda names: (Resource(ConfigMap, "/api/v1", "configmaps"),),
    lambda context: PodSource(context.settings.pods),
)


def test_what_a_source_reads_is_watched_and_granted_where_a_rule_needs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """And only there: a kind that no rule needs is neither watched nor asked for."""
    monkeypatch.setitem(TRIGGERS, "config", replace(POD, name="config", source=f"{__name__}:CONFIG_MAPS"))
    build()
    needs, needs_not = (rulebook(rule(when={name: ["NotReady"]})).rules for name in ("config", "pod"))
    monkeypatch.undo()
    build()
    assert [each.plural for each in watched_resources(needs)].count("pods") == 1
    assert watched_resources(needs)[-1].plural == "configmaps"
    assert ("", "configmaps", "watch") in observed(needs)
    assert ("", "configmaps", "watch") not in observed(needs_not)


def test_autoscalers_are_watched_where_a_rule_names_a_condition_of_theirs() -> None:
    """The conditions that workloads show themselves need none."""
    autoscalers = ("autoscaling", "horizontalpodautoscalers", "list")
    assert autoscalers in observed(rulebook(rule(when={"workload": ["HpaAtMaximum"]}, heal=[{"page": {}}])).rules)
    assert autoscalers not in observed(rulebook(rule(when={"workload": ["Unavailable"]}, heal=[{"page": {}}])).rules)


def test_what_is_read_off_another_kind_is_not_asked_of_a_pod() -> None:
    """A source of events, say, has nothing to say of a pod that was just read."""
    source = WatchedSources({"config": ((ConfigMap,), PodSource(PodsSettings()))})
    symptom = Symptom("config", "NotReady", "1", 0.0)
    assert source.still(Pod(Meta(name="a", uid="1")), symptom, 0.0)
