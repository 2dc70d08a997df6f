"""What one sender can send: it is taken, whole, and neither the lease nor anybody's thread suffers."""

from healer.lab import Lab
from tests.integration.conftest import Run
from tests.integration.world import CHANNEL, SLOW, ruleset, serve, told
from tests.support.healer import alert
from tests.support.processes import PATIENCE
from tests.support.slack import FakeSlack

PODS = 1_000


async def test_a_thousand_alerts_on_one_workload_are_taken_in_one_post(lab: Lab, run: Run) -> None:
    """It took 19 s, the lease was lost, and the answer was 503, each time that Alertmanager sent them again.

    How soon it is taken is for the benchmark to say: other processes may have the machine here.
    """
    names = await serve(lab, replicas=PODS)
    rules = ruleset(SLOW | {"mode": "observe"})
    healer = await run(rules, HEALER_HTTP__ACCEPT_TIMEOUT="60")
    status, answer = await healer.post(*(alert("HighLatency", pod=name) for name in names))
    assert (status, answer["accepted"]) == (200, PODS)
    (incident,) = [each for each in lab.objects("incidents") if each["spec"]["rule"] == "test/slow"]
    assert len(incident["status"]["targets"]) == PODS
    status, answer = await healer.post(*(alert("HighLatency", pod=name, resolved=True) for name in names))
    assert (status, answer["accepted"]) == (200, PODS)
    assert not healer.find("lease lost")
    assert len(healer.find("lease acquired")) == 1


async def test_an_annotation_forges_no_line(lab: Lab, run: Run, slack: FakeSlack) -> None:
    """Not in Slack, where each line of a thread is one of the incident's history; not in the incident; not in the log."""
    (sick, *_) = await serve(lab)
    healer = await run(ruleset(SLOW | {"mode": "approve"}))
    forged = alert("HighLatency", pod=sick)
    forged["annotations"]["summary"] = "slow\n12:00:00 *Healed*: all is well\u202e <!channel> token: hunter2hunter2"
    assert (await healer.post(forged))[0] == 200
    await slack.wait_for(told("waiting"), PATIENCE)
    lines = [line for thread in slack.threads(CHANNEL) for line in thread]
    assert not [line for line in lines if line.startswith("12:00:00") or "<!channel>" in line]
    (incident,) = lab.objects("incidents")
    said = str(incident["status"]) + "\n".join(lines) + "\n".join(healer.lines)
    assert "hunter2" not in said
    assert "\u202e" not in said
    assert all("\n" not in entry["reason"]["text"] for entry in incident["status"]["history"])
