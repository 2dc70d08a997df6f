"""Webhooks: what programs and chats are posted, signed as they check it, against servers that answer as they do."""

import asyncio
import base64
import hashlib
import hmac
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from structlog.testing import capture_logs

from healer.clock import SYSTEM
from healer.model.incident import Background, Incident, State
from healer.sinks.delivery import MessageRefused
from healer.sinks.memory import ProcessMemory
from healer.sinks.site import Site
from healer.sinks.webhook import signing
from healer.sinks.webhook.settings import WebhookSettings
from healer.sinks.webhook.template import GAPS, load
from tests.support.certificates import Authority
from tests.support.chats import CHATS, SECRET, FakeChat
from tests.support.receiver import Receiver, Reply
from tests.unit.sinks.benches import SITE, SinkBench, bad_canary, crash_loop, escalated, storm, waiting_for_approval
from tests.unit.sinks.incidents import then


@pytest.fixture
async def there() -> AsyncIterator[Receiver]:
    async with Receiver() as server:
        yield server


def bench(memory: Any = None, **targets: Any) -> SinkBench:
    further = {key: targets.pop(key) for key in ("default", "severities", "timeout", "capacity") if key in targets}
    return SinkBench("webhook", memory, targets=targets, **further)


def program(server: Receiver, **target: Any) -> SinkBench:
    return bench(bus={"url": server.url + "hook", **target})


