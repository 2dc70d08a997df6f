"""The verbs as a person types them, as processes against the lab: what they print, how they exit."""

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from healer.http.health import ALONE, LEADERSHIP, Check
from healer.http.rules import RuleRow
from healer.model.effects import Verb
from healer.model.incident import State
from tests.support.healer import verb
from tests.unit.operate.conftest import NAME, SERVICE, SPACE, Place
from tests.unit.rules.test_errors import GOOD

pytestmark = pytest.mark.slow

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
        (("resume", "pod/x"), "or leaderworkerset/NAME or namespace/NAME"),
        (("approve", "typo"), "there is no incident/typo in production"),
        (("explain", "node/x"), "write pod/NAME or deployment/NAME or statefulset/NAME or daemonset/NAME"),
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
    code, said = await healer(place, "approve", "incident/crash-loop-1")
    assert code == 0
    lines = said.splitlines()
    assert lines[0].startswith("incident crash-loop-1 (tensorflow-serving/crash-loop, critical) on ")
    assert f"  step 1 of 2 (evict): evict {place.pod}" in lines
    assert lines[-1] == "approved by alice: healer asks its guards once more, and goes on"
    assert place.annotations("incidents", "crash-loop-1") == {"healer.dev/approved-by": "alice"}


async def test_approve_and_undo_sign_with_the_name_that_the_server_knows(place: Place) -> None:
    """The admission policy takes no other. A name by --by stands as it is given."""
    place.known_as("oidc:alice@example.com")
    await place.keep(place.incident(State.WAITING, "NeedsApproval", mode="approve", asked_at=place.now - 10))
    for by, name in (((), "oidc:alice@example.com"), (("--by", "bob"), "bob")):
        code, said = await healer(place, "approve", "crash-loop-1", *by)
        assert (code, place.annotations("incidents", "crash-loop-1")) == (0, {"healer.dev/approved-by": name}), said


async def test_approve_says_who_may_when_the_server_refuses(place: Place) -> None:
    """By RBAC or by the admission policy; nothing is approved."""
    await place.keep(place.incident(State.WAITING, "NeedsApproval", mode="approve", asked_at=place.now - 10))
    policy = place.lab.admission.policy("to approve takes the verb approve", reason="Forbidden", resource="incidents")
    ask = "--clusterrole=healer-approver --user=YOU --namespace=production"
    code, said = await healer(place, "approve", "crash-loop-1")
    assert (code, "to approve takes the verb approve" in said, ask in said) == (2, True, True), said
    place.lab.admission.allow(policy)
    place.lab.forbid("patch", "incidents")
    code, said = await healer(place, "approve", "crash-loop-1")
    assert (code, "forbidden" in said, ask in said) == (2, True, True), said
    assert place.annotations("incidents", "crash-loop-1") == {}


async def test_approve_exits_1_when_nothing_waits(place: Place) -> None:
    await place.keep(place.incident(State.VERIFYING))
    code, said = await healer(place, "approve", "crash-loop-1", "--by", "bob")
    assert code == 1
    assert "does not wait for approval: it is verifying" in said


async def test_approve_answers_programs_and_takes_the_name_alone(place: Place) -> None:
    await place.keep(place.incident(State.WAITING, "NeedsApproval", "a human decides", mode="approve", asked_at=place.now - 10))
    code, said = await healer(place, "approve", "crash-loop-1", "--yes", "-o", "json")
    assert code == 0
    done = json.loads(said)
    assert (done["incident"], done["by"], done["action"]) == ("crash-loop-1", "alice", f"evict {place.pod}")


async def test_a_pause_for_a_time_says_when_it_ends(place: Place) -> None:
    code, said = await healer(place, "pause", DEPLOYMENT, "--for", "2h", "-o", "json")
    assert code == 0
    done = json.loads(said)
    ends = datetime.fromisoformat(done["until"]).timestamp()
    assert place.now + 7100 < ends < time.time() + 7201
    assert place.annotations()["healer.dev/paused-until"] == done["until"]
    code, said = await healer(place, "pause", DEPLOYMENT, "--for", "2 hours")
    assert code == 2
    assert "write a number with a unit" in said
    await healer(place, "resume", DEPLOYMENT)
    assert "healer.dev/paused-until" not in place.annotations()


