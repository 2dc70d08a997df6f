"""The verbs as a person types them, as processes against the lab: what they print, how they exit."""

import json
from typing import Any

import pytest

from healer.model.decision import Verb
from healer.model.incident import State
from tests.support.healer import verb
from tests.unit.operate.conftest import NAME, SPACE, Place

DEPLOYMENT = f"deployment/{NAME}"


async def healer(place: Place, *arguments: str) -> tuple[int, str]:
    """Namespace and user come from the kubeconfig, unless the arguments say otherwise."""
    return await verb(*arguments, home=place.home, KUBECONFIG=place.kubeconfig)


async def test_pause_and_resume(place: Place) -> None:
    code, said = await healer(place, "pause", DEPLOYMENT, "--reason", "a migration")
    assert code == 0
    assert said.splitlines() == [
        f"healer is paused for {DEPLOYMENT} in production",
        "takes effect at once: no further action is sent; one that was sent already is still verified",
    ]
    assert {key: value for key, value in place.annotations().items() if key.startswith("healer.dev")} == {
        "healer.dev/paused": "true",
        "healer.dev/paused-by": "alice",
        "healer.dev/paused-reason": "a migration",
    }
    code, said = await healer(place, "resume", DEPLOYMENT, "-n", SPACE, "-o", "json")
    assert code == 0
    done = json.loads(said)
    assert (done["paused"], done["before"]["by"], done["before"]["reason"]) == (False, "alice", "a migration")
    assert done["target"] == {"kind": "Deployment", "namespace": SPACE, "name": NAME}
    assert "healer.dev/paused" not in place.annotations()


async def test_everything_is_paused_on_the_lease_of_the_namespace_that_is_named(place: Place) -> None:
    await place.lead()
    code, said = await healer(place, "pause", "everything", "-o", "json")
    assert (code, json.loads(said)["by"]) == (0, "alice")
    assert place.annotations("leases", "healer")["healer.dev/paused"] == "true"
    code, said = await healer(place, "resume", "everything", "--healer-namespace", "elsewhere")
    assert code == 2
    assert "there is no Lease 'healer' in namespace 'elsewhere'" in said
    assert "--healer-namespace" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("pause", "deployment/typo"), "there is no deployment/typo in production"),
        (("resume", "pod/x"), "write deployment/NAME or namespace/NAME"),
        (("approve", "typo"), "there is no incident/typo in production"),
        (("explain", "node/x"), "write pod/NAME or deployment/NAME or incident/NAME"),
        (("explain", "pod/x", "--context", "away"), "127.0.0.1:1"),
        (("pause", "everything", "--context", "nowhere"), "nowhere"),
    ],
)
async def test_what_cannot_be_done_exits_2_and_says_why(place: Place, arguments: tuple[str, ...], said: str) -> None:
    code, printed = await healer(place, *arguments)
    assert code == 2
    assert printed.startswith("healer: ")
    assert said in printed
    assert "Traceback" not in printed


async def test_approve_shows_what_will_be_done_and_says_who_approved(place: Place) -> None:
    await place.keep(place.incident(State.WAITING, "NeedsApproval", "a human decides", mode="approve", asked_at=place.now - 10))
    code, said = await healer(place, "approve", "crash-loop-1")
    assert code == 0
    lines = said.splitlines()
    assert lines[0].startswith("incident crash-loop-1 (tensorflow-serving/crash-loop, critical) on ")
    assert f"  step 1 of 2 (evict): evict {place.pod}" in lines
    assert lines[-1] == "approved by alice: healer asks its guards once more, and goes on"
    assert place.annotations("incidents", "crash-loop-1") == {"healer.dev/approved-by": "alice"}


async def test_approve_exits_1_when_nothing_waits(place: Place) -> None:
    await place.keep(place.incident(State.VERIFYING))
    code, said = await healer(place, "approve", "crash-loop-1", "--by", "bob")
    assert code == 1
    assert "does not wait for approval: it is verifying" in said


async def test_explain_for_people_and_for_programs(place: Place) -> None:
    await place.keep(place.incident(State.WAITING, "DisruptionInFlight", "another pod is down"))
    place.decided(Verb.DEFER, "DisruptionInFlight", "another pod is down", incident="crash-loop-1")
    code, said = await healer(place, "explain", str(place.pod))
    assert code == 0
    assert said.splitlines()[1].startswith("waiting: another pod is down")
    assert "what happens next" in said
    assert "\x1b[" not in said
    code, said = await healer(place, "explain", DEPLOYMENT, "-o", "json")
    found: dict[str, Any] = json.loads(said)
    assert (code, found["verdict"]["code"], found["incidents"][0]["name"]) == (0, "waiting", "crash-loop-1")
    assert [row["decision"] for row in found["decisions"]] == ["defer"]
    code, said = await healer(place, "explain", "incident/crash-loop-1", "--url", "http://127.0.0.1:1")
    assert code == 0
    (note,) = [line for line in said.splitlines() if line.startswith("note: ")]
    assert "the daemon cannot be reached" in note


async def test_explain_exits_1_when_nothing_is_known(place: Place) -> None:
    code, said = await healer(place, "explain", "pod/typo", "-o", "json")
    assert (code, json.loads(said)["verdict"]["code"]) == (1, "unknown")
