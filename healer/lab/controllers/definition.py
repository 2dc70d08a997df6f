"""The controller of CustomResourceDefinitions. It has a new definition served, then sets its condition Established."""

from __future__ import annotations

from healer.lab.apiserver.store import Key, StoreEvent
from healer.lab.controllers.base import Controller
from healer.lab.kinds import DEFINITION
from healer.lab.objects import Object, timestamp


class DefinitionController(Controller):
    """Keys are CustomResourceDefinitions."""

    def observe(self, collection: str, change: StoreEvent) -> None:
        if collection != DEFINITION.stored_in:
            return
        if change.type == "DELETED":
            self.api.kinds.undefine(change.now.object)
        else:
            self.enqueue(change.key)

    def reconcile(self, key: Key) -> float | None:
        definition = self.api.store.get(DEFINITION.stored_in, key)
        if definition is not None:
            self.api.kinds.define(definition)
            if not definition["status"].get("conditions"):
                self.api.modify(DEFINITION, *key, _establish, subresource="status")
        return None


def _establish(definition: Object) -> None:
    conditions = (
        ("NamesAccepted", "NoConflicts", "no conflicts found"),
        ("Established", "InitialNamesAccepted", "the initial names have been accepted"),
    )
    definition["status"]["acceptedNames"] = definition["spec"]["names"]
    definition["status"]["conditions"] = [
        {"type": kind, "status": "True", "lastTransitionTime": timestamp(), "reason": reason, "message": message}
        for kind, reason, message in conditions
    ]