async def test_a_healer_that_was_only_found_is_shown_no_token(place: Place) -> None:
    """A Lease with healer's label in another namespace may be anybody's, and the pod that it names too."""
    theirs = f"/api/v1/namespaces/theirs/pods/http:evil:{place.server.rpartition(':')[2]}/proxy"
    place.front.proxied[theirs] = place.server
    spec = {"holderIdentity": f"evil-1@evil:{place.server.rpartition(':')[2]}"}
    meta = {"name": "healer", "namespace": "theirs", "labels": {"app.kubernetes.io/name": "healer"}}
    await place.lab.apply({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": meta, "spec": spec})
    token = place.home / "token"
    token.write_text("secret")
    _, said = await healer(place, "status", "--token-file", str(token))
    assert (place.front.asked != [], place.front.tokens) == (True, []), said
    _, said = await healer(place, "status", "--token-file", str(token), "--healer-namespace", "theirs")
    assert set(place.front.tokens) == {"secret"}, said


async def test_status_names_the_leader_the_rules_the_pauses_and_the_open_incidents(place: Place) -> None:
    await place.lead("healer-abc-1@healer-abc:8080")
    place.renew()
    place.rules.append(RuleRow("serving/loop", "enforce", "pod", ["NotReady"], {"namespaces": ["x"]}, 0, 0, ["no namespace 'x'"]))
    await place.keep(place.incident(State.WAITING, "DisruptionInFlight", "another pod is down"))
    await healer(place, "pause", DEPLOYMENT, "--reason", "a migration")
    code, said = await healer(place, "status")
    assert code == 0, said
    assert said.startswith("healer-abc-1@healer-abc:8080 leads; its Lease was renewed ")
    assert "paused: deployment/tensorflow-serving in production by alice (a migration)" in said
    assert "no namespace 'x'" in said
    assert "another pod is down" in said
    code, said = await healer(place, "status", "-n", SPACE, "-o", "json")
    found = json.loads(said)
    assert (code, found["led"]) == (0, True)
    assert [rule["name"] for rule in found["rules"]] == ["serving/loop"]
    assert [incident["name"] for incident in found["incidents"]] == ["crash-loop-1"]
    assert [pause["by"] for pause in found["pauses"]] == ["alice"]


@pytest.mark.parametrize("lease", [False, True], ids=["no lease", "a lease that nobody renews"])
async def test_status_exits_1_when_nobody_leads(place: Place, lease: bool) -> None:
    if lease:
        await place.lead("healer-abc-1@healer-abc:8080")
    code, said = await healer(place, "status")
    assert code == 1
    assert said.startswith("nobody leads")


async def test_status_says_that_there_is_no_healer_and_how_to_name_another(place: Place) -> None:
    place.front.proxied.clear()
    code, said = await healer(place, "status")
    first = "no healer was found in namespace healer or in another; --healer-namespace NS names where to look"
    assert (code, said.splitlines()[0]) == (1, first)
    _, said = await healer(place, "status", "--healer-namespace", "elsewhere")
    assert said.splitlines()[0] == (
        "no healer was found in namespace elsewhere; --healer-namespace NS and --lease NAME name another"
    )
    place.lab.forbid("get", "leases")
    _, said = await healer(place, "status")
    assert said.startswith("nobody leads"), "whether there is one is not known"


async def test_a_program_is_told_which_pauses_cannot_be_read(place: Place) -> None:
    _, said = await healer(place, "status", "-o", "json")
    assert json.loads(said)["pausesUnread"] == []
    await place.lead()
    place.lab.forbid("list", "deployments")
    place.lab.forbid("get", "leases")
    _, said = await healer(place, "status", "-o", "json")
    assert json.loads(said)["pausesUnread"] == ["Lease", "Deployment"]


OURS = {"app.kubernetes.io/name": "healer"}


async def _leads(place: Place, namespace: str, name: str, labels: dict[str, str] = OURS) -> None:
    """A healer leads, with a Lease that is not at the usual place, and everything is paused."""
    renewed = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    spec = {"holderIdentity": f"healer-of-{namespace}-7@10.0.0.7:9090", "leaseDurationSeconds": 10, "renewTime": renewed}
    marks = {"healer.dev/paused": "true", "healer.dev/paused-by": "bob"}
    metadata = {"name": name, "namespace": namespace, "labels": labels, "annotations": marks}
    await place.lab.apply({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec})


WAYS = {
    "found by its label": (OURS, (), {}),
    "found by its holder": ({}, (), {}),
    "named by options": ({}, ("--healer-namespace", "ml", "--lease", "ours"), {}),
    "named by the daemon's settings": ({}, (), {"HEALER_LEADER__NAMESPACE": "ml", "HEALER_LEADER__NAME": "ours"}),
}


@pytest.mark.parametrize(("labels", "options", "environment"), WAYS.values(), ids=WAYS)
async def test_status_and_explain_find_the_lease_that_healer_has(
    place: Place, labels: dict[str, str], options: tuple[str, ...], environment: dict[str, str]
) -> None:
    """And ask the leader of the namespace that it is in, whatever the name and the namespace."""
    await _leads(place, "ml", "ours", labels)
    by_pod = "/api/v1/namespaces/ml/pods/http:healer-of-ml:9090/proxy"
    place.front.proxied[by_pod] = place.front.proxied.pop(SERVICE)
    place.decided(Verb.PEND, "Held", "on a pod")
    home = environment | {"KUBECONFIG": place.kubeconfig}
    code, said = await verb("status", *options, "-o", "json", home=place.home, **home)
    found = json.loads(said)
    assert (code, found["led"], found["notes"]) == (0, True, [])
    assert [pause["on"] for pause in found["pauses"]] == [{"kind": "Lease", "namespace": "ml", "name": "ours"}]
    code, said = await verb("explain", DEPLOYMENT, *options, "-o", "json", home=place.home, **home)
    found = json.loads(said)
    assert (code, found["leader"]["holder"], found["notes"]) == (0, "healer-of-ml-7@10.0.0.7:9090", [])
    assert [pause["by"] for pause in found["pauses"]] == ["bob"]
    assert {path.partition("/proxy")[0] for path in place.front.asked} == {by_pod.partition("/proxy")[0]}


async def test_status_does_not_guess_among_several_healers(place: Place) -> None:
    await _leads(place, "one", "a")
    await _leads(place, "two", "b")
    code, said = await healer(place, "status", "-o", "json")
    found = json.loads(said)
    assert (code, found["led"], len(found["pauses"])) == (1, False, 2)
    assert any("who leads is not known" in note and "--healer-namespace two --lease b" in note for note in found["notes"])


async def test_check_says_what_rules_would_guard_in_the_cluster(place: Place, tmp_path: Path) -> None:
    """Before the daemon has them: a misspelt label guards nothing."""
    right, wrong = tmp_path / "right.yaml", tmp_path / "wrong.yaml"
    right.write_text(GOOD.replace("      when:", "      mode: enforce\n      when:"))
    misspelt = "{namespaces: [production], selector: {matchLabels: {app: tensorflow-servng}}}"
    wrong.write_text(GOOD.replace("{namespaces: [production]}", misspelt).replace("name: serving", "name: wrong"))
    code, said = await healer(place, "check", "--cluster", str(right), str(wrong))
    assert code == 0
    assert "serving/crash covers 3 pods of 1 workload" in said
    assert "wrong/crash covers 0 pods of 0 workloads" in said
    assert "no pod in production has app=tensorflow-servng; did you mean 'tensorflow-serving'?" in said
    assert "permission: healer/healer may not" not in said, "the lab lets its user do all"
    assert (await healer(place, "check", "--cluster", "--strict", str(right), str(wrong)))[0] == 1
    assert (await healer(place, "check", "--cluster", "--strict", str(right)))[0] == 0
    place.lab.forbid("create", "pods/eviction")
    code, said = await healer(place, "check", "--cluster", str(right))
    assert (code, "permission: healer/healer may not create pods/eviction" in said) == (0, True), said
    place.lab.allow("create", "pods/eviction")
    code, said = await healer(place, "check", "--cluster", str(right), "-o", "json")
    assert json.loads(said)["findings"] == []
    row = {"rule": "serving/crash", "pods": 3, "workloads": 1, "watched": 0, "doubts": []}
    assert json.loads(said)["coverage"] == [row]


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


async def test_a_stop_can_be_set_before_the_first_healer_begins(place: Place) -> None:
    await place.lab.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "healer"}})
    code, said = await healer(place, "pause", "everything")
    assert code == 0, said
    assert "only a healer that runs without an election, or that begins with this Lease, reads it" in said
    code, said = await healer(place, "status")
    assert "paused: everything by alice" in said


