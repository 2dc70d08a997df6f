"""Each shipped rule with the real daemon against the lab, at its own table of rows: it heals, and it holds back.

All scenes of a file run at the same time: one lab, one daemon with the file's rules, a workload for each scene.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import pytest

from healer.daemon.rulefiles import load_rules, vocabulary
from healer.model.incident import State
from healer.rules.schema import Mode
from tests.packs.drills import FILES, RULES
from tests.packs.lab.canaries import FILES as CANARIES
from tests.packs.lab.controllers import NEW
from tests.packs.lab.models_file import STABLE, WANTED
from tests.packs.lab.scene import Scene
from tests.packs.lab.servers import addresses, left_alone
from tests.packs.lab.showing import begin, born_with, end, prepare
from tests.packs.lab.stage import CLUSTER, HURRIED, UNAPPROVED, UNHURRIED, stage
from tests.packs.lab.telling import Scenario, asks_faults
from tests.packs.lab.test_queries import QUERIES
from tests.packs.rows import ROWS, UNASKED, Hold, Row
from tests.packs.troubles import Symptom, Trouble
from tests.support.processes import PATIENCE

pytestmark = pytest.mark.slow

PLAYED = (
    "gpu.yaml",
    "kserve.yaml",
    "models/kserve.yaml",
    "models/sglang.yaml",
    "models/tensorflow-serving.yaml",
    "models/triton.yaml",
    "models/vllm-idle.yaml",
    "models/vllm.yaml",
    "nodes/gpu.yaml",
    "sglang.yaml",
    "tensorflow-serving.yaml",
    "triton.yaml",
    "vllm.yaml",
    "workloads.yaml",
)
REPLICAS = 4
WRITES = {"evict": "pods/eviction", "rollback": "deployments", "scale": "deployments/scale", "pinModelVersion": "configmaps"}
"""What an action writes, as a permission."""


def test_every_shipped_file_is_played() -> None:
    """Those on canaries are played in test_canaries.py, and those on queries in test_queries.py."""
    elsewhere = [*CANARIES, *(str(path.relative_to(RULES)) for path in QUERIES)]
    assert sorted([*PLAYED, *elsewhere]) == [str(path.relative_to(RULES)) for path in FILES]


@dataclass(frozen=True)
class Play:
    """A rule's row in a scene: it heals, or it holds back where `hold` is given."""

    row: Row
    hold: Hold | None
    scene: Scene

    def __str__(self) -> str:
        return f"{self.row.rule}: {self.hold.name if self.hold else 'heals'}"

    @property
    def scenario(self) -> Scenario:
        """What people must be told of it."""
        rule, hold = self.scene.ruling, self.hold.reason if self.hold else None
        place = self.scene.workload, self.scene.namespace, CLUSTER
        return Scenario(*place, rule.mode, rule.severity, self.row.action, self.trouble, hold)

    async def play(self, pods: Sequence[str]) -> tuple[list[tuple[str, str]], list[str]]:
        """Play it. Returns what healer has to have changed in the end, and what people are not told, or wrongly."""
        changes = await self.run(pods)
        if self.untold:
            return changes, []
        hold = self.hold.reason if self.hold else ""
        if hold == "Storm":
            await self.scene.noted(hold)
        elif hold:
            await self.scene.came(State.ESCALATED if hold == "ApprovalExpired" else State.WAITING)
        incident, row = await self.scene.seen()
        return changes, list(self.scenario.faults(incident, await self.scene.stage.shown(incident), row))

    @property
    def untold(self) -> bool:
        """Whether the rule does not match at all, so that people are told of nothing."""
        return self.hold is not None and self.hold.reason in ("", "ConditionUnmet", "NotLongEnough", "NotOftenEnough")

    @property
    def trouble(self) -> Trouble:
        return (self.hold and self.hold.trouble) or self.row.trouble

    async def run(self, pods: Sequence[str]) -> list[tuple[str, str]]:
        """Play it with these pods, the sick ones first. Returns what healer has to have changed in the end."""
        if self.hold:
            return await holds_back(self.scene, self.trouble, self.hold, pods)
        return await heals(self.scene, self.row, pods)


@pytest.mark.parametrize("file", PLAYED)
async def test_the_rules_of_a_file_heal_and_hold_back(file: str, tmp_path: Path) -> None:
    names = {bound.name for bound in load_rules([RULES / file], vocabulary()).rules}
    rows = [row for row in ROWS if row.rule in names]
    assert {row.rule for row in rows if row.holds} == names
    cases = [(row, hold) for row in rows for hold in (None, *row.holds)]
    servers = [addresses(number, REPLICAS) if file.startswith("models/") else [] for number in range(len(cases))]
    async with stage(file, len(cases), list(chain(*servers))) as on:
        plays = [
            Play(row, hold, Scene(on, number, row.rule, pace=pace_of(hold), addresses=servers[number]))
            for number, (row, hold) in enumerate(cases)
        ]
        served = await asyncio.gather(*map(serve, plays))
        async with on.daemon(tmp_path):
            ended = await asyncio.gather(
                *(play.play(pods) for play, pods in zip(plays, served, strict=True)), return_exceptions=True
            )
        failed: list[Exception] = []
        for play, outcome in zip(plays, ended, strict=True):
            if isinstance(outcome, Exception):
                outcome.add_note(str(play))
                failed.append(outcome)
            elif isinstance(outcome, BaseException):
                raise outcome
            elif outcome[0] != play.scene.changes():
                failed.append(AssertionError(f"{play}: healer has changed {play.scene.changes()}, and not {outcome[0]}"))
            elif outcome[1] or (play.untold and play.scene.incidents()):
                failed.append(AssertionError(f"{play}: people are told wrongly: {outcome[1] or play.scene.incidents()}"))
        if failed:
            raise ExceptionGroup(file, failed)


