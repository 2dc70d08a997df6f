"""Whether a healer acts in a namespace without an election: it holds no Lease that says so, so that each is asked itself."""

import msgspec

from healer.cluster.api import Api
from healer.cluster.errors import ApiError, ClusterError
from healer.operate.asking import NO_ANSWER, acts, pod_place, service_place, through
from healer.operate.leases import LABEL
from healer.operate.objects import OperateError
from healer.operate.workload import listed

_ENDED = ("Succeeded", "Failed")
_NOWHERE = (404, 503)
"""What the API server answers where its proxy leads to no pod."""


class _HealerMeta(msgspec.Struct):
    name: str


class _Phase(msgspec.Struct, frozen=True):
    phase: str = ""


class _HealerObject(msgspec.Struct):
    metadata: _HealerMeta
    status: _Phase = _Phase()


async def refuse_if_any_acts(api: Api, namespace: str, *, unanswered: bool) -> None:
    """Raise OperateError while a healer of that namespace acts without an election, or while that is not known.

    `unanswered`: whoever asks knows that none does, where none answers.
    """
    said = await _any_acts(api, namespace)
    if said is True:
        raise OperateError(f"a healer in {namespace} acts, without an election: delete it first, or use `healer undo`")
    if said and not unanswered:
        raise OperateError(
            f"whether a healer in {namespace} acts without an election is not known: {said}. It takes `list` on pods and"
            " deployments, and `get` on pods/proxy and services/proxy there; --nobody-acts goes on, where you know that none does"
        )


async def _any_acts(api: Api, namespace: str) -> bool | str:
    """Whether a healer acts, or why that is not known. Where there is no pod and no Deployment of healer, none has to."""
    try:
        pods = [each for each in await _healers(api, f"/api/v1/namespaces/{namespace}/pods") if each.status.phase not in _ENDED]
        there = pods or await _healers(api, f"/apis/apps/v1/namespaces/{namespace}/deployments")
    except (ClusterError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        return f"whether it has pods or a Deployment cannot be read: {error}"
    places = [pod_place(each.metadata.name) for each in pods] or [service_place()]
    said = [await _acts(api, namespace, place, bool(there)) for place in places]
    return True in said or next((why for why in said if why), False)


async def _acts(api: Api, namespace: str, place: str, there: bool) -> bool | str:
    try:
        return await acts(through(api, namespace, [place], "/readyz", {}, {}))
    except NO_ANSWER as error:
        # An error of the API server itself has a reason.
        if not there and isinstance(error, ApiError) and error.reason and error.status in _NOWHERE:
            return False
        return "timed out" if isinstance(error, TimeoutError) else str(error) or type(error).__name__


async def _healers(api: Api, path: str) -> list[_HealerObject]:
    return [msgspec.json.decode(raw, type=_HealerObject) for raw in await listed(api, path, labelSelector=LABEL)]
