"""What the daemon writes for `healer replay`: a life against the lab, whole, redacted, and readable after a kill."""

import gzip
import resource
import shutil
import signal
from pathlib import Path

import pytest

from healer.daemon.recording.files import files_in
from healer.daemon.recording.lines import ActLine, AnyLine, EndLine, HeadLine, OutcomeLine
from healer.daemon.recording.reading import found, read
from healer.daemon.rulefiles import load_rules, vocabulary
from healer.lab import Lab
from healer.model.action import OutcomeKind
from healer.rehearsal.replay.replaying import replay
from tests.integration.conftest import Run
from tests.integration.world import CRASH_LOOP, NAMESPACE, SLOW, evictions, patch, ruleset, serve
from tests.support.healer import Healer, alert, environment

pytestmark = pytest.mark.slow

SECRET = "ghp_0123456789abcdefABCDEF0123456789abcd"


def recorded(folder: Path) -> tuple[list[AnyLine], list[str]]:
    """The lines of a record, and the remarks about it."""
    remarks: list[str] = []
    return [line for path in found(folder) for line in read(path, remarks.append)], remarks


async def test_a_life_is_recorded_and_no_secret_of_it(lab: Lab, run: Run, tmp_path: Path, rules_folder: Path) -> None:
    folder = tmp_path / "record"
    crashing, slow, _ = await serve(lab)
    healer = await run(ruleset(CRASH_LOOP, SLOW), HEALER_RECORD__FOLDER=folder)
    await lab.behave(NAMESPACE, crashing, "crash")
    await healer.says("incident healed", rule="test/crash-loop")
    await healer.post(alert("HighLatency", pod=slow, note=f"token={SECRET}", password="swordfish-77"))
    await healer.says("incident healed", rule="test/slow")
    healer.send(signal.SIGTERM)
    await healer.ended()

    lines, remarks = recorded(folder)
    assert remarks == []
    assert isinstance(lines[0], HeadLine)
    assert [rule.name for rule in lines[0].rules] == ["test/crash-loop", "test/slow"]
    assert isinstance(lines[-1], EndLine)
    acts = [(line.rule, line.action, line.target.name) for line in lines if isinstance(line, ActLine)]
    assert acts == [("test/crash-loop", "evict", crashing), ("test/slow", "evict", slow)]
    assert [name for _, _, name in acts] == evictions(lab)
    assert [line.outcome.kind for line in lines if isinstance(line, OutcomeLine)] == [OutcomeKind.DONE] * 2
    replayed = replay(lines, load_rules([rules_folder], vocabulary()))
    assert [(deed.rule, deed.action, deed.target.name, deed.recorded, deed.at) for deed in replayed.story.deeds] == [
        (line.rule, line.action, line.target.name, True, line.at) for line in lines if isinstance(line, ActLine)
    ]
    text = b"".join(gzip.decompress(file.read_bytes()) for file in files_in(folder))
    assert SECRET.encode() not in text
    assert b"swordfish" not in text


async def test_after_a_kill_the_record_is_read_up_to_it(
    lab: Lab, tmp_path: Path, settings: dict[str, str | Path], rules_folder: Path
) -> None:
    folder = tmp_path / "record"
    crashing, *_ = await serve(lab)
    (rules_folder / "0.yaml").write_text(ruleset(CRASH_LOOP), "utf-8")
    environ = environment(tmp_path, settings | {"HEALER_RECORD__FLUSH": "50ms"})
    async with Healer(["--rules", str(rules_folder), "--record", str(folder)], environ) as healer:
        await lab.behave(NAMESPACE, crashing, "crash")
        await healer.says("incident healed", rule="test/crash-loop")
        while not any(isinstance(line, OutcomeLine) for line in recorded(folder)[0]):
            await healer.metrics()
        healer.send(signal.SIGKILL)
        assert await healer.ended() == -signal.SIGKILL

    lines, _ = recorded(folder)
    assert [line.target.name for line in lines if isinstance(line, ActLine)] == [crashing]
    assert not any(isinstance(line, EndLine) for line in lines)


LEASE = "/apis/coordination.k8s.io/v1/namespaces/default/leases/healer"
CANNOT = "the record cannot be written: healing goes on without it, and it is tried again"
AGAIN = "the record is written again"


async def refused_anew(healer: Healer, times: int) -> None:
    """Until it has tried so often again, and lines were refused each time."""
    for _ in range(times):
        before = (await healer.metrics())[REFUSED]
        while (await healer.metrics())[REFUSED] == before:
            pass


REFUSED = "healer_record_lines_total{outcome=refused}"


async def test_a_follower_says_that_it_waits_and_a_leader_heals_whatever_becomes_of_the_disk(
    lab: Lab, run: Run, tmp_path: Path
) -> None:
    """Another replica leads, and goes. Then the disk takes no byte, and later the folder is replaced by a file."""
    folder = tmp_path / "record"
    spec = {"holderIdentity": "other-1@10.0.0.9:8080", "leaseDurationSeconds": 3600, "renewTime": "2999-01-01T00:00:00.000000Z"}
    metadata = {"name": "healer", "namespace": "default"}
    await lab.apply({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec})
    first, second, third = await serve(lab)
    at_once = CRASH_LOOP | {"limits": {"cooldown": "1ms"}}
    healer = await run(ruleset(at_once), HEALER_RECORD__FOLDER=folder, HEALER_RECORD__FLUSH="20ms")
    assert (await healer.says("healer is ready"))["role"] == "follower"
    assert len(healer.find("the record waits until this replica leads: only the leader records", folder=str(folder))) == 1
    assert [*folder.iterdir()] == []
    await patch(
        lab, LEASE, {"spec": {"holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": "2000-01-01T00:00:00.000000Z"}}
    )
    await healer.says("the record begins")

    resource.prlimit(healer.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    await lab.behave(NAMESPACE, first, "crash")
    await healer.says("incident healed", rule="test/crash-loop")
    assert (await healer.says(CANNOT))["error"] == "File too large"
    await refused_anew(healer, 3)
    assert len(healer.find(CANNOT)) == 1
    resource.prlimit(healer.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert (await healer.says(AGAIN))["lost"] > 0

    shutil.rmtree(folder)
    folder.write_text("no folder")
    await lab.behave(NAMESPACE, second, "crash")
    await healer.until(lambda: len(healer.find("incident healed", rule="test/crash-loop")) == 2, "the second is healed")
    await healer.until(lambda: len(healer.find(CANNOT)) == 2, "the fault is said")
    folder.unlink()
    await healer.until(lambda: len(healer.find(AGAIN)) == 2, "it is written again")
    await lab.behave(NAMESPACE, third, "crash")
    await healer.until(lambda: len(healer.find("incident healed", rule="test/crash-loop")) == 3, "the third is healed")
    healer.send(signal.SIGTERM)
    await healer.ended()

    lines, remarks = recorded(folder)
    assert remarks == []
    assert isinstance(lines[0], HeadLine)
    assert lines[0].why == "lost"
    assert isinstance(lines[-1], EndLine)
    assert [line.target.name for line in lines if isinstance(line, ActLine)] == [third]
    assert evictions(lab) == [first, second, third]
