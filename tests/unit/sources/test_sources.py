"""Each trigger of the table has a source that makes its signals the way the table says."""

from healer.rules.triggers import TRIGGERS, Origin
from healer.sources.base import Asked, Pushed, Watched, source_of

KINDS = {Origin.WATCHED: Watched, Origin.PUSHED: Pushed, Origin.ASKED: Asked}


def test_each_source_makes_signals_the_way_the_table_says() -> None:
    for name, trigger in TRIGGERS.items():
        assert type(source_of(trigger)) is KINDS[trigger.origin], name
