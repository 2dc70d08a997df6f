"""Which permissions the account of healer lacks for the rules: the API server is asked about each (SubjectAccessReview)."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence

from healer.actions.registry import ACTIONS
from healer.cluster.api import Api
from healer.cluster.errors import ApiError
from healer.cluster.reviews import may_access
from healer.model.action import Permission, Permissions
from healer.operate.cluster_check.finding import ClusterFinding
from healer.operate.rbac import JOURNAL, apart, needed, split
from healer.rules.rulebook import BoundRule, Rulebook

_TOPIC = "permission"
_AT_ONCE = 8
"""Reviews that are asked for at the same time."""
_WITHIN = 10.0
"""Seconds for each."""


async def missing_permissions(
    api: Api, rules: list[BoundRule], account: str, confined: Sequence[str] = ()
) -> list[ClusterFinding]:
    """What the service account "namespace/name" may not do of what the rules need.

    `confined`: the namespaces that healer is confined to; without them its permissions have to hold in the whole cluster. Whoever
    asks needs `create subjectaccessreviews`: without it, the one finding says so. Raises ClusterError.
    """
    home, _, name = account.partition("/")
    user = f"system:serviceaccount:{home}:{name}"
    turns = asyncio.Semaphore(_AT_ONCE)

    async def may(permission: Permission, where: str) -> bool:
        async with turns:
            return await may_access(api, user, permission, where, within=_WITHIN)

    wanted = list(dict.fromkeys(_wanted(rules, home, confined)))
    try:
        granted = [await may(*each) for each in wanted[:1]]  # alone: a refusal of the first one says it for all
        granted += await asyncio.gather(*(may(*each) for each in wanted[1:]))
    except ApiError as error:
        return [ClusterFinding(_TOPIC, f"what {account} may do is not known: {error}", unknown=True)]
    if wanted and not any(granted):
        text = f"{account} may do nothing of what the rules need: healer is not installed here yet, or --account is another"
        return [ClusterFinding(_TOPIC, text)]
    needing = {bound.name: needed(Rulebook([bound]), ACTIONS) for bound in rules}
    return [
        ClusterFinding(_TOPIC, f"{account} may not {_said(permission, where)}", _needing(needing, permission))
        for (permission, where), allowed in zip(wanted, granted, strict=True)
        if not allowed
    ]


def _wanted(rules: list[BoundRule], home: str, confined: Sequence[str]) -> Iterator[tuple[Permission, str]]:
    """Each permission, with the namespace that it is needed in; "" for all of the cluster."""
    rulebook = Rulebook(rules)
    needs = needed(rulebook, ACTIONS)
    if not confined:
        yield from ((each, "") for each in sorted(needs))
    else:
        everywhere, inside = split(needs)
        yield from ((each, "") for each in sorted(everywhere))
        yield from ((each, namespace) for namespace in confined for each in sorted(inside))
        yield from ((each, home) for each in sorted(JOURNAL))
        yield from ((each, space) for space, permitted in apart(rulebook, ACTIONS).items() for each in sorted(permitted))


def _said(permission: Permission, where: str) -> str:
    group = f".{permission.group}" if permission.group else ""
    return f"{permission.verb} {permission.resource}{group}" + (f" in {where}" if where else "")


def _needing(needing: Mapping[str, Permissions], permission: Permission) -> tuple[str, ...]:
    """The rules that need it; none where all do, as for the journal, or for what is outside of their namespaces."""
    found = tuple(name for name, needs in needing.items() if permission in needs)
    return () if len(found) == len(needing) else found
