"""What deploy/serving has, on a real API server: it takes every object, and says what a later apply would take back."""

from __future__ import annotations

import asyncio
import json
from asyncio.subprocess import PIPE, STDOUT
from pathlib import Path

import pytest
import yaml

from tests.contract.client import Client, Object
from tests.contract.routers import define, definition
from tests.deploy.rendered import OVERLAYS, overlay
from tests.support.kustomize import KUBECTL
from tests.support.schemas import DEFINITIONS

_NAMESPACE = "production"
_CUSTOM = sorted(path.stem for path in DEFINITIONS.glob("*.yaml"))


@pytest.fixture
async def ready(real: Client) -> Client:
    """A server with the definitions of all custom resources, and the packs' namespace."""
    for plural in _CUSTOM:
        await define(real, plural)
    made = await real.post("/api/v1/namespaces", {"metadata": {"name": _NAMESPACE}})
    assert made.code in (201, 409), made.body
    strict = {"metadata": {"labels": {"pod-security.kubernetes.io/warn": "restricted"}}}
    assert (await real.patch(f"/api/v1/namespaces/{_NAMESPACE}", strict)).code == 200
    return real


async def _collection(api: Client, manifest: Object, plurals: dict[str, str]) -> str:
    """Where objects of this kind are, as the server itself lists its kinds."""
    version, kind = manifest["apiVersion"], manifest["kind"]
    root = f"/apis/{version}" if "/" in version else f"/api/{version}"
    if f"{version} {kind}" not in plurals:
        for each in (await api.get(root)).body["resources"]:
            if "/" not in each["name"]:
                plurals[f"{version} {each['kind']}"] = each["name"]
    return f"{root}/namespaces/{_NAMESPACE}/{plurals[f'{version} {kind}']}"


async def test_a_server_would_create_every_object(ready: Client) -> None:
    """With unknown fields as errors, and without a warning, which a pod beyond Pod Security's `restricted` gives too."""
    plurals: dict[str, str] = {}
    objects = {json.dumps(each): each for name in OVERLAYS for each in overlay(name)}
    for manifest in objects.values():
        path = f"{await _collection(ready, manifest, plurals)}?dryRun=All&fieldValidation=Strict"
        answer = await ready.post(path, manifest)
        assert answer.code == 201, (manifest["kind"], manifest["metadata"]["name"], answer.body)
        assert answer.warnings == []


@pytest.mark.parametrize("plural", _CUSTOM)
async def test_a_definition_is_one_that_a_server_takes(plural: str, real: Client) -> None:
    body = definition(plural)
    answer = await real.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions?dryRun=All&fieldValidation=Strict", body)
    assert answer.code in (201, 409), answer.body
    assert answer.warnings == []


async def _apply(api: Client, objects: list[Object], home: Path) -> tuple[int | None, str]:
    """As README.md says to apply: the exit code, and what kubectl prints."""
    api.write_kubeconfig(home / "kubeconfig")
    arguments = ("apply", "--server-side", "--validate=false", "-f", "-")
    command = [str(KUBECTL), "--kubeconfig", str(home / "kubeconfig"), *arguments]
    process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, stderr=STDOUT)
    said, _ = await process.communicate(yaml.safe_dump_all(objects).encode())
    return process.returncode, said.decode()


async def test_an_apply_does_not_silently_take_back_what_healer_has_changed(ready: Client, tmp_path: Path) -> None:
    """Who has applied with --server-side owns what was applied; healer owns what it has changed since."""
    objects = overlay("httproute")
    base = f"/namespaces/{_NAMESPACE}"
    models = f"/api/v1{base}/configmaps/models"
    route = f"/apis/gateway.networking.k8s.io/v1{base}/httproutes/model-ab-testing"
    pinned = "model_config_list {}"
    try:
        for _ in range(2):
            code, said = await _apply(ready, objects, tmp_path)
            assert code == 0, said
            assert "Warning" not in said
        assert (await ready.patch(models, {"data": {"models.config": pinned}}, headers={"User-Agent": "healer"})).code == 200
        split = (await ready.get(route)).body["spec"]
        split["rules"][0]["backendRefs"][1]["weight"] = 10
        assert (await ready.patch(route, {"spec": split}, headers={"User-Agent": "healer"})).code == 200
        code, said = await _apply(ready, objects, tmp_path)
        assert code != 0
        assert said.count('with "healer"') == 2, said
        assert (await ready.get(models)).body["data"]["models.config"] == pinned
    finally:
        plurals: dict[str, str] = {}
        for manifest in objects:
            await ready.delete(f"{await _collection(ready, manifest, plurals)}/{manifest['metadata']['name']}")
