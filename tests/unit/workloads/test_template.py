"""What differs between two pod templates, in words."""

from typing import Any

import pytest

from healer.workloads.template import differences, same_pods


def template(*containers: dict[str, Any], annotations: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    metadata = {"labels": {"app": "model"}, "annotations": annotations} if annotations else {"labels": {"app": "model"}}
    return {"metadata": metadata, "spec": {"containers": list(containers), **spec}}


def serving(image: str = "a", **more: Any) -> dict[str, Any]:
    return {"name": "serving", "image": image, **more}


PROXY = {"name": "proxy", "image": "p"}


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (template(serving()), template(serving()), ""),
        (template(serving("a")), template(serving("b")), "image a -> b"),
        (template(serving("a"), PROXY), template(serving("b"), PROXY), "image of serving a -> b"),
        (
            template(serving(args=["--port=1", "--model=7"])),
            template(serving(args=["--port=1", "--model=6"])),
            "args --model=7 -> --model=6",
        ),
        (template(serving(args=["-v"])), template(serving()), "args -v -> none"),
        (template(serving(args=["x" * 200])), template(serving(args=["y" * 200])), "args"),
        (template(serving(env=[{"name": "TOKEN", "value": "hush"}])), template(serving()), "env"),
        (template(serving()), template(serving(), PROXY), "with container proxy"),
        (template(serving(), PROXY), template(serving()), "without container proxy"),
        (template(serving()), template(serving(), nodeName="n", dnsPolicy="None"), "dnsPolicy, nodeName"),
        (template(serving()), template(serving(), annotations={"checksum": "1"}), "annotations"),
        (template(serving()), template(serving(), initContainers=[{"name": "fetch", "image": "f"}]), "with container fetch"),
        ({}, template(serving()), "with container serving, labels"),
    ],
)
def test_differences(before: dict[str, Any], after: dict[str, Any], said: str) -> None:
    assert differences(before, after) == said


def test_alike_but_for_a_restart() -> None:
    restarted = {"kubectl.kubernetes.io/restartedAt": "2026-01-01T00:00:00Z", "healer.dev/restarted-by": "me"}
    assert same_pods(template(serving()), template(serving(), annotations=restarted))
    assert not same_pods(template(serving()), template(serving(), annotations={"checksum": "1"}))
    hashed = template(serving())
    hashed["metadata"] = {"labels": {"app": "model", "pod-template-hash": "x"}, "creationTimestamp": None}
    assert same_pods(template(serving()), hashed)
