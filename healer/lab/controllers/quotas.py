"""The ResourceQuota controller: what each quota's namespace uses, in its status."""

from __future__ import annotations

from healer.lab.apiserver.quota import counted, shown, used
from healer.lab.apiserver.store import Key, StoreEvent
from healer.lab.controllers.base import Controller
from healer.lab.kinds import POD, RESOURCE_QUOTA
from healer.lab.objects import Object


class QuotaController(Controller):
    """Keys are ResourceQuotas."""

    def observe(self, collection: str, change: StoreEvent) -> None:
        if collection == RESOURCE_QUOTA.stored_in and change.type != "DELETED":
            self.enqueue(change.key)
        elif collection == POD.stored_in:
            for quota in self.api.objects(RESOURCE_QUOTA, change.key[0]):
                self.enqueue((change.key[0], quota["metadata"]["name"]))

    def reconcile(self, key: Key) -> float | None:
        quota = self.api.store.get(RESOURCE_QUOTA.stored_in, key)
        if quota is None:
            return None
        hard, pods = quota["spec"].get("hard") or {}, self.api.objects(POD, key[0])
        status = {"hard": hard, "used": {name: shown(name, used(pods, name)) for name in hard if counted(name)}}

        def change(obj: Object) -> None:
            obj["status"] = status

        self.api.modify(RESOURCE_QUOTA, *key, change, subresource="status")
        return None
