"""Pin a model to one version, in the file in a ConfigMap by which its servers are told which versions to load.

Make before break. A version that is not on the disk would leave a policy without anything to load, and TensorFlow Serving then
unloads the model altogether (file_system_storage_path_source.cc). So the wanted version is first loaded beside the others, and
the others are unloaded only when every ready server says that it is AVAILABLE.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, Self

import msgspec
from pydantic import Field, model_validator

from healer.actions.base import Call, Reversal, Stopped
from healer.actions.shared.paused import paused
from healer.actions.shared.refusal import refusal, unread
from healer.actions.shared.rolling import read_whole
from healer.actions.undo_pin import author_of, reversals
from healer.cluster.api import Api, ApiError, ClusterError
from healer.cluster.managed import manager_of
from healer.model.action import ActionSpec, Outcome, OutcomeKind, permissions
from healer.model.incident import Incident
from healer.model.target import ActsOn
from healer.model_servers.asking import ask_each
from healer.model_servers.base import VersionsFile
from healer.model_servers.history import Author, PolicyState
from healer.model_servers.mount import mounts
from healer.model_servers.registry import SERVERS
from healer.model_servers.status import ModelStatus, StatusError
from healer.model_servers.store import FileRef, VersionsDocument, Written, load_document, write
from healer.model_servers.versions import STABLE, ConfigError, ConfiguredModel, ModelChange, PlanRefused
from healer.rules.form import Model, Name, Text, Whole, fault
from healer.rules.schema import When
from healer.rules.triggers import MODEL
from healer.rules.vocabulary import DEFAULT_SERVER, ServerName
from healer.workloads.base import Rollable, WholeMeta
from healer.workloads.registry import allowed

_AT_ONCE = 8
"""Servers that are asked at the same time."""
_NAMED = 3
"""Servers that a message names."""


def _file(server: str) -> VersionsFile:
    """The file that pins a server's versions. Raises ValueError for a server whose versions cannot be pinned."""
    file = SERVERS[server].file
    if file is None:
        can = ", ".join(name for name, each in SERVERS.items() if each.file is not None)
        raise ValueError(f"healer cannot pin a version on the server {server}; it can on {can}")
    return file


class PinModelVersionParams(Model):
    """The model, its file, and the version: a number, or the version that has label stable."""

    config_map: Name
    """The ConfigMap, in the workload's namespace, that its pods mount."""
    key: Text = _file(DEFAULT_SERVER).key
    """The key that holds the file; each server has its own default."""
    server: ServerName = DEFAULT_SERVER
    """The model server that reads the file; by default that of the rule's `model` trigger."""
    model: Text
    """The model's name in the file."""
    version: Annotated[Whole, Field(ge=1, lt=2**63)] | None = None
    """The version: the name of its directory."""
    label: Literal["stable"] | None = None
    """Instead of `version`: the version that has this label when healer acts."""
    port: Annotated[Whole, Field(ge=1, le=65535)] = SERVERS[DEFAULT_SERVER].port
    """The port at which the servers are asked whether they have the version AVAILABLE; each server has its own default."""
    even_if_managed: bool = False
    """Pin also when a GitOps controller manages the ConfigMap, which restores its own file sooner or later."""

    @model_validator(mode="after")
    def _which(self) -> Self:
        if (self.version is None) == (self.label is None):
            raise fault("exactly one of version, label is needed", f"label: {STABLE} pins to what is stable then")
        return self


def complete(params: PinModelVersionParams, when: When) -> PinModelVersionParams:
    """The parameters with the server of the rule's trigger, and that server's own key and port where the rule names none.

    Raises ValueError when the server's versions cannot be pinned.
    """
    written = params.model_fields_set
    model = when.get(MODEL)
    server = model.server if model is not None and "server" not in written else params.server
    own = {"server": server, "key": _file(server).key, "port": SERVERS[server].port}
    return params.model_copy(update={name: value for name, value in own.items() if name == "server" or name not in written})


class PinModelVersion:
    """The action `pinModelVersion`."""

    spec = ActionSpec(
        name="pinModelVersion",
        params=PinModelVersionParams,
        targets=frozenset({ActsOn.WORKLOAD}),
        disrupts=False,
        verb="pin the model of",
        in_rollout=True,  # it takes no pod down, and a rollout that hangs because its pods cannot load a version is what it mends
        complete=complete,
        needs=lambda _: allowed("get") | permissions("", "configmaps", "get patch"),
        meaning="has the model servers load that version of the model, by the file that their ConfigMap holds",
    )

    async def reversals(self, api: Api, incident: Incident, namespace: str, kept: Mapping[str, str]) -> Sequence[Reversal]:
        """See `Undoable`."""
        return await reversals(api, incident, kept)

    async def absent(self, api: Api, namespace: str, params: PinModelVersionParams) -> str:
        """See `NamesObjects`."""
        ref = FileRef(namespace, params.config_map, params.key, _file(params.server))
        try:
            (await load_document(api, ref)).find(params.model)
        except ApiError as error:
            if not error.is_not_found:
                raise
            return f"there is no configmap/{params.config_map} in {namespace}, in which the version is to be pinned"
        except ConfigError as error:
            return str(error)
        return ""

    async def run(self, call: Call) -> Outcome:
        """Recheck, then read the file, journal its old policy and labels, and pin."""
        params = call.act.params
        assert isinstance(params, PinModelVersionParams)
        whole = await read_whole(call)
        if isinstance(whole, Outcome):
            return whole
        if (veto := _veto(call, whole, params)) is not None:
            return veto
        return await _Pin(call, params, whole, _file(params.server)).run()


