"""The crash matrix of a scenario: runs that kill their daemon at the first point that no run has tried before.

Every request of a daemon has a name (`create pods/eviction`) and a number among those of its name. A run kills its daemon there,
starts another one, and looks at what they made of the healing. The matrix is complete when daemons heal without coming by a
point that was not tried: so every request of a whole healing was one at which a daemon died.
"""

import asyncio
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import get_args

from healer.lab import Lab
from tests.crash.gate import Moment, Point
from tests.crash.world import Scenario, World
from tests.integration.world import LAB_TOKEN
from tests.support.slack import FakeSlack

_CRD = Path(__file__).parents[2] / "deploy" / "healer" / "crd.yaml"
_SLOWLY = 30.0
"""A pod's first back-off lasts five minutes: whenever healer looks, it is in its crash loop."""


class Matrix:
    """The points that were tried, and who tries the next."""

    def __init__(self, name: str, scenario: Callable[[Lab, FakeSlack, Path], Scenario], folder: Path) -> None:
        self._name = name
        self._scenario = scenario
        self._folder = folder
        self._tried: dict[Point, None] = {}
        self._whole: set[Point] = set()
        """Those that matter of the healings in which no daemon died."""
        self._must: tuple[str, ...] = ()
        self._runs = 0

    async def complete(self, at_once: int) -> str:
        """Try all, so many runs at a time, and see that they are all. Returns the figures in words."""
        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(self._work())
        requests = {(name, number) for name, number, _ in self._tried}
        assert self._whole <= self._tried.keys()
        missed = {(name, moment) for name in self._must for moment in get_args(Moment)} - {(p[0], p[2]) for p in self._tried}
        assert self._must
        assert not missed
        figures = f"crash matrix of {self._name}: {len(requests)} requests, {len(self._tried)} crash points, all healed once"
        sys.stdout.write(figures + "\n")
        return figures

    async def _work(self) -> None:
        """Run after run, until one comes by no point that is new."""
        while await self._run():
            continue

    async def _run(self) -> bool:
        """One run. Returns whether a point was tried."""
        self._runs += 1
        folder = self._folder / str(self._runs)
        folder.mkdir()
        mine: list[Point] = []
        passed: list[Point] = []

        async with AsyncExitStack() as stack:
            lab = await stack.enter_async_context(Lab(time_scale=_SLOWLY, token=LAB_TOKEN))
            slack = await stack.enter_async_context(FakeSlack())
            await lab.apply_yaml(_CRD.read_text("utf-8"))
            scenario = self._scenario(lab, slack, folder)
            self._must = scenario.must

            def fatal(point: Point) -> bool:
                if not scenario.matters(point):
                    return False
                passed.append(point)
                if point in self._tried:
                    return False
                self._tried[point] = None
                mine.append(point)
                return True

            rule = await scenario.begin(stack)
            world = World(lab, slack, folder, scenario)
            try:
                await world.live(rule, fatal)
                if mine:
                    await world.live(rule, lambda _: False)
                else:
                    self._whole.update(passed)
                await world.verify()
            except BaseException as error:
                error.add_note(f"killed at {mine}")
                raise
        return bool(mine)
