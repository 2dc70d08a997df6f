"""The three kinds of route: what a patch of their weights does, and how a wrong one is refused."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from healer.lab.canary import CANARY, STABLE
from tests.contract.client import JSON_PATCH, MERGE, STRATEGIC, Answer, Client, Object
from tests.contract.routers import DEFINITIONS, HTTP_ROUTE, INGRESS, ROUTERS, VIRTUAL_SERVICE, Router, define

CUSTOM = (HTTP_ROUTE, VIRTUAL_SERVICE)
_REFUSED = "the server rejected our request due to an error in our request"
_CHANGED = "the object has been modified; please apply your changes to the latest version and try again"
_CUSTOM_FORMS = "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml"

each = pytest.mark.parametrize("router", ROUTERS, ids=lambda router: router.kind)
each_custom = pytest.mark.parametrize("router", CUSTOM, ids=lambda router: router.kind)


async def _made(api: Client, router: Router) -> tuple[str, Object]:
    """A route that gives the canary 10 %: its path, and how the server shows it."""
    if router.custom:
        await define(api, router.plural)
    for manifest in router.manifests(api.namespace):
        made = await api.make(router.path(api.namespace), manifest)
    return f"{router.path(api.namespace)}/{made['metadata']['name']}", made


def _at(obj: Any, pointer: str) -> Any:
    for part in pointer.strip("/").split("/"):
        obj = obj[int(part)] if isinstance(obj, list) else obj[part.replace("~1", "/")]
    return obj


def _steps(router: Router, weight: int, before: int = 10) -> list[Object]:
    """A patch of the weights alone, if the backend is the canary's and its weight what it was."""
    stable, canary = router.weights
    steps: list[Object] = [
        {"op": "test", "path": router.backend, "value": CANARY},
        {"op": "test", "path": canary, "value": router.weight(before)},
        {"op": "replace", "path": canary, "value": router.weight(weight)},
    ]
    return steps + ([{"op": "replace", "path": stable, "value": router.weight(100 - weight)}] if stable else [])


def _rest(obj: Object) -> Object:
    """What a write leaves as it is."""
    kept = deepcopy(obj)
    for field in ("resourceVersion", "generation", "managedFields"):
        kept["metadata"].pop(field, None)
    return kept


def _with(obj: Object, router: Router, weight: int) -> Object:
    changed = _rest(obj)
    for pointer, value in zip(router.weights, (100 - weight, weight), strict=True):
        if pointer:
            parent, _, last = pointer.rpartition("/")
            _at(changed, parent)[last.replace("~1", "/")] = router.weight(value)
    return changed


def _unchanged(answer: Answer) -> None:
    assert (answer.code, answer.body["reason"], answer.body["message"]) == (422, "Invalid", _REFUSED)
    assert answer.body["details"] == {}


@each
async def test_the_weights_change_and_nothing_else(api: Client, router: Router) -> None:
    path, made = await _made(api, router)
    answer = await api.patch(path, _steps(router, 0), JSON_PATCH)
    assert answer.code == 200, answer
    assert _rest(answer.body) == _with(made, router, 0)
    assert _rest((await api.get(path)).body) == _with(made, router, 0)
    assert answer.body["metadata"]["resourceVersion"] != made["metadata"]["resourceVersion"]
    assert answer.body["metadata"]["generation"] == (2 if router.custom else 1)


@each
async def test_a_test_that_fails_changes_nothing(api: Client, router: Router) -> None:
    path, made = await _made(api, router)
    _unchanged(await api.patch(path, _steps(router, 0, before=20), JSON_PATCH))
    other = [{"op": "test", "path": router.backend, "value": STABLE}, *_steps(router, 0)]
    _unchanged(await api.patch(path, other, JSON_PATCH))
    stale = [{"op": "test", "path": "/metadata/resourceVersion", "value": "1"}, *_steps(router, 0)]
    _unchanged(await api.patch(path, stale, JSON_PATCH))
    assert (await api.get(path)).body == made


