"""What RBAC can allow, one by one."""

from collections.abc import Iterable
from typing import NamedTuple


class Permission(NamedTuple):
    """One thing that RBAC can allow. The core group is an empty string; a resource may be `pods` or `pods/eviction`."""

    group: str
    resource: str
    verb: str


Permissions = frozenset[Permission]


def permissions(group: str, resource: str, verbs: str) -> Permissions:
    """Those of one resource: `permissions("apps", "deployments", "get patch")`."""
    return frozenset(Permission(group, resource, verb) for verb in verbs.split())


def union(parts: Iterable[Permissions]) -> Permissions:
    """All of them."""
    return frozenset[Permission]().union(*parts)
