"""The versions of TensorFlow Serving's models, for people and pipelines: what there is, and its changes, in the ConfigMap."""

import difflib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import msgspec

from healer.actions.shared.rolling import WholeMeta
from healer.cluster.api import Api, ApiError
from healer.cluster.managed import manager_of
from healer.model_servers.tensorflow_serving import plan
from healer.model_servers.tensorflow_serving.config import ConfigError, ConfiguredModel
from healer.model_servers.tensorflow_serving.fleet import Fleet, Told, fleet_of, told
from healer.model_servers.tensorflow_serving.history import Author, HistoryEntry, stables
from healer.model_servers.tensorflow_serving.plan import ModelChange, PlanRefused
from healer.model_servers.tensorflow_serving.status import PORT, VersionStatus
from healer.model_servers.tensorflow_serving.store import KEY, ModelsConfig, Written, load_document, write
from healer.operate.objects import OperateError, valid

__all__ = ["ModelChangeResult", "ModelReport", "PlanRefused", "Where", "add", "listed", "promote", "rollback"]

_SETTLE = timedelta(minutes=3)
"""By then kubelets have copied a ConfigMap (syncFrequency and cache, 1 to 2 min), and servers that poll have looked at it."""
EFFECT = (
    "takes effect when the kubelets have copied the ConfigMap, within a minute or two, and the servers look at the file "
    "(--model_config_file_poll_wait_seconds)"
)


@dataclass(frozen=True, slots=True)
class Where:
    """Which file, and at which port the servers that read it can be asked."""

    namespace: str
    config_map: str
    key: str = KEY
    port: int = PORT

    def __post_init__(self) -> None:
        valid(self.namespace, "a namespace")
        valid(self.config_map, "the name of a ConfigMap")


@dataclass(frozen=True, slots=True)
class ModelReport:
    """A model: as the file has it, its changes (oldest first), and what the servers say of it."""

    served: ConfiguredModel
    history: Sequence[HistoryEntry]
    told: Told

    @property
    def versions(self) -> dict[str, int]:
        """How many servers have a version in a state: "42 AVAILABLE" -> 3."""
        said = [one for answer in self.told.answers.values() if not isinstance(answer, str) for one in answer]
        counts: dict[str, int] = {}
        for one in sorted(said, key=lambda one: (one.version, one.state)):
            counts[_brief(one)] = counts.get(_brief(one), 0) + 1
        return counts


def _brief(one: VersionStatus) -> str:
    return f"{one.version} {one.state}" + (f" ({one.code})" if one.code != "OK" else "")


@dataclass(frozen=True, slots=True)
class ModelChangeResult:
    """What a change came to. `left`: what of it has to wait, "" for nothing. `notes` are for people."""

    where: Where
    before: ConfiguredModel
    change: ModelChange
    diff: str
    notes: tuple[str, ...]
    left: str
    dry_run: bool

    @property
    def changed(self) -> bool:
        """Whether anything was, or would be, written."""
        return self.change.differs(self.before)


async def listed(api: Api, where: Where) -> list[ModelReport]:
    """The models of the file. Raises OperateError when there is no such file or it is unusable, ClusterError."""
    try:
        document = await load_document(api, where.namespace, where.config_map, where.key)
        models, history = document.models, document.history
    except (ApiError, ConfigError) as error:
        raise _unusable(where, error) from error
    fleet = await fleet_of(api, where.namespace, where.config_map)
    return [
        ModelReport(
            served,
            [entry for entry in history if (entry.model, entry.key) == (served.name, where.key)],
            await told(api, fleet, served.name, where.port),
        )
        for served in models
    ]


async def add(api: Api, where: Where, model: str, version: int, label: str, by: Author, *, dry_run: bool) -> ModelChangeResult:
    """Load a version beside the others, with that label ("" for none). Raises Refused, OperateError, ClusterError."""
    any_label = (await fleet_of(api, where.namespace, where.config_map)).takes_any_label

    def added(served: ConfiguredModel, _: ModelsConfig, seen: Told) -> ModelChange:
        return plan.add(served, version, label, seen.available, any_label=any_label)

    return await _changed(api, where, model, by, added, dry_run=dry_run)


async def promote(
    api: Api, where: Where, model: str, version: int | None, by: Author, *, prune: bool, dry_run: bool
) -> ModelChangeResult:
    """Move label stable to the canary's version, or to that one. Raises Refused, OperateError, ClusterError."""
    return await _changed(
        api, where, model, by, lambda served, _, seen: plan.promote(served, version, seen.available, prune=prune), dry_run=dry_run
    )


async def rollback(api: Api, where: Where, model: str, by: Author, *, dry_run: bool) -> ModelChangeResult:
    """Move label stable back to the version before, as the history has it. Raises Refused, OperateError, ClusterError."""

    def back(served: ConfiguredModel, document: ModelsConfig, seen: Told) -> ModelChange:
        return plan.rollback(served, stables(document.history, model, where.key), seen.available)

    return await _changed(api, where, model, by, back, dry_run=dry_run)


