"""The source of Events: what a rule looks for becomes a signal, a repetition is the same event going on, the rest is dropped."""

from datetime import datetime
from typing import Any

from healer.model.event import Event, EventSeries, Regarding
from healer.model.kube import Meta
from healer.model.signal import Signal
from healer.rules.rulebook import Rulebook
from healer.settings import Settings
from healer.sources.base import WatchContext
from healer.sources.events import MOST, EventSource
from tests.support.world import START, World, moment, rule, rulebook

MOUNT = {"event": {"reasons": ["FailedMount"]}}


class Seen:
    """A source over the small world."""

    def __init__(self, when: dict[str, Any] = MOUNT) -> None:
        self.world = World(3)
        self.rules: Rulebook = rulebook(rule("events", when=when))
        self.source = EventSource(WatchContext(Settings(), self.world.view, lambda: self.rules))

    def put(self, event: Event, at: float = START) -> list[Signal]:
        return self.source.put(event, None, at)


def event(
    reason: str = "FailedMount",
    about: str = "pod-1",
    *,
    uid: str = "e1",
    kind: str = "Warning",
    count: int | None = None,
    series: int = 0,
    namespace: str = "production",
    created: datetime | None = None,
) -> Event:
    """One that has happened just now."""
    meta = Meta("e", uid, namespace, creation_timestamp=created or moment(START))
    regarding = Regarding("Pod", namespace, "x", about)
    return Event(meta, reason, kind, "it does not mount", regarding, EventSeries(series) if series else None, count)


def test_an_event_about_a_pod_its_replica_set_or_its_workload_is_a_signal() -> None:
    seen = Seen()
    for about, target in (("pod-1", "pod/serving-1"), ("deploy-1", "deployment/serving"), ("rs-1", "deployment/serving")):
        (signal,) = seen.put(event(about=about, uid=about))
        assert (str(signal.target), signal.name, signal.message, signal.times) == (target, "FailedMount", "it does not mount", 1)
        assert signal.firing


def test_what_no_rule_looks_for_is_dropped() -> None:
    """By its reason, its type, its namespace, or because it is about nothing that healer knows."""
    seen = Seen()
    others = [event("Pulled"), event(kind="Normal"), event(namespace="default"), event(about="node-1"), event(about="")]
    assert [seen.put(each) for each in others] == [[]] * 5
    assert not seen.source._counts


def test_an_event_about_an_object_of_another_namespace_is_no_signal() -> None:
    """Whoever may create Events in one namespace can write any uid into them, also that of a pod of another one."""
    seen = Seen()
    seen.rules = rulebook(rule("events", when=MOUNT, scope={"namespaces": ["production", "elsewhere"]}))
    seen.world.other("victim", namespace="elsewhere", nodes=["node-1"])
    for uid in ("victim-pod-1", "victim-uid", "victim-rs-uid"):
        assert seen.put(event(about=uid, uid=uid)) == []
    early = event(about="pod-4", namespace="elsewhere")
    assert seen.put(early) == []
    assert seen.source.put(seen.world.pod(seen.world.add()), None, START + 1) == []


def test_an_event_of_type_normal_is_for_rules_that_say_so() -> None:
    seen = Seen({"event": {"reasons": ["FailedMount"], "type": "Normal"}})
    assert seen.put(event()) == []
    (signal,) = seen.put(event(kind="Normal"))
    assert signal.name == "FailedMount (Normal)"


def test_a_repetition_is_told_with_how_often_it_has_happened_since() -> None:
    """By the count of an old reporter, or the series of a new one. A change that is no repetition is no news."""
    seen = Seen()
    assert [signal.times for signal in seen.put(event(count=1))] == [1]
    assert [signal.times for signal in seen.put(event(count=4))] == [3]
    assert seen.put(event(count=4)) == []
    assert [signal.times for signal in seen.put(event(uid="e2"))] == [1]
    assert [signal.times for signal in seen.put(event(uid="e2", series=6))] == [5]


def test_of_an_old_event_that_was_not_seen_before_only_this_repetition_counts() -> None:
    """It may have happened a hundred times over the last day."""
    assert [signal.times for signal in Seen().put(event(count=100, created=moment(START - 86_400)))] == [1]


def test_an_event_that_comes_before_its_pod_is_told_when_the_pod_is_known() -> None:
    """The two watches are not in step."""
    seen = Seen()
    assert seen.put(event(about="pod-4")) == []
    name = seen.world.add()
    (signal,) = seen.source.put(seen.world.pod(name), None, START + 1)
    assert str(signal.target) == f"pod/{name}"
    assert seen.source.put(seen.world.pod(name), None, START + 2) == []


def test_a_flood_is_remembered_up_to_a_bound() -> None:
    """Ten thousand events of thousands of objects, known and not."""
    seen = Seen()
    for number in range(10_000):
        seen.put(event(uid=f"e{number}"))
        seen.put(event(uid=f"f{number}", about=f"gone-{number}"))
    assert len(seen.source._counts) == MOST
    assert len(seen.source._early) == 200