@each
async def test_a_resource_version_in_a_json_patch(api: Client, router: Router) -> None:
    path, made = await _made(api, router)
    version = {"op": "replace", "path": "/metadata/resourceVersion"}
    stale = await api.patch(path, [version | {"value": "1"}, *_steps(router, 0)], JSON_PATCH)
    _is_conflict(stale, router, made)
    fresh = await api.patch(path, [version | {"value": made["metadata"]["resourceVersion"]}, *_steps(router, 0)], JSON_PATCH)
    assert fresh.code == 200, fresh


def _is_conflict(answer: Answer, router: Router, made: Object) -> None:
    name, resource = made["metadata"]["name"], f"{router.plural}.{router.group}"
    assert (answer.code, answer.body["reason"]) == (409, "Conflict")
    assert answer.body["message"] == f'Operation cannot be fulfilled on {resource} "{name}": {_CHANGED}'
    assert answer.body["details"] == {"name": name, "group": router.group, "kind": router.plural}


@each
async def test_annotations_by_merge_patch(api: Client, router: Router) -> None:
    path, made = await _made(api, router)
    change = {"metadata": {"resourceVersion": made["metadata"]["resourceVersion"], "annotations": {"a": "b", "c": "d"}}}
    answer = await api.patch(path, change, MERGE)
    assert answer.code == 200, answer
    before = made["metadata"].get("annotations") or {}
    assert answer.body["metadata"]["annotations"] == before | {"a": "b", "c": "d"}
    assert answer.body["metadata"]["generation"] == 1
    _is_conflict(await api.patch(path, change, MERGE), router, made)
    gone = await api.patch(path, {"metadata": {"annotations": {"a": None}}}, MERGE)
    assert gone.body["metadata"]["annotations"] == before | {"c": "d"}
    assert gone.body["spec"] == made["spec"]


@each
async def test_a_put_with_an_old_resource_version(api: Client, router: Router) -> None:
    path, made = await _made(api, router)
    assert (await api.patch(path, _steps(router, 5), JSON_PATCH)).code == 200
    _is_conflict(await api.put(path, made), router, made)


@each
async def test_a_dry_run(api: Client, router: Router) -> None:
    path, made = await _made(api, router)
    answer = await api.patch(f"{path}?dryRun=All", _steps(router, 0), JSON_PATCH)
    assert answer.code == 200, answer
    assert _rest(answer.body) == _with(made, router, 0)
    assert (await api.get(path)).body == made


@each
async def test_a_patch_of_nothing(api: Client, router: Router) -> None:
    await _made(api, router)
    answer = await api.patch(f"{router.path(api.namespace)}/nope", _steps(router, 0), JSON_PATCH)
    assert (answer.code, answer.body["reason"]) == (404, "NotFound")
    assert answer.body["message"] == f'{router.plural}.{router.group} "nope" not found'
    assert answer.body["details"] == {"name": "nope", "group": router.group, "kind": router.plural}


@each
@pytest.mark.parametrize("form", ["application/json", "text/plain", STRATEGIC])
async def test_content_types(api: Client, router: Router, form: str) -> None:
    path, _ = await _made(api, router)
    answer = await api.patch(path, {"metadata": {"labels": {"a": "b"}}}, form)
    if form == STRATEGIC and not router.custom:
        assert (answer.code, answer.body["metadata"]["labels"]) == (200, {"a": "b"})
        return
    assert (answer.code, answer.body["reason"]) == (415, "UnsupportedMediaType")
    custom = f"the body of the request was in an unknown format - accepted media types include: {_CUSTOM_FORMS}"
    assert answer.body["message"] == (custom if router.custom else "415: Unsupported Media Type")


@each
@pytest.mark.parametrize(
    ("step", "code"),
    [
        ({"op": "replace", "path": "/metadata/labels/new", "value": "x"}, 422),
        ({"op": "remove", "path": "/spec/nope"}, 422),
        ({"op": "test", "path": "/spec/nope", "value": None}, 200),
        ({"op": "test", "path": "/spec/nope", "value": 1}, 422),
        ({"op": "test", "path": "/spec/nope/deeper", "value": None}, 422),
        ({"op": "replace", "path": "/metadata/nope", "value": 1}, 200),
    ],
)
async def test_paths_that_are_not_there(api: Client, router: Router, step: Object, code: int) -> None:
    """Unlike RFC 6902 has it, a missing field is null to a test, and a replacement adds it."""
    path, _ = await _made(api, router)
    answer = await api.patch(path, [step], JSON_PATCH)
    assert answer.code == code, answer
    if code == 422:
        _unchanged(answer)


