"""The history of a model's versions (who, when, why, how): a list in an annotation of the ConfigMap."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from healer.model.annotations import MODEL_HISTORY
from healer.model_servers.versions import STABLE, ConfigError, ConfiguredModel, ModelChange, Policy, specific

ENTRIES = 50
ANNOTATIONS = 256 * 1024
"""The most bytes of all annotations of an object, keys and values (Kubernetes, TotalAnnotationSizeLimitB)."""
_MOST = 64 * 1024
"""The most bytes of the history."""
_LONGEST = 500
"""The most characters of a `who` and of a `why`."""


class PolicyState(msgspec.Struct, frozen=True, omit_defaults=True):
    """A model's policy and labels at one time."""

    policy: str
    versions: tuple[int, ...] = ()
    labels: dict[str, int] = {}

    @classmethod
    def of(cls, policy: Policy, labels: Mapping[str, int]) -> "PolicyState":
        """The state of a policy and labels."""
        return cls(str(policy), policy.versions, dict(labels))

    def __str__(self) -> str:
        return self.policy + "".join(f", {label} {version}" for label, version in sorted(self.labels.items()))


def policy_of(state: PolicyState) -> Policy:
    """The policy of a state. Raises ValueError for one that healer does not write."""
    choice, _, count = state.policy.partition(" ")
    if choice == "specific" and state.versions:
        return specific(state.versions)
    if state.policy == "all":
        return Policy("all")
    if choice == "latest" and count.isdecimal():
        return Policy("latest", int(count))
    raise ValueError(f"{state.policy!r} is no policy")


class HistoryEntry(msgspec.Struct, frozen=True):
    """One change. `at` is RFC 3339; `what` is the verb or the action; `before` and `after` are `from` and `to` in JSON."""

    at: str
    who: str
    why: str
    what: str
    model: str
    key: str
    before: PolicyState = msgspec.field(name="from")
    after: PolicyState = msgspec.field(name="to")

    def __str__(self) -> str:
        why = f": {self.why}" if self.why else ""
        return f"{self.at} {self.what} by {self.who}{why} ({self.before} -> {self.after})"


@dataclass(frozen=True, slots=True)
class Author:
    """Who changes something, why, by which verb or action, and when (RFC 3339)."""

    who: str
    why: str
    what: str
    at: str

    def entry(self, model: ConfiguredModel, key: str, change: ModelChange) -> HistoryEntry:
        """The history's entry for a change."""
        return HistoryEntry(
            at=self.at,
            who=self.who[:_LONGEST],
            why=self.why[:_LONGEST],
            what=self.what,
            model=model.name,
            key=key,
            before=PolicyState.of(model.policy, model.labels),
            after=PolicyState.of(change.policy, change.labels),
        )


def load(annotation: str) -> list[HistoryEntry]:
    """The history, oldest first. Raises ConfigError for an annotation that cannot be read."""
    try:
        return msgspec.json.decode(annotation, type=list[HistoryEntry]) if annotation else []
    except msgspec.MsgspecError as error:
        raise ConfigError(
            f"the annotation {MODEL_HISTORY} cannot be read, and is not written over: mend or remove it ({error})"
        ) from error


def dump(entries: Sequence[HistoryEntry], others: Mapping[str, str]) -> str:
    """The newest entries of the history that fit beside the other annotations, as JSON."""
    taken = sum(len(name.encode()) + len(value.encode()) for name, value in others.items() if name != MODEL_HISTORY)
    room = min(_MOST, ANNOTATIONS - taken - len(MODEL_HISTORY))
    kept = list(entries[-ENTRIES:])
    while kept and len(msgspec.json.encode(kept)) > room:
        del kept[0]
    return msgspec.json.encode(kept).decode()


def stables(entries: Sequence[HistoryEntry], model: str, key: str) -> list[int]:
    """The versions of a model that had label stable, oldest first, without those that a rollback left."""
    ours = [entry for entry in entries if entry.model == model and entry.key == key]
    moves = [(entry.before.labels.get(STABLE), entry.after.labels.get(STABLE)) for entry in ours]
    return stack([(before, after) for before, after in moves if before != after])


def stack(moves: Sequence[tuple[int | None, int | None]]) -> list[int]:
    """The versions that had label stable, oldest first, from its moves (from, to). A move back drops the versions after it."""
    had: list[int] = []
    for before, after in moves:
        if before is not None and (not had or had[-1] != before):
            had = [*had, before] if before not in had else had[: had.index(before) + 1]
        if after is None:
            had = []
        elif after in had:
            had = had[: had.index(after) + 1]
        else:
            had.append(after)
    return had
