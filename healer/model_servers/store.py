"""A file in a ConfigMap that says which versions a server loads: read it, change it, write it.

After a conflict with another write, it reads and decides again.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from healer.cluster.api import Api, ApiError
from healer.model.annotations import MODEL_HISTORY
from healer.model_servers.base import VersionsFile
from healer.model_servers.history import Author, HistoryEntry, dump, load
from healer.model_servers.versions import ConfigError, ConfiguredModel, ModelChange

T = TypeVar("T")

TRIES = 12
_PAUSE = 0.05
"""Seconds before the second try; doubled at each try up to a second, with full jitter."""


@dataclass(frozen=True, slots=True)
class FileRef:
    """Which file is meant: the key of a ConfigMap. `format` reads and changes it."""

    namespace: str
    config_map: str
    key: str
    format: VersionsFile = field(repr=False)

    @property
    def path(self) -> str:
        """The API's path of the ConfigMap."""
        return f"/api/v1/namespaces/{self.namespace}/configmaps/{self.config_map}"

    def __str__(self) -> str:
        return f"{self.key} of configmap/{self.config_map} in {self.namespace}"


@dataclass(frozen=True, slots=True)
class VersionsDocument:
    """The file as it was read. Properties that parse it raise ConfigError."""

    ref: FileRef
    text: str
    meta: dict[str, Any] = field(repr=False)
    """The ConfigMap's metadata."""

    @property
    def annotations(self) -> dict[str, str]:
        """The annotations of the ConfigMap."""
        return dict(self.meta.get("annotations") or {})

    @property
    def history(self) -> list[HistoryEntry]:
        """The changes of its models, oldest first."""
        return self._located(lambda: load(self.annotations.get(MODEL_HISTORY, "")))

    @property
    def models(self) -> tuple[ConfiguredModel, ...]:
        """The models of the file."""
        return self._located(lambda: self.ref.format.models(self.text))

    @property
    def remarks(self) -> list[str]:
        """The parts of it that mean something else than they look like, in words."""
        return self._located(lambda: self.ref.format.remarks(self.text))

    def find(self, model: str) -> ConfiguredModel:
        """One of its models."""
        return self._located(lambda: self.ref.format.find(self.text, model))

    def changed(self, model: str, change: ModelChange) -> str:
        """The text after a change."""
        return self._located(lambda: self.ref.format.changed(self.text, model, change))

    def _located(self, read: Callable[[], T]) -> T:
        """What `read` returns; its errors name the file."""
        try:
            return read()
        except ConfigError as error:
            raise ConfigError(f"{self.ref}: {error}") from error


@dataclass(frozen=True, slots=True)
class Written:
    """The result of a change: the file before and after, equal when there was nothing to change."""

    before: VersionsDocument
    after: str
    change: ModelChange


async def load_document(api: Api, ref: FileRef) -> VersionsDocument:
    """The file as it is now. Raises ClusterError, and ConfigError when the ConfigMap has no such key."""
    obj = await api.get(ref.path, dict[str, Any])
    data, binary = obj.get("data") or {}, obj.get("binaryData") or {}
    where, key = f"configmap/{ref.config_map} in {ref.namespace}", ref.key
    if key in binary:
        raise ConfigError(f"{where} has {key!r} as binaryData: it must be text, below data")
    if key not in data:
        keys = ", ".join(sorted({*data, *binary})) or "none"
        raise ConfigError(f"{where} has no key {key!r} (it has: {keys}): name the one that the servers read")
    if obj.get("immutable"):
        raise ConfigError(f"{where} is immutable: nothing in it can be changed; make another one, without `immutable: true`")
    return VersionsDocument(ref, data[key], obj["metadata"])


async def write(
    api: Api,
    ref: FileRef,
    model: str,
    author: Author,
    decide: Callable[[VersionsDocument], Awaitable[ModelChange]],
    *,
    sending: Callable[[], None] = lambda: None,
    dry_run: bool = False,
) -> Written:
    """Change one model of the file as `decide` returns, and add the change to the history.

    The write applies only to the version of the file that was read; after a conflict the file is read and `decide` is called
    again. `sending` is called right before each write. With `dry_run` the API server checks the write and keeps nothing. Raises
    ClusterError (status 409 when others write all the time), ConfigError, and whatever `decide` and `sending` raise.
    """
    for attempt in range(1, TRIES + 1):
        document = await load_document(api, ref)
        change = await decide(document)
        configured = document.find(model)
        text = document.changed(model, change)
        if not change.differs(configured):
            return Written(document, document.text, change)
        history = [*document.history, author.entry(configured, ref.key, change)]
        body = {
            "metadata": {
                "resourceVersion": document.meta["resourceVersion"],
                "annotations": {MODEL_HISTORY: dump(history, document.annotations)},
            },
            "data": {ref.key: text},
        }
        sending()
        try:
            await api.request(
                "PATCH",
                ref.path,
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
