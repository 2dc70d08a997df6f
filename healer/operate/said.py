"""Says by an Event on an object which verb a person has used on it, for `kubectl describe` and `kubectl get events`."""

from healer.cluster.api import Api
from healer.cluster.errors import ClusterError
from healer.cluster.object_event import object_event
from healer.cluster.resources import EVENTS
from healer.model.target import Target
from healer.operate.objects import ObjectRef


async def say(api: Api, ref: ObjectRef, uid: str, note: str, *, reason: str, action: str) -> str:
    """Post the Event. Returns why it cannot be posted, "" if it is: the verb has done its work, and does not fail for that."""
    group = ref.path.strip("/").split("/")
    version = "/".join(group[1:3]) if group[0] == "apis" else group[1]
    target = Target(ref.kind, ref.namespace, ref.name, uid)
    event = object_event(
        target, version, f"healer: {note}", reason=reason, action=action, now=api.clock.wall(), instance=f"healer {action}"
    )
    try:
        await api.request("POST", EVENTS.path(event["metadata"]["namespace"]), body=event)
    except ClusterError as error:
        return f"no Event says so on {ref}: {error}"
    return ""