@pytest.fixture
def chat_files(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_text(SECRET + "\n")
    return tmp_path


def chat(server: FakeChat, folder: Path, template: str, *, sign: bool = True) -> SinkBench:
    (folder / "url").write_text(server.hook + "\n")
    target = {"url_file": folder / "url", "template": template} | ({"hmac_file": folder / "secret"} if sign else {})
    return bench(chat=target)


# for programs


async def test_a_program_is_posted_each_change_with_all_of_the_incident(there: Receiver) -> None:
    told = program(there)
    life = crash_loop("bus")
    async with told.running():
        await told.told(*life)
        await told.told(life[-1])
    assert [posting.json["state"] for posting in there.taken] == ["open", "acting", "verifying", "healed", "closed"]
    assert len({posting.headers["webhook-id"] for posting in there.taken}) == 5
    body = there.taken[3].json
    assert body["version"] == "healer.dev/incident/v1"
    assert (body["incident"], body["cluster"], body["milestone"]) == ("crash-loop-1", "prod-eu-1", "healed")
    assert body["workload"] == {
        "kind": "Deployment",
        "namespace": "production",
        "name": "tensorflow-serving",
        "uid": "uid-d",
    }
    assert body["reason"] == {"code": "Because", "text": "3 of 3 ready for 1 min"}
    assert body["headline"].endswith("on pod/tensorflow-serving-7b5b8c9d4-xyz12: healed")
    assert body["sick"][0]["what"] == "CrashLoopBackOff: back-off 5m0s"
    assert body["links"]["runbook"] == "https://example.com/runbooks/crash-loop"
    assert body["command"] == "healer explain incident/crash-loop-1 -n production"
    assert [line["state"] for line in body["history"]] == ["open", "acting", "verifying", "healed"]
    assert body["history"][0] == {
        "at": 1000.0,
        "state": "open",
        "step": None,
        "code": "Matched",
        "text": "CrashLoopBackOff for 2 min",
    }


async def test_a_storm_is_one_incident_and_names_no_more_targets_than_there_is_room_for(there: Receiver) -> None:
    told = program(there)
    pods = storm("bus")
    many = {f"{name}-{number}": pod for name, pod in pods.targets.items() for number in range(5)}
    async with told.running():
        await told.told(replace(pods, targets=many))
    (posting,) = there.taken
    assert (posting.json["storm"], len(posting.json["sick"]), posting.json["sickMore"]) == (True, 100, 100)
    assert posting.json["cause"].startswith("40 of 50 pods are sick")


async def test_what_a_tenants_rules_tell_keeps_nobody_elses_waiting(there: Receiver) -> None:
    told = program(there)
    for number in range(20):
        told.sink.tell(replace(escalated("bus"), id=f"flood-{number}", rule="pay/mine/crash-loop"))
    told.sink.tell(replace(escalated("bus"), id="ours"))
    async with told.running():
        await told.settled()
    order = [posting.json["incident"] for posting in there.taken]
    assert len(order) == 21
    assert order.index("ours") <= 1


async def test_what_is_posted_is_signed_and_carries_the_token(there: Receiver, tmp_path: Path) -> None:
    (tmp_path / "hmac").write_text("a secret of both\n")
    (tmp_path / "token").write_text("bearer-token\n")
    told = program(there, hmac_file=tmp_path / "hmac", token_file=tmp_path / "token")
    before = SYSTEM.wall()
    async with told.running():
        await told.told(escalated("bus"))
    (posting,) = there.taken
    headers = posting.headers
    assert headers["Authorization"] == "Bearer bearer-token"
    assert before - 1 <= int(headers["webhook-timestamp"]) <= SYSTEM.wall()
    signed = b".".join((headers["webhook-id"].encode(), headers["webhook-timestamp"].encode(), posting.body))
    expected = base64.b64encode(hmac.new(b"a secret of both", signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"


def test_the_signature_is_that_of_standard_webhooks() -> None:
    """The example of its specification."""
    secret, body = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", b'{"test": 2432232314}'
    made = signing.standard(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    assert made == {"webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="}


async def test_a_secret_that_is_no_base64_refuses(there: Receiver, tmp_path: Path) -> None:
    (tmp_path / "hmac").write_text("whsec_*!")
    told = program(there, hmac_file=tmp_path / "hmac")
    with pytest.raises(MessageRefused, match="is no base64"):
        await told.sink.try_out("bus", escalated("bus"))
    assert there.came == []


async def test_a_message_that_is_sent_again_has_the_same_identity(there: Receiver) -> None:
    told = program(there)
    there.next(Reply(cuts=True), Reply(500, "oops"))
    async with told.running():
        await told.told(escalated("bus"))
    assert len({posting.headers["webhook-id"] for posting in there.came}) == 1
    assert len(there.came) == 3


async def test_after_an_outage_the_newest_state_is_told_and_nothing_else(there: Receiver) -> None:
    told = program(there)
    there.down = True
    async with told.running():
        for number in range(20):
            for snapshot in crash_loop("bus", name=f"case-{number}"):
                told.sink.tell(snapshot)
        await there.wait_for(lambda there: len(there.came) >= 1)
        there.down = False
        assert await told.sink.flush(20)
    assert sorted(posting.json["incident"] for posting in there.taken) == sorted(f"case-{number}" for number in range(20))
    assert {posting.json["state"] for posting in there.taken} == {"closed"}


async def test_a_restart_tells_nothing_twice_and_what_came_meanwhile(there: Receiver) -> None:
    memory, life = ProcessMemory(), crash_loop("bus")
    for resumed in (life[0], life[0], life[-1], life[-1]):
        told = bench(memory, bus={"url": there.url})
        told.sink.resume(resumed)
        async with told.running():
            assert await told.sink.flush(10)
    assert [posting.json["state"] for posting in there.taken] == ["open", "closed"]


async def test_one_webhook_that_hangs_delays_no_other(there: Receiver) -> None:
    async with Receiver() as other:
        told = bench(slow={"url": there.url}, quick={"url": other.url})
        there.next(Reply(hangs=True))
        async with told.running():
            told.sink.tell(escalated("slow", "quick"))
            await other.wait_for(lambda other: len(other.taken) == 1)
            await there.wait_for(lambda there: len(there.came) == 1)
    assert there.taken == []


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        (Reply(400, "no such field"), "HTTP 400 no such field"),
        (Reply(401, "who are you"), "HTTP 401 who are you"),
        (Reply(404, "gone"), "HTTP 404 gone"),
        (Reply(302, "", {"Location": "https://evil.example.com/"}), "HTTP 302"),
    ],
)
async def test_a_refusal_is_said_once_with_what_to_do_and_told_by_the_default_webhook(
    reply: Reply, problem: str, there: Receiver
) -> None:
    async with Receiver() as other:
        told = bench(bus={"url": there.url}, spare={"url": other.url}, default="spare")
        there.next(reply, reply)
        async with told.running():
            with capture_logs() as logs:
                told.sink.tell(escalated("bus"))
                await told.settled()
        assert len(other.taken) == 1
    assert (len(there.came), len(there.taken), told.count("failed")) == (3, 1, 2)
    (said,) = [line["problem"] for line in logs if line["event"] == "a message is not taken"]
    assert said == f"{problem}: look at the URL, the secrets and the template of webhook:bus"
    assert "evil" not in str(logs)


@pytest.mark.parametrize("reply", [Reply(429, "", {"Retry-After": "0"}), Reply(503, "busy"), Reply(hangs=True)])
async def test_trouble_that_passes_is_tried_again(reply: Reply, there: Receiver) -> None:
    told = bench(bus={"url": there.url}, timeout=0.3 if reply.hangs else 10)
    there.next(reply)
    async with told.running():
        await told.told(escalated("bus"))
    assert (len(there.came), len(there.taken), told.count("retried")) == (2, 1, 1)


@pytest.mark.parametrize(("trusted", "taken"), [(True, 1), (False, 0)])
async def test_the_authority_of_the_webhook_alone_is_trusted(trusted: bool, taken: int, tmp_path: Path) -> None:
    authority = await asyncio.to_thread(Authority.make, tmp_path / "own")
    pair = await asyncio.to_thread(authority.pair_for, "server")
    async with Receiver(pair) as there:
        told = program(there, **({"ca_file": authority.file} if trusted else {}))
        async with told.running():
            told.sink.tell(escalated("bus"))
            await told.sink.flush(10)
        assert len(there.taken) == taken


async def test_a_url_that_holds_a_secret_is_in_no_log_and_no_answer(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("ftp://host/very-secret-token")
    told = bench(bus={"url_file": tmp_path / "url"})
    async with told.running():
        with capture_logs() as logs:
            told.sink.tell(escalated("bus"))
            await told.sink.flush(10)
    assert "very-secret" not in str(logs)
    assert "the URL is not usable" in str(logs)


# for chats


@pytest.fixture(params=sorted(CHATS))
async def one(request: pytest.FixtureRequest) -> AsyncIterator[tuple[str, FakeChat]]:
    async with CHATS[request.param](SYSTEM.wall()) as server:
        yield request.param, server


async def test_a_chat_hears_of_milestones_not_of_steps(one: tuple[str, FakeChat], chat_files: Path) -> None:
    name, server = one
    told = chat(server, chat_files, name)
    async with told.running():
        await told.told(*crash_loop("chat"))
    opened, healed, closed = server.texts
    for part in ("tensorflow-serving", "production", "prod-eu-1", "CrashLoopBackOff: back-off 5m0s", "healer is on it"):
        assert part in opened
    for part in ("healed", "3 of 3 ready for 1 min", "evict: evicted; waiting for 3 of 3 ready", "🟢"):
        assert part in healed
    assert "healer explain incident/crash-loop-1 -n production" in healed
    assert "https://example.com/runbooks/crash-loop" in opened
    assert "over" in closed


@pytest.mark.parametrize(
    ("incident", "parts"),
    [
        (storm("chat"), ("40 of 50 pods are sick", "a human is needed", "🔴", "healer has changed nothing")),
        (escalated("chat"), ("no step is left after evict", "a human is needed", "🔴", "evict: evicted; waiting")),
        (bad_canary("chat")[3], ("taken off, the release failed", "🟠", "canary weight 20 to 0")),
        (waiting_for_approval("chat"), ("healer waits for your approval", "healer approve incident/crash-loop-1 -n production")),
    ],
    ids=["storm", "escalated", "bad canary", "question"],
)
async def test_a_message_says_what_broke_what_was_done_and_whether_it_is_over(
    incident: Incident, parts: tuple[str, ...], one: tuple[str, FakeChat], chat_files: Path
) -> None:
    name, server = one
    told = chat(server, chat_files, name)
    async with told.running():
        await told.told(incident)
    (text,) = server.texts
    for part in parts:
        assert part in text
    assert "✅" not in text


async def test_a_chat_that_limits_is_left_alone_for_a_while(
    one: tuple[str, FakeChat], chat_files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("healer.sinks.webhook.sink._LATER", 0.001)
    name, server = one
    told = chat(server, chat_files, name)
    server.next(server.limited)
    async with told.running():
        await told.told(escalated("chat"))
    assert (len(server.came), told.count("retried"), told.count("failed"), told.count("sent")) == (2, 1, 0, 1)


async def test_a_chat_that_does_not_know_the_token_refuses(one: tuple[str, FakeChat], chat_files: Path) -> None:
    """Some answer 200 and say so in the body."""
    name, server = one
    told = chat(server, chat_files, name)
    url = await asyncio.to_thread((chat_files / "url").read_text)
    await asyncio.to_thread((chat_files / "url").write_text, url.strip()[:-3])
    with pytest.raises(MessageRefused) as refused:
        await told.sink.try_out("chat", escalated("chat"))
    assert "secret" not in str(refused.value)
    assert "webhook:chat" in refused.value.hint


@pytest.mark.parametrize("name", ["dingtalk", "feishu"])
async def test_a_robot_that_checks_signatures_refuses_one_without(name: str, chat_files: Path) -> None:
    async with CHATS[name](SYSTEM.wall()) as server:
        with pytest.raises(MessageRefused, match="sign"):
            await chat(server, chat_files, name, sign=False).sink.try_out("chat", escalated("chat"))


@pytest.mark.parametrize("answer", ["<html>log in</html>", "[]"])
async def test_a_page_of_a_proxy_is_no_answer_of_a_chat(answer: str, chat_files: Path) -> None:
    async with CHATS["wecom"](0) as server:
        told = chat(server, chat_files, "wecom")
        server.next(Reply(200, answer))
        async with told.running():
            await told.told(escalated("chat"))
        assert (len(server.came), told.count("retried"), told.count("sent")) == (2, 1, 1)


LONG = "网" * 1000


async def test_the_longest_incident_fits(one: tuple[str, FakeChat], chat_files: Path) -> None:
    name, server = one
    links = {f"link{number}": "https://example.com/" + "x" * 90 for number in range(8)}
    life = escalated("chat")
    for _ in range(30):
        life = then(then(life, State.ACTING, LONG), State.VERIFYING, LONG)
    pods = {uid: replace(pod, what=LONG) for uid, pod in life.targets.items()}
    whole = replace(
        then(life, State.ESCALATED, LONG),
        id="i" * 253,
        targets=pods,
        background=Background(LONG, LONG, links),
        workload=replace(life.workload, name="w" * 253, namespace="n" * 63),
    )
    told = chat(server, chat_files, name)
    async with told.running():
        await told.told(whole)
    (text,) = server.texts
    assert "a human is needed" in text
    assert "healer explain" in text


async def test_what_others_wrote_makes_no_link_no_mention_and_no_tag(one: tuple[str, FakeChat], chat_files: Path) -> None:
    name, server = one
    evil = "@channel [log in](https://evil.example.com) <at id=all></at> <font color='info'>fine</font>"
    told = chat(server, chat_files, name)
    async with told.running():
        await told.told(then(escalated("chat"), State.ESCALATED, evil))
    (text,) = server.texts
    assert "＠channel ［log in］(https://evil.example.com) ‹at id=all›" in text
    assert "<at" not in text
    assert "@channel" not in text


# templates


@pytest.mark.parametrize("name", sorted(CHATS))
def test_what_is_not_known_is_left_out(name: str) -> None:
    bare = replace(escalated("chat"), background=Background(), workload=replace(escalated().workload, namespace=""))
    body = str(load(name).body(bare, Site()))
    assert "{{" not in body
    assert "None" not in body.replace("'contentUrl': None", "")
    assert "Cluster" not in body
    full = str(load(name).body(escalated("chat"), SITE))
    assert "prod-eu-1" in full


GOOD = "body: {text: '{{ headline }}', parts: [{name: cluster, value: '{{ cluster }}'}, fixed]}\n"


def test_a_template_of_your_own(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("tells: changes\nescape: none\n" + GOOD)
    mine = load(str(file))
    assert mine.file.tells == "changes"
    assert mine.body(escalated("chat"), Site())["parts"] == ["fixed"]
    assert mine.body(escalated("chat"), SITE)["parts"] == [{"name": "cluster", "value": "prod-eu-1"}, "fixed"]
    every = {"body": {"list": [f"{{{{ {gap} }}}}!" for gap in sorted(GAPS)]}}
    file.write_text(str(every))
    filled = load(str(file)).body(escalated("chat"), SITE)["list"]
    assert len(filled) == len(GAPS)
    assert "{{" not in str(filled)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "body: {text: '{{ headlin }}'}",
            r"mine.yaml: line 1: body.text: there is no \{\{ headlin \}\}; there are alert, asked, ",
        ),
        ("body: {text: '{{ Headline }}'}", "body.text: a gap is written"),
        ("body: {text: '{{ cluster }}'}", r"body.text: \{\{ cluster \}\} may be empty: put it into an entry of a list"),
        ("body: {on: {yes: 1}}", "Input should be a valid string"),
        ("body: {text: {yes: 1}}", "body.text: the key True is no text: put it in quotes"),
        ("body: {at: 2026-01-01}", "body.at: date has no form in JSON: put it in quotes"),
        ("bdy: {text: hi}", "bdy: Extra inputs are not permitted"),
        ("body: [hi]", "body: Input should be a valid dictionary"),
        ("sign: rot13\n" + GOOD, "sign: Input should be 'standard', 'dingtalk' or 'feishu'"),
        ("colours: {urgent: red}\n" + GOOD, "colours: good is missing"),
        ("body: {text: [}", "is no YAML"),
        ("", "it: Input should be a valid dictionary"),
    ],
)
async def test_a_wrong_template_is_an_error_when_healer_starts(text: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    await asyncio.to_thread(file.write_text, text)
    with pytest.raises(ValueError, match=rf"HEALER_WEBHOOK__TARGETS: bus: the template .*{said}"):
        bench(bus={"url": "https://example.com", "template": str(file)})


def test_a_template_that_is_not_there_is_an_error() -> None:
    with pytest.raises(
        ValueError, match=r"there is no template 'team'; there are json, dingtalk, feishu, mattermost, teams, wecom"
    ):
        bench(bus={"url": "https://example.com", "template": "team"})
    with pytest.raises(ValueError, match=r"the template /no/such.yaml cannot be read: FileNotFoundError"):
        bench(bus={"url": "https://example.com", "template": "/no/such.yaml"})


# settings


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"targets": {"a": {}}}, "a webhook needs url or url_file"),
        ({"targets": {"a": {"url": "https://x", "url_file": "/f"}}}, "a webhook needs url or url_file"),
        ({"targets": {"a": {"url": "https://x/?key=secret"}}}, "String should match pattern"),
        ({"targets": {"a": {"url": "https://x", "templat": "teams"}}}, "Extra inputs are not permitted"),
        ({"targets": {"A b": {"url": "https://x"}}}, "'A b' is no name"),
        ({"targets": {"a": {"url": "https://x"}}, "default": "b"}, "'b' is none of the webhooks a"),
    ],
)
def test_wrong_settings_are_errors(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        WebhookSettings.model_validate(settings)


async def test_what_is_missing_is_said_by_the_check(there: Receiver, tmp_path: Path) -> None:
    assert await program(there).sink.check({"bus"}) == []
    told = program(there, hmac_file=tmp_path / "none", token_file=tmp_path / "neither")
    said = await told.sink.check({"bus", "teams"})
    assert said[0] == "webhook:teams is not set up: nobody is told by it; there are bus; set HEALER_WEBHOOK__TARGETS"
    assert [text.partition(":")[0] for text in said[1:]] == ["nobody is told by webhook"] * 2
    assert WebhookSettings(default="a").incomplete.startswith("HEALER_WEBHOOK__DEFAULT is a, and there is no webhook")


async def test_a_missing_secret_refuses_and_posts_nothing(there: Receiver, tmp_path: Path) -> None:
    told = program(there, hmac_file=tmp_path / "none")
    async with told.running():
        told.sink.tell(escalated("bus"))
        await told.sink.flush(10)
    assert there.came == []
    assert told.usable("bus") == 0


def of(tenant: str, name: str, incident: Incident) -> Incident:
    """The incident by another name, of a rule of a RuleSet in a namespace; "" for healer's own."""
    if not tenant:
        return replace(incident, id=name)
    return replace(incident, id=name, rule=f"{tenant}/mine/x", workload=replace(incident.workload, namespace=tenant))


@pytest.mark.parametrize("calls", [True, False])
async def test_a_flood_of_one_namespace_drops_no_message_of_others(there: Receiver, calls: bool) -> None:
    """Also where all of the flood need a human, and nothing of the others does."""
    opened, *_, closed = crash_loop("bus")
    told = bench(bus={"url": there.url + "hook"}, capacity=10)
    others = [of("bank", "bank-calls", escalated("bus")), of("bank", "bank-open", opened), of("", "own-open", opened)]
    for each in [*others, of("", "own-closed", opened), of("", "own-closed", closed)]:
        told.sink.tell(each)
    for number in range(12):
        told.sink.tell(of("web", f"web-{number}", escalated("bus") if calls else opened))
    async with told.running():
        await told.settled()
    names = {post.json["incident"] for post in there.taken}
    assert {name for name in names if not name.startswith("web-")} == {"bank-calls", "bank-open", "own-open", "own-closed"}
    assert names >= {"web-10", "web-11"}
    assert told.count("dropped") == 6


async def test_what_needs_no_human_is_dropped_first_where_nobody_floods(there: Receiver) -> None:
    opened = crash_loop("bus")[0]
    told = bench(bus={"url": there.url + "hook"}, capacity=4)
    for name in ("a", "b"):
        told.sink.tell(of(name, f"{name}-calls", escalated("bus")))
    told.sink.tell(of("", "own-open", opened))
    told.sink.tell(of("c", "c-open", opened))
    told.sink.tell(of("d", "d-calls", escalated("bus")))  # instead of c-open: it needs no human, and healer's own goes later
    async with told.running():
        await told.settled()
    assert {post.json["incident"] for post in there.taken} == {"a-calls", "b-calls", "own-open", "d-calls"}