async def test_status_knows_a_healer_that_acts_alone(place: Place) -> None:
    """It makes the Lease for those who pause it, and does not hold it."""
    place.checks.append(Check(LEADERSHIP, True, ALONE))
    code, said = await healer(place, "status")
    assert (code, said.splitlines()[0]) == (0, "healer acts alone, without an election")
    code, said = await healer(place, "status", "-o", "json")
    assert json.loads(said)["led"] is True


async def test_a_reason_of_a_pause_writes_no_line_of_its_own(place: Place) -> None:
    await healer(place, "pause", DEPLOYMENT, "--reason", "x\nall is well")
    _, said = await healer(place, "status")
    assert ("all is well" in said, "all is well" in said.splitlines()) == (True, False)


async def test_a_doubt_that_many_rules_share_is_printed_once(place: Place) -> None:
    """A namespace that is not there yet would be said for each of the rules."""
    rule = GOOD[GOOD.index("    - name: crash") :]
    text = GOOD.replace("namespaces: [production]", "namespaces: [prodcution]") + rule.replace("crash", "loop", 1)
    (place.home / "rules.yaml").write_text(text)
    code, said = await healer(place, "check", "--cluster", str(place.home / "rules.yaml"))
    assert code == 0, said
    (line,) = [line for line in said.splitlines() if "there is no namespace 'prodcution'" in line]
    assert line.startswith("2 rules: ")
