"""Parse a URL of the Kubernetes API into kind, namespace, name and subresource."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from healer.lab.faults import SeenRequest
from healer.lab.kinds import Kind, Kinds

_WRITES = {"POST": "create", "PUT": "update", "PATCH": "patch"}
_NAMESPACE_SUBRESOURCES = ("status", "finalize")


@dataclass(frozen=True, slots=True)
class ResourceRoute:
    """The parts of a URL. `kind` is None if the path is not a resource that the lab serves."""

    group: str = ""
    version: str = ""
    plural: str = ""
    kind: Kind | None = None
    namespace: str | None = None
    """None for a list of all namespaces."""
    name: str = ""
    subresource: str = ""


def route(path: str, kinds: Kinds) -> ResourceRoute:
    """Parse a path."""
    parts = path.strip("/").split("/")
    if parts[0] == "api" and len(parts) >= 2:
        group, version, rest = "", parts[1], parts[2:]
    elif parts[0] == "apis" and len(parts) >= 3:
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return ResourceRoute()
    namespace: str | None = None
    if len(rest) >= 3 and rest[0] == "namespaces" and rest[2] not in _NAMESPACE_SUBRESOURCES:
        namespace, rest = rest[1], rest[2:]
    if not rest or not rest[0]:
        return ResourceRoute(group=group, version=version)
    kind = kinds.find(group, version, rest[0])
    if kind is not None and not kind.namespaced and namespace is None:
        namespace = ""
    name = rest[1] if len(rest) > 1 else ""
    return ResourceRoute(group, version, rest[0], kind, namespace, name, "/".join(rest[2:]))


def seen(method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], to: ResourceRoute) -> SeenRequest:
    """The request in RBAC's terms."""
    user_agent, accept = headers.get("User-Agent", ""), headers.get("Accept", "")
    if not to.plural:
        return SeenRequest(method=method, path=path, verb=method.lower(), user_agent=user_agent, accept=accept)
    if method in ("GET", "HEAD"):
        watching = query.get("watch") in ("1", "true") and not to.name
        verb = "watch" if watching else "get" if to.name else "list"
    elif method == "DELETE":
        verb = "delete" if to.name else "deletecollection"
    else:
        verb = _WRITES.get(method, method.lower())
    return SeenRequest(
        method=method,
        path=_pattern(to),
        verb=verb,
        group=to.group,
        resource=to.plural,
        subresource="proxy" if to.subresource.startswith("proxy/") else to.subresource,
        namespace=to.namespace or "",
        name=to.name,
        user_agent=user_agent,
        accept=accept,
    )


def _pattern(to: ResourceRoute) -> str:
    parts = ["/apis", to.group, to.version] if to.group else ["/api", to.version]
    if to.namespace:
        parts += ["namespaces", "{namespace}"]
    parts.append(to.plural)
    if to.name:
        parts.append("{name}")
    if to.subresource:
        parts.append(to.subresource)
    return "/".join(parts)
