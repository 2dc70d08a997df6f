"""Pin a model of TensorFlow Serving to one version, in the models.config that its ConfigMap holds.

Make before break. A version that is not on the disk would leave a policy without anything to load, and TensorFlow Serving then
unloads the model altogether (file_system_storage_path_source.cc). So the wanted version is first loaded beside the others, and
is left alone only when every ready server says that it is AVAILABLE.
"""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Literal, Self

import msgspec
from pydantic import Field, model_validator

from healer.actions.base import Call, Stopped
from healer.actions.shared.paused import paused
from healer.actions.shared.refusal import refusal, unread
from healer.actions.shared.rolling import Rollable, WholeMeta, look
from healer.cluster.api import ApiError, ClusterError
from healer.cluster.managed import manager_of
from healer.model.action import ActionSpec, Outcome, OutcomeKind, permissions
from healer.model_servers.tensorflow_serving.config import STABLE, ConfigError, ConfiguredModel
from healer.model_servers.tensorflow_serving.history import Author, PolicyState
from healer.model_servers.tensorflow_serving.mount import caveats, mounts
from healer.model_servers.tensorflow_serving.plan import ModelChange, PlanRefused, beside, pin
from healer.model_servers.tensorflow_serving.status import PORT, ModelState, Versions, VersionStatus, ask_each, available
from healer.model_servers.tensorflow_serving.store import KEY, ModelsConfig, Written, write
from healer.rules.form import Model, Name, Text, Whole, fault

_PATIENCE = 3.0
"""Seconds for a server's answer."""
_AT_ONCE = 8
_NAMED = 3
"""Servers that a message names."""


class PinModelVersionParams(Model):
    """Which model of which file, and to which version: a number, or the one that has label stable."""

    config_map: Name
    """The ConfigMap, in the workload's namespace, that its pods mount."""
    key: Text = KEY
    """The key that holds the file."""
    model: Text
    """The model's name in it."""
    version: Annotated[Whole, Field(ge=1, lt=2**63)] | None = None
    """The version: the name of its directory."""
    label: Literal["stable"] | None = None
    """Instead of `version`: the version that has this label when healer acts."""
    port: Annotated[Whole, Field(ge=1, le=65535)] = PORT
    """The port of the pods' REST API, which is asked whether they have the version AVAILABLE."""
    even_if_managed: bool = False
    """Also when a GitOps controller manages the ConfigMap, which will put its own file back sooner or later."""

    @model_validator(mode="after")
    def _which(self) -> Self:
        if (self.version is None) == (self.label is None):
            raise fault("exactly one of version, label is needed", f"label: {STABLE} pins to what is stable then")
        return self


class PinModelVersion:
    """The action `pinModelVersion`."""

    spec = ActionSpec(
        name="pinModelVersion",
        params=PinModelVersionParams,
        targets=frozenset({"Deployment"}),
        disrupts=False,
        verb="pin the model of",
        in_rollout=True,  # it takes no pod down, and a rollout that hangs because its pods cannot load a version is what it mends
        needs=lambda _: permissions("apps", "deployments", "get") | permissions("", "configmaps", "get patch"),
    )

    async def run(self, call: Call) -> Outcome:
        """Recheck, then read the file afresh, keep what it said, and pin."""
        params = call.act.params
        assert isinstance(params, PinModelVersionParams)
        deployment = await look(call)
        if isinstance(deployment, Outcome):
            return deployment
        if (veto := _veto(call, deployment, params)) is not None:
            return veto
        return await _Pin(call, params, deployment).run()


def _veto(call: Call, deployment: Rollable, params: PinModelVersionParams) -> Outcome | None:
    target = call.act.target
    if (stopped := paused(call, deployment)) is not None:
        return stopped
    if not mounts(deployment.spec.template, params.config_map):
        text = f"the pods of {target} have no volume of configmap/{params.config_map}: what it says does not concern them"
        return Outcome(OutcomeKind.REFUSED, "NotMounted", text)
    return None


