"""What people write on incident objects: the approval of an action, as an annotation."""

import asyncio
from collections.abc import Callable

from healer.cluster.api import Api
from healer.cluster.watch import Change, Reflector, WatchSettings
from healer.journal.stored import INCIDENTS, PAGE
from healer.model.text import one_line
from healer.model.view import View

_LONGEST = 253
"""Characters of an approver's name; beyond, it is cut."""


class Incidents:
    """Watches the incident objects; calls `approved` with an incident's id and the approver whenever that annotation is written.

    Those that stand at the first list are told too. uid_of: the uid of the object that an incident of that id is kept in, None
    when unknown (KubeJournal.uid_of): what is written on another object of that name approves nothing, wherever it is, nor what
    is written on an incident before it is known: `tell` repeats it.
    """

    def __init__(
        self,
        api: Api,
        approved: Callable[[str, str], None],
        *,
        uid_of: Callable[[str], str | None],
        namespaces: tuple[str, ...] = (),
        settings: WatchSettings | None = None,
    ) -> None:
        self._approved = approved
        self._uid_of = uid_of
        self._standing: dict[tuple[str, str], str] = {}  # (name, uid) -> approver
        view = View()
        self.reflectors = [
            Reflector(api, INCIDENTS, view, self._changed, namespace=namespace, settings=settings or WatchSettings(page=PAGE))
            for namespace in namespaces or ("",)
        ]
        """One a namespace: for the probes and the metrics."""

    async def run(self) -> None:
        """Watch until cancelled."""
        async with asyncio.TaskGroup() as group:
            for reflector in self.reflectors:
                group.create_task(reflector.run(), name=f"watch {INCIDENTS.plural}")

    def tell(self) -> None:
        """Tell of every approval that stands, again: after the journal was loaded, before which no incident is known."""
        for (name, uid), approver in list(self._standing.items()):
            self._consider(name, uid, approver)

    def _changed(self, change: Change) -> None:
        meta = change.obj.metadata
        key = (meta.name, meta.uid)
        approver = one_line(meta.annotations.approved_by[:_LONGEST]).strip() if change.verb == "put" else ""
        if not approver:
            self._standing.pop(key, None)
        elif self._standing.get(key) != approver:
            self._standing[key] = approver
            self._consider(*key, approver)

    def _consider(self, name: str, uid: str, approver: str) -> None:
        if self._uid_of(name) == uid:
            self._approved(name, approver)
