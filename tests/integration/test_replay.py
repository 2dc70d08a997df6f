"""A life of the daemon, killed in its middle, replayed by the command: its own rules change nothing, others what they must."""

import json
import signal
from pathlib import Path

import pytest

from healer.daemon.recording.files import files_in
from healer.daemon.recording.lines import OutcomeLine
from healer.daemon.recording.reading import read
from healer.lab import Lab
from tests.integration.conftest import Run
from tests.integration.world import CRASH_LOOP, NAMESPACE, SLOW, evictions, ruleset, serve
from tests.support.healer import Healer, alert, environment, verb
from tests.support.processes import PATIENCE

pytestmark = pytest.mark.slow


def outcomes(folder: Path) -> int:
    """How many outcomes are on disk."""
    return sum(isinstance(line, OutcomeLine) for path in files_in(folder) for line in read(path, print))


def journaled(lab: Lab) -> bool:
    """Whether both incidents are kept as healed."""
    return [each["status"]["state"] for each in lab.objects("incidents", NAMESPACE)] == ["healed", "healed"]


async def test_a_life_with_a_kill_in_its_middle_is_replayed(
    lab: Lab, run: Run, tmp_path: Path, settings: dict[str, str | Path], rules_folder: Path
) -> None:
    folder = tmp_path / "record"
    settings |= {"HEALER_RECORD__FOLDER": folder, "HEALER_RECORD__FLUSH": "50ms"}
    crashing, slow, other = await serve(lab)
    rules = ruleset(CRASH_LOOP, SLOW)
    (rules_folder / "0.yaml").write_text(rules, "utf-8")
    async with Healer(["--rules", str(rules_folder)], environment(tmp_path, settings)) as killed:
        await killed.says("healer is ready")
        await lab.behave(NAMESPACE, crashing, "crash")
        await killed.says("incident healed", rule="test/crash-loop")
        await killed.post(alert("HighLatency", pod=slow))
        await killed.says("incident healed", rule="test/slow")
        await lab.wait_for(journaled, PATIENCE)
        while outcomes(folder) < 2:
            await killed.metrics()
        killed.send(signal.SIGKILL)
        assert await killed.ended() == -signal.SIGKILL
    healer = await run(rules)
    again = alert("HighLatency", pod=other)
    while (await healer.post(again))[0] != 200:  # it sends again, as Alertmanager does, until this healer leads
        await healer.metrics()
    await healer.says("defer", rule="test/slow")  # the cooldown of the incident before holds
    healer.send(signal.SIGTERM)
    await healer.ended()
    assert evictions(lab) == [crashing, slow]

    code, said = await verb("replay", folder, "--rules", rules_folder, "--diff", "recorded", home=tmp_path)
    assert (code, "nothing changes" in said) == (0, True), said
    code, said = await verb("replay", folder, "--rules", rules_folder, "-o", "json", home=tmp_path)
    result = json.loads(said)
    assert [(act["target"]["name"], act["recorded"], act["further"]) for act in result["acts"]] == [
        (crashing, True, False),
        (slow, True, False),
    ]
    assert result["rulesAsRecorded"] == ["test/crash-loop", "test/slow"]
    (tmp_path / "other.yaml").write_text(ruleset(SLOW), "utf-8")
    code, said = await verb("replay", folder, "--rules", tmp_path / "other.yaml", "--diff", "recorded", home=tmp_path)
    assert code == 1
    assert f"evict pod/{crashing}" in said
    assert "; only what was really done" in said


async def test_what_cannot_be_replayed_says_why(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(ruleset(SLOW), "utf-8")
    code, said = await verb("replay", tmp_path, "--rules", tmp_path / "rules.yaml", home=tmp_path)
    assert (code, "holds no files of a record" in said) == (2, True), said
    code, said = await verb("replay", "--rules", tmp_path / "rules.yaml", home=tmp_path)
    assert (code, "name a record, or --prometheus" in said) == (2, True), said
    nobody = ("--prometheus", "http://127.0.0.1:9", "--since", "1h")
    code, said = await verb("replay", *nobody, "--rules", tmp_path / "rules.yaml", home=tmp_path)
    assert (code, "Connection refused" in said) == (2, True), said
