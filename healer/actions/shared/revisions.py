"""The revisions of a Deployment, as its ReplicaSets keep them, and the one that a rollback goes to.

Source: kubectl's rollout undo (polymorphichelpers/rollback.go) and the Deployment controller, which gives a ReplicaSet whose
template comes back a new number and notes the old ones in deployment.kubernetes.io/revision-history.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from healer.actions.shared.rolling import Rollable, Template, WholeMeta
from healer.actions.shared.template import HASH, alike
from healer.model.action import Outcome, OutcomeKind
from healer.model.kube import ReplicaSet


class _RevisionSpec(msgspec.Struct, frozen=True):
    template: Template


class Holder(ReplicaSet, frozen=True, kw_only=True):
    """A ReplicaSet with the template that it holds."""

    metadata: WholeMeta
    spec: _RevisionSpec


@dataclass(frozen=True, slots=True)
class Revision:
    """One template that the Deployment had. `number` is its newest, `former` are those it had before, `holder` its ReplicaSet."""

    number: int
    former: frozenset[int]
    holder: str
    template: Template
    cause: str
    """Why it was rolled out, where somebody wrote that down (kubernetes.io/change-cause)."""


@dataclass(frozen=True, slots=True)
class History:
    """What the Deployment is now, and what it was before. `condemned`: the revisions that healer rolled back from.

    A mark on the Deployment is copied to the ReplicaSets that it makes or takes back, so that they remember older ones.
    """

    current: int
    template: Template
    revisions: tuple[Revision, ...]
    condemned: frozenset[int]

    @classmethod
    def of(cls, deployment: Rollable, replicasets: Sequence[Holder]) -> "History":
        """The history that the ReplicaSets of this very Deployment keep; those that say no revision count for nothing."""
        uid = deployment.metadata.uid
        owned = [r for r in replicasets if r.metadata.controller is not None and r.metadata.controller.uid == uid]
        marks = [deployment.metadata.annotations, *(r.metadata.annotations for r in owned)]
        return cls(
            current=number(deployment.metadata.annotations.revision),
            template=deployment.spec.template,
            revisions=tuple(revision for revision in map(_revision, owned) if revision.number),
            condemned=frozenset(filter(None, (number(mark.rolled_back_from) for mark in marks))),
        )

    def called(self, wanted: int) -> Revision | None:
        """The revision that has this number, or had it once."""
        by_number = (r for r in self.revisions if r.number == wanted)
        return next(by_number, None) or next((r for r in self.revisions if wanted in r.former), None)

    def held_by(self, replicaset: str) -> Revision | None:
        """The revision that a ReplicaSet holds."""
        return next((r for r in self.revisions if r.holder == replicaset), None)

    def is_now(self, revision: Revision | None) -> bool:
        """Whether the Deployment has this template now, restarts apart."""
        return revision is not None and alike(revision.template, self.template)


def number(text: str) -> int:
    """A revision's number; 0 for what is none."""
    return int(text) if text.isascii() and text.isdecimal() else 0


def choose(history: History, wanted: int | None, healthy: int) -> Revision | Outcome:
    """The revision to go to: the wanted one, else the last seen healthy (0: none known), else the one before; or why to none.

    A template that healer has rolled back from is not gone to, nor rolled back from again: that would be to fight with
    whoever puts it back, for ever. Unless it has been seen healthy since.
    """
    target = _default(history, healthy) if wanted is None else _wanted(history, wanted)
    if isinstance(target, Outcome):
        return target
    for condemned in sorted(history.condemned):
        if (veto := _condemned(history, condemned, target, healthy)) is not None:
            return veto
    return target


def _condemned(history: History, number: int, target: Revision, healthy: int) -> Outcome | None:
    """Why not, when it is the template of a revision that healer rolled back from."""
    condemned = history.called(number)
    proven = history.called(healthy) if healthy > number else None
    if condemned is None or (proven is not None and alike(proven.template, condemned.template)):
        return None
    if history.is_now(condemned):
        text = f"healer rolled back from revision {number} before, and it was put back (as {history.current}): left to people"
        return Outcome(OutcomeKind.REFUSED, "PutBack", text)
    if alike(target.template, condemned.template):
        now = "" if target.number == number else f" (now {target.number})"
        text = f"healer rolled back from revision {number}{now} before: no going to and fro"
        return Outcome(OutcomeKind.REFUSED, "PingPong", text)
    return None


def _wanted(history: History, wanted: int) -> Revision | Outcome:
    target = history.called(wanted)
    if target is None:
        return _gone(history, f"the wanted revision {wanted}")
    if history.is_now(target):
        text = f"revision {wanted} has the template of the current revision {history.current}: nothing would change"
        return Outcome(OutcomeKind.REFUSED, "AlreadyCurrent", text)
    return target


def _default(history: History, healthy: int) -> Revision | Outcome:
    well = history.called(healthy) if healthy else None
    if healthy and healthy != history.current and well is None:
        return _gone(history, f"revision {healthy}, the last that was seen healthy,")
    if well is not None and not history.is_now(well):
        return well
    earlier = [r for r in history.revisions if r.number < history.current and not history.is_now(r)]
    if earlier:
        return max(earlier, key=lambda revision: revision.number)
    text = f"there is no earlier revision than {history.current} to go back to"
    return Outcome(OutcomeKind.REFUSED, "NoEarlierRevision", text)


def _gone(history: History, what: str) -> Outcome:
    known = ", ".join(str(n) for n in sorted(r.number for r in history.revisions)) or "none"
    text = f"{what} is not kept any more (revisionHistoryLimit); kept: {known}"
    return Outcome(OutcomeKind.REFUSED, "RevisionGone", text)


def _revision(replicaset: Holder) -> Revision:
    marks = replicaset.metadata.annotations
    template = dict(replicaset.spec.template)
    metadata = dict(template.get("metadata") or {})
    metadata["labels"] = {key: value for key, value in (metadata.get("labels") or {}).items() if key != HASH}
    template["metadata"] = metadata
    former = frozenset(filter(None, map(number, marks.history.split(","))))
    return Revision(number(marks.revision), former, replicaset.metadata.name, template, marks.change_cause)
