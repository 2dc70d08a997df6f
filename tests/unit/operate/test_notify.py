"""healer notify test: each sink sends one marked message, and says whether it was taken."""

import asyncio
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from healer.cli import app
from tests.support.chats import FakeTeams
from tests.support.pagerduty import KEY, FakePagerDuty
from tests.support.receiver import Receiver, Reply
from tests.support.slack import TOKEN, FakeSlack


async def notify(monkeypatch: pytest.MonkeyPatch, address: str, **environment: object) -> Result:
    """The verb, in a thread: the servers that it speaks to are in this one."""
    for name, value in environment.items():
        monkeypatch.setenv(f"HEALER_{name}", str(value))
    return await asyncio.to_thread(CliRunner().invoke, app, ["notify", "test", address])


async def write(file: Path, text: str) -> None:
    await asyncio.to_thread(file.write_text, text)


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    return tmp_path / "secret"


async def test_slack(monkeypatch: pytest.MonkeyPatch, secret: Path) -> None:
    await write(secret, TOKEN)
    async with FakeSlack() as slack:
        set_up = {"SLACK__TOKEN_FILE": secret, "SLACK__CHANNEL": "#home", "SLACK__BASE_URL": slack.url}
        said = await notify(monkeypatch, "#ml", **set_up)
        assert (said.exit_code, said.stdout) == (0, "#ml took the message: posted in C-#ml\n")
        (message,) = slack.messages["#ml"]
        assert message.text.startswith("healer/test in the cluster: a test of healer's messages")
        assert message.text.endswith(": TEST")
        slack.errors["#ml"] = "is_archived"
        said = await notify(monkeypatch, "#ml")
        assert said.exit_code == 1
        assert "#ml refuses the message: is_archived: unarchive the channel or name another one" in said.stderr


async def test_pagerduty(monkeypatch: pytest.MonkeyPatch, secret: Path) -> None:
    await write(secret, KEY)
    async with FakePagerDuty() as pager:
        set_up = {"PAGERDUTY__SERVICES": f'{{"ml": "{secret}"}}', "PAGERDUTY__URL": pager.enqueue}
        said = await notify(monkeypatch, "pagerduty:ml", **set_up)
        assert (said.exit_code, said.stdout.partition("{")[0]) == (0, "pagerduty:ml took the message: HTTP 202 ")
        ((key, alert),) = pager.alerts.items()
        assert key.startswith("healer/healer-test-")
        assert (alert.event["payload"]["severity"], alert.event["payload"]["class"]) == ("info", "healer/test")
        assert alert.event["payload"]["summary"].endswith(": TEST")
        await write(secret, "wrong")
        said = await notify(monkeypatch, "pagerduty:ml")
        assert said.exit_code == 1
        assert "Invalid routing key" in said.stderr


async def test_a_webhook(monkeypatch: pytest.MonkeyPatch, secret: Path) -> None:
    async with FakeTeams() as teams:
        await write(secret, teams.hook)
        set_up = {"WEBHOOK__TARGETS": f'{{"teams": {{"url_file": "{secret}", "template": "teams"}}}}'}
        said = await notify(monkeypatch, "webhook:teams", **set_up)
        assert (said.exit_code, said.stdout) == (0, "webhook:teams took the message: HTTP 202\n")
        (text,) = teams.texts
        assert "TEST" in text
        assert "nothing is wrong" in text
        assert "a human is needed" not in text
        teams.next(Reply(503, "busy"))
        said = await notify(monkeypatch, "webhook:teams")
        assert (said.exit_code, said.stderr) == (
            1,
            "healer: webhook:teams did not take the message, and may later: HTTP 503 busy\n",
        )


async def test_apprise(monkeypatch: pytest.MonkeyPatch, secret: Path) -> None:
    async with Receiver() as there:
        await write(secret, f"ml={there.url.replace('http', 'json')}")
        said = await notify(monkeypatch, "apprise:ml", APPRISE__URLS_FILE=secret, APPRISE__TAGS="ml")
        assert (said.exit_code, said.stdout) == (0, "apprise:ml took the message: JSON: taken by 1\n")
        assert there.taken[0].json["type"] == "info"


@pytest.mark.parametrize(
    ("address", "environment", "said"),
    [
        ("pagerduty:ml", {}, "the sink pagerduty is not set up: set HEALER_PAGERDUTY__SERVICES"),
        ("#ml", {}, "the sink slack is not set up: set HEALER_SLACK__TOKEN_FILE and HEALER_SLACK__CHANNEL"),
        ("pigeon:ml", {}, "'pigeon:ml' is not an address: no sink has addresses of the kind 'pigeon'; there are"),
        ("webhook:A B", {}, "'webhook:A B' is not a webhook: write small letters"),
        (
            "webhook:b",
            {"WEBHOOK__TARGETS": '{"a": {"url": "https://example.com"}}'},
            "webhook:b is not set up: nobody is told by it; there are a; set HEALER_WEBHOOK__TARGETS",
        ),
        (
            "webhook:a",
            {"WEBHOOK__TARGETS": '{"a": {"url": "https://example.com", "template": "tems"}}'},
            "HEALER_WEBHOOK__TARGETS: a: there is no template 'tems'",
        ),
        ("webhook:a", {"WEBHOOK__TARGETS": '{"a": {}}'}, "a webhook needs url or url_file"),
    ],
)
async def test_what_is_not_set_up_is_said(
    address: str, environment: dict[str, object], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = await notify(monkeypatch, address, **environment)
    assert found.exit_code == 2
    assert said in found.stderr
