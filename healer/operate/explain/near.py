"""Names of objects that are there, for one that is not: what was probably meant."""

import difflib
from collections.abc import Iterable

import msgspec

from healer.cluster.api import Api
from healer.cluster.decode import LooseObject
from healer.cluster.errors import ClusterError
from healer.operate.objects import ObjectRef, get, object_ref
from healer.operate.workload import listed

_MOST = 3


async def near(api: Api, ref: ObjectRef) -> str:
    """Return a question that names objects like the one that is not there, or namespaces; "" if there are none to name.

    What may not be read is not named.
    """
    try:
        known = await _names(api, ref)
        if found := _nearest(ref.name, known):
            return f"did you mean {', '.join(f'{ref.kind.lower()}/{name}' for name in found)}?"
        space = object_ref("Namespace", "", ref.namespace)
        if known or await get(api, space) is not None:
            return ""
        spaces = _nearest(ref.namespace, await _names(api, space))
    except (ClusterError, msgspec.MsgspecError, UnicodeDecodeError):
        return ""
    return f"there is no namespace {ref.namespace}" + (f": did you mean -n {' or '.join(spaces)}?" if spaces else "")


async def _names(api: Api, ref: ObjectRef) -> list[str]:
    """Return the names of all objects of the kind and the namespace."""
    raws = await listed(api, ref.path.rpartition("/")[0])
    return [msgspec.json.decode(raw, type=LooseObject).metadata.name for raw in raws]


def _nearest(name: str, known: Iterable[str]) -> list[str]:
    return difflib.get_close_matches(name, sorted(known)[:1000], n=_MOST, cutoff=0.6)
