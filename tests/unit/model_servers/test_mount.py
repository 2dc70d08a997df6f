"""How pods read the file: whether they mount it, and what keeps them from seeing a change."""

from typing import Any

import pytest

from healer.model_servers.mount import mounts
from healer.model_servers.tensorflow_serving.server import ModelsConfig

POLLS, LABELS = "--model_config_file_poll_wait_seconds=30", "--allow_version_labels_for_unavailable_models=true"


def template(volume: dict[str, Any], mount: dict[str, Any] | None = None, **container: Any) -> dict[str, Any]:
    mounted = {"name": "config", "mountPath": "/config"} | (mount or {})
    return {"spec": {"volumes": [{"name": "config"} | volume], "containers": [{"volumeMounts": [mounted]} | container]}}


@pytest.mark.parametrize(
    ("volume", "mounted"),
    [
        ({"configMap": {"name": "models"}}, True),
        ({"projected": {"sources": [{"secret": {"name": "models"}}, {"configMap": {"name": "models"}}]}}, True),
        ({"configMap": {"name": "other"}}, False),
        ({"secret": {"secretName": "models"}}, False),
        ({"emptyDir": {}}, False),
    ],
)
def test_which_volume_holds_it(volume: dict[str, Any], mounted: bool) -> None:
    assert mounts(template(volume), "models") is mounted


def test_nothing_is_mounted_in_nothing() -> None:
    assert not mounts({}, "models")
    assert not mounts({"spec": {"containers": []}}, "models")


def test_all_is_well() -> None:
    assert ModelsConfig().caveats(template({"configMap": {"name": "models"}}, args=[POLLS, LABELS]), "models", labels=True) == []


@pytest.mark.parametrize(
    "container",
    [
        {"command": ["sh", "-c", f"tensorflow_model_server {POLLS}"]},
        {"env": [{"name": "FLAGS", "value": POLLS}, {"name": "OTHER", "valueFrom": {}}]},
    ],
)
def test_flags_are_found_wherever_they_are_given(container: dict[str, Any]) -> None:
    assert ModelsConfig().caveats(template({"configMap": {"name": "models"}}, **container), "models", labels=False) == []


def test_what_keeps_them_from_it() -> None:
    found = ModelsConfig().caveats(
        template({"configMap": {"name": "models"}}, {"subPath": "models.config"}), "models", labels=True
    )
    assert ["subPath" in found[0], "--model_config_file_poll" in found[1], "--allow_version_labels" in found[2]] == [True] * 3
    assert len(found) == 3
    other = template({"configMap": {"name": "models"}}, {"name": "data", "subPath": "x"}, args=[POLLS])
    assert ModelsConfig().caveats(other, "models", labels=False) == [], "the subPath of another volume"
