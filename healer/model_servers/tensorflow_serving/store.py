"""A models.config in a ConfigMap: read it, change it, write it; a write that meets another one looks and decides again."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from healer.cluster.api import Api, ApiError
from healer.model.annotations import MODEL_HISTORY
from healer.model_servers.tensorflow_serving.config import ConfiguredModel, find, models
from healer.model_servers.tensorflow_serving.edit import change as edited
from healer.model_servers.tensorflow_serving.history import Author, HistoryEntry, dump, load
from healer.model_servers.tensorflow_serving.plan import ModelChange
from healer.model_servers.tensorflow_serving.spans import ConfigError, octals

T = TypeVar("T")

KEY = "models.config"
"""Where the file is in a ConfigMap, unless said otherwise."""
TRIES = 12
_PAUSE = 0.05
"""Seconds, doubled at each try up to a second, with full jitter."""


@dataclass(frozen=True, slots=True)
class ModelsConfig:
    """A models.config as the cluster has it. What asks for its models raises ConfigError when it cannot be used."""

    namespace: str
    name: str
    key: str
    text: str
    meta: dict[str, Any] = field(repr=False)
    """The ConfigMap's metadata."""

    def __str__(self) -> str:
        return f"{self.key} of configmap/{self.name} in {self.namespace}"

    @property
    def annotations(self) -> dict[str, str]:
        """Those of the ConfigMap."""
        return dict(self.meta.get("annotations") or {})

    @property
    def history(self) -> list[HistoryEntry]:
        """The changes of its models, oldest first."""
        return self._placed(lambda: load(self.annotations.get(MODEL_HISTORY, "")))

    @property
    def models(self) -> tuple[ConfiguredModel, ...]:
        """The models in it."""
        return self._placed(lambda: models(self.text))

    @property
    def octals(self) -> list[str]:
        """Its numbers that mean another one than they look like, in words."""
        return self._placed(lambda: octals(self.text))

    def find(self, model: str) -> ConfiguredModel:
        """One of them."""
        return self._placed(lambda: find(self.text, model))

    def changed(self, model: str, change: ModelChange) -> str:
        """Its text after a change; every label of the model must name a version that is loaded."""
        served = self.find(model)
        after = ConfiguredModel(model, served.base_path, change.policy, change.labels)
        if dangling := after.dangling():
            label, version = next(iter(dangling.items()))
            raise ConfigError(
                f"{self}: label {label} of model {model} would name version {version}, which is not loaded ({after.policy}): "
                "TensorFlow Serving may refuse the whole file; load it, or move the label"
            )
        return self._placed(lambda: edited(self.text, model, change.policy, change.labels))

    def _placed(self, look: Callable[[], T]) -> T:
        try:
            return look()
        except ConfigError as error:
            raise ConfigError(f"{self}: {error}") from error


@dataclass(frozen=True, slots=True)
class Written:
    """What a change came to: the file before and after, equal when nothing was to change."""

    before: ModelsConfig
    after: str
    change: ModelChange


def path(namespace: str, name: str) -> str:
    """Where the API has a ConfigMap."""
    return f"/api/v1/namespaces/{namespace}/configmaps/{name}"


async def load_document(api: Api, namespace: str, name: str, key: str = KEY) -> ModelsConfig:
    """The file as it is now. Raises ClusterError, and ConfigError when the ConfigMap has no such key."""
    obj = await api.get(path(namespace, name), dict[str, Any])
    data, binary = obj.get("data") or {}, obj.get("binaryData") or {}
    where = f"configmap/{name} in {namespace}"
    if key in binary:
        raise ConfigError(f"{where} has {key!r} as binaryData: it must be text, below data")
    if key not in data:
        keys = ", ".join(sorted({*data, *binary})) or "none"
        raise ConfigError(f"{where} has no key {key!r} (it has: {keys}): name the one that --model_config_file reads")
    if obj.get("immutable"):
        raise ConfigError(f"{where} is immutable: nothing in it can be changed; make another one, without `immutable: true`")
    return ModelsConfig(namespace, name, key, data[key], obj["metadata"])


async def write(
    api: Api,
    where: tuple[str, str, str],
    model: str,
    author: Author,
    decide: Callable[[ModelsConfig], Awaitable[ModelChange]],
    *,
    sending: Callable[[], None] = lambda: None,
    dry_run: bool = False,
) -> Written:
    """Change one model of the file at `where` (namespace, ConfigMap, key) as `decide` says, and add that to the history.

    The write holds only for the file that was read; when another write came first, all is read and decided again. `sending` is
    called right before each write. With `dry_run` the API server checks the write and keeps nothing. Raises ClusterError
    (status 409 when others write all the time), ConfigError, and what `decide` and `sending` raise.
    """
    for attempt in range(1, TRIES + 1):
        document = await load_document(api, *where)
        change = await decide(document)
        served = document.find(model)
        text = document.changed(model, change)
        if not change.differs(served):
            return Written(document, document.text, change)
        history = [*document.history, author.entry(served, document.key, change)]
        body = {
            "metadata": {
                "resourceVersion": document.meta["resourceVersion"],
                "annotations": {MODEL_HISTORY: dump(history, document.annotations)},
            },
            "data": {document.key: text},
        }
        sending()
        try:
            await api.request(
                "PATCH",
                path(document.namespace, document.name),
                query={"dryRun": "All"} if dry_run else None,
                body=body,
                content_type="application/merge-patch+json",
            )
            return Written(document, text, change)
        except ApiError as error:
            if not error.is_conflict or attempt == TRIES:
                raise
        await asyncio.sleep(random.uniform(0, min(1.0, _PAUSE * 2**attempt)))
    raise AssertionError("the last try returns or raises")
