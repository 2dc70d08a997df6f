"""Lists and changes the versions of models in a ConfigMap, for people and pipelines."""

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec

from healer.cluster.api import Api, ApiError
from healer.cluster.managed import manager_of
from healer.model_servers.base import ModelServer, VersionsFile
from healer.model_servers.fleet import Fleet, FleetStatus, fleet_of, status_of
from healer.model_servers.history import Author, HistoryEntry, stables
from healer.model_servers.registry import SERVERS
from healer.model_servers.status import VersionStatus
from healer.model_servers.store import FileRef, VersionsDocument, Written, load_document, write
from healer.model_servers.versions import ConfigError, ConfiguredModel, ModelChange, PlanRefused
from healer.operate.objects import OperateError, valid
from healer.workloads.base import WholeMeta

_SETTLE = timedelta(minutes=3)
"""The time until kubelets copy a ConfigMap (syncFrequency and cache, 1 to 2 min) and polling servers read it."""


@dataclass(frozen=True, slots=True)
class Where:
    """The file, and the port at which its servers report their status."""

    server: ModelServer
    ref: FileRef
    port: int

    @classmethod
    def of(cls, server: str, namespace: str, config_map: str, key: str | None, port: int | None) -> "Where":
        """Return the file of a server. Key and port default to the server's. Raises OperateError."""
        valid(namespace, "a namespace")
        valid(config_map, "the name of a ConfigMap")
        found = SERVERS.get(server)
        if found is None or found.file is None:
            names = ", ".join(name for name, each in SERVERS.items() if each.file is not None)
            raise OperateError(f"healer cannot change the versions of a server {server!r}: name one of {names}")
        return cls(found, FileRef(namespace, config_map, key or found.file.key, found.file), port or found.port)

    @property
    def file(self) -> VersionsFile:
        """The format by which the file is read and changed."""
        return self.ref.format


@dataclass(frozen=True, slots=True)
class ModelReport:
    """A model: its entry in the file, its changes (oldest first), and its status on the servers."""

    model: ConfiguredModel
    history: Sequence[HistoryEntry]
    fleet: FleetStatus

    @property
    def versions(self) -> dict[str, int]:
        """The number of servers that have a version in a state: "42 AVAILABLE" -> 3."""
        versions = [one for status in self.fleet.statuses for one in status.versions]
        counts: dict[str, int] = {}
        for one in sorted(versions, key=lambda one: (one.version, one.state)):
            counts[_brief(one)] = counts.get(_brief(one), 0) + 1
        return counts


def _brief(one: VersionStatus) -> str:
    return f"{one.version} {one.state}" + (f" ({one.code})" if one.code != "OK" else "")


@dataclass(frozen=True, slots=True)
class ModelChangeResult:
    """The result of a change. `left` is the part that has to wait, "" if there is none. `notes` are for people."""

    where: Where
    before: ConfiguredModel
    change: ModelChange
    diff: str
    notes: tuple[str, ...]
    left: str
    dry_run: bool

    @property
    def changed(self) -> bool:
        """Whether the change was written, or would be written without the dry run."""
        return self.change.differs(self.before)


async def listed(api: Api, where: Where) -> list[ModelReport]:
    """Return the models of the file. Raises OperateError if there is no such file or it is unusable, and ClusterError."""
    try:
        document = await load_document(api, where.ref)
        models, history = document.models, document.history
    except (ApiError, ConfigError) as error:
        raise _unusable(where, error) from error
    fleet = await fleet_of(api, where.ref)
    return [
        ModelReport(
            model,
            [entry for entry in history if (entry.model, entry.key) == (model.name, where.ref.key)],
            await status_of(api, fleet, where.server, model.name, where.port),
        )
        for model in models
    ]


async def add(api: Api, where: Where, model: str, version: int, label: str, by: Author, *, dry_run: bool) -> ModelChangeResult:
    """Add a version to those that are served, with that label ("" for none). Raises PlanRefused, OperateError, ClusterError."""
    any_label = (await fleet_of(api, where.ref)).takes_any_label

    def added(configured: ConfiguredModel, _: VersionsDocument, fleet: FleetStatus) -> ModelChange:
        return where.file.add(configured, version, label, fleet.available, any_label=any_label)

    return await _changed(api, where, model, by, added, dry_run=dry_run)


async def promote(
    api: Api, where: Where, model: str, version: int | None, by: Author, *, prune: bool, dry_run: bool
) -> ModelChangeResult:
    """Move label stable to `version`, by default the canary's. Raises PlanRefused, OperateError, ClusterError."""

    def promoted(configured: ConfiguredModel, _: VersionsDocument, fleet: FleetStatus) -> ModelChange:
        return where.file.promote(configured, version, fleet.available, prune=prune)

    return await _changed(api, where, model, by, promoted, dry_run=dry_run)


async def rollback(api: Api, where: Where, model: str, by: Author, *, dry_run: bool) -> ModelChangeResult:
    """Move label stable to its previous version in the history. Raises PlanRefused, OperateError, ClusterError."""

    def back(configured: ConfiguredModel, document: VersionsDocument, fleet: FleetStatus) -> ModelChange:
        return where.file.rollback(configured, stables(document.history, model, where.ref.key), fleet.available)

    return await _changed(api, where, model, by, back, dry_run=dry_run)


