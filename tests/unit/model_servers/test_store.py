"""The models.config of a ConfigMap over HTTP against the lab: nothing lost when several write; the history's bounds."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from healer.cluster.api import Api, ApiError
from healer.lab import Lab
from healer.lab.objects import Object
from healer.model.annotations import MODEL_HISTORY
from healer.model_servers.history import ANNOTATIONS, ENTRIES, Author, HistoryEntry, PolicyState, dump, load, stables
from healer.model_servers.store import FileRef, VersionsDocument, Written, load_document, write
from healer.model_servers.tensorflow_serving.plan import beside
from healer.model_servers.tensorflow_serving.server import ModelsConfig
from healer.model_servers.versions import ConfigError, ConfiguredModel, ModelChange, Policy, specific

pytestmark = pytest.mark.slow

SPACE, MAP, KEY = "production", "models", "models.config"
REF = FileRef(SPACE, MAP, KEY, ModelsConfig())
MODELS = ("a", "b")
FILE = """\
# kept
model_config_list {
  config { name: "a" base_path: "/a" model_version_policy { specific { versions: 1 } } }
  config { name: "b" base_path: "/b" model_version_policy { specific { versions: 1 } } }
}
"""
AUTHOR = Author("ann", "because", "models add", "2026-08-01T09:00:00Z")


@dataclass
class Stand:
    lab: Lab
    api: Api
    other: Api
    """A second client, with a connection of its own."""

    @property
    def map(self) -> Object:
        (found,) = [one for one in self.lab.objects("configmaps", SPACE) if one["metadata"]["name"] == MAP]
        return found

    def modify(self, change: Callable[[Object], Any]) -> None:
        self.lab.api.modify(self.lab.api.kinds.named("configmaps"), SPACE, MAP, change)

    async def document(self) -> VersionsDocument:
        return await load_document(self.api, REF)

    @property
    def writes(self) -> int:
        return sum(request.verb == "patch" for request in self.lab.requests)


@pytest.fixture
async def stand(tmp_path: Path) -> AsyncIterator[Stand]:
    async with Lab(controllers=False) as lab:
        lab.write_kubeconfig(tmp_path / "config")
        await lab.apply(
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": MAP, "namespace": SPACE, "annotations": {"note": "kept"}, "labels": {"app": "kept"}},
                "data": {KEY: FILE, "other": "kept"},
            }
        )
        api, other = [await Api.connect(kubeconfig=str(tmp_path / "config")) for _ in range(2)]
        try:
            yield Stand(lab, api, other)
        finally:
            await api.aclose()
            await other.aclose()


def loading(model: str, version: int) -> Callable[[VersionsDocument], Awaitable[ModelChange]]:
    async def decide(document: VersionsDocument) -> ModelChange:
        return beside(document.find(model), version, ())

    return decide


async def load_it(api: Api, model: str, version: int, **more: Any) -> Written:
    return await write(api, REF, model, AUTHOR, loading(model, version), **more)


async def test_one_change_touches_one_key_and_the_history(stand: Stand) -> None:
    before = stand.map
    written = await load_it(stand.api, "a", 2)
    after = stand.map
    assert written.before.text == FILE
    assert after["data"] == {KEY: written.after, "other": "kept"}
    assert written.after == FILE.replace("versions: 1 }", "versions: 1 versions: 2 }", 1)
    (entry,) = msgspec.json.decode(after["metadata"]["annotations"].pop(MODEL_HISTORY))
    assert entry == {
        "at": "2026-08-01T09:00:00Z",
        "who": "ann",
        "why": "because",
        "what": "models add",
        "model": "a",
        "key": KEY,
        "from": {"policy": "specific 1", "versions": [1]},
        "to": {"policy": "specific 1, 2", "versions": [1, 2]},
    }
    for obj in (before, after):
        del obj["metadata"]["resourceVersion"]
        del obj["data"][KEY]
    assert after == before


async def test_what_is_so_already_is_not_written(stand: Stand) -> None:
    written = await load_it(stand.api, "a", 1)
    assert (written.after, stand.writes) == (FILE, 0)


async def test_a_dry_run_writes_nothing_and_is_checked(stand: Stand) -> None:
    before = stand.map
    written = await load_it(stand.api, "a", 2, dry_run=True)
    assert "versions: 2" in written.after
    assert (stand.map, stand.writes) == (before, 1)


async def test_two_writers_at_once_lose_nothing(stand: Stand) -> None:
    rounds, conflicts = 20, 0
    for version in range(2, 2 + rounds):
        at_the_door = asyncio.Barrier(2)

        def meeting(model: str, door: asyncio.Barrier, version: int) -> Callable[[VersionsDocument], Awaitable[ModelChange]]:
            met = False

            async def decide(document: VersionsDocument) -> ModelChange:
                nonlocal met
                if not met:  # both have read the same file before either writes
                    met = True
                    await door.wait()
                return beside(document.find(model), version, ())

            return decide

        stand.lab.requests.clear()
        await asyncio.gather(
            *(
                write(api, REF, model, AUTHOR, meeting(model, at_the_door, version))
                for api, model in ((stand.api, "a"), (stand.other, "b"))
            )
        )
        conflicts += stand.writes - 2
    document = await stand.document()
    for model in MODELS:
        assert document.find(model).policy == specific(range(1, 2 + rounds))
    assert conflicts == rounds, "each time one of the two met the other's write, and looked again"
    assert sorted((entry.model, entry.after.versions[-1]) for entry in document.history) == [
        (model, version) for model in MODELS for version in range(2, 2 + rounds)
    ]
    assert document.text.startswith("# kept\n")
    assert stand.map["data"]["other"] == "kept"


async def test_the_intent_is_decided_again_not_the_text(stand: Stand) -> None:
    async def somebody(document: VersionsDocument) -> ModelChange:
        served = document.find("a")
        if 7 not in served.policy.versions:
            stand.modify(lambda obj: obj["data"].update({KEY: FILE.replace("versions: 1", "versions: 7")}))
        return beside(served, 2, ())

    written = await write(stand.api, REF, "a", AUTHOR, somebody)
    assert written.change.policy == specific([2, 7])
    (entry,) = (await stand.document()).history
    assert entry.before.versions == (7,)


async def test_it_gives_way_in_the_end(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("healer.model_servers.store.TRIES", 3)
    numbers = iter(range(9))

    async def beaten(document: VersionsDocument) -> ModelChange:
        stand.modify(lambda obj: obj["data"].update({"other": str(next(numbers))}))
        return beside(document.find("a"), 2, ())

    with pytest.raises(ApiError, match="409"):
        await write(stand.api, REF, "a", AUTHOR, beaten)
    assert stand.writes == 3
    assert stand.map["data"][KEY] == FILE


async def test_a_label_that_would_name_an_unloaded_version_is_not_written(stand: Stand) -> None:
    async def wrong(document: VersionsDocument) -> ModelChange:
        return ModelChange(specific([1]), {"canary": 2})

    with pytest.raises(ConfigError, match=r"models\.config of configmap/models in production: label canary .* version 2, which"):
        await write(stand.api, REF, "a", AUTHOR, wrong)
    assert stand.writes == 0


async def test_what_sending_raises_stops_the_write(stand: Stand) -> None:
    def stop() -> None:
        raise RuntimeError("no longer wanted")

    with pytest.raises(RuntimeError, match="no longer wanted"):
        await load_it(stand.api, "a", 2, sending=stop)
    assert stand.writes == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"data": None}, "no key 'models.config' .it has: none"),
        ({"data": {"x": "y"}}, "no key 'models.config' .it has: x.: name the one that the servers read"),
        ({"data": None, "binaryData": {KEY: "aGk="}}, "binaryData"),
        ({"immutable": True}, "immutable"),
    ],
)
async def test_a_config_map_that_cannot_be_used(stand: Stand, change: Object, said: str) -> None:
    stand.modify(lambda obj: (obj.update(change), [obj.pop(key) for key in list(obj) if obj[key] is None]))
    with pytest.raises(ConfigError, match=said):
        await stand.document()


async def test_no_config_map(stand: Stand) -> None:
    with pytest.raises(ApiError, match="404"):
        await load_document(stand.api, replace(REF, config_map="none"))


async def test_a_history_that_somebody_spoilt_is_not_written_over(stand: Stand) -> None:
    stand.modify(lambda obj: obj["metadata"]["annotations"].update({MODEL_HISTORY: "see the wiki"}))
    with pytest.raises(ConfigError, match=r"healer\.dev/model-history cannot be read, and is not written over"):
        await load_it(stand.api, "a", 2)
    assert stand.map["data"][KEY] == FILE


# the history


def entry(number: int, before: int = 1, after: int = 2, *, why: str = "", model: str = "a", key: str = KEY) -> HistoryEntry:
    states = [PolicyState("specific 1, 2", (1, 2), {"stable": version}) for version in (before, after)]
    return HistoryEntry(str(number), "ann", why, "models promote", model, key, *states)


def test_the_oldest_entries_go_first() -> None:
    kept = load(dump([entry(n) for n in range(ENTRIES + 3)], {}))
    assert [one.at for one in kept] == [str(n) for n in range(3, ENTRIES + 3)]


def test_it_fits_beside_the_other_annotations() -> None:
    entries = [entry(n, why="ü" * 500) for n in range(ENTRIES)]
    others = {
        "kubectl.kubernetes.io/last-applied-configuration": "ü" * ((ANNOTATIONS - 20_000) // 2),
        MODEL_HISTORY: "x" * 60_000,
    }
    text = dump(entries, others)
    total = sum(len(name.encode()) + len(value.encode()) for name, value in (others | {MODEL_HISTORY: text}).items())
    assert ANNOTATIONS - 2_000 < total <= ANNOTATIONS
    assert load(text)[-1] == entries[-1]
    assert len(dump(entries, {}).encode()) <= 64 * 1024
    assert load(dump(entries, {"big": "x" * ANNOTATIONS})) == []


def test_a_long_why_is_cut() -> None:
    made = Author("w" * 900, "y" * 900, "models add", "now").entry(
        ConfiguredModel("a", "", Policy(), {}), KEY, ModelChange(specific([1]), {})
    )
    assert (len(made.who), len(made.why)) == (500, 500)


def test_the_stable_versions_are_those_of_the_model_and_the_key() -> None:
    others = [entry(4, 3, 9, model="b"), entry(5, 3, 8, key="other")]
    assert stables([entry(1, 1, 2), entry(2, 2, 2), entry(3, 2, 3), *others], "a", KEY) == [1, 2, 3]


@pytest.mark.parametrize("text", ["[", "{}", '[{"at": 1}]'])
def test_what_is_no_history(text: str) -> None:
    with pytest.raises(ConfigError, match="mend or remove it"):
        load(text)
