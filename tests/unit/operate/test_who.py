"""Who asks, as the kubeconfig has it."""

from pathlib import Path

import pytest
import yaml

from healer.operate.who import Who, who


def config(path: Path, current: str | None, **contexts: dict[str, str]) -> Path:
    entries = [{"name": name, "context": context} for name, context in contexts.items()]
    path.write_text(yaml.safe_dump({"contexts": entries} | ({"current-context": current} if current else {})))
    return path


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USER", "login")
    monkeypatch.delenv("KUBECONFIG", raising=False)


def test_the_current_context_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = config(tmp_path / "a", "one", one={"user": "alice", "namespace": "blue"}, two={"user": "bob"})
    monkeypatch.setenv("KUBECONFIG", str(path))
    assert who() == Who("alice", "blue")
    assert who("two") == Who("bob", "default")
    assert who("three") == Who("login", "default")


def test_of_several_files_the_first_wins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    first = config(tmp_path / "a", None, two={"user": "first"})
    second = config(tmp_path / "b", "two", two={"user": "second"}, three={"user": "third"})
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path / 'missing'}::{first}:{second}")
    assert who() == Who("first", "default")
    assert who("three").user == "third"


def test_the_home_has_one(tmp_path: Path) -> None:
    (tmp_path / ".kube").mkdir()
    config(tmp_path / ".kube/config", "one", one={"user": "home"})
    assert who().user == "home"


@pytest.mark.parametrize("content", ["", "[", "a: b", "contexts: [1, {name: x}]\ncurrent-context: x", "- 1"])
def test_a_file_that_says_nothing_leaves_the_login(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str) -> None:
    (tmp_path / "a").write_text(content)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "a"))
    assert who() == Who("login", "default")
    monkeypatch.delenv("USER")
    assert who().user == "unknown"
