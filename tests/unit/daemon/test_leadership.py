"""Leadership: whether somebody has paused everything, by the annotations of the Lease."""

import asyncio

from healer.clock import Clock
from healer.daemon.leadership import Leadership
from healer.model.annotations import PAUSED, PAUSED_BY, PAUSED_UNTIL
from healer.model.view import View
from healer.settings.sections import LeaderSettings
from healer.workloads.registry import WORKLOADS


def test_a_pause_of_everything_ends_by_the_wall_clock() -> None:
    now, view = [1_000.0], View(WORKLOADS)
    clock = Clock(wall=lambda: now[0], steady=lambda: 5_000.0)
    leadership = Leadership(LeaderSettings(), "healer", view, lambda: 8080, asyncio.Event(), clock)
    annotations = {PAUSED: "true", PAUSED_BY: "ann", PAUSED_UNTIL: "1970-01-01T00:20:00+00:00"}  # 1,200 s
    leadership._annotated(annotations)
    assert view.paused_everywhere == "ann"
    now[0] = 1_200.0
    leadership._annotated(annotations)
    assert view.paused_everywhere == ""