@each_custom
async def test_places_in_lists(api: Client, router: Router) -> None:
    path, made = await _made(api, router)
    canary = router.weights[1]
    _unchanged(await api.patch(path, [{"op": "replace", "path": canary.replace("/1/", "/2/"), "value": 0}], JSON_PATCH))
    _unchanged(await api.patch(path, [{"op": "add", "path": canary.replace("/1/weight", "/9"), "value": {}}], JSON_PATCH))
    last = await api.patch(path, [{"op": "replace", "path": canary.replace("/1/", "/-1/"), "value": 3}], JSON_PATCH)
    assert last.code == 200, last
    assert (_at(last.body, canary), _at(last.body, router.weights[0] or "")) == (3, 90)
    assert _at(made, canary) == 10
    backend, _, _ = canary.rpartition("/1/")
    third = {"name": "c", "destination": {"host": "c"}}
    more = await api.patch(path, [{"op": "add", "path": f"{backend}/-1", "value": third}], JSON_PATCH)
    assert [item.get("weight") for item in _at(more.body, backend)][:2] == [90, 3]
    assert len(_at(more.body, backend)) == 3


def _weight_is(value: Any) -> list[Object]:
    return [{"op": "replace", "path": HTTP_ROUTE.weights[1], "value": value}]


_WEIGHT = "spec.rules[0].backendRefs[1].weight"
_FORMAT = f"Checked value must be of type integer with format int32 in {_WEIGHT}"


@pytest.mark.parametrize(
    ("weight", "causes"),
    [
        (-1, [(_WEIGHT, f"Invalid value: -1: {_WEIGHT} in body should be greater than or equal to 0")]),
        (1_000_001, [(_WEIGHT, f"Invalid value: 1000001: {_WEIGHT} in body should be less than or equal to 1000000")]),
        ("10", [(_WEIGHT, f'Invalid value: "string": {_WEIGHT} in body must be of type integer: "string"')]),
        (
            1.5,
            [
                (_WEIGHT, f'Invalid value: "float64": {_WEIGHT} in body must be of type int32: "float64"'),
                ("<nil>", f'Invalid value: "": {_FORMAT}'),
            ],
        ),
        (
            2**31,
            [
                ("<nil>", f'Invalid value: "": {_FORMAT}'),
                (_WEIGHT, f"Invalid value: 2147483648: {_WEIGHT} in body should be less than or equal to 1000000"),
            ],
        ),
    ],
)
async def test_weights_that_an_http_route_refuses(api: Client, weight: Any, causes: list[tuple[str, str]]) -> None:
    path, made = await _made(api, HTTP_ROUTE)
    answer = await api.patch(path, _weight_is(weight), JSON_PATCH)
    assert (answer.code, answer.body["reason"]) == (422, "Invalid")
    assert [(cause["field"], cause["message"]) for cause in answer.causes] == causes
    lines = [f"{field}: {message}" for field, message in causes]
    told = lines[0] if len(lines) == 1 else f"[{', '.join(lines)}]"
    assert answer.body["message"] == f'HTTPRoute.gateway.networking.k8s.io "{made["metadata"]["name"]}" is invalid: {told}'
    assert answer.body["details"]["kind"] == "HTTPRoute"
    assert (await api.get(path)).body == made


@pytest.mark.parametrize(("weight", "kept"), [(0, 0), (1_000_000, 1_000_000), (7.0, 7), (None, 1)])
async def test_weights_that_an_http_route_takes(api: Client, weight: Any, kept: int) -> None:
    path, _ = await _made(api, HTTP_ROUTE)
    answer = await api.patch(path, _weight_is(weight), JSON_PATCH)
    assert (answer.code, _at(answer.body, HTTP_ROUTE.weights[1])) == (200, kept)


