"""Each trigger of the table has a source that makes its signals the way the table says."""

from healer.rules.triggers import TRIGGERS, Origin
from healer.sources.registry import SOURCES, Asked, Pushed, Watched

KINDS = {Origin.WATCHED: Watched, Origin.PUSHED: Pushed, Origin.ASKED: Asked}


def test_each_trigger_has_a_source_and_each_source_a_trigger() -> None:
    assert SOURCES.keys() == TRIGGERS.keys()


def test_each_source_makes_signals_the_way_the_table_says() -> None:
    for name, trigger in TRIGGERS.items():
        assert type(SOURCES[name]) is KINDS[trigger.origin], name
