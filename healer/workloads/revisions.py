"""The revisions that a workload had, and the one that a rollback goes to."""

from dataclasses import dataclass

from healer.model.action import Outcome, OutcomeKind
from healer.workloads.template import Template, alike


@dataclass(frozen=True, slots=True)
class Revision:
    """One template that the workload had. `number` is its newest number, `former` are those that it had before.

    `holder` names the object that keeps it: a ReplicaSet, for a Deployment.
    """

    number: int
    former: frozenset[int]
    holder: str
    template: Template
    cause: str
    """Why it was rolled out, where somebody wrote that down (kubernetes.io/change-cause)."""


@dataclass(frozen=True, slots=True)
class History:
    """What the workload is now, and what it was before. `condemned`: the revisions that healer rolled back from."""

    current: int
    template: Template
    revisions: tuple[Revision, ...]
    condemned: frozenset[int]

    def numbered(self, wanted: int) -> Revision | None:
        """The revision that has this number, or had it once."""
        by_number = (r for r in self.revisions if r.number == wanted)
        return next(by_number, None) or next((r for r in self.revisions if wanted in r.former), None)

    def of_holder(self, holder: str) -> Revision | None:
        """The revision that the object of that name keeps."""
        return next((r for r in self.revisions if r.holder == holder), None)

    def is_current(self, revision: Revision | None) -> bool:
        """Whether the workload has this template now, restarts apart."""
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
    condemned = history.numbered(number)
    proven = history.numbered(healthy) if healthy > number else None
    if condemned is None or (proven is not None and alike(proven.template, condemned.template)):
        return None
    if history.is_current(condemned):
        text = f"healer rolled back from revision {number} before, and it was put back (as {history.current}): left to people"
        return Outcome(OutcomeKind.REFUSED, "PutBack", text)
    if alike(target.template, condemned.template):
        now = "" if target.number == number else f" (now {target.number})"
        text = f"healer rolled back from revision {number}{now} before: no going to and fro"
        return Outcome(OutcomeKind.REFUSED, "PingPong", text)
    return None


def _wanted(history: History, wanted: int) -> Revision | Outcome:
    target = history.numbered(wanted)
    if target is None:
        return _gone(history, f"the wanted revision {wanted}")
    if history.is_current(target):
        text = f"revision {wanted} has the template of the current revision {history.current}: nothing would change"
        return Outcome(OutcomeKind.REFUSED, "AlreadyCurrent", text)
    return target


def _default(history: History, healthy: int) -> Revision | Outcome:
    well = history.numbered(healthy) if healthy else None
    if healthy and healthy != history.current and well is None:
        return _gone(history, f"revision {healthy}, the last that was seen healthy,")
    if well is not None and not history.is_current(well):
        return well
    earlier = [r for r in history.revisions if r.number < history.current and not history.is_current(r)]
    if earlier:
        return max(earlier, key=lambda revision: revision.number)
    text = f"there is no earlier revision than {history.current} to go back to"
    return Outcome(OutcomeKind.REFUSED, "NoEarlierRevision", text)


def _gone(history: History, what: str) -> Outcome:
    known = ", ".join(str(n) for n in sorted(r.number for r in history.revisions)) or "none"
    text = f"{what} is not kept any more (revisionHistoryLimit); kept: {known}"
    return Outcome(OutcomeKind.REFUSED, "RevisionGone", text)