async def test_an_http_route_is_filled(api: Client) -> None:
    await define(api, "httproutes")
    head = {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute"}
    refs = [{"name": STABLE, "port": 8501}, {"name": CANARY, "port": 8501, "weight": 0, "unknown": {"a": 1}}]
    body = head | {"metadata": {"name": "a"}, "spec": {"parentRefs": [{"name": "models"}], "rules": [{"backendRefs": refs}]}}
    answer = await api.post(HTTP_ROUTE.path(api.namespace), body)
    assert answer.code == 201, answer
    filled = {"group": "", "kind": "Service", "port": 8501}
    assert answer.body["spec"] == {
        "parentRefs": [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "models"}],
        "rules": [
            {
                "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
                "backendRefs": [filled | {"name": STABLE, "weight": 1}, filled | {"name": CANARY, "weight": 0}],
            }
        ],
    }
    assert answer.warnings == ['299 - "unknown field \\"spec.rules[0].backendRefs[1].unknown\\""']


@pytest.mark.parametrize(
    ("rules", "field", "message"),
    [
        ([], "spec.rules", "Invalid value: 0: spec.rules in body should have at least 1 items"),
        ([{}] * 17, "spec.rules", "Too many: 17: must have at most 16 items"),
        ([{"backendRefs": [{"port": 1}]}], "spec.rules[0].backendRefs[0].name", "Required value"),
        (
            [{"matches": [{"path": {"type": "Prefix"}}]}],
            "spec.rules[0].matches[0].path.type",
            'Unsupported value: "Prefix": supported values: "Exact", "PathPrefix", "RegularExpression"',
        ),
    ],
)
async def test_rules_that_an_http_route_refuses(api: Client, rules: list[Object], field: str, message: str) -> None:
    path, _ = await _made(api, HTTP_ROUTE)
    answer = await api.patch(path, {"spec": {"rules": rules}}, MERGE)
    assert (answer.code, answer.body["reason"]) == (422, "Invalid")
    assert [(cause["field"], cause["message"]) for cause in answer.causes] == [(field, message)]


@pytest.mark.parametrize("weight", [-5, 250])
async def test_a_virtual_service_takes_any_weight(api: Client, weight: int) -> None:
    """Its definition has no range, and none for the sum: who writes a weight minds it."""
    path, _ = await _made(api, VIRTUAL_SERVICE)
    answer = await api.patch(path, [{"op": "replace", "path": VIRTUAL_SERVICE.weights[1], "value": weight}], JSON_PATCH)
    assert (answer.code, _at(answer.body, VIRTUAL_SERVICE.weights[1])) == (200, weight)


@pytest.mark.parametrize(
    ("route", "field", "message"),
    [
        ({"weight": 5}, "spec.http[0].route[0].destination", "Required value"),
        ({"destination": {}}, "spec.http[0].route[0].destination.host", "Required value"),
        (
            {"destination": {"host": "a"}, "weight": "5"},
            "spec.http[0].route[0].weight",
            'Invalid value: "string": spec.http[0].route[0].weight in body must be of type integer: "string"',
        ),
        (
            {"destination": {"host": "a"}, "weight": 2**31},
            "<nil>",
            'Invalid value: "": Checked value must be of type integer with format int32 in spec.http[0].route[0].weight',
        ),
    ],
)
async def test_routes_that_a_virtual_service_refuses(api: Client, route: Object, field: str, message: str) -> None:
    path, made = await _made(api, VIRTUAL_SERVICE)
    answer = await api.patch(path, {"spec": {"http": [{"route": [route]}]}}, MERGE)
    assert (answer.code, answer.body["reason"]) == (422, "Invalid")
    assert [(cause["field"], cause["message"]) for cause in answer.causes] == [(field, message)]
    told = f'VirtualService.networking.istio.io "{made["metadata"]["name"]}" is invalid: {field}: {message}'
    assert answer.body["message"] == told


async def test_a_virtual_service_drops_what_it_does_not_know_but_in_its_status(api: Client) -> None:
    path, made = await _made(api, VIRTUAL_SERVICE)
    deep = [{"op": "add", "path": f"{place}/unknown", "value": 1} for place in ("/spec", "/spec/http/0")]
    answer = await api.patch(path, [*deep, {"op": "add", "path": "/extra", "value": 2}], JSON_PATCH)
    assert (answer.code, _rest(answer.body)) == (200, _rest(made))
    dropped = ("extra", "spec.http[0].unknown", "spec.unknown")
    assert answer.warnings == [f'299 - "unknown field \\"{field}\\""' for field in dropped]
    status = await api.patch(f"{path}/status", {"status": {"anything": {"a": 1}}}, MERGE)
    assert (status.code, status.body["status"]) == (200, {"anything": {"a": 1}})


