"""The kubeconfig of a lab for people: what it refuses to overwrite, and what it deletes."""

import asyncio
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from healer.demo.kubeconfig import on_loopback, refuse_others, written
from healer.demo.practice import practise
from healer.lab import Lab
from healer.operate.objects import OperateError

ALONE = "is there, and is no kubeconfig of a lab alone: name another file by --kubeconfig"


def left_over(change: Callable[[dict[str, object]], object] = lambda config: None) -> str:
    """The file of a lab that was killed, with a change."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    lab = Lab()
    lab.url = url
    config = yaml.safe_load(lab.kubeconfig)
    change(config)
    return yaml.safe_dump(config)


def also(kind: str, entry: object) -> Callable[[dict[str, object]], object]:
    def change(config: dict[str, object]) -> None:
        config[kind] = [*config[kind], entry]  # type: ignore[misc]

    return change


def instead(kind: str, entry: object) -> Callable[[dict[str, object]], object]:
    return lambda config: config.update({kind: entry})


OTHERS = [
    "current-context: lab\n",
    "- a list\n",
    "{",
    "\xff",
    "",
    "at: 2026-99-99\n",
    left_over(also("clusters", {"name": "production", "cluster": {"server": "https://10.0.0.1"}})),
    left_over(also("users", {"name": "production", "user": {"token": "x"}})),
    left_over(also("contexts", {"name": "production", "context": {"cluster": "production"}})),
    left_over(instead("current-context", "production")),
    left_over(instead("clusters", [])),
    left_over(instead("clusters", [{"name": "lab", "cluster": {"server": "https://lab.example.com"}}])),
    left_over(instead("clusters", [{"name": "kind", "cluster": {"server": "http://127.0.0.1:1"}}])),
    left_over(instead("clusters", [{"name": "lab", "cluster": {"server": "https://127.0.0.1:1", "certificate-authority": "x"}}])),
    left_over(instead("users", [{"name": "lab", "user": {"token": "x"}}])),
    left_over(instead("users", [{"name": "lab", "user": {"client-key-data": "x"}}])),
    left_over(instead("contexts", [{"name": "production", "context": {}}])),
]


@pytest.mark.parametrize("text", OTHERS)
def test_the_kubeconfig_of_another_cluster_is_kept(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(OperateError, match=ALONE):
        practise(path, [], print)
    assert path.read_bytes() == text.encode("latin-1")
    assert os.listdir(tmp_path) == ["config"]


async def test_that_of_a_lab_which_runs_is_kept_and_one_that_is_left_over_is_not(tmp_path: Path) -> None:
    path = tmp_path / "lab.kubeconfig"
    await refuse_others(path)
    async with Lab() as running:
        running.write_kubeconfig(path)
        with pytest.raises(OperateError, match=f"which runs already, at {running.url}: "):
            await refuse_others(path)
        await refuse_others(path, own=running.url)
    await refuse_others(path)


async def test_that_of_a_lab_too_busy_to_answer_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "lab.kubeconfig"
    with socket.create_server(("127.0.0.1", 0)) as silent:
        lab = Lab()
        lab.url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        lab.write_kubeconfig(path)
        with pytest.raises(OperateError, match="which runs already"):
            await refuse_others(path)


async def test_the_second_of_two_labs_takes_no_file_from_the_first(tmp_path: Path) -> None:
    path = tmp_path / "lab.kubeconfig"
    async with Lab() as running:
        running.write_kubeconfig(path)
        port = int(running.url.rpartition(":")[2])
        before = path.read_bytes()
        for number in (0, port):
            with pytest.raises(OperateError, match="which runs already"):
                await asyncio.to_thread(practise, path, [], print, port=number)
        with pytest.raises(OSError, match="address already in use"):
            await asyncio.to_thread(practise, tmp_path / "other", [], print, port=port)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["lab.kubeconfig"]


def test_the_file_is_there_as_long_as_the_lab_and_a_left_over_one_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "lab.kubeconfig"
    path.write_text(left_over(), "utf-8")
    port = int(yaml.safe_load(path.read_text("utf-8"))["clusters"][0]["cluster"]["server"].rpartition(":")[2])
    seen: list[str] = []

    def say(line: str) -> None:
        if not seen:
            os.kill(os.getpid(), signal.SIGINT)
        seen.append(path.read_text("utf-8"))

    practise(path, [], say, port=port, speed=1000)
    assert set(seen) == {left_over(instead("clusters", [{"name": "lab", "cluster": {"server": f"http://127.0.0.1:{port}"}}]))}
    assert os.listdir(tmp_path) == []


def test_what_another_wrote_meanwhile_is_not_deleted(tmp_path: Path) -> None:
    path = tmp_path / "lab.kubeconfig"
    with written(path, "a: 1\n"):
        assert path.read_text("utf-8") == "a: 1\n"
        path.write_text("a: 1\nb: 2\n", "utf-8")
    assert path.read_text("utf-8") == "a: 1\nb: 2\n"
    with written(path, "a: 1\n"):
        path.unlink()
    assert os.listdir(tmp_path) == []


def test_a_link_is_replaced_and_not_what_it_leads_to(tmp_path: Path) -> None:
    path, real = tmp_path / "lab.kubeconfig", tmp_path / "config"
    real.write_text("mine\n", "utf-8")
    path.symlink_to(real)
    with written(path, "a: 1\n"):
        assert real.read_text("utf-8") == "mine\n"
    assert os.listdir(tmp_path) == ["config"]


def test_what_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "directory"
    path.mkdir()
    with pytest.raises(IsADirectoryError), written(path, "a: 1\n"):
        pytest.fail("it was not written")
    assert os.listdir(tmp_path) == ["directory"]


@pytest.mark.parametrize(
    ("url", "is_so"),
    [
        ("http://127.0.0.1:8001", True),
        ("http://127.8.0.1", True),
        ("http://[::1]:8001", True),
        ("https://localhost:6443", True),
        ("http://127.0.0.1.example.com", False),
        ("http://127.0.0.1@example.com", False),
        ("http://10.0.0.1:8001", False),
        ("https://lab.example.com", False),
        ("http://[::1", False),
        ("", False),
    ],
)
def test_what_is_on_loopback(url: str, is_so: bool) -> None:
    assert on_loopback(url) is is_so
