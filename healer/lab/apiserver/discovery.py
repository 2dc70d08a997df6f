"""The discovery paths, which tell clients the version and the resources of the server: /version, /api, /apis and their lists."""

from __future__ import annotations

from healer.lab.kinds import Kind, Kinds
from healer.lab.objects import Object

NAME = "lab"
"""The path that tells a lab from any other cluster, which has nothing there."""
_VERSION: Object = {
    "major": "1",
    "minor": "36",
    "emulationMajor": "1",
    "emulationMinor": "36",
    "minCompatibilityMajor": "1",
    "minCompatibilityMinor": "35",
    "gitVersion": "v1.36.2",
    "gitCommit": "8e16b12fda5b1dccc41a6de48b3e356cc7d5048b",
    "gitTreeState": "",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "go1.27.3",
    "compiler": "gc",
    "platform": "linux/amd64",
}
OPENAPI_PATH = "/openapi/v2"
OPENAPI_TYPE = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
OPENAPI = b"\x0a\x032.0\x12\x0a\x0a\x03lab\x12\x031.0\x42\x00"
"""An OpenAPI document in protobuf (swagger "2.0", the title and version of info, no paths): kubectl and Helm ask for nothing else
before they apply, and validate nothing that it does not describe."""
_VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]


def discover(path: str, kinds: Kinds) -> Object | None:
    """The answer to a discovery path. None for any other path."""
    parts = path.strip("/").split("/")
    if parts == ["version"]:
        return _VERSION
    if parts == [NAME]:
        return {"kind": "Lab"}
    if parts == ["api"]:
        return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}
    if parts == ["apis"]:
        groups = dict.fromkeys(kind.group for kind in kinds if kind.group)
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(kinds, group) for group in groups]}
    if parts == ["api", "v1"]:
        return _resources(kinds, "", "v1")
    if parts[0] == "apis" and len(parts) == 2 and any(kind.group == parts[1] for kind in kinds):
        return {"kind": "APIGroup", "apiVersion": "v1", **_group(kinds, parts[1])}
    if parts[0] == "apis" and len(parts) == 3 and kinds.serves(parts[1], parts[2]):
        return _resources(kinds, parts[1], parts[2])
    return None


def _group(kinds: Kinds, group: str) -> Object:
    names = dict.fromkeys(kind.version for kind in kinds if kind.group == group)
    versions = [{"groupVersion": f"{group}/{version}", "version": version} for version in names]
    return {"name": group, "versions": versions, "preferredVersion": versions[0]}


def _resources(kinds: Kinds, group: str, version: str) -> Object:
    rows = [row for kind in kinds if (kind.group, kind.version) == (group, version) for row in _rows(kind)]
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": f"{group}/{version}" if group else version,
        "resources": rows,
    }


def _rows(kind: Kind) -> list[Object]:
    base: Object = {"singularName": kind.kind.lower(), "namespaced": kind.namespaced, "kind": kind.kind}
    rows = [{"name": kind.plural, **base, "verbs": _VERBS, "shortNames": list(kind.short_names)}]
    for subresource in kind.subresources:
        row = {"name": f"{kind.plural}/{subresource}", **base, "singularName": ""}
        if subresource == "eviction":
            row |= {"group": "policy", "version": "v1", "kind": "Eviction", "verbs": ["create"]}
        elif subresource == "log":
            row |= {"verbs": ["get"]}
        elif subresource == "scale":
            row |= {"group": "autoscaling", "version": "v1", "kind": "Scale", "verbs": ["get", "patch", "update"]}
        else:
            row |= {"verbs": ["get", "patch", "update"]}
        rows.append(row)
    return rows
