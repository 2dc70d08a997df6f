"""Undoing a pinned version: give a model the policy and the labels again that it had before healer pinned it.

Make before break, as when it was pinned: versions that the servers do not have are loaded beside the others first, and a second
call does the rest.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from healer.actions.base import NotUndone
from healer.cluster.api import Api
from healer.cluster.errors import ApiError
from healer.model.incident import Incident
from healer.model.target import Target
from healer.model_servers.base import ModelServer
from healer.model_servers.fleet import fleet_of, status_of
from healer.model_servers.history import Author, PolicyState, policy_of
from healer.model_servers.mount import mounts
from healer.model_servers.registry import SERVERS
from healer.model_servers.store import FileRef, VersionsDocument, load_document, write
from healer.model_servers.versions import ConfigError, ConfiguredModel, ModelChange, PlanRefused
from healer.rules.vocabulary import DEFAULT_SERVER
from healer.workloads.registry import WORKLOADS


def author_of(incident: str) -> str:
    """Who has pinned a version for an incident, as the history of the file has it."""
    return f"healer ({incident})"


@dataclass(frozen=True, slots=True)
class PinReversal:
    """One model as the file has it now, and what it had before. See `Reversal`."""

    ref: FileRef
    server: ModelServer
    port: int
    model: str
    incident: str
    document: VersionsDocument
    before: PolicyState

    @property
    def group(self) -> str:
        """See `Reversal`."""
        return "models"

    @property
    def now(self) -> PolicyState:
        """Its policy and labels as they are. Raises ConfigError."""
        return _state(self.document.find(self.model))

    @property
    def done(self) -> bool:
        """Whether it has the policy and the labels from before."""
        return self.now == self.before

    def __str__(self) -> str:
        name = f"model {self.model} in configmap/{self.ref.config_map}"
        return f"{name}: {self.before}, as before" if self.done else f"{name}: {self.now} -> {self.before}"

    def plain(self) -> dict[str, Any]:
        """See `Reversal`."""
        name = {"model": self.model, "configMap": self.ref.config_map, "key": self.ref.key}
        return {**name, "found": str(self.now), "before": str(self.before)}

    def check(self, *, force: bool) -> None:
        """See `Reversal`."""
        ours = (author_of(self.incident), self._author)
        last = [each for each in self.document.history if (each.model, each.key) == (self.model, self.ref.key)][-1:]
        unchanged = any(each.who in ours and each.after == self.now for each in last)
        if not (self.done or unchanged or force):
            text = f"model {self.model} in configmap/{self.ref.config_map} has {self.now}: somebody has changed it since"
            raise NotUndone(f"nothing was undone: {text}. --force puts {self.before} back anyway")

    async def put_back(self, api: Api, *, force: bool) -> None:
        """Write the policy and the labels from before, unless somebody changes them meanwhile. Raises NotUndone, ClusterError."""
        available = None if force else await self._available(api)
        waits: list[int] = []

        async def decide(document: VersionsDocument) -> ModelChange:
            found = replace(self, document=document)
            found.check(force=force)
            change, waits[:] = found._change(available)
            return change

        author = Author(self._author, f"undoes what was done for incident {self.incident}", "undo", api.clock.stamp())
        try:
            written = await write(api, self.ref, self.model, author, decide)
        except (ConfigError, PlanRefused) as error:
            raise NotUndone(f"nothing was undone: {error}") from error
        if waits:
            text = f"version {', '.join(map(str, waits))} of model {self.model} is not AVAILABLE on every server"
            if written.change.differs(written.before.find(self.model)):
                text += ", and is loaded beside the others first"
            raise NotUndone(f"not undone yet: {text}. Undo it again when it is; --force does not wait for it")

    @property
    def _author(self) -> str:
        return f"healer undo ({self.incident})"

    async def _available(self, api: Api) -> frozenset[int]:
        """The versions that every server has AVAILABLE. Raises NotUndone when that is not known."""
        status = await status_of(api, await fleet_of(api, self.ref), self.server, self.model, self.port)
        if status.available is None or status.unanswered:
            why = status.why or "; ".join(f"pod/{pod}: {said}" for pod, said in list(status.unanswered.items())[:3])
            text = f"nothing was undone: which versions the servers have is not known ({why})"
            way = f"healer undo incident/{self.incident} -n {self.ref.namespace}"
            raise NotUndone(
                f"{text}. Who may ask them, by `get` on pods/proxy, can undo it: {way}; with --force it does not ask them"
            )
        return status.available

    def _change(self, available: frozenset[int] | None) -> tuple[ModelChange, list[int]]:
        """The change to make now, and the versions that must be AVAILABLE before the rest. Raises PlanRefused."""
        now = self.document.find(self.model)
        goal = ModelChange(policy_of(self.before), dict(self.before.labels))
        moved = {version for label, version in goal.labels.items() if now.labels.get(label) != version}
        missing = [] if available is None else sorted(({*goal.policy.versions} | moved) - available)
        if not missing:
            return goal, []
        model = now
        for version in missing:
            change = self.ref.format.beside(model, version, available or ())
            model = replace(model, policy=change.policy)
        return ModelChange(model.policy, now.labels), missing


def _state(model: ConfiguredModel) -> PolicyState:
    return PolicyState.of(model.policy, model.labels)


_NOTED = frozenset({"configMap", "key", "model", "from"})
"""The keys of a note of a pinned version."""


async def reversals(api: Api, incident: Incident, kept: Mapping[str, str]) -> Sequence[PinReversal]:
    """The pin that an incident has noted, as its file stands now. Raises NotUndone, ClusterError, ValueError."""
    name, target = kept.get("server", DEFAULT_SERVER), incident.workload
    server = SERVERS.get(name)
    if server is None or server.file is None or not kept.keys() >= _NOTED:
        raise ValueError(f"{dict(kept)} is no note of a pinned version")
    before = msgspec.json.decode(kept["from"], type=PolicyState)
    policy_of(before)
    await _concerns(api, target, kept["configMap"])
    ref = FileRef(target.namespace, kept["configMap"], kept["key"], server.file)
    try:
        found = PinReversal(
            ref,
            server,
            int(kept.get("port", server.port)),
            kept["model"],
            incident.id,
            await load_document(api, ref),
            before,
        )
        found.document.find(found.model)
    except ConfigError as error:
        raise NotUndone(f"nothing was undone: {error}") from error
    return [found]


async def _concerns(api: Api, target: Target, config_map: str) -> None:
    """Whoever can write incidents can write notes: healer pins a version only in a file that the workload's pods mount.

    Raises NotUndone, ClusterError.
    """
    if target.kind not in WORKLOADS:
        raise NotUndone(f"nothing was undone: healer does not act on a {target.kind}")
    kind = WORKLOADS[target.kind]
    try:
        whole = await api.get(kind.resource.path(target.namespace, target.name), kind.whole)
    except ApiError as error:
        if not error.is_not_found:
            raise
        raise NotUndone(f"nothing was undone: {target} is gone") from error
    if not mounts(whole.template, config_map):
        raise NotUndone(f"nothing was undone: the pods of {target} have no volume of configmap/{config_map}")
