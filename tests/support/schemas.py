"""Validates objects by the OpenAPI schemas of Kubernetes 1.30 to 1.36, and custom resources by their definitions."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from tests.support.kustomize import Manifest

VERSIONS = tuple(f"1.{minor}" for minor in range(30, 37))
"""Those that healer is for. The package kubernetes-validate carries the schemas of each release."""
DEFINITIONS = Path(__file__).parents[1] / "contract" / "crds"
"""The definitions of custom resources: cut to the fields that are used here, and else as their projects publish them."""
_PLACE = "definitions.json"


def faults(manifest: Manifest, version: str) -> list[str]:
    """In which fields the object is not as that version of Kubernetes has it: the path, and what is wrong.

    Unknown fields are faults, at every depth. A custom resource is validated by its definition, whatever the version.
    Raises LookupError for a kind that neither has.
    """
    validator = _validator(version, manifest["apiVersion"], manifest["kind"])
    return [f"{'/'.join(map(str, each.absolute_path))}: {each.message[:300]}" for each in validator.iter_errors(manifest)]


@cache
def _validator(version: str, api_version: str, kind: str) -> Draft202012Validator:
    group, _, name = api_version.rpartition("/")
    own = custom().get((group, name, kind))
    if own is not None:
        return Draft202012Validator(_strict(own))
    definitions = _definitions(version)
    found = [key for key, each in definitions.items() if _is(each, group, name, kind)]
    if len(found) != 1:
        raise LookupError(f"Kubernetes {version} has {len(found)} schemas of {api_version} {kind}, tests/contract/crds none")
    return Draft202012Validator({"$ref": f"{_PLACE}#/$defs/{found[0]}"}, registry=_registry(version))


def _is(definition: Mapping[str, Any], group: str, version: str, kind: str) -> bool:
    kinds = definition.get("x-kubernetes-group-version-kind") or []
    return {"group": group, "version": version, "kind": kind} in kinds


@cache
def _definitions(version: str) -> dict[str, Any]:
    """The schemas of one release; in those that are strict no object has a field that is not in its schema."""
    folder = files("kubernetes_validate") / "kubernetes-json-schema" / f"v{version}.0-local-strict"
    found: dict[str, Any] = json.loads((folder / "_definitions.json").read_text("utf-8"))["$defs"]
    return found


@cache
def _registry(version: str) -> Registry[Any]:
    made: Registry[Any] = Registry().with_resource(_PLACE, DRAFT202012.create_resource({"$defs": _definitions(version)}))
    return made


@cache
def custom() -> dict[tuple[str, str, str], dict[str, Any]]:
    """The schemas of the custom resources of tests/contract/crds, by group, version and kind."""
    found = {}
    for path in sorted(DEFINITIONS.glob("*.yaml")):
        for definition in yaml.safe_load_all(path.read_text("utf-8")):
            spec = definition["spec"]
            for version in spec["versions"]:
                key = (spec["group"], version["name"], spec["names"]["kind"])
                found[key] = version["schema"]["openAPIV3Schema"]
    return found


def _strict(schema: dict[str, Any], *, root: bool = True) -> dict[str, Any]:
    """The schema of a definition as a JSON Schema in which no object has a field that its schema does not name."""
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    made = {key: value for key, value in schema.items() if not key.startswith("x-") and key not in ("default", "format")}
    if "properties" in schema:
        made["properties"] = {name: _strict(each, root=False) for name, each in schema["properties"].items()}
        if root:
            made["properties"] |= {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {"type": "object"}}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            made["additionalProperties"] = False
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            made[key] = _strict(schema[key], root=False)
    return made


def all_faults(manifests: Iterable[Manifest], versions: Iterable[str] = VERSIONS) -> Iterator[str]:
    """The faults of all these objects in these versions, with where they are."""
    for manifest in manifests:
        for version in versions:
            for fault in faults(manifest, version):
                yield f"{manifest['kind']}/{manifest['metadata']['name']} in Kubernetes {version}: {fault}"
