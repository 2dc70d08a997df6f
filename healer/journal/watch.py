"""What people write on incident objects, as annotations: that they approve an action, that they have undone what healer did."""

import asyncio
from collections.abc import Callable

from healer.cluster.api import Api
from healer.cluster.watch import ObjectChange, Reflector, WatchSettings
from healer.journal.stored import INCIDENTS, PAGE
from healer.model.text import one_line
from healer.model.view import View

_LONGEST = 253
"""Characters of a person's name; beyond, it is cut."""


class Incidents:
    """Watches the incident objects; calls `approved` and `undone` with an incident's id and who it was when that is written.

    Those that stand at the first list are told too. uid_of: the uid of the object that healer made for an incident of that id,
    None when unknown (KubeJournal.made_as): what is written on another object of that name approves nothing, wherever it is, nor
    what is written on an incident before it is known: `tell` repeats it.
    """

    def __init__(
        self,
        api: Api,
        approved: Callable[[str, str], None],
        *,
        uid_of: Callable[[str], str | None],
        undone: Callable[[str, str], None] | None = None,
        namespaces: tuple[str, ...] = (),
        settings: WatchSettings | None = None,
    ) -> None:
        self._ears = {"approved_by": approved} | ({} if undone is None else {"undone_by": undone})
        self._uid_of = uid_of
        self._standing: dict[tuple[str, str, str], str] = {}  # (name, uid, annotation) -> who
        view = View({})
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
        """Tell of all that stands, again: after the journal was loaded, before which no incident is known."""
        for key, who in list(self._standing.items()):
            self._consider(*key, who)

    def _changed(self, change: ObjectChange) -> None:
        meta = change.obj.metadata
        for written in self._ears:
            key = (meta.name, meta.uid, written)
            who = one_line(getattr(meta.annotations, written)[:_LONGEST]).strip() if change.verb == "put" else ""
            if not who:
                self._standing.pop(key, None)
            elif self._standing.get(key) != who:
                self._standing[key] = who
                self._consider(*key, who)

    def _consider(self, name: str, uid: str, written: str, who: str) -> None:
        if self._uid_of(name) == uid:
            self._ears[written](name, who)
