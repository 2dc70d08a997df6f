"""What an explanation says, from the lab, the journal in it, and a daemon behind the API server's proxy."""

import io
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator
from rich.console import Console

from healer.engine.safety.wide import BREAKER
from healer.http.rules import RuleRow
from healer.lab import serving
from healer.lab.kinds import NAMESPACE, POD
from healer.lab.objects import clone
from healer.model.effects import Verb
from healer.model.incident import Incident, SickTarget, State
from healer.model.target import Target
from healer.operate.explain.document import document, explanation_schema
from healer.operate.explain.facts import SubjectFacts, facts
from healer.operate.explain.show import show_facts
from healer.operate.explain.story import next_steps, verdict
from healer.operate.objects import parse_ref
from healer.operate.pause import parse_pause_ref, pause
from tests.unit.journal.values import example
from tests.unit.operate.conftest import NAME, RULE, SERVICE, SPACE, Place

pytestmark = pytest.mark.slow

KINDS = ("Pod", "Deployment", "Incident")
DEPLOYMENT = f"deployment/{NAME}"
INCIDENT = "incident/crash-loop-1"


async def known(place: Place, what: str = "", url: str | None = None) -> SubjectFacts:
    what = what or str(place.pod)
    return await facts(place.api, parse_ref(what, SPACE, KINDS), "healer", url, place.now)