@each_custom
async def test_an_unknown_field_may_be_refused(api: Client, router: Router) -> None:
    path, made = await _made(api, router)
    answer = await api.patch(f"{path}?fieldValidation=Strict", {"spec": {"unknown": 1}}, MERGE)
    assert (answer.code, answer.body["reason"]) == (422, "Invalid")
    assert [cause["field"] for cause in answer.causes] == ["patch"]
    assert answer.body["message"].endswith('strict decoding error: unknown field "spec.unknown"')
    assert (await api.get(path)).body == made


@each_custom
@pytest.mark.parametrize(
    ("left_out", "why"),
    [
        ("kind", "the object provided is unrecognized (must be of type {kind}): Object 'Kind' is missing in "),
        ("apiVersion", "the API version in the data () does not match the expected API version ({group}/v1)"),
    ],
)
async def test_a_custom_resource_says_what_it_is(api: Client, router: Router, left_out: str, why: str) -> None:
    await define(api, router.plural)
    [manifest] = router.manifests(api.namespace)
    del manifest[left_out]
    answer = await api.post(router.path(api.namespace), manifest)
    assert (answer.code, answer.body["reason"]) == (400, "BadRequest")
    assert answer.body["message"].startswith(why.format(kind=router.kind, group=router.group))


@each_custom
async def test_a_kind_that_is_not_defined(api: Client, router: Router) -> None:
    """A group, a version or a kind that nobody serves is a page not found."""
    await define(api, router.plural)
    place = f"namespaces/{api.namespace}"
    for path in (
        f"/apis/{router.group}.{api.namespace}/v1/{place}/{router.plural}/a",
        f"/apis/{router.group}/v9/{place}/{router.plural}/a",
        f"/apis/{router.group}/v1/{place}/nopes/a",
        f"/apis/{router.group}/v1/{router.plural}/a",
    ):
        for answer in (await api.get(path), await api.patch(path, _steps(router, 0), JSON_PATCH)):
            assert (answer.code, answer.body) == (404, "404 page not found\n")
            assert answer.headers["Content-Type"].startswith("text/plain")


@pytest.mark.parametrize("path", ["networking.k8s.io/v1/{place}/nopes/a", "networking.k8s.io/v9/{place}/ingresses/a"])
async def test_a_kind_that_a_built_in_group_does_not_have(api: Client, path: str) -> None:
    answer = await api.get(f"/apis/{path.format(place=f'namespaces/{api.namespace}')}")
    assert (answer.code, answer.body["reason"], answer.body["details"]) == (404, "NotFound", {})
    assert answer.body["message"] == "the server could not find the requested resource"


@each_custom
async def test_what_their_definitions_say(api: Client, router: Router) -> None:
    await define(api, router.plural)
    answer = await api.get(f"{DEFINITIONS}/{router.plural}.{router.group}")
    assert answer.body["status"]["storedVersions"] == ["v1"]
    found = (await api.get(f"/apis/{router.group}/v1")).body["resources"]
    rows = {row["name"]: row for row in found}
    assert (rows[router.plural]["kind"], rows[router.plural]["namespaced"]) == (router.kind, True)
    assert rows[f"{router.plural}/status"]["kind"] == router.kind


async def test_a_weight_of_an_ingress_is_text(api: Client) -> None:
    path, _ = await _made(api, INGRESS)
    answer = await api.patch(path, [{"op": "replace", "path": INGRESS.weights[1], "value": 5}], JSON_PATCH)
    assert (answer.code, answer.body["reason"]) == (422, "Invalid")
    assert [cause["field"] for cause in answer.causes] == ["patch"]
    assert (await api.patch(path, [{"op": "replace", "path": INGRESS.weights[1], "value": "nonsense"}], JSON_PATCH)).code == 200
