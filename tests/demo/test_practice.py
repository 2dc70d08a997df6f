"""The lab for people: whose pods it makes sick."""

import contextlib
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from healer.cli import app
from healer.cluster.api import Api
from healer.demo.practice import SHOWN, sicken
from healer.lab import Lab, serving
from healer.lab.kubelet.behaviour import BEHAVIOURS
from healer.lab.objects import is_ready
from healer.operate.objects import OperateError

SPACE = "production"


def ready(pods: int) -> Callable[[Lab], bool]:
    return lambda lab: sum(map(is_ready, lab.objects("pods"))) == pods


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    async with Lab(start_delay=0.005, termination_delay=0.005, time_scale=0.01) as lab:
        await lab.apply(serving("llm", SPACE, replicas=2))
        await lab.wait_for(ready(2))
        yield lab


@pytest.fixture
async def api(lab: Lab, tmp_path: Path) -> AsyncIterator[Api]:
    lab.write_kubeconfig(tmp_path / "kubeconfig")
    api = await Api.connect(kubeconfig=str(tmp_path / "kubeconfig"))
    try:
        yield api
    finally:
        await api.aclose()


async def test_the_first_ready_pod_becomes_sick_and_then_the_next(lab: Lab, api: Api) -> None:
    names = [pod["metadata"]["name"] for pod in lab.objects("pods", SPACE)]
    for number, name in enumerate(names, start=1):
        assert await sicken(api, "", SPACE, "crash") == f"pod/{name} in production crashes at each start from now on"
        await lab.wait_for(ready(2 - number))
    with pytest.raises(OperateError, match="no pod in production is ready"):
        await sicken(api, "", SPACE, "crash")
    assert await sicken(api, f"pod/{names[0]}", SPACE, "ok") == f"pod/{names[0]} in production is well from now on"
    await lab.wait_for(ready(1))


async def test_what_is_not_there_is_named(api: Api) -> None:
    with pytest.raises(OperateError, match="there is no pod llm-0 in production"):
        await sicken(api, "llm-0", SPACE, "crash")
    with pytest.raises(OperateError, match=r"cannot be 'tired'; it can be crash, oom, "):
        await sicken(api, "", SPACE, "tired")


async def test_a_cluster_that_is_no_lab_is_left_alone(lab: Lab, api: Api) -> None:
    before = lab.objects("pods", SPACE)
    lab.faults.answer(404, match=lambda seen: seen.path == "/lab")
    with pytest.raises(OperateError, match="is no lab, and nothing is done there"):
        await sicken(api, "", SPACE, "crash")
    assert [seen.method for seen in lab.requests] == ["GET"]
    assert lab.objects("pods", SPACE) == before


async def test_a_cluster_that_is_not_on_this_machine_is_not_asked(lab: Lab, tmp_path: Path) -> None:
    """Whatever version it says that it has."""
    path = tmp_path / "remote"
    path.write_text(lab.kubeconfig.replace("127.0.0.1", "0.0.0.0"), "utf-8")  # here it is the same server
    async with contextlib.aclosing(await Api.connect(kubeconfig=str(path))) as api:
        assert "gitVersion" in await api.get("/version", dict[str, str])
        asked = len(lab.requests)
        with pytest.raises(OperateError, match=r"http://0\.0\.0\.0:\d+ is no lab, and nothing is done there"):
            await sicken(api, "", SPACE, "crash")
    assert len(lab.requests) == asked


def test_the_help_names_all_that_a_pod_can_be_made_to_do() -> None:
    said = " ".join(CliRunner().invoke(app, ["lab", "sicken", "--help"], env={"COLUMNS": "200"}).output.split()).replace(
        "- ", "-"
    )
    assert [name for name in SHOWN if not re.search(rf"\W{name}\W", said)] == []
    assert SHOWN.keys() <= BEHAVIOURS.keys()
