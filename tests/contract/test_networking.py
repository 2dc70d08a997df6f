"""Services, Ingresses, EndpointSlices and ConfigMaps: what the server fills in, refuses, and merges."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.client import JSON_PATCH, MERGE, STRATEGIC, Answer, Client, Object

_BACKEND = {"service": {"name": "a", "port": {"number": 80}}}
_LABEL_RULE = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
    "an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
_PORT_RULE = "must be between 1 and 65535, inclusive"


def _ingress(*paths: Object, **spec: Any) -> Object:
    return {"metadata": {"name": "a"}, "spec": {"rules": [{"host": "a.example", "http": {"paths": list(paths)}}], **spec}}


def _path(**fields: Any) -> Object:
    return {"path": "/", "pathType": "Prefix", "backend": _BACKEND, **fields}


def _to(name: str = "a", **port: Any) -> Object:
    return {"service": {"name": name, "port": port}}


def _slice(**fields: Any) -> Object:
    return {
        "metadata": {"name": "a"},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["10.0.0.1"]}],
        "ports": [{"port": 80}],
        **fields,
    }


def _ingresses(api: Client) -> str:
    return f"/apis/networking.k8s.io/v1/namespaces/{api.namespace}/ingresses"


def _slices(api: Client) -> str:
    return f"/apis/discovery.k8s.io/v1/namespaces/{api.namespace}/endpointslices"


def _refused(answer: Answer, *causes: tuple[str, str]) -> None:
    assert (answer.code, answer.body["reason"]) == (422, "Invalid"), answer
    assert [(cause["field"], cause["message"]) for cause in answer.causes] == list(causes)


async def test_an_ingress_as_the_server_shows_it(api: Client) -> None:
    made = await api.make(_ingresses(api), _ingress(_path(), ingressClassName="nginx"))
    assert made["spec"] == _ingress(_path(), ingressClassName="nginx")["spec"]
    assert (made["status"], made["metadata"]["generation"]) == ({"loadBalancer": {}}, 1)


_AT = "spec.rules[0].http.paths[0]"


@pytest.mark.parametrize(
    ("path", "field", "message"),
    [
        ({"pathType": None}, f"{_AT}.pathType", "Required value: pathType must be specified"),
        (
            {"pathType": "Other"},
            f"{_AT}.pathType",
            'Unsupported value: "Other": supported values: "Exact", "ImplementationSpecific", "Prefix"',
        ),
        ({"path": "x"}, f"{_AT}.path", 'Invalid value: "x": must be an absolute path'),
        ({"path": "/a//b"}, f"{_AT}.path", "Invalid value: \"/a//b\": must not contain '//'"),
        ({"backend": {}}, f"{_AT}.backend", 'Invalid value: "": resource or service backend is required'),
        ({"backend": _to()}, f"{_AT}.backend", "Required value: port name or number is required"),
        (
            {"backend": _to(name="a", number=1) | {"service": {"name": "a", "port": {"name": "http", "number": 1}}}},
            f"{_AT}.backend",
            'Invalid value: "": cannot set both port name & port number',
        ),
        ({"backend": _to(number=70000)}, f"{_AT}.backend.service.port.number", f"Invalid value: 70000: {_PORT_RULE}"),
        ({"backend": {"service": {"port": {"number": 1}}}}, f"{_AT}.backend.service.name", "Required value"),
        ({"backend": _to("S_", number=1)}, f"{_AT}.backend.service.name", f'Invalid value: "S_": {_LABEL_RULE}'),
    ],
)
async def test_an_ingress_with_a_wrong_path(api: Client, path: Object, field: str, message: str) -> None:
    answer = await api.post(_ingresses(api), _ingress(_path(**path)))
    _refused(answer, (field, message))
    assert answer.body["message"] == f'Ingress.networking.k8s.io "a" is invalid: {field}: {message}'
    assert answer.body["details"]["kind"] == "Ingress"


@pytest.mark.parametrize(
    ("spec", "field", "message"),
    [
        ({"rules": None}, "spec", "Invalid value: null: either `defaultBackend` or `rules` must be specified"),
        ({"rules": [{"http": {"paths": []}}]}, "spec.rules[0].http.paths", "Required value"),
        (
            {"rules": [{"host": "10.0.0.1"}]},
            "spec.rules[0].host",
            'Invalid value: "10.0.0.1": must be a DNS name, not an IP address',
        ),
    ],
)
async def test_an_ingress_with_wrong_rules(api: Client, spec: Object, field: str, message: str) -> None:
    _refused(await api.post(_ingresses(api), {"metadata": {"name": "a"}, "spec": spec}), (field, message))


async def test_an_ingress_of_two_classes(api: Client) -> None:
    body = _ingress(_path(), ingressClassName="nginx")
    body["metadata"]["annotations"] = {"kubernetes.io/ingress.class": "other"}
    why = 'Invalid value: "other": must match `ingressClassName` when both are specified'
    _refused(await api.post(_ingresses(api), body), ("annotations.kubernetes.io/ingress.class", why))


async def test_unknown_fields_are_warned_of_even_when_the_object_is_refused(api: Client) -> None:
    answer = await api.post(_ingresses(api), _ingress(_path(pathType=None), extra=1))
    assert (answer.code, answer.warnings) == (422, ['299 - "unknown field \\"spec.extra\\""'])


async def test_a_strategic_patch_replaces_rules(api: Client) -> None:
    await api.make(_ingresses(api), _ingress(_path()))
    answer = await api.patch(f"{_ingresses(api)}/a", {"spec": {"rules": [{"host": "b.example"}]}}, STRATEGIC)
    assert (answer.body["spec"], answer.body["metadata"]["generation"]) == ({"rules": [{"host": "b.example"}]}, 2)


def _service(*ports: Object, **spec: Any) -> Object:
    return {"metadata": {"name": "a"}, "spec": {"ports": list(ports), **spec}}


async def test_a_service_as_the_server_shows_it(api: Client) -> None:
    made = await api.make(f"{api.core}/services", _service({"port": 80}, selector={"app": "a"}))
    address = made["spec"]["clusterIP"]
    assert made["spec"] == {
        "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}],
        "selector": {"app": "a"},
        "clusterIP": address,
        "clusterIPs": [address],
        "type": "ClusterIP",
        "sessionAffinity": "None",
        "ipFamilies": ["IPv4"],
        "ipFamilyPolicy": "SingleStack",
        "internalTrafficPolicy": "Cluster",
    }
    assert (made["status"], made["metadata"].get("generation")) == ({"loadBalancer": {}}, None)
    moved = await api.patch(f"{api.core}/services/a", {"spec": {"clusterIP": "10.0.0.254"}})
    _refused(moved, ("spec.clusterIPs[0]", 'Invalid value: ["10.0.0.254"]: may not change once set'))
    written = await api.put(f"{api.core}/services/a", _service({"port": 81}))
    assert (written.code, written.body["spec"]["clusterIP"]) == (200, address)


@pytest.mark.parametrize(
    ("ports", "causes"),
    [
        ([], [("spec.ports", "Required value")]),
        ([{"port": 1}, {"port": 2}], [(f"spec.ports[{at}].name", "Required value") for at in (0, 1)]),
        ([{"port": 0}], [(f"spec.ports[0].{field}", f"Invalid value: 0: {_PORT_RULE}") for field in ("port", "targetPort")]),
        ([{"port": 1, "name": "A"}], [("spec.ports[0].name", f'Invalid value: "A": {_LABEL_RULE}')]),
        (
            [{"port": 1, "protocol": "X"}],
            [("spec.ports[0].protocol", 'Unsupported value: "X": supported values: "SCTP", "TCP", "UDP"')],
        ),
        (
            [{"port": 1, "targetPort": "1"}],
            [("spec.ports[0].targetPort", 'Invalid value: "1": must contain at least one letter (a-z)')],
        ),
        ([{"port": 1, "name": "a"}, {"port": 2, "name": "a"}], [("spec.ports[1].name", 'Duplicate value: "a"')]),
    ],
)
async def test_a_service_with_wrong_ports(api: Client, ports: list[Object], causes: list[tuple[str, str]]) -> None:
    _refused(await api.post(f"{api.core}/services", _service(*ports)), *causes)


async def test_a_strategic_patch_merges_ports_by_number_in_the_order_of_the_patch(api: Client) -> None:
    await api.make(f"{api.core}/services", _service({"port": 80, "name": "a"}, {"port": 90, "name": "z"}))
    change = {"spec": {"ports": [{"port": 81, "name": "b"}, {"port": 80, "name": "c"}]}}
    answer = await api.patch(f"{api.core}/services/a", change, STRATEGIC)
    assert [(item["port"], item["name"]) for item in answer.body["spec"]["ports"]] == [(81, "b"), (80, "c"), (90, "z")]


async def test_an_endpoint_slice_as_the_server_shows_it(api: Client) -> None:
    made = await api.make(_slices(api), _slice())
    assert (made["endpoints"], made["ports"]) == (
        [{"addresses": ["10.0.0.1"], "conditions": {}}],
        [{"name": "", "protocol": "TCP", "port": 80}],
    )
    changed = await api.patch(
        f"{_slices(api)}/a", {"endpoints": [{"addresses": ["10.0.0.2"]}], "ports": [{"port": 81}]}, STRATEGIC
    )
    assert [item["addresses"] for item in changed.body["endpoints"]] == [["10.0.0.2"]]
    assert [item["port"] for item in changed.body["ports"]] == [81]
    assert changed.body["metadata"]["generation"] == 2
    moved = await api.patch(f"{_slices(api)}/a", {"addressType": "IPv6"})
    _refused(moved, ("addressType", 'Invalid value: "IPv6": field is immutable'))
    empty = await api.patch(f"{_slices(api)}/a", {"endpoints": None, "ports": None})
    assert (empty.body["endpoints"], empty.body["ports"]) == (None, None)


@pytest.mark.parametrize(
    ("fields", "field", "message"),
    [
        ({"addressType": None}, "addressType", "Required value"),
        ({"addressType": "X"}, "addressType", 'Unsupported value: "X": supported values: "FQDN", "IPv4", "IPv6"'),
        ({"endpoints": [{}]}, "endpoints[0].addresses", "Required value: must contain at least 1 address"),
        (
            {"endpoints": [{"addresses": ["x"]}]},
            "endpoints[0].addresses[0]",
            'Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)',
        ),
        ({"ports": [{"name": "a"}, {"name": "a"}]}, "ports[1].name", 'Duplicate value: "a"'),
        ({"ports": [{"name": "A"}]}, "ports[0].name", f'Invalid value: "A": {_LABEL_RULE}'),
    ],
)
async def test_a_wrong_endpoint_slice(api: Client, fields: Object, field: str, message: str) -> None:
    _refused(await api.post(_slices(api), _slice(**fields)), (field, message))


async def test_a_config_map_is_replaced_as_it_was_read(api: Client) -> None:
    path = f"{api.core}/configmaps"
    made = await api.make(path, {"metadata": {"name": "models"}, "data": {"models.config": "old"}})
    made["data"]["models.config"] = "new"
    first = await api.put(f"{path}/models", made)
    assert (first.code, first.body["data"]) == (200, {"models.config": "new"})
    assert first.body["metadata"]["resourceVersion"] != made["metadata"]["resourceVersion"]
    stale = await api.put(f"{path}/models", made)
    assert (stale.code, stale.body["reason"]) == (409, "Conflict")
    assert stale.body["message"] == (
        'Operation cannot be fulfilled on configmaps "models": the object has been modified; '
        "please apply your changes to the latest version and try again"
    )
    assert stale.body["details"] == {"name": "models", "kind": "configmaps"}
    gone = await api.put(f"{path}/nope", {"metadata": {"name": "nope"}})
    assert (gone.code, gone.body["reason"]) == (404, "NotFound")


async def test_patches_of_a_config_map(api: Client) -> None:
    path = f"{api.core}/configmaps"
    made = await api.make(path, {"metadata": {"name": "models"}, "data": {"a": "1", "b": "2"}})
    for form in (MERGE, STRATEGIC):
        answer = await api.patch(f"{path}/models", {"data": {"a": "3"}}, form)
        assert (answer.code, answer.body["data"]) == (200, {"a": "3", "b": "2"})
    stale = await api.patch(f"{path}/models", {"metadata": made["metadata"], "data": {"a": "4"}})
    assert (stale.code, stale.body["reason"]) == (409, "Conflict")
    steps = [{"op": "test", "path": "/data/a", "value": "1"}, {"op": "replace", "path": "/data/a", "value": "5"}]
    assert (await api.patch(f"{path}/models", steps, JSON_PATCH)).code == 422
    steps[0]["value"] = "3"
    assert (await api.patch(f"{path}/models", steps, JSON_PATCH)).body["data"] == {"a": "5", "b": "2"}


@pytest.mark.parametrize(
    ("fields", "field", "message"),
    [
        (
            {"data": {"ok": "1"}, "binaryData": {"ok": "eA=="}},
            "data[ok]",
            'Invalid value: "ok": duplicate of key present in binaryData',
        ),
        (
            {"data": {"a b": "1"}},
            "data[a b]",
            "Invalid value: \"a b\": a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. "
            "'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')",
        ),
    ],
)
async def test_a_wrong_config_map(api: Client, fields: Object, field: str, message: str) -> None:
    _refused(await api.post(f"{api.core}/configmaps", {"metadata": {"name": "a"}, **fields}), (field, message))


async def test_an_immutable_config_map(api: Client) -> None:
    path = f"{api.core}/configmaps"
    await api.make(path, {"metadata": {"name": "a"}, "data": {"a": "1"}, "immutable": True})
    why = "Forbidden: field is immutable when `immutable` is set"
    _refused(await api.patch(f"{path}/a", {"data": {"a": "2"}}), ("data", why))
    _refused(await api.patch(f"{path}/a", {"immutable": None}), ("immutable", why))
    assert (await api.patch(f"{path}/a", {"metadata": {"labels": {"b": "c"}}})).code == 200
