"""A lab, a Slack, and healers to run against them."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Protocol

import pytest

from healer.lab import Lab
from tests.integration.world import LAB_TOKEN
from tests.support.healer import TOKEN, Healer, environment
from tests.support.slack import TOKEN as SLACK_TOKEN
from tests.support.slack import FakeSlack

ROOT = Path(__file__).parents[2]


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    """A cluster in a hurry: a crash loop's first back-off lasts 0.2 s."""
    async with Lab(time_scale=0.02, token=LAB_TOKEN) as lab:
        await lab.apply_yaml((ROOT / "deploy" / "healer" / "crd.yaml").read_text("utf-8"))
        yield lab


@pytest.fixture
async def slack() -> AsyncIterator[FakeSlack]:
    async with FakeSlack() as slack:
        yield slack


class Run(Protocol):
    """Starts a daemon, which ends with the test."""

    async def __call__(self, *rules: str, ready: bool = True, files: int | None = None, **settings: str | Path) -> Healer:
        """With these rule files (their texts), and settings beyond those of `settings`; returns when it is ready, or at once."""


@pytest.fixture
def rules_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "rules"
    folder.mkdir()
    return folder


@pytest.fixture
def settings(lab: Lab, slack: FakeSlack, tmp_path: Path) -> dict[str, str | Path]:
    """The environment of a daemon for the lab and the Slack of the test, in a hurry."""
    lab.write_kubeconfig(tmp_path / "kubeconfig")
    (tmp_path / "slack-token").write_text(slack.token)
    return {
        "KUBECONFIG": tmp_path / "kubeconfig",
        "HEALER_HTTP__HOST": "127.0.0.1",
        "HEALER_HTTP__PORT": "0",
        "HEALER_SLACK__TOKEN_FILE": tmp_path / "slack-token",
        "HEALER_SLACK__CHANNEL": "#default",
        "HEALER_SLACK__BASE_URL": slack.url,
        "HEALER_ENGINE__RETRY": "0.3",
        "HEALER_ENGINE__RECHECK": "0.3",
        "HEALER_RULES_RELOAD": "0.2",
        "HEALER_ALERTS__FRESHNESS": "10m",  # most tests send an alert once, and have no Alertmanager that could be asked
        "HEALER_LOG__LEVEL": "debug",
        "HEALER_LOG__FORMAT": "json",
    }


@pytest.fixture
async def run(settings: dict[str, str | Path], rules_folder: Path, tmp_path: Path) -> AsyncIterator[Run]:
    """Whatever else a test asserts: no daemon of it prints a secret, or ends by a failure."""
    started: list[Healer] = []
    async with AsyncExitStack() as stack:

        async def start(*rules: str, ready: bool = True, files: int | None = None, **more: str | Path) -> Healer:
            for number, text in enumerate(rules):
                (rules_folder / f"{number}.yaml").write_text(text, "utf-8")
            environ = environment(tmp_path, settings | more)
            healer = await stack.enter_async_context(Healer(["--rules", str(rules_folder)], environ, files=files))
            started.append(healer)
            if ready:
                await healer.says("healer is ready")
            return healer

        yield start
    for healer in started:
        assert await healer.ended() == 0
        assert not [secret for secret in (LAB_TOKEN, TOKEN, SLACK_TOKEN) if secret in "\n".join(healer.lines)]