@dataclass(slots=True)
class _Pin:
    """One attempt."""

    call: Call
    params: PinModelVersionParams
    deployment: Rollable
    version: int = 0
    """What is pinned to; 0 until the file was read."""
    loading: str = ""
    """What has to come first: the version is not AVAILABLE everywhere. Says so in words."""
    sent: bool = False

    async def run(self) -> Outcome:
        """Pin, or say why not."""
        call, params = self.call, self.params
        doing = f"pin model {params.model} in configmap/{params.config_map}"
        incident = call.act.incident
        author = Author(f"healer ({incident.id})", incident.reason.text, PinModelVersion.spec.name, _moment())
        where = (call.act.target.namespace, params.config_map, params.key)
        try:
            written = await write(
                call.api, where, params.model, author, self._decide, sending=self._sending, dry_run=call.act.dry_run
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
            text = f"{doing}: others write it all the time: looking again ({error.message})"
            return Outcome(OutcomeKind.DEFERRED, "Contended", text, error.retry_after)
        return refusal(error, doing) if self.sent else unread(error, doing)

    async def _decide(self, document: ModelsConfig) -> ModelChange:
        """What the file is to say; asked again when somebody else was faster. Raises Stopped."""
        manager = manager_of(msgspec.convert(document.meta, WholeMeta), kind="ConfigMap", part=("f:data",))
        if manager is not None and not self.params.even_if_managed:
            text = (
                f"configmap/{document.name} is managed by {manager}, which would put its own file back: change it there, or "
                "write evenIfManaged: true"
            )
            raise Stopped(Outcome(OutcomeKind.REFUSED, "Managed", text))
        served = document.find(self.params.model)
        self.version, self.loading = self._wanted(served), ""
        change = pin(served, self.version)
        if change.differs(served):
            change = await self._safe(served, change)
        if change.differs(served) and not self.call.act.dry_run:
            await self._keep(served)
        return change

    def _wanted(self, served: ConfiguredModel) -> int:
        if self.params.version is not None:
            return self.params.version
        version = served.labels.get(STABLE)
        if version is None:
            raise Stopped(
                Outcome(OutcomeKind.REFUSED, "NoStableLabel", f"no version of model {served.name} has the label {STABLE}")
            )
        return version

    async def _safe(self, served: ConfiguredModel, change: ModelChange) -> ModelChange:
        """The change, when no server can lose what it serves, or refuse it; else the version beside the others, to come first."""
        answers = await self._servers()
        wrong = {name: said for name, said in answers.items() if isinstance(said, str)}
        if wrong:
            text = f"whether version {self.version} can be served is not known: {_listed(wrong)}"
            raise Stopped(Outcome(OutcomeKind.DEFERRED, "ServersUnknown", text))
        told = {name: said for name, said in answers.items() if not isinstance(said, str)}
        lacking = {name: _own(said, self.version) for name, said in told.items() if self.version not in available(said)}
        serving = {version for said in told.values() for version in available(said)}
        if not lacking or not (serving or _moves(served, change)):
            return change
        if broken := {
            name: str(one) for name, one in lacking.items() if one and one.state is ModelState.END and one.code != "OK"
        }:
            raise Stopped(
                Outcome(OutcomeKind.REFUSED, "CannotLoad", f"version {self.version} cannot be loaded: {_listed(broken)}")
            )
        self.loading = (
            f"version {self.version} is not AVAILABLE yet on {_listed({n: str(s or 'not loaded') for n, s in lacking.items()})}"
        )
        if served.policy.loads(self.version):
            raise Stopped(Outcome(OutcomeKind.DEFERRED, "Loading", f"{self.loading}: pinned when it is"))
        if served.policy.choice == "all":
            text = f"{self.loading}, though the policy is to load all: it is not on the disk"
            raise Stopped(Outcome(OutcomeKind.REFUSED, "NotOnDisk", text))
        try:
            return beside(served, self.version, serving)
        except PlanRefused as error:
            raise Stopped(Outcome(OutcomeKind.REFUSED, "ServersUnknown", str(error))) from error

    async def _servers(self) -> dict[str, Versions | str]:
        """What each ready pod says of the model; in words why not. Without a ready pod nothing can be lost."""
        pods = {p.metadata.name: p.status.pod_ip for p in self.call.view.pods_of(self.call.act.target) if p.ready}
        places = asyncio.Semaphore(_AT_ONCE)
        return await ask_each(pods, self.params.port, self.params.model, places=places, patience=_PATIENCE)

    async def _keep(self, served: ConfiguredModel) -> None:
        """What the file said before the first write of this incident stays: that is what a human wants back."""
        note = {"configMap": self.params.config_map, "key": self.params.key, "model": served.name, "version": str(self.version)}
        kept = self.call.kept
        first = kept.get("from") if {key: kept.get(key) for key in note} == note else None
        state = msgspec.json.encode(PolicyState.of(served.policy, served.labels)).decode()
        if (unkept := await self.call.keep({**note, "from": first or state})) is not None:
            raise Stopped(unkept)

    def _sending(self) -> None:
        if (unwanted := self.call.still_wanted(self.call.act, self.deployment)) is not None:
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
            text = "; ".join([text, *caveats(self.deployment.spec.template, params.config_map, labels=bool(change.labels))])
            if self.call.act.dry_run:
                return Outcome(OutcomeKind.DONE, "WouldPin", f"would pin {name} to version {self.version}; {text}{dry}")
            return Outcome(OutcomeKind.DEFERRED, "Loading", text)
        notes = [f"it was {before.policy}", *change.notes, *written.before.octals]
        notes += caveats(self.deployment.spec.template, params.config_map, labels=bool(change.labels))
        text = f"{name} {'would be' if dry else 'is'} pinned to version {self.version}: {'; '.join(notes)}{dry}"
        return Outcome(OutcomeKind.DONE, "WouldPin" if dry else "Pinned", text)


def _moves(served: ConfiguredModel, change: ModelChange) -> bool:
    """Whether a label moves: servers refuse the whole file while the version that it moves to is not AVAILABLE."""
    return any(served.labels.get(label) != version for label, version in change.labels.items())


def _own(said: Versions, version: int) -> VersionStatus | None:
    return next((one for one in said if one.version == version), None)


def _listed(by_pod: dict[str, str]) -> str:
    """The first few, by pod, and how many more: the text becomes a message."""
    named = [f"pod/{name}: {said}" for name, said in sorted(by_pod.items())]
    more = f", and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
    return ", ".join(named[:_NAMED]) + more


def _moment() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
