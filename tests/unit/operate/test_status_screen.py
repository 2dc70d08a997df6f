"""What the state of healer looks like on a terminal: what a human must know comes first, and nothing steers the terminal."""

import asyncio
import io
import json
import os
import pty
import signal

import pytest
from rich.console import Console

from healer.http.rules import RuleRow
from healer.http.state import ActivityRow, CanaryMeasure, CanaryRow, LimitRow, Share, UnitRow, WorkloadRow
from healer.model.incident import State
from healer.model.target import Target
from healer.operate.status import HealerStatus, status
from healer.operate.status_screen import show_status
from tests.support.healer import HEALER, environment
from tests.support.processes import PATIENCE
from tests.support.terminal import PseudoTerminal
from tests.unit.operate.conftest import SPACE, Place
from tests.unit.operate.test_verbs import healer

pytestmark = pytest.mark.slow

SERVING = Target("Deployment", SPACE, "tensorflow-serving", "uid-d")
ELSEWHERE = Target("Deployment", "staging", "other", "uid-o")
UNITS = [UnitRow("serving-1", True), UnitRow("serving-2", False, "CrashLoopBackOff"), UnitRow("serving-3", True)]
ERRORS = CanaryMeasure(
    "errors", "INSUFFICIENT", "", Share(200, 30, 0.1, 0.2), Share(2000, 20, 0.0, 0.1), 50.0, 100.0, [(1.0, 2.0)]
)


def all_of_it(place: Place) -> None:
    place.shown |= {
        "workloads": [
            WorkloadRow(SERVING, 3, 2, "", "", UNITS),
            WorkloadRow(ELSEWHERE, 1, 1, "", "by ann", [UnitRow("o", True)]),
        ],
        "canaries": [CanaryRow("m/bad", SERVING, "ingress/ab", 0.2, "INSUFFICIENT", "", 1.0, [ERRORS])],
        "limits": [
            LimitRow("rule budget", 5, 5, True, "m/loop", SPACE, SERVING, place.now + 600),
            LimitRow("cluster budget", 3, 60, False, "", "", None, None),
        ],
        "activity": [ActivityRow("m/loop", 1.0, "closed", 3, 3, True)],
    }
    place.rules[:] = [RuleRow("m/loop", "observe", "pod", ["CrashLoopBackOff"], {"namespaces": [SPACE]}, 3, 1)]


async def seen(place: Place, namespace: str = "") -> tuple[HealerStatus, list[str]]:
    found = await status(place.api, namespace, "healer", place.server, place.now)
    screen = Console(file=io.StringIO(), width=300, highlight=False, markup=False)
    show_status(found, screen)
    assert isinstance(screen.file, io.StringIO)
    return found, screen.file.getvalue().splitlines()


async def test_what_needs_a_human_comes_before_all_else(place: Place) -> None:
    all_of_it(place)
    await place.keep(place.incident(State.ESCALATED, "NothingLeft"))
    _, lines = await seen(place)
    asked = lines.index("a human is needed")
    assert "so it is" in lines[asked + 1]
    assert lines[asked + 2].strip() == f"healer explain incident/crash-loop-1 -n {SPACE}"
    assert asked < lines.index("1 incident not closed") < lines.index("2 workloads that rules are about")


async def test_what_waits_for_an_approval_says_how_to_give_it(place: Place) -> None:
    await place.keep(place.incident(State.WAITING, "NeedsApproval", mode="approve", asked_at=1.0))
    _, lines = await seen(place)
    assert f"healer approve incident/crash-loop-1 -n {SPACE}" in [line.strip() for line in lines]


async def test_each_unit_is_a_dot_and_the_sick_come_first(place: Place) -> None:
    all_of_it(place)
    _, lines = await seen(place)
    (row,) = [line for line in lines if "○" in line]
    assert "○●●" in row
    assert "2 of 3" in row
    assert "CrashLoopBackOff" in row
    (paused,) = [line for line in lines if "by ann" in line]
    assert "staging" in paused


async def test_canaries_limits_and_the_week_of_rules_are_shown(place: Place) -> None:
    all_of_it(place)
    _, lines = await seen(place)
    (canary,) = [line for line in lines if "ingress/ab" in line]
    assert "██████░░░░░░ 50 of 100" in canary
    assert "15 % of 200" in canary
    (spent,) = [line for line in lines if "5 of 5" in line]
    assert "████████████" in spent
    assert "(in 10 m)" in spent
    assert any("would have acted 3 times" in line for line in lines)


async def test_one_namespace_is_shown_alone(place: Place) -> None:
    all_of_it(place)
    found, lines = await seen(place, "staging")
    assert found.daemon is not None
    assert [row.target.name for row in found.daemon.workloads] == ["other"]
    assert not any("ingress/ab" in line or "5 of 5" in line for line in lines)


async def test_programs_get_it_too(place: Place) -> None:
    all_of_it(place)
    _, said = await healer(place, "status", "-o", "json", "--url", place.server)
    made = json.loads(said)
    assert [row["target"]["name"] for row in made["workloads"]] == ["tensorflow-serving", "other"]
    assert [row["kind"] for row in made["limits"]] == ["rule budget", "cluster budget"]


async def test_without_a_terminal_top_shows_it_once_and_in_plain_text(place: Place) -> None:
    await place.lead("healer-abc-1@healer-abc:8080")
    all_of_it(place)
    code, said = await healer(place, "top", "--url", place.server)
    assert (code, "\x1b" in said) == (0, False)
    assert "2 workloads that rules are about" in said


async def test_on_a_terminal_top_shows_what_changes_until_it_is_interrupted(place: Place) -> None:
    """An incident appears without a restart; Ctrl-C ends it well."""
    all_of_it(place)
    ours, theirs = pty.openpty()
    settings = {"KUBECONFIG": place.kubeconfig, "TERM": "xterm", "COLUMNS": "200", "LINES": "60"}
    process = await asyncio.create_subprocess_exec(
        HEALER,
        *("top", "--url", place.server, "--every", "500ms"),
        env=environment(place.home, settings),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    screen = PseudoTerminal(ours)
    try:
        await screen.until("no incident is open")
        await place.keep(place.incident(State.WAITING, "DisruptionInFlight"))
        await screen.until("crash-loop-1")
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(PATIENCE):
            assert await process.wait() == 0, screen.text
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        os.close(ours)
