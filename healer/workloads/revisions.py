"""The revisions of a workload, and the choice of the revision for a rollback."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from healer.model.action import Outcome, OutcomeKind
from healer.workloads.template import Template, same_pods


@dataclass(frozen=True, slots=True)
class Revision:
    """One template of the workload. `number` is its newest revision number; `former` are its earlier ones.

    `holder` is the name of the object that stores it: a ReplicaSet, for a Deployment.
    """

    number: int
    former: frozenset[int]
    holder: str
    template: Template
    cause: str
    """Why it was rolled out (kubernetes.io/change-cause); "" when nobody recorded a cause."""


@dataclass(frozen=True, slots=True)
class History:
    """The current template of a workload and its revisions. `rejected` are the revisions that healer rolled back from."""

    current: int
    template: Template
    revisions: tuple[Revision, ...]
    rejected: frozenset[int]
    ids: Mapping[str, int] = field(default_factory=dict)
    """What the workload's status calls its revisions, where it does not call them by their numbers."""
    noted_by_holder: bool = False
    """Whether a note names a revision by the object that keeps it, because its number does not last."""

    @property
    def note(self) -> str:
        """The current revision, as a note names it."""
        if not self.noted_by_holder:
            return str(self.current)
        found = self.numbered(self.current)
        return "" if found is None else found.holder

    def noted(self, note: str) -> Revision | None:
        """The revision that a note names."""
        return self.of_holder(note) if self.noted_by_holder else self.numbered(number(note))

    def number_of(self, text: str) -> int:
        """The number of the revision that the workload's status calls so; 0 when none is known."""
        return self.ids.get(text, 0) or number(text)

    def numbered(self, wanted: int) -> Revision | None:
        """The revision that has this number, or had it before."""
        by_number = (r for r in self.revisions if r.number == wanted)
        return next(by_number, None) or next((r for r in self.revisions if wanted in r.former), None)

    def of_holder(self, holder: str) -> Revision | None:
        """The revision that the object with that name stores."""
        return next((r for r in self.revisions if r.holder == holder), None)

    def is_current(self, revision: Revision | None) -> bool:
        """Whether the workload has this template now, apart from restarts."""
        return revision is not None and same_pods(revision.template, self.template)


def number(text: str) -> int:
    """A revision number from its text; 0 for an invalid one."""
    return int(text) if text.isascii() and text.isdecimal() else 0


def choose(history: History, wanted: int | None, healthy: int) -> Revision | Outcome:
    """The revision for a rollback, or an outcome that says why there is none.

    It is the wanted revision, otherwise the last one that was healthy (0: none known), otherwise the one before. healer neither
    rolls back to a template that it has rolled back from, nor away from it again, unless it has been healthy since. Otherwise
    healer and whoever restores the template would undo each other's changes for ever.
    """
    target = _default(history, healthy) if wanted is None else _wanted(history, wanted)
    if isinstance(target, Outcome):
        return target
    for rejected in sorted(history.rejected):
        if (veto := _rejection(history, rejected, target, healthy)) is not None:
            return veto
    return target


def _rejection(history: History, number: int, target: Revision, healthy: int) -> Outcome | None:
    """Why a rollback is refused because of a revision that healer has rolled back from; None when it is not."""
    rejected = history.numbered(number)
    proven = history.numbered(healthy) if healthy > number else None
    if rejected is None or (proven is not None and same_pods(proven.template, rejected.template)):
        return None
    if history.is_current(rejected):
        text = f"healer rolled back from revision {number} before, and it was put back (as {history.current}): left to people"
        return Outcome(OutcomeKind.REFUSED, "PutBack", text)
    if same_pods(target.template, rejected.template):
        now = "" if target.number == number else f" (now {target.number})"
        text = f"healer rolled back from revision {number}{now} before: no going to and fro"
        return Outcome(OutcomeKind.REFUSED, "PingPong", text)
    return None


def _wanted(history: History, wanted: int) -> Revision | Outcome:
    target = history.numbered(wanted)
    if target is None:
        return _revision_gone(history, f"the wanted revision {wanted}")
    if history.is_current(target):
        text = f"revision {wanted} has the template of the current revision {history.current}: nothing would change"
        return Outcome(OutcomeKind.REFUSED, "AlreadyCurrent", text)
    return target


def _default(history: History, healthy: int) -> Revision | Outcome:
    last_healthy = history.numbered(healthy) if healthy else None
    if healthy and healthy != history.current and last_healthy is None:
        return _revision_gone(history, f"revision {healthy}, the last that was seen healthy,")
    if last_healthy is not None and not history.is_current(last_healthy):
        return last_healthy
    earlier = [r for r in history.revisions if r.number < history.current and not history.is_current(r)]
    if earlier:
        return max(earlier, key=lambda revision: revision.number)
    text = f"there is no earlier revision than {history.current} to go back to"
    return Outcome(OutcomeKind.REFUSED, "NoEarlierRevision", text)


def _revision_gone(history: History, what: str) -> Outcome:
    known = ", ".join(str(n) for n in sorted(r.number for r in history.revisions)) or "none"
    text = f"{what} is not kept any more (revisionHistoryLimit); kept: {known}"
    return Outcome(OutcomeKind.REFUSED, "RevisionGone", text)
