"""Rules on Events: an event is a moment, which counts for a while, and how often it happened counts."""

from dataclasses import replace

from healer.model.incident import State
from healer.model.signal import Signal
from tests.support.world import Drill, World, rule, rulebook, tuned


def happened(d: Drill, times: int = 1, count: int = 1, name: str = "serving-1") -> Signal:
    """An event about a pod, now."""
    target = d.world.target(name)
    return Signal(
        source="event",
        name="FailedMount",
        target=target,
        firing=True,
        at=d.now,
        key=f"event/{target.uid}/FailedMount",
        occurrence=f"e/{count}",
        labels={"reason": "FailedMount", "type": "Warning", "count": str(count)},
        times=times,
    )


def drill(**more: object) -> Drill:
    when = {"event": {"reasons": ["FailedMount"]}} | more
    return Drill(rulebook(rule("mount", when=when)), World(3), tuned(event_fade=300.0))


def test_an_event_opens_one_incident_and_its_repetition_no_other() -> None:
    d = drill()
    d.feed(happened(d))
    d.feed(happened(d, times=3, count=4))
    assert len(d.incidents) == 1
    assert len(d.acts) == 1


def test_an_event_that_is_not_repeated_has_passed_after_a_while() -> None:
    """What it was about is left alone then: healer waits here, for a rollout to end."""
    d = drill()
    d.world.rollout(updated_replicas=1)
    d.feed(happened(d))
    (opened,) = d.incidents
    assert d.incidents[opened].state is State.WAITING
    d.wait(200)
    d.feed(happened(d, count=2))
    d.wait(290)
    assert d.incidents[opened].state is State.WAITING, "it was repeated"
    d.wait(30)
    assert d.incidents[opened].state is State.CLOSED


def test_a_count_counts_how_often_it_happened_and_not_how_often_it_was_reported() -> None:
    d = drill(count={"atLeast": 5, "within": "10m"})
    d.feed(happened(d))
    d.feed(happened(d, times=3, count=4))
    assert not d.incidents
    d.feed(happened(d, times=3, count=4))
    assert not d.incidents, "the same report again"
    d.feed(happened(d, times=1, count=5))
    assert len(d.incidents) == 1


def test_a_condition_may_ask_for_the_event() -> None:
    d = drill(**{"if": "event.count >= 3 && event.reason == 'FailedMount' && event.message.contains('timed out')"})
    d.feed(replace(happened(d, count=3), message="it is not there"))
    assert not d.incidents
    d.feed(replace(happened(d, count=4), message="timed out waiting for the volume"))
    assert len(d.incidents) == 1