def _veto(call: Call, whole: Rollable, params: PinModelVersionParams) -> Outcome | None:
    target = call.act.target
    if (stopped := paused(call, whole.workload())) is not None:
        return stopped
    if not mounts(whole.template, params.config_map):
        text = f"the pods of {target} have no volume of configmap/{params.config_map}: what it says does not concern them"
        return Outcome(OutcomeKind.REFUSED, "NotMounted", text)
    return None


@dataclass(slots=True)
class _Pin:
    """One attempt."""

    call: Call
    params: PinModelVersionParams
    whole: Rollable
    file: VersionsFile
    version: int = 0
    """The version to pin to; 0 until the file was read."""
    loading: str = ""
    """Why the version is first loaded beside the others, in words: it is not AVAILABLE on every server. "" when it is."""
    sent: bool = False

    async def run(self) -> Outcome:
        """Pin, or say why not."""
        call, params = self.call, self.params
        doing = f"pin model {params.model} in configmap/{params.config_map}"
        incident = call.act.incident
        author = Author(author_of(incident.id), incident.reason.text, PinModelVersion.spec.name, self.call.api.clock.stamp())
        ref = FileRef(call.act.target.namespace, params.config_map, params.key, self.file)
        try:
            written = await write(
                call.api, ref, params.model, author, self._decide, sending=self._sending, dry_run=call.act.dry_run
            )
        except Stopped as stopped:
            return stopped.outcome
        except ConfigError as error:
            return Outcome(OutcomeKind.REFUSED, "ConfigUnusable", f"{doing}: {error}")
        except ApiError as error:
            return self._answered(error, doing)
        except ClusterError as error:
            return refusal(error, doing) if self.sent else unread(error, doing)
        return self._done(written)

    def _answered(self, error: ApiError, doing: str) -> Outcome:
        if error.is_not_found:
            text = f"{doing}: there is no configmap/{self.params.config_map} in namespace {self.call.act.target.namespace}"
            text += ": create it there, or write the name of the one that holds the models in configMap"
            return Outcome(OutcomeKind.REFUSED, "NoConfigMap", text)
        if error.is_conflict:
            text = f"{doing}: others write it all the time: healer looks again ({error.message})"
            return Outcome(OutcomeKind.DEFERRED, "Contended", text, error.retry_after)
        return refusal(error, doing) if self.sent else unread(error, doing)

    async def _decide(self, document: VersionsDocument) -> ModelChange:
        """The change of the file as it was just read; called again after a conflict. Raises Stopped."""
        manager = manager_of(msgspec.convert(document.meta, WholeMeta), kind="ConfigMap", part=("f:data",))
        if manager is not None and not self.params.even_if_managed:
            text = (
                f"configmap/{document.ref.config_map} is managed by {manager}, which would put its own file back: "
                "change it there, or write evenIfManaged: true"
            )
            raise Stopped(Outcome(OutcomeKind.REFUSED, "Managed", text))
        configured = document.find(self.params.model)
        self.version, self.loading = self._wanted(configured), ""
        change = self.file.pin(configured, self.version)
        if change.differs(configured):
            change = await self._safe(configured, change)
        if change.differs(configured) and not self.call.act.dry_run:
            await self._keep(configured)
        return change

    def _wanted(self, configured: ConfiguredModel) -> int:
        if self.params.version is not None:
            return self.params.version
        version = configured.labels.get(STABLE)
        if version is None:
            text = f"no version of model {configured.name} has the label {STABLE}"
            raise Stopped(Outcome(OutcomeKind.REFUSED, "NoStableLabel", text))
        return version

    async def _safe(self, configured: ConfiguredModel, change: ModelChange) -> ModelChange:
        """The change, when it costs no server a version that it serves and no server refuses it; else the version beside the
        others."""
        answers = await self._servers()
        unknown = {name: str(answer) for name, answer in answers.items() if isinstance(answer, StatusError)}
        if unknown:
            text = f"whether version {self.version} can be served is not known: {_listed(unknown)}"
            raise Stopped(Outcome(OutcomeKind.DEFERRED, "ServersUnknown", text))
        statuses = {name: answer for name, answer in answers.items() if not isinstance(answer, StatusError)}
        lacking = {n: status.version(self.version) for n, status in statuses.items() if self.version not in status.available}
        serving = {version for status in statuses.values() for version in status.available}
        if not lacking or not (serving or _moves(configured, change)):
            return change
        if broken := {name: str(one) for name, one in lacking.items() if one and one.failed}:
            text = f"version {self.version} cannot be loaded: {_listed(broken)}"
            raise Stopped(Outcome(OutcomeKind.REFUSED, "CannotLoad", text))
        where = _listed({name: str(one or "not loaded") for name, one in lacking.items()})
        self.loading = f"version {self.version} is not AVAILABLE yet on {where}"
        if configured.policy.loads(self.version):
            raise Stopped(Outcome(OutcomeKind.DEFERRED, "Loading", f"{self.loading}: pinned when it is"))
        if configured.policy.choice == "all":
            text = f"{self.loading}, though the policy is to load all: it is not on the disk"
            raise Stopped(Outcome(OutcomeKind.REFUSED, "NotOnDisk", text))
        try:
            return self.file.beside(configured, self.version, serving)
        except PlanRefused as error:
            raise Stopped(Outcome(OutcomeKind.REFUSED, "ServersUnknown", str(error))) from error

    async def _servers(self) -> dict[str, ModelStatus | StatusError]:
        """Each ready pod's status of the model, or why it is not known. Without a ready pod nothing can be lost."""
        hosts = {p.metadata.name: p.status.pod_ip for p in self.call.view.pods_of(self.call.act.target) if p.ready}
        server, limit = SERVERS[self.params.server], asyncio.Semaphore(_AT_ONCE)
        return await ask_each(server, hosts, self.params.port, self.params.model, limit=limit)

    async def _keep(self, configured: ConfiguredModel) -> None:
        """Journal the policy and labels from before the first write of this incident, for whoever wants to restore them."""
        note = {
            "configMap": self.params.config_map,
            "key": self.params.key,
            "model": configured.name,
            "version": str(self.version),
        }
        asked = {"server": self.params.server, "port": str(self.params.port)}
        kept = self.call.kept
        first = kept.get("from") if {key: kept.get(key) for key in note} == note else None
        state = msgspec.json.encode(PolicyState.of(configured.policy, configured.labels)).decode()
        if (unkept := await self.call.keep({**note, **asked, "from": first or state})) is not None:
            raise Stopped(unkept)

    def _sending(self) -> None:
        if (unwanted := self.call.still_wanted(self.call.act, self.whole.workload())) is not None:
            raise Stopped(Outcome(OutcomeKind.RECOVERED, unwanted.code, unwanted.text))
        if (forbidden := self.call.sending()) is not None:
            raise Stopped(forbidden)
        self.sent = True

    def _done(self, written: Written) -> Outcome:
        params, change = self.params, written.change
        before = written.before.find(params.model)
        name = f"model {params.model} in configmap/{params.config_map}"
        if not change.differs(before):
            if self.call.kept.get("version") == str(self.version):
                return Outcome(OutcomeKind.DONE, "FoundDone", f"{name} was pinned to version {self.version} by an earlier try")
            return Outcome(
                OutcomeKind.DONE, "AlreadyPinned", f"{name} is pinned to version {self.version} already: nothing was done"
            )
        dry = " (observe: dry run, nothing was done)" if self.call.act.dry_run else ""
        if self.loading:
            text = f"{self.loading}: loaded beside the others first ({before.policy} -> {change.policy}), and pinned when it is"
            text = "; ".join([text, *self._caveats(change)])
            if self.call.act.dry_run:
                return Outcome(OutcomeKind.DONE, "WouldPin", f"would pin {name} to version {self.version}; {text}{dry}")
            return Outcome(OutcomeKind.DEFERRED, "Loading", text, begun=True)
        notes = [f"it was {before.policy}", *change.notes, *written.before.remarks]
        notes += self._caveats(change)
        text = f"{name} {'would be' if dry else 'is'} pinned to version {self.version}: {'; '.join(notes)}{dry}"
        return Outcome(OutcomeKind.DONE, "WouldPin" if dry else "Pinned", text)

    def _caveats(self, change: ModelChange) -> list[str]:
        template = self.whole.template
        return self.file.caveats(template, self.params.config_map, labels=bool(change.labels))


def _moves(configured: ConfiguredModel, change: ModelChange) -> bool:
    """Whether a label moves: servers refuse the whole file while the version that it moves to is not AVAILABLE."""
    return any(configured.labels.get(label) != version for label, version in change.labels.items())


def _listed(by_pod: dict[str, str]) -> str:
    """The first few reasons by pod, and how many more there are, because the text becomes a message."""
    named = [f"pod/{name}: {reason}" for name, reason in sorted(by_pod.items())]
    more = f", and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
    return ", ".join(named[:_NAMED]) + more