async def _changed(
    api: Api,
    where: Where,
    model: str,
    by: Author,
    decide: Callable[[ConfiguredModel, ModelsConfig, Told], ModelChange],
    *,
    dry_run: bool,
) -> ModelChangeResult:
    fleet = await fleet_of(api, where.namespace, where.config_map)
    seen = await told(api, fleet, model, where.port)

    async def change(document: ModelsConfig) -> ModelChange:
        served = document.find(model)
        decided = decide(served, document, seen)
        if seen.available is None:
            _settled(document, served, decided)
        return decided

    try:
        written = await write(api, (where.namespace, where.config_map, where.key), model, by, change, dry_run=dry_run)
    except (ApiError, ConfigError) as error:
        raise _unusable(where, error) from error
    return _done(where, model, written, fleet, seen, dry_run=dry_run)


def _settled(document: ModelsConfig, served: ConfiguredModel, change: ModelChange) -> None:
    """Where the servers cannot be asked: a label moves to no version that they may not even have read of. Raises Refused."""
    for label, version in change.labels.items():
        if served.labels.get(label) in (None, version):
            continue
        for entry in document.history:
            came = version in entry.after.versions and version not in entry.before.versions
            age = datetime.now(UTC) - datetime.fromisoformat(entry.at)
            if entry.model == served.name and came and age < _SETTLE:
                raise PlanRefused(
                    f"version {version} was added {entry.at}, and whether the servers have it AVAILABLE is not known: they would "
                    f"refuse a file that moves label {label} to it before they have read of it; try again in a few minutes"
                )


def _unusable(where: Where, error: ApiError | ConfigError) -> Exception:
    if isinstance(error, ConfigError):
        return OperateError(str(error))
    if error.is_not_found:
        return OperateError(f"there is no configmap/{where.config_map} in {where.namespace}")
    if error.is_conflict:
        return OperateError(f"configmap/{where.config_map} in {where.namespace} is written by others all the time: try again")
    return error


def _done(where: Where, model: str, written: Written, fleet: Fleet, seen: Told, *, dry_run: bool) -> ModelChangeResult:
    document, change = written.before, written.change
    before = document.find(model)
    notes = [*change.notes, *document.octals]
    if change.differs(before):
        notes += fleet.caveats(labels=bool(change.labels))
        moved = any(before.labels.get(label) != version for label, version in change.labels.items())
        if moved and seen.available is None:
            why = seen.why or "; ".join(f"pod/{pod}: {said}" for pod, said in list(seen.silent.items())[:1])
            notes.append(
                f"whether the version is AVAILABLE is not known ({why}): while it is not, the servers refuse the whole file"
            )
        if (manager := manager_of(msgspec.convert(document.meta, WholeMeta), kind="ConfigMap", part=("f:data",))) is not None:
            notes.append(f"the ConfigMap is managed by {manager}, which will put its own file back: change it at its source, too")
    diff = "".join(
        line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"
        for line in difflib.unified_diff(
            document.text.splitlines(keepends=True),
            written.after.splitlines(keepends=True),
            f"{where.key} (now)",
            f"{where.key} (then)",
        )
    )
    return ModelChangeResult(where, before, change, diff, tuple(notes), change.left, dry_run)


def author(who: str, why: str, verb: str) -> Author:
    """Who asks, now."""
    now = datetime.fromtimestamp(time.time(), UTC)
    return Author(who, why, f"models {verb}", now.isoformat(timespec="seconds").replace("+00:00", "Z"))


# in words


def lines(done: ModelChangeResult) -> list[str]:
    """What was done, and what people must know."""
    name = f"model {done.before.name}"
    if not done.changed:
        said = [f"{name}: nothing to change ({_state(done.before.policy, done.before.labels)})"]
    else:
        would = "would change" if done.dry_run else "changed"
        said = [f"{name} {would}: {', '.join(_differences(done.before, done.change))}"]
    said += [f"note: {note}" for note in done.notes]
    if done.left:
        said.append(f"left: {done.left}")
    if done.changed and not done.dry_run:
        said.append(EFFECT)
    return said


def _state(policy: object, labels: Mapping[str, int]) -> str:
    return ", ".join([str(policy), *(f"label {label} {version}" for label, version in sorted(labels.items()))])


def _differences(before: ConfiguredModel, change: ModelChange) -> list[str]:
    said = [f"{before.policy} -> {change.policy}"] if before.policy != change.policy else []
    for label in sorted({*before.labels, *change.labels}):
        old, new = before.labels.get(label), change.labels.get(label)
        if old != new:
            said.append(f"label {label} {old or 'none'} -> {new or 'none'}")
    return said


# for programs


def plain_done(done: ModelChangeResult) -> dict[str, object]:
    """A change for programs."""
    return {
        "model": done.before.name,
        "changed": done.changed,
        "dryRun": done.dry_run,
        "from": {"policy": str(done.before.policy), "labels": dict(done.before.labels)},
        "to": {"policy": str(done.change.policy), "labels": dict(done.change.labels)},
        "notes": done.notes,
        "left": done.left,
        "diff": done.diff,
    }


def plain_found(found: ModelReport) -> dict[str, object]:
    """A model for programs."""
    served = found.served
    return {
        "name": served.name,
        "basePath": served.base_path,
        "policy": str(served.policy),
        "versions": served.policy.versions,
        "labels": dict(served.labels),
        "servers": {
            pod: answer
            if isinstance(answer, str)
            else [{"version": one.version, "state": one.state, "code": one.code} for one in answer]
            for pod, answer in found.told.answers.items()
        },
        "serversUnknown": found.told.why,
        "history": found.history,
    }