def screen(found: SubjectFacts) -> str:
    console = Console(file=io.StringIO(), width=400, highlight=False, markup=False)
    show_facts(found, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


# the verdict


async def test_a_healthy_pod(place: Place) -> None:
    found = await known(place)
    assert found.known
    assert verdict(found).text == "no rule finds anything wrong"
    assert (found.workload, found.condition) == (place.workload, "Running, ready, 0 restarts")
    assert next_steps(found) == ["nothing, until a signal fires"]
    assert found.notes == ()


STATES: list[tuple[State, str, dict[str, Any], str, str, str]] = [
    (State.OPEN, "Because", {}, "open", "open: so it is", "if none objects, healer will evict pod/"),
    (
        State.WAITING,
        "DisruptionInFlight",
        {"wake": 12},
        "waiting",
        "Z (in 12 s), then step 1 of 2 (evict)",
        "Z (in 12 s) the guards are asked again; if none objects, healer will evict pod/",
    ),
    (
        State.WAITING,
        "NeedsApproval",
        {"wake": 3600, "mode": "approve", "asked_at": 1.0},
        "approval",
        "waiting for a human to approve step 1 of 2 (evict): so it is",
        "healer approve incident/crash-loop-1 -n production",
    ),
    (State.ACTING, "Allowed", {}, "healing", "healing: step 1 of 2 (evict): so it is", "if not, step 2 of 2 (rollback)"),
    (
        State.VERIFYING,
        "Evicted",
        {"deadline": 150},
        "healing",
        "healing: step 1 of 2 (evict): looking until",
        "if not, step 2 of 2 (rollback)",
    ),
    (
        State.VERIFYING,
        "Evicted",
        {"deadline": 150, "step": 1},
        "healing",
        "healing: step 2 of 2 (rollback): looking until",
        "(in 2 m 30 s)",
    ),
    (State.ESCALATED, "NothingLeft", {}, "escalated", "a human is needed: so it is", "closes it when its signals are gone"),
    (State.HEALED, "Healed", {"wake": 60}, "healed", "healed: so it is", "closed when its cooldown ends"),
]


@pytest.mark.parametrize(("state", "code", "times", "short", "said", "following"), STATES)
@pytest.mark.parametrize("what", ["", DEPLOYMENT, INCIDENT])
async def test_each_state_has_its_verdict_and_its_next(
    place: Place, what: str, state: State, code: str, times: dict[str, Any], short: str, said: str, following: str
) -> None:
    more = {name: value for name, value in times.items() if name not in ("wake", "deadline")}
    more |= {"wake_at": place.now + times["wake"]} if "wake" in times else {}
    more |= {"deadline": place.now + times["deadline"]} if "deadline" in times else {}
    await place.keep(place.incident(state, code, **more))
    found = await known(place, what)
    assert verdict(found).code == short
    assert said in verdict(found).text
    (line,) = next_steps(found)
    assert line.startswith("crash-loop-1: ")
    assert following in line


async def test_the_last_step_is_followed_by_a_human(place: Place) -> None:
    await place.keep(place.incident(State.ACTING, step=1))
    assert "if not, a human is asked" in next_steps(await known(place))[0]


async def test_a_storm_step_is_not_a_step_of_the_ladder(place: Place) -> None:
    made = place.incident(State.ACTING, storming=True)
    found = replace(await known(place), incidents=(made,))
    assert "healing: its onStorm step" in verdict(found).text
    assert "if not, step 1 of 2 (evict)" in next_steps(found)[0]


async def test_the_breaker_of_the_whole_cluster_has_no_ladder(place: Place) -> None:
    cluster = Target("Cluster", SPACE, "cluster", "cluster")
    await place.keep(place.incident(State.ESCALATED, rule=BREAKER, workload=cluster, steps=(), targets={}))
    found = await known(place, INCIDENT)
    assert "healer approve incident/crash-loop-1 -n production" in next_steps(found)[0]
    assert "no ladder" in screen(found)


async def test_an_approval_is_still_wanted_when_another_guard_objects(place: Place) -> None:
    await place.keep(place.incident(State.WAITING, "Paused", mode="approve", asked_at=place.now - 10))
    found = await known(place)
    assert verdict(found).code == "waiting"
    assert next_steps(found)[0].endswith(
        f"somebody approves to evict {place.pod}: healer approve incident/crash-loop-1 -n production"
    )


async def test_an_incident_that_observes_heals_nothing_and_asks_nobody(place: Place) -> None:
    await place.keep(place.incident(State.VERIFYING, "WouldEvict", "would evict", mode="observe", deadline=place.now + 9))
    found = await known(place)
    assert verdict(found).code == "observed"
    (line,) = [line for line in next_steps(found) if "crash-loop-1" in line]
    assert ("only observes" in line, "a human" in line) == (True, False)


async def test_an_incident_that_observes_says_that_nothing_is_changed(place: Place) -> None:
    await place.keep(place.incident(State.WAITING, mode="observe", wake_at=place.now + 9))
    found = await known(place)
    assert verdict(found).text.endswith("mode observe: nothing is changed")
    assert "healer would evict" in next_steps(found)[0]


async def test_a_closed_incident_is_the_past(place: Place) -> None:
    await place.keep(place.incident(State.CLOSED, ended_at=place.now - 10))
    found = await known(place)
    assert verdict(found).code == "well"
    assert "the last one, crash-loop-1, closed" in verdict(found).text
    assert next_steps(found) == ["nothing, until a signal fires"]


async def test_of_several_incidents_the_one_that_acts_speaks(place: Place) -> None:
    await place.keep(
        place.incident(State.ESCALATED, id="a-1"),
        place.incident(State.VERIFYING, id="crash-2"),
        place.incident(State.WAITING, "OtherIncident", id="z-3"),
    )
    assert verdict(await known(place, DEPLOYMENT)).code == "healing"


async def test_a_look_long_overdue_asks_whether_healer_runs(place: Place) -> None:
    """Only where nothing shows that it runs: it looks again more often than it writes so in the journal."""
    await place.lead("healer-abc-1@healer-abc:8080")
    await place.keep(place.incident(State.WAITING, wake_at=place.now - 600))
    answered = await known(place)
    assert not any("overdue" in line for line in next_steps(answered)), "the daemon has just answered"
    assert "at its next look the guards are asked again" in next_steps(answered)[0]
    place.front.proxied.clear()
    assert next_steps(await known(place))[-1] == (
        "a look is overdue by 10 m: is healer running? healer-abc-1@healer-abc:8080 held the Lease"
    )
    await place.keep(place.incident(State.WAITING, wake_at=place.now - 5))
    assert not any("overdue" in line for line in next_steps(await known(place)))
    await place.keep(place.incident(State.WAITING, wake_at=place.now - 600))
    place.renew()
    assert not any("overdue" in line for line in next_steps(await known(place))), "the Lease was renewed"


async def test_what_was_seen_and_not_acted_upon(place: Place) -> None:
    place.decided(Verb.PEND, "Held", "holds since 20 s, the rule asks for 2 m")
    found = await known(place)
    assert verdict(found).code == "seen"
    assert f"{RULE}: holds since 20 s" in verdict(found).text
    (line,) = next_steps(found)
    assert line.startswith(f"{RULE} waits: holds since 20 s, the rule asks for 2 m at ")
    await place.keep(place.incident(State.CLOSED))
    place.decisions[:] = [replace(place.decisions[0], at=place.now - 30)]
    assert "the last one, crash-loop-1, closed" in verdict(await known(place)).text, "what came before the incident is over"


# what belongs to what


async def test_incidents_of_others_are_not_shown(place: Place) -> None:
    other = Target("Pod", SPACE, "other", "uid-other")
    sick = SickTarget(other, {}, place.now, "CrashLoopBackOff")
    elsewhere = Target("Deployment", SPACE, "elsewhere", "uid-elsewhere")
    await place.keep(
        place.incident(State.CLOSED, id="pods"),
        place.incident(State.CLOSED, id="others", targets={other.uid: sick}),
        place.incident(State.WAITING, id="open", targets={other.uid: sick}),
        place.incident(State.WAITING, id="away", workload=elsewhere, targets={other.uid: sick}),
    )
    assert [i.id for i in (await known(place)).incidents] == ["open", "pods"]
    await place.keep(place.incident(State.CLOSED, id="others", targets={}, treated=frozenset({place.pod.uid})))
    assert [i.id for i in (await known(place)).incidents] == ["open", "others", "pods"]
    await place.keep(place.incident(State.CLOSED, id="others", targets={other.uid: sick}))
    assert [i.id for i in (await known(place, DEPLOYMENT)).incidents] == ["open", "others", "pods"]
    assert [i.id for i in (await known(place, "incident/away")).incidents] == ["away"]
    assert [i.id for i in (await known(place, "pod/other")).incidents] == ["away", "open", "others"]


async def test_a_successor_of_the_same_name_is_another(place: Place) -> None:
    before = replace(place.workload, uid="an-earlier-one")
    await place.keep(place.incident(State.CLOSED, workload=before, targets={}))
    assert (await known(place, DEPLOYMENT)).incidents == ()


async def test_a_successor_of_its_replica_set_does_not_own_a_pod(place: Place) -> None:
    pod = clone(place.lab.api.get(POD, SPACE, place.pod.name))
    pod["metadata"]["ownerReferences"][0]["uid"] = "an-earlier-one"
    place.lab.store.put(POD.stored_in, (SPACE, place.pod.name), pod)
    assert (await known(place)).workload is None


async def test_pods_are_found_by_every_form_of_selector(place: Place) -> None:
    labels = {"app": "other", "tier": "serving", "fast": ""}
    expressions = [
        {"key": "tier", "operator": "In", "values": ["serving", "batch"]},
        {"key": "tier", "operator": "NotIn", "values": ["web"]},
        {"key": "fast", "operator": "Exists"},
        {"key": "slow", "operator": "DoesNotExist"},
    ]
    (manifest, *_) = serving("other", SPACE, replicas=1, min_available=None)
    manifest["spec"]["selector"] = {"matchLabels": {"app": "other"}, "matchExpressions": expressions}
    manifest["spec"]["template"]["metadata"]["labels"] = labels
    await place.lab.apply(manifest)
    await place.lab.wait_for(lambda lab: len(lab.objects("pods", SPACE)) == 4)
    (pod,) = [obj["metadata"] for obj in place.lab.objects("pods", SPACE) if obj["metadata"]["name"].startswith("other-")]
    place.decided(Verb.PEND, "Held", "on a pod", target=Target("Pod", SPACE, pod["name"], pod["uid"]))
    assert len((await known(place, "deployment/other")).decisions or ()) == 1


@pytest.mark.parametrize("expired", [False, True])
async def test_a_long_journal_is_read_to_its_end(place: Place, monkeypatch: pytest.MonkeyPatch, expired: bool) -> None:
    """Page by page, and from its beginning again when a continue token has expired."""
    monkeypatch.setattr("healer.operate.workload._PAGE", 1)
    await place.keep(*(place.incident(State.CLOSED, id=f"crash-loop-{number}") for number in range(3)))
    if expired:
        pages = iter(range(1000))
        place.lab.faults.answer(410, verb="list", resource="incidents", match=lambda _: next(pages) == 1)
    assert [i.id for i in (await known(place)).incidents] == ["crash-loop-0", "crash-loop-1", "crash-loop-2"]


async def test_decisions_on_the_pods_of_a_deployment_are_its_own(place: Place) -> None:
    await place.keep(place.incident(State.WAITING))
    gone = Target("Pod", SPACE, "gone", "uid-gone")
    place.decided(Verb.PEND, "Held", "on a pod")
    place.decided(Verb.IGNORE, "NoRule", "on another's pod", target=gone)
    place.decided(Verb.DEFER, "Paused", "on the incident", target=gone, incident="crash-loop-1")
    place.decided(Verb.IGNORE, "NoRule", "elsewhere", target=replace(place.pod, namespace="staging"))
    texts = {what: [d.reason.text for d in (await known(place, what)).decisions or ()] for what in (DEPLOYMENT, "", INCIDENT)}
    assert texts == {
        DEPLOYMENT: ["on a pod", "on the incident"],
        "": ["on a pod", "on the incident"],
        INCIDENT: ["on the incident"],
    }


async def test_a_pod_that_is_gone_is_known_by_its_name(place: Place) -> None:
    gone = Target("Pod", SPACE, "gone", "uid-gone")
    place.decided(Verb.IGNORE, "TargetGone", "pod/gone is not in the cluster", target=replace(gone, uid=""))
    place.decided(Verb.ALLOW, "Allowed", "will evict pod/gone", target=gone)
    found = await known(place, "pod/gone")
    assert found.known
    assert verdict(found).text.startswith("pod/gone is gone; ")
    assert len(found.decisions or ()) == 2


@pytest.mark.parametrize("what", ["pod/typo", "deployment/typo", "incident/typo"])
async def test_of_what_is_nowhere_nothing_is_known(place: Place, what: str) -> None:
    place.decided(Verb.PEND, "Held", "on a pod")
    found = await known(place, what)
    assert not found.known
    assert verdict(found).text == f"there is no {what} in production"


# pauses


@pytest.mark.parametrize("what", ["", DEPLOYMENT, INCIDENT])
async def test_every_pause_that_concerns_it_is_named(place: Place, what: str) -> None:
    await place.lead()
    await place.keep(place.incident(State.WAITING, "Paused"))
    mark = {"healer.dev/paused": "true", "healer.dev/paused-by": "bob"}
    place.annotate(annotations=mark)
    place.annotate(NAMESPACE, SPACE, annotations=mark)
    place.annotate(POD, place.pod.name, annotations=mark)
    await place.api.request(
        "PATCH",
        "/apis/coordination.k8s.io/v1/namespaces/healer/leases/healer",
        body={"metadata": {"annotations": mark}},
        content_type="application/merge-patch+json",
    )
    found = await known(place, what)
    own = [] if what else ["Pod"]
    assert sorted(pause.ref.kind for pause in found.pauses) == sorted([*own, "Deployment", "Namespace", "Lease"])
    assert "paused on " in verdict(found).text
    assert next_steps(found)[0].startswith("nothing, until healer goes on: it is paused on ")


# the daemon


async def test_the_leader_is_asked_before_the_service(place: Place) -> None:
    await place.lead("healer-6d5f-abcde-17@10.0.0.7:9090")
    by_pod = "/api/v1/namespaces/healer/pods/http:healer-6d5f-abcde:9090/proxy"
    place.decided(Verb.PEND, "Held", "on a pod")
    place.front.proxied[by_pod] = place.front.proxied.pop(SERVICE)
    assert len((await known(place)).decisions or ()) == 1
    assert place.front.asked == [f"{by_pod}/decisions", f"{by_pod}/rules"]
    place.front.proxied[SERVICE] = place.front.proxied.pop(by_pod)
    assert len((await known(place)).decisions or ()) == 1
    assert place.front.asked[2:4] == [f"{by_pod}/decisions", f"{SERVICE}/decisions"]


async def test_a_url_is_asked_directly(place: Place) -> None:
    place.decided(Verb.PEND, "Held", "on a pod")
    assert len((await known(place, url=place.server + "/")).decisions or ()) == 1
    assert place.front.asked == []


@pytest.mark.parametrize("url", [None, "http://127.0.0.1:1", "nonsense", "LAB"])
async def test_without_the_daemon_the_journal_speaks_alone(place: Place, url: str | None) -> None:
    place.front.proxied.clear()
    await place.keep(place.incident(State.CLOSED, ended_at=place.now - 10))
    found = await known(place, url=place.lab.url if url == "LAB" else url)
    assert found.decisions is None
    assert "(as far as the journal tells)" in verdict(found).text
    (note,) = found.notes
    assert note.startswith("the daemon cannot be reached: ")
    assert note.endswith("; this is from the journal alone")
    assert "\n" not in note
    assert url != "LAB" or "404" in note


async def test_of_the_ways_to_the_daemon_all_are_named_and_the_first_answer_is_shown(place: Place) -> None:
    """It was asked by https last, whose answer says only that the port does not speak it."""
    await place.lead("healer-6d5f-abcde-17@10.0.0.7:9090")
    place.front.proxied = {SERVICE.replace("http:", "https:"): f"{place.server}/no-such"}
    (note,) = (await known(place)).notes
    assert "tried pod/healer-6d5f-abcde and service/healer in namespace healer through the API server" in note
    assert "the server could not find the requested resource" in note
    assert "--healer-namespace names where healer is" in note


@pytest.mark.parametrize(
    ("what", "said"),
    [
        (f"deployment/{NAME}s", f"there is no deployment/{NAME}s in {SPACE}; did you mean deployment/{NAME}?"),
        ("deployment/zzz", f"there is no deployment/zzz in {SPACE}"),
        ("incident/crash-lop-1", f"there is no incident/crash-lop-1 in {SPACE}; did you mean incident/crash-loop-1?"),
    ],
)
async def test_what_is_not_there_is_said_with_names_that_are_near(place: Place, what: str, said: str) -> None:
    await place.keep(place.incident(State.WAITING))
    found = await known(place, what)
    assert verdict(found).text == said
    assert next_steps(found) == [], "nothing will happen to what does not exist"


async def test_a_pod_of_a_wrong_name_is_answered_with_its_fellows(place: Place) -> None:
    name = place.pod.name[:-1]
    text = verdict(await known(place, f"pod/{name}")).text
    assert text.startswith(f"there is no pod/{name} in {SPACE}; did you mean ")
    assert str(place.pod) in text
    for resource in ("pods", "namespaces"):
        place.lab.forbid("list", resource)
    assert verdict(await known(place, f"pod/{name}")).text == f"there is no pod/{name} in {SPACE}"


async def test_a_namespace_of_a_wrong_name_is_what_is_said(place: Place) -> None:
    ref = parse_ref(f"deployment/{NAME}", "prodction", ("Deployment",))
    found = await facts(place.api, ref, "healer", None, place.now)
    assert verdict(found).text == (
        f"there is no deployment/{NAME} in prodction; there is no namespace prodction: did you mean -n {SPACE}?"
    )


async def test_what_may_not_be_read_is_said(place: Place) -> None:
    for resource in ("incidents", "replicasets", "leases", "namespaces"):
        place.lab.forbid("get", resource)
        place.lab.forbid("list", resource)
    found = await known(place)
    assert found.workload is None
    assert found.known
    said = "\n".join(found.notes)
    for part in (
        "the journal is not shown",
        "what owns pod/",
        "who leads is not known",
        "paused on namespace/production is not known",
    ):
        assert part in said


async def test_with_neither_journal_nor_daemon_nothing_is_known(place: Place) -> None:
    place.lab.api.kinds.undefine(place.lab.objects("customresourcedefinitions")[0])
    place.front.proxied.clear()
    found = await known(place)
    assert not found.known
    assert any("kubectl apply -f deploy/healer/crd.yaml" in note for note in found.notes)


async def test_an_incident_that_cannot_be_read_hides_no_other(place: Place) -> None:
    await place.keep(place.incident(State.WAITING), place.incident(State.WAITING, id="broken-1"))
    kind = place.lab.api.kinds.named("incidents")
    broken = clone(place.lab.api.get(kind, SPACE, "broken-1"))
    broken["status"]["state"] = "confused"
    place.lab.store.put(kind.stored_in, (SPACE, "broken-1"), broken)
    found = await known(place)
    assert [i.id for i in found.incidents] == ["crash-loop-1"]
    assert found.notes[0].startswith("incident broken-1 cannot be read: ")


# what is printed


async def test_the_screen_has_verdict_history_rules_decisions_and_next(place: Place) -> None:
    await place.keep(place.incident(State.WAITING, "Paused", "another pod is down"))
    place.decided(Verb.PEND, "Held", "held for 20 s", ago=40)
    place.decided(Verb.DEFER, "DisruptionInFlight", "another pod is down", incident="crash-loop-1")
    text = screen(await known(place))
    head, said, *rest = text.splitlines()
    assert head == f"{place.pod} in production: Running, ready, 0 restarts; belongs to {place.workload}"
    assert said.startswith("waiting: another pod is down")
    titles = [line for line in rest if line and not line.startswith(" ")]
    assert titles[0].startswith(f"incident crash-loop-1 ({RULE}, critical, enforce): waiting, step 1 of 2 (evict), opened ")
    assert titles[1:] == ["rules about it", "rules considered", "decisions", "what happens next"]
    for part in ("crash-loops", "held for 20 s", "defer", "the guards are asked again"):
        assert part in text


def rule_on(app: str, namespace: str = SPACE, description: str = "") -> RuleRow:
    scope = {"namespaces": [namespace], "selector": {"matchLabels": {"app": app}}}
    return RuleRow(f"serving/{app}", "enforce", "pod", ["CrashLoopBackOff"], scope, description=description)


async def test_the_rules_that_are_about_it_are_named(place: Place) -> None:
    place.rules[:] = [rule_on(NAME, description="A new pod may get\na better node.\n"), rule_on("another")]
    text = screen(await known(place))
    assert f"  serving/{NAME} (enforce): pod CrashLoopBackOff\n    A new pod may get a better node.\n" in text
    assert "another" not in text
    assert document(await known(place))["guards"] == [
        {
            "rule": f"serving/{NAME}",
            "mode": "enforce",
            "inScope": True,
            "differs": "",
            "description": "A new pod may get\na better node.\n",
        },
        {
            "rule": "serving/another",
            "mode": "enforce",
            "inScope": False,
            "differs": f"its label 'app' is '{NAME}', and the selector wants 'another'",
            "description": "",
        },
    ]


async def test_what_no_rule_is_about_is_told_what_differs(place: Place) -> None:
    """A misspelt namespace or label guards nothing, and nobody would know."""
    place.rules[:] = [rule_on("tensorflow-servng"), rule_on(NAME, "prodcution")]
    text = screen(await known(place))
    assert "none: no rule in force is about it" in text
    assert "its label 'app' is 'tensorflow-serving', and the selector wants 'tensorflow-servng'" in text
    assert "its namespace is production, and the scope is prodcution" in text


async def test_the_newest_decisions_are_on_the_screen(place: Place) -> None:
    for number in range(40):
        place.decided(Verb.PEND, "Held", f"look {number}.", ago=100 - number)
    text = screen(await known(place))
    assert "10 earlier ones: -o json" in text
    assert "look 9." not in text
    assert "look 10." in text
    assert "look 39." in text
    assert len(document(await known(place))["decisions"]) == 40


async def test_nothing_that_is_quoted_steers_the_terminal(place: Place) -> None:
    await place.keep(place.incident(State.WAITING, "Paused", "\x1b[2Jcleared [red]not markup[/]"))
    place.decided(Verb.DEFER, "Paused", "\x1b]0;title\x07 [bold]still not[/]")
    text = screen(await known(place))
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "[red]not markup[/]" in text
    assert "[bold]still not[/]" in text


def closed(schema: Any) -> Any:
    """The schema with no further keys anywhere: a key that is printed and not in the schema is found."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    more = {"additionalProperties": False} if isinstance(schema.get("properties"), dict) else {}
    return {key: closed(value) for key, value in schema.items()} | more


def as_json(made: dict[str, Any]) -> Any:
    return msgspec.json.decode(msgspec.json.encode(made))


SCHEMA = Draft202012Validator(closed(explanation_schema()))


async def test_what_programs_get_has_the_published_schema(place: Place) -> None:
    """With nothing known, and with something of all that there is."""
    SCHEMA.validate(as_json(document(await known(place))))
    await place.lead("healer-abc-1@healer-abc:8080")
    place.rules[:] = [rule_on(NAME)]
    await place.keep(place.incident(State.WAITING))
    place.decided(Verb.DEFER, "Paused", "paused", incident="crash-loop-1")
    await pause(place.api, parse_pause_ref(DEPLOYMENT, SPACE, "healer"), "jane", "a look", "healer")
    made = document(await known(place))
    SCHEMA.validate(as_json(made))
    assert all(made[key] for key in ("incidents", "decisions", "rules", "guards", "pauses", "leader", "workload", "next"))


def test_all_that_an_incident_can_hold_has_the_published_schema() -> None:
    incident = example(Incident)
    assert isinstance(incident, Incident)
    facts = SubjectFacts(incident.workload, True, "", None, (incident,), True, None, (), None, (), 1e9)
    SCHEMA.validate(as_json(document(facts)))


async def test_programs_get_the_same_with_stable_keys(place: Place) -> None:
    await place.lead("healer-abc-1@healer-abc:8080")
    await place.keep(place.incident(State.WAITING))
    place.decided(Verb.DEFER, "Paused", "paused", incident="crash-loop-1")
    made = document(await known(place))
    assert list(made) == [
        "apiVersion",
        "kind",
        "target",
        "found",
        "condition",
        "workload",
        "verdict",
        "pauses",
        "incidents",
        "rules",
        "decisions",
        "guards",
        "next",
        "leader",
        "notes",
        "at",
    ]
    (incident,) = made["incidents"]
    assert {"name", "rule", "workload", "steps", "openedAt", "state", "reason", "history", "next"} <= incident.keys()
    assert made["rules"] == made["decisions"]