def pace_of(hold: Hold | None) -> str:
    """At which pace the rule runs: its own where the trouble ends, or another comes, while its `for` lasts."""
    if hold is UNASKED:
        return UNAPPROVED
    return UNHURRIED if hold is not None and (hold.brief or hold.during) else HURRIED


async def serve(play: Play) -> list[str]:
    """Have its workload run; returns its pods, the sick ones first."""
    sick, replicas = (play.hold.sick, play.hold.replicas) if play.hold else (1, REPLICAS)
    pods = await play.scene.serve(replicas, born=born_with(play.trouble), sick=sick)
    if play.hold is None and play.row.action == "rollback" and play.trouble.symptom is not Symptom.CONDITION:
        play.scene.ship(NEW)
        for pod in pods:
            await play.scene.gone(pod)
        pods = sorted(play.scene.pods())
    await prepare(play.scene, play.trouble, pods[:sick])
    return pods


async def heals(scene: Scene, row: Row, pods: Sequence[str]) -> list[tuple[str, str]]:
    """The trouble of one pod, or of the workload: the first step of the rule is taken, and helps. Returns what it changes."""
    sick = pods[:1]
    mode = scene.ruling.mode
    scene.pause(False)
    await begin(scene, row.trouble, sick)
    if row.action == "page":
        await scene.came(State.ESCALATED)
        await end(scene, row.trouble, sick)
        await scene.came(State.CLOSED)
        return []
    if mode is Mode.OBSERVE:
        await scene.came(State.VERIFYING)
        await end(scene, row.trouble, sick)
        await scene.came(State.CLOSED)
        return []
    if mode is Mode.APPROVE:
        waiting = await scene.came(State.WAITING)
        assert (waiting.reason.code, scene.changes()) == ("NeedsApproval", [])
        await approved(scene, row)
    if row.action == "rollback":
        await scene.stage.lab.wait_for(lambda _: scene.image != NEW, PATIENCE)
    elif row.action == "scale":
        await scene.ready(len(pods) + 1)
    elif row.action == "pinModelVersion":
        await scene.came(State.VERIFYING)
    else:
        await scene.gone(sick[0])
    await end(scene, row.trouble, sick)
    for pod in scene.pods().keys() - {*pods}:
        await scene.behave(pod, "ok")
    await scene.came(State.HEALED)
    if row.action == "pinModelVersion":
        return [(WRITES[row.action], "models")] * writes(scene)
    change = (WRITES[row.action], sick[0] if row.action == "evict" else scene.workload)
    if row.action != "scale":
        return [change]
    await scene.stage.lab.wait_for(lambda _: len(scene.pods()) == len(pods), PATIENCE)
    return [change, change]  # the replica is taken back


def writes(scene: Scene) -> int:
    """How often the file was written. A version that the servers lack is loaded beside the other one first; the trouble is over
    then, perhaps before the second write, which pins it."""
    assert scene.file is not None
    if scene.file.pin.version is None:
        assert scene.file.versions() == (STABLE,)
        return 1
    assert WANTED in scene.file.versions()
    return 1 if STABLE in scene.file.versions() else 2


async def test_what_a_pack_would_do_is_told_where_it_only_observes(tmp_path: Path) -> None:
    """Nothing is changed, and people read what would have been done, and that it passed."""
    file = "triton.yaml"
    rows = [row for row in ROWS if row.ruleset == "triton" and row.action != "page"]
    async with stage(file, len(rows), [], mode=Mode.OBSERVE) as on:
        plays = [Play(row, None, Scene(on, number, row.rule)) for number, row in enumerate(rows)]
        served = await asyncio.gather(*map(serve, plays))
        async with on.daemon(tmp_path):
            ended = await asyncio.gather(*(play.play(pods) for play, pods in zip(plays, served, strict=True)))
            for play, pods in zip(plays, served, strict=True):
                assert {change for change in play.scene.changes() if change[0] == "pods/eviction"} == set(), play
                assert play.trouble.symptom is Symptom.CONDITION or sorted(play.scene.pods()) == sorted(pods), play
    assert [faults for _, faults in ended] == [[]] * len(plays)


async def approved(scene: Scene, row: Row) -> None:
    """A human approves; they were asked for it, in Slack and on the page."""
    rule = scene.ruling
    waiting, shown = await scene.seen()
    await scene.approve(waiting)
    scenario = Scenario(scene.workload, scene.namespace, CLUSTER, rule.mode, rule.severity, row.action, row.trouble)
    assert list(asks_faults(scenario, waiting, await scene.stage.shown(waiting), shown)) == []


async def holds_back(scene: Scene, trouble: Trouble, hold: Hold, pods: Sequence[str]) -> list[tuple[str, str]]:
    """What is tempting: the rule says why it holds back, and changes nothing until the last scene of the file is over."""
    sick = pods[: hold.sick]
    if hold.rollout:
        scene.halt()
    if hold.sick == 1:
        scene.pause(False)
    await begin(scene, trouble, sick)
    if trouble.symptom is Symptom.WELL:
        await left_alone(scene, trouble, sick[0])
        assert scene.incidents() == []
        return []
    if hold.for_another:
        await scene.gone(sick[0])
        assert scene.incidents() == []
        return [(WRITES["evict"], sick[0])]
    if hold.sick > 1:
        for pod in sick:
            await scene.decided(of=pod)
        scene.pause(False)
    await (scene.decided(hold.reason) if hold.reason else scene.noted("StillSick"))
    if hold.brief:
        await end(scene, trouble, sick)
        await scene.ready(hold.replicas)
    return []
