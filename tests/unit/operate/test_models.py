"""`healer models` as processes against the lab: what is printed, written, and how it exits; servers behind the API's proxy."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import web

from healer.lab.kinds import DEPLOYMENT
from healer.lab.objects import Object, is_ready
from healer.model.annotations import MODEL_HISTORY
from healer.model_servers.tensorflow_serving.config import find
from healer.model_servers.versions import ConfiguredModel, specific
from tests.support.healer import verb
from tests.support.tensorflow_serving import StatusServers, status_servers
from tests.unit.operate.conftest import NAME, SPACE, Place

pytestmark = pytest.mark.slow

MAP = "serving-models"
FILE = """\
model_config_list {
  config {
    name: "ranker"  # the home page
    base_path: "/models/ranker"
    model_version_policy { specific { versions: 41 versions: 42 } }
    version_labels { key: "stable" value: 41 }
    version_labels { key: "canary" value: 42 }
  }
  config { name: "free" base_path: "/models/free" }
}
"""
FLAGS = ["--model_config_file_poll_wait_seconds=30", "--allow_version_labels_for_unavailable_models"]


class Stand:
    """The place, the ConfigMap in it, and the servers in its pods, which are reached through the API server alone."""

    def __init__(self, place: Place, servers: StatusServers) -> None:
        self.place = place
        self.servers = servers

    async def models(self, *arguments: str) -> tuple[int, str]:
        where = ("--config-map", MAP, "--port", str(self.servers.port))
        return await verb("models", *arguments, *where, home=self.place.home, KUBECONFIG=self.place.kubeconfig)

    async def json(self, *arguments: str) -> Any:
        code, said = await self.models(*arguments, "-o", "json")
        assert code == 0, said
        return json.loads(said)

    @property
    def map(self) -> Object:
        (found,) = [one for one in self.place.lab.objects("configmaps", SPACE) if one["metadata"]["name"] == MAP]
        return found

    @property
    def text(self) -> str:
        return str(self.map["data"]["models.config"])

    def served(self, model: str = "ranker") -> ConfiguredModel:
        return find(self.text, model)

    @property
    def history(self) -> list[dict[str, Any]]:
        return list(json.loads(self.map["metadata"]["annotations"][MODEL_HISTORY]))

    def modify(self, change: Callable[[Object], None]) -> None:
        self.place.lab.api.modify(self.place.lab.api.kinds.named("configmaps"), SPACE, MAP, change)

    def rewrite(self, text: str) -> None:
        self.modify(lambda obj: obj["data"].update({"models.config": text}))

    def age(self) -> None:
        """All changes so far were made an hour earlier."""
        ago = (datetime.now(UTC) - timedelta(hours=1)).isoformat(timespec="seconds")
        history = json.dumps([one | {"at": ago} for one in self.history])
        self.modify(lambda obj: obj["metadata"]["annotations"].update({MODEL_HISTORY: history}))


@pytest.fixture
async def stand(place: Place) -> AsyncIterator[Stand]:
    """All three servers have 41 and 42."""
    await place.lab.apply(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": MAP, "namespace": SPACE},
            "data": {"models.config": FILE, "other": "kept"},
        }
    )

    def mount(obj: Object) -> None:
        spec = obj["spec"]["template"]["spec"]
        spec["volumes"] = [{"name": "config", "configMap": {"name": MAP}}]
        spec["containers"][0]["args"] = FLAGS

    place.lab.api.modify(DEPLOYMENT, SPACE, NAME, mount)
    await place.lab.wait_for(
        lambda lab: (
            len(pods := lab.objects("pods", SPACE)) == 3
            and all(is_ready(pod) and "volumes" in pod["spec"] and "deletionTimestamp" not in pod["metadata"] for pod in pods)
        )
    )
    async with status_servers("127.0.0.1") as servers:
        for pod in place.lab.objects("pods", SPACE):
            prefix = f"/api/v1/namespaces/{SPACE}/pods/http:{pod['metadata']['name']}:{servers.port}/proxy"
            place.front.proxied[prefix] = f"http://127.0.0.1:{servers.port}"
        servers.say("127.0.0.1", (41, "AVAILABLE"), (42, "AVAILABLE"))
        yield Stand(place, servers)


async def test_the_list(stand: Stand) -> None:
    bare = {"metadata": {"name": "bare", "namespace": SPACE}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    await stand.place.lab.apply({"apiVersion": "v1", "kind": "Pod"} | bare)
    await stand.place.lab.wait_for(lambda lab: len(list(filter(is_ready, lab.objects("pods", SPACE)))) == 4)
    code, said = await stand.models("list")
    assert code == 0
    assert [" ".join(line.split()) for line in said.splitlines()] == [
        "model policy labels servers",
        "ranker specific 41, 42 canary 42, stable 41 41 AVAILABLE on 3, 42 AVAILABLE on 3",
        "free latest 1 none 41 AVAILABLE on 3, 42 AVAILABLE on 3",
    ]
    ranker, free = await stand.json("list")
    assert (ranker["name"], ranker["policy"], ranker["versions"], ranker["labels"]) == (
        "ranker",
        "specific 41, 42",
        [41, 42],
        {"canary": 42, "stable": 41},
    )
    assert (ranker["history"], free["versions"]) == ([], [])
    assert all(said[0] == {"version": 41, "state": "AVAILABLE", "code": "OK"} for said in ranker["servers"].values())


async def test_a_release_from_the_first_load_to_the_rollback(stand: Stand) -> None:
    code, said = await stand.models("add", "ranker", "43", "--why", "nightly")
    assert code == 0
    assert said.splitlines()[0] == "model ranker changed: specific 41, 42 -> specific 41, 42, 43"
    assert "--model_config_file_poll_wait_seconds" in said
    assert "@@" not in said, "the diff is for a dry run"
    code, said = await stand.models("add", "ranker", "43", "--label", "canary")
    assert code == 1, "the servers do not have it AVAILABLE yet"
    assert "label canary stays at version 42" in said
    stand.servers.say("127.0.0.1", *((version, "AVAILABLE") for version in (41, 42, 43)))
    code, said = await stand.models("add", "ranker", "43", "--label", "canary")
    assert (code, said.splitlines()[0]) == (0, "model ranker changed: label canary 42 -> 43")
    code, said = await stand.models("promote", "ranker", "--why", "two quiet days")
    assert (code, said.splitlines()[0]) == (0, "model ranker changed: label stable 41 -> 43")
    assert stand.served() == ConfiguredModel("ranker", "/models/ranker", specific([41, 42, 43]), {"stable": 43, "canary": 43})
    code, said = await stand.models("rollback", "ranker", "--why", "slow")
    assert (code, said.splitlines()[0]) == (0, "model ranker changed: label stable 43 -> 41")
    assert [(e["what"], e["who"], e["why"]) for e in stand.history] == [
        ("models add", "alice", "nightly"),
        ("models add", "alice", ""),
        ("models promote", "alice", "two quiet days"),
        ("models rollback", "alice", "slow"),
    ]
    assert [len(one["history"]) for one in await stand.json("list")] == [4, 0]
    code, said = await stand.models("list")
    assert "ranker: " in said
    assert "models rollback by alice: slow (specific 41, 42, 43, canary 43, stable 43 -> specific 41, 42, 43" in said
    code, said = await stand.models("rollback", "ranker")
    assert (code, "knows no version before 41" in said) == (1, True)
    assert stand.map["data"]["other"] == "kept"
    assert "# the home page" in stand.text


async def test_what_is_so_already_is_left_alone(stand: Stand) -> None:
    before = stand.map["metadata"]["resourceVersion"]
    assert (await stand.json("add", "ranker", "42", "--label", "canary"))["changed"] is False
    assert (await stand.json("promote", "ranker", "41"))["changed"] is False
    code, said = await stand.models("add", "ranker", "41")
    assert (code, said) == (0, "model ranker: nothing to change (specific 41, 42, label canary 42, label stable 41)")
    assert stand.map["metadata"]["resourceVersion"] == before


async def test_a_dry_run_shows_the_change_and_makes_none(stand: Stand) -> None:
    code, said = await stand.models("promote", "ranker", "--dry-run")
    assert code == 0
    assert said.splitlines()[0] == "model ranker would change: label stable 41 -> 42"
    assert '-    version_labels { key: "stable" value: 41 }\n+    version_labels { key: "stable" value: 42 }\n' in said
    assert stand.text == FILE
    done = await stand.json("promote", "ranker", "--dry-run")
    assert (done["changed"], done["dryRun"], done["to"]["labels"]["stable"]) == (True, True, 42)


async def test_prune_unloads_what_nobody_needs(stand: Stand) -> None:
    stand.rewrite(FILE.replace("versions: 41 ", "versions: 39 versions: 40 versions: 41 "))
    done = await stand.json("promote", "ranker", "--prune")
    assert done["to"]["policy"] == "specific 41, 42"
    assert done["notes"] == ["version 39 is unloaded", "version 40 is unloaded"]
    assert stand.served().policy == specific([41, 42])


async def test_a_policy_that_names_no_versions_gets_those_that_the_servers_have(stand: Stand) -> None:
    done = await stand.json("add", "free", "43", "--label", "canary")
    assert done["to"] == {"policy": "specific 41, 42, 43", "labels": {"canary": 43}}
    assert any("--allow_version_labels_for_unavailable_models" in note for note in done["notes"])


async def test_without_the_servers_a_move_is_made_but_for_what_has_just_come(stand: Stand) -> None:
    stand.place.front.proxied.clear()
    code, said = await stand.models("promote", "ranker")
    assert code == 0
    assert "whether the version is AVAILABLE is not known (pod/" in said
    assert (await stand.models("add", "ranker", "43"))[0] == 0
    code, said = await stand.models("promote", "ranker", "43")
    assert (code, "try again in a few minutes" in said) == (1, True)
    assert stand.served().labels["stable"] == 42
    stand.age()
    assert (await stand.models("promote", "ranker", "43"))[0] == 0, "they have had the time"
    code, said = await stand.models("add", "free", "43")
    assert (code, "name those to keep in the file" in said) == (1, True)


async def test_a_version_that_one_server_lacks_is_not_promoted(stand: Stand) -> None:
    async with status_servers("127.0.0.2") as other:
        other.say("127.0.0.2", (41, "AVAILABLE"), (42, "LOADING"))
        *_, last = stand.place.front.proxied
        stand.place.front.proxied[last] = f"http://127.0.0.2:{other.port}"
        code, said = await stand.models("promote", "ranker")
    assert (code, "not AVAILABLE on every server" in said) == (1, True)
    assert stand.text == FILE


async def test_a_server_that_knows_no_such_model_answers(stand: Stand) -> None:
    stand.servers.say("127.0.0.1")
    code, said = await stand.models("promote", "ranker")
    assert (code, "not AVAILABLE on every server" in said) == (1, True)
    stand.servers.say("127.0.0.1", raw=web.Response(status=404, text="404 page not found"))
    code, said = await stand.models("promote", "ranker")
    assert (code, "is not known (pod/" in said) == (0, True)


async def test_who_manages_the_file_is_said(stand: Stand) -> None:
    labels = {"kustomize.toolkit.fluxcd.io/name": "shop"}
    stand.modify(lambda obj: obj["metadata"].update({"labels": labels}))
    code, said = await stand.models("promote", "ranker")
    assert (code, "managed by Flux" in said) == (0, True)


async def test_concurrent_changes_lose_nothing(stand: Stand) -> None:
    done = await asyncio.gather(*(stand.models("add", "ranker", str(version)) for version in range(50, 54)))
    assert [code for code, _ in done] == [0] * 4
    assert stand.served().policy == specific([41, 42, 50, 51, 52, 53])
    assert len(stand.history) == 4


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("promote", "rank"), 2, "models.config of configmap/serving-models in production: there is no model 'rank' in it"),
        (
            ("promote", "ranker", "99"),
            1,
            "version 99 of model ranker is not loaded (specific 41, 42): load it first: healer models add",
        ),
        (("promote", "free"), 1, "has no label canary"),
        (("rollback", "free"), 1, "has no label stable"),
        (("rollback", "ranker"), 1, "the history knows no promotion to version 41"),
        (("add", "ranker", "2023_10_01"), 2, "20231001, not 2023_10_01"),
        (("add", "ranker", "0"), 2, "is no version"),
        (("add", "ranker", "43", "--label", "stable"), 1, "moved by promote"),
        (("add", "ranker", "43", "--label", "a-b"), 1, "letters, digits and '_' only"),
        (("add", "ranker", "43", "--key", "other.config"), 2, "no key 'other.config' (it has: models.config, other)"),
        (("list", "-n", "elsewhere"), 2, "there is no configmap/serving-models in elsewhere"),
        (("list", "-n", "No Name"), 2, "cannot be a namespace"),
    ],
)
async def test_what_cannot_be_done(stand: Stand, arguments: tuple[str, ...], code: int, said: str) -> None:
    found, told = await stand.models(*arguments)
    assert said in " ".join(told.replace("│", " ").split())
    assert found == code
    assert stand.text == FILE


async def test_a_broken_file_is_told_with_its_place(stand: Stand) -> None:
    stand.rewrite(FILE.replace("versions: 42", "version: 42"))
    code, said = await stand.models("list")
    assert code == 2
    assert "line 5, column 52: Message type" in said
