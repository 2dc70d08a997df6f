"""Plans of changes: from a request about a model's versions to its policy and labels. Pure, so that a plan is made again when the
file has changed.

TensorFlow Serving's own check (server_core.cc, UpdateModelVersionLabelMap) decides what is possible. When a label that a server
knows moves to a version that is not AVAILABLE there, the server refuses the whole file before it loads anything: it never takes a
file that loads a version and moves a label to it at once. A new label needs --allow_version_labels_for_unavailable_models
instead.
"""

import re
from collections.abc import Collection, Sequence

from healer.model_servers.versions import CANARY, STABLE, ConfiguredModel, ModelChange, PlanRefused, specific

_LABEL = re.compile(r"[a-zA-Z0-9_]+")
_NEW_LABEL = (
    "label {label} is new: a server takes it only while version {version} is AVAILABLE there, or with "
    "--allow_version_labels_for_unavailable_models"
)


def pin(model: ConfiguredModel, version: int) -> ModelChange:
    """Load that version alone. Labels of versions that it unloads move to it, because a label must name a loaded version."""
    moved = sorted(label for label, at in model.labels.items() if at != version)
    notes = tuple(
        f"label {label} moves from version {model.labels[label]}, which is not loaded any more, to {version}" for label in moved
    )
    return ModelChange(specific([version]), dict.fromkeys(model.labels, version), notes)


def beside(model: ConfiguredModel, version: int, available: Collection[int]) -> ModelChange:
    """Load that version beside those that the servers have; labels stay. Raises PlanRefused when those are not known."""
    if model.policy.choice == "all":
        return ModelChange(model.policy, model.labels)
    loaded = model.policy.versions if model.policy.choice == "specific" else available
    if not loaded:
        raise PlanRefused(
            f"model {model.name} has the policy {model.policy}, and which versions its servers have is not known: name those "
            "to keep in the file, as model_version_policy { specific { versions: ... } }"
        )
    return ModelChange(specific([*loaded, version, *model.labels.values()]), model.labels)


def add(
    model: ConfiguredModel, version: int, label: str, available: Collection[int] | None, *, any_label: bool = True
) -> ModelChange:
    """Load that version beside the others, with that label ("" for none).

    `available`: the versions that are AVAILABLE on all servers; None when not known. `any_label`: whether the servers take labels
    of versions that are not AVAILABLE, by their flag. Raises PlanRefused.
    """
    if label == STABLE:
        raise PlanRefused(f"label {STABLE} is moved by promote, when the version is loaded")
    if label and not _LABEL.fullmatch(label):
        raise PlanRefused(f"{label!r} is no label: letters, digits and '_' only, because it becomes part of a URL")
    loaded = beside(model, version, available or ())
    at = model.labels.get(label)
    if not label or at == version:
        return loaded
    if at is None and not any_label and available is not None and version not in available:
        left = (
            f"label {label} is not set: version {version} is not AVAILABLE on every server, and no container is told "
            "--allow_version_labels_for_unavailable_models, so that the servers would refuse the whole file; repeat the command "
            "when it is AVAILABLE"
        )
        return ModelChange(loaded.policy, model.labels, (), left)
    if at is None:
        notes = () if version in (available or ()) else (_NEW_LABEL.format(label=label, version=version),)
        return ModelChange(loaded.policy, {**model.labels, label: version}, notes)
    if model.policy.loads(version) is False or (available is not None and version not in available):
        left = (
            f"label {label} stays at version {at}: TensorFlow Serving refuses a file that moves a label to a version that is not "
            f"AVAILABLE, and would not load {version} either; repeat the command when it is AVAILABLE"
        )
        return ModelChange(loaded.policy, model.labels, (), left)
    return ModelChange(loaded.policy, {**model.labels, label: version})


def promote(
    model: ConfiguredModel, version: int | None, available: Collection[int] | None, *, prune: bool = False
) -> ModelChange:
    """Move label stable to the canary's version, or to that one; the version before stays loaded. With `prune`, versions that are
    neither and have no label are unloaded. Raises PlanRefused."""
    target = model.labels.get(CANARY) if version is None else version
    if target is None:
        raise PlanRefused(f"model {model.name} has no label {CANARY}: name the version, or label one by add --label {CANARY}")
    _loaded(model, target, available, "load it first: healer models add")
    before = model.labels.get(STABLE)
    notes = [] if before is not None or target in (available or ()) else [_NEW_LABEL.format(label=STABLE, version=target)]
    labels = {**model.labels, STABLE: target}
    policy = model.policy
    if prune and policy.choice == "specific":
        kept = {target, *labels.values()} | ({before} & set(policy.versions) if before else set())
        notes += [f"version {gone} is unloaded" for gone in policy.versions if gone not in kept]
        policy = specific(kept)
    if before is not None and before != target and policy.choice == "latest":
        notes.append(f"version {before} stays loaded only while it is among the {policy}: a roll-back may find it gone")
    return ModelChange(policy, labels, tuple(notes))


def rollback(model: ConfiguredModel, stables: Sequence[int], available: Collection[int] | None) -> ModelChange:
    """Move label stable back to the version before. `stables`: the versions that had it, oldest first. Raises PlanRefused."""
    now = model.labels.get(STABLE)
    if now is None:
        raise PlanRefused(f"model {model.name} has no label {STABLE}: nothing to roll back")
    if not stables or stables[-1] != now:
        told = (
            "the history does not tell how label stable came to version"
            if stables
            else "the history knows no promotion to version"
        )
        raise PlanRefused(f"{told} {now}: name the version to go to: healer models promote {model.name} VERSION")
    if len(stables) < 2:
        raise PlanRefused(f"the history knows no version before {now}: name one: healer models promote {model.name} VERSION")
    target = stables[-2]
    _loaded(model, target, available, "load it again, then promote it: healer models add")
    return ModelChange(model.policy, {**model.labels, STABLE: target})


def _loaded(model: ConfiguredModel, version: int, available: Collection[int] | None, hint: str) -> None:
    """Check that a label may move to that version. Raises PlanRefused."""
    if model.policy.loads(version) is False:
        raise PlanRefused(
            f"version {version} of model {model.name} is not loaded ({model.policy}): {hint} {model.name} {version}"
        )
    if available is not None and version not in available:
        raise PlanRefused(
            f"version {version} of model {model.name} is not AVAILABLE on every server that answers: TensorFlow Serving would "
            "refuse the whole file"
        )