async def _changed(
    api: Api,
    where: Where,
    model: str,
    by: Author,
    decide: Callable[[ConfiguredModel, VersionsDocument, FleetStatus], ModelChange],
    *,
    dry_run: bool,
) -> ModelChangeResult:
    fleet = await fleet_of(api, where.ref)
    status = await status_of(api, fleet, where.server, model, where.port)

    async def change(document: VersionsDocument) -> ModelChange:
        configured = document.find(model)
        decided = decide(configured, document, status)
        if status.available is None:
            _check_settled(document, configured, decided, api.clock.now())
        return decided

    try:
        written = await write(api, where.ref, model, by, change, dry_run=dry_run)
    except (ApiError, ConfigError) as error:
        raise _unusable(where, error) from error
    return _done(where, model, written, fleet, status, dry_run=dry_run)


def _check_settled(document: VersionsDocument, configured: ConfiguredModel, change: ModelChange, now: datetime) -> None:
    """Refuse to move a label to a version that servers without an answer may not have loaded yet. Raises PlanRefused."""
    for label, version in change.labels.items():
        if configured.labels.get(label) in (None, version):
            continue
        for entry in document.history:
            came = version in entry.after.versions and version not in entry.before.versions
            age = now - datetime.fromisoformat(entry.at)
            if entry.model == configured.name and came and age < _SETTLE:
                raise PlanRefused(
                    f"version {version} was added {entry.at}, and whether the servers have it AVAILABLE is not known: they would "
                    f"refuse a file that moves label {label} to it before they have read of it; try again in a few minutes"
                )


def _unusable(where: Where, error: ApiError | ConfigError) -> Exception:
    if isinstance(error, ConfigError):
        return OperateError(str(error))
    if error.is_not_found:
        return OperateError(f"there is no configmap/{where.ref.config_map} in {where.ref.namespace}")
    if error.is_conflict:
        name = f"configmap/{where.ref.config_map} in {where.ref.namespace}"
        return OperateError(f"{name} is written by others all the time: try again")
    return error


def _done(where: Where, model: str, written: Written, fleet: Fleet, status: FleetStatus, *, dry_run: bool) -> ModelChangeResult:
    document, change = written.before, written.change
    before = document.find(model)
    notes = [*change.notes, *document.remarks]
    if change.differs(before):
        notes += fleet.caveats(labels=bool(change.labels))
        moved = any(before.labels.get(label) != version for label, version in change.labels.items())
        if moved and status.available is None:
            why = status.why or "; ".join(f"pod/{pod}: {reason}" for pod, reason in list(status.unanswered.items())[:1])
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
            f"{where.ref.key} (now)",
            f"{where.ref.key} (then)",
        )
    )
    return ModelChangeResult(where, before, change, diff, tuple(notes), change.left, dry_run)


def author(who: str, why: str, verb: str, at: str) -> Author:
    """Return the author of a change for the history; `at` in RFC 3339."""
    return Author(who, why, f"models {verb}", at)


# for people


def lines(done: ModelChangeResult) -> list[str]:
    """Return the lines to print."""
    name = f"model {done.before.name}"
    if not done.changed:
        text = [f"{name}: nothing to change ({_state(done.before.policy, done.before.labels)})"]
    else:
        would = "would change" if done.dry_run else "changed"
        text = [f"{name} {would}: {', '.join(_differences(done.before, done.change))}"]
    text += [f"note: {note}" for note in done.notes]
    if done.left:
        text.append(f"left: {done.left}")
    if done.changed and not done.dry_run:
        text.append(done.where.file.effect)
    return text


def _state(policy: object, labels: Mapping[str, int]) -> str:
    return ", ".join([str(policy), *(f"label {label} {version}" for label, version in sorted(labels.items()))])


def _differences(before: ConfiguredModel, change: ModelChange) -> list[str]:
    changes = [f"{before.policy} -> {change.policy}"] if before.policy != change.policy else []
    for label in sorted({*before.labels, *change.labels}):
        old, new = before.labels.get(label), change.labels.get(label)
        if old != new:
            changes.append(f"label {label} {old or 'none'} -> {new or 'none'}")
    return changes


# for programs


def plain_result(done: ModelChangeResult) -> dict[str, object]:
    """Return the JSON form of the result."""
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


def plain_report(found: ModelReport) -> dict[str, object]:
    """Return the JSON form of the report."""
    model = found.model
    return {
        "name": model.name,
        "basePath": model.base_path,
        "policy": str(model.policy),
        "versions": model.policy.versions,
        "labels": dict(model.labels),
        "servers": {
            pod: answer
            if isinstance(answer, str)
            else [{"version": one.version, "state": one.state, "code": one.code} for one in answer.versions]
            for pod, answer in found.fleet.answers.items()
        },
        "serversUnknown": found.fleet.why,
        "history": found.history,
    }
