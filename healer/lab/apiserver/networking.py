"""Defaults and validation of Services, Ingresses and EndpointSlices.

Texts and order are those of kube-apiserver 1.36 (pkg/apis/core/validation, networking/validation, discovery/validation),
for the fields of a route to a model. Nothing listens on the cluster addresses of the lab's Services.
"""

from __future__ import annotations

import ipaddress
import json
import re
import zlib
from collections.abc import Iterable, Iterator
from typing import Any

from healer.lab.apiserver.status import Cause
from healer.lab.apiserver.validation import check_subdomain, invalid_value, quoted, required
from healer.lab.objects import Object, annotations_of

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_LABEL_RULE = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
    "an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
_PORT_RULE = "must be between 1 and 65535, inclusive"
_ADDRESS_RULE = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
_PROTOCOLS = ("SCTP", "TCP", "UDP")
_SERVICE_TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
_PATH_TYPES = ("Exact", "ImplementationSpecific", "Prefix")
_ADDRESS_TYPES = ("FQDN", "IPv4", "IPv6")
_CLASS = "kubernetes.io/ingress.class"
_HEADLESS = "None"


def service(obj: Object) -> None:
    """Service: type ClusterIP, and an address computed from its name, so that no write changes it."""
    spec = obj.setdefault("spec", {})
    spec.setdefault("type", "ClusterIP")
    spec.setdefault("sessionAffinity", "None")
    for port in spec.get("ports") or []:
        port.setdefault("protocol", "TCP")
        port["targetPort"] = port.get("targetPort") or port.get("port")
    if spec["type"] != "ExternalName":
        spec["clusterIP"] = spec.get("clusterIP") or _cluster_address(obj["metadata"])
        spec.setdefault("clusterIPs", [spec["clusterIP"]])
        spec.setdefault("ipFamilies", ["IPv4"])
        spec.setdefault("ipFamilyPolicy", "SingleStack")
        spec.setdefault("internalTrafficPolicy", "Cluster")
    obj.setdefault("status", {"loadBalancer": {}})


def _cluster_address(metadata: Object) -> str:
    number = zlib.crc32(f"{metadata.get('namespace')}/{metadata.get('name')}".encode())
    return f"10.96.{number >> 8 & 255}.{number % 254 + 1}"


def ingress(obj: Object) -> None:
    """Ingress: an empty status."""
    obj.setdefault("status", {"loadBalancer": {}})


def endpoint_slice(obj: Object) -> None:
    """EndpointSlice: conditions of endpoints, names and protocols of ports."""
    for field in ("endpoints", "ports"):
        obj[field] = obj.get(field) or None
    for endpoint in obj["endpoints"] or []:
        endpoint.setdefault("conditions", {})
    for port in obj["ports"] or []:
        port.setdefault("name", "")
        port.setdefault("protocol", "TCP")


def check_service(obj: Object) -> list[Cause]:
    """Service: it has ports; they are in range and distinct, and have names if there are several."""
    spec = obj["spec"]
    ports = spec.get("ports") or []
    causes = []
    if not ports and spec.get("clusterIP") != _HEADLESS and spec["type"] != "ExternalName":
        causes.append(required("spec.ports"))
    if spec["type"] not in _SERVICE_TYPES:
        causes.append(_unsupported("spec.type", spec["type"], _SERVICE_TYPES))
    for at, port in enumerate(ports):
        causes += _service_port(port, f"spec.ports[{at}]", alone=len(ports) == 1)
    causes += _duplicates((port.get("name") for port in ports), "spec.ports", ".name")
    for at, port in enumerate(ports):
        if (port.get("port"), port["protocol"]) in [(other.get("port"), other["protocol"]) for other in ports[:at]]:
            shown = {"Name": "", "Protocol": port["protocol"], "AppProtocol": None, "Port": port["port"]}
            text = json.dumps(shown | {"TargetPort": 0, "NodePort": 0}, separators=(",", ":"))
            causes.append(Cause(f"spec.ports[{at}]", f"Duplicate value: {text}", "FieldValueDuplicate"))
    return causes


def _service_port(port: Object, path: str, *, alone: bool) -> Iterator[Cause]:
    name, target = port.get("name") or "", port["targetPort"]
    if name:
        yield from _label(name, f"{path}.name")
    elif not alone:
        yield required(f"{path}.name")
    yield from _number(port.get("port") or 0, f"{path}.port")
    if port["protocol"] not in _PROTOCOLS:
        yield _unsupported(f"{path}.protocol", port["protocol"], _PROTOCOLS)
    if isinstance(target, str):
        yield from _port_name(target, f"{path}.targetPort")
    else:
        yield from _number(target or 0, f"{path}.targetPort")


def check_service_update(new: Object, old: Object) -> list[Cause]:
    """Service: its cluster address may not change."""
    if "clusterIP" not in old["spec"] or new["spec"].get("clusterIP") == old["spec"]["clusterIP"]:
        return []
    shown = json.dumps([new["spec"].get("clusterIP")])
    return [invalid_value("spec.clusterIPs[0]", shown, "may not change once set")]


def check_ingress(obj: Object) -> list[Cause]:
    """Ingress: a backend or rules, paths of a known type, and backends that name a Service and one of its ports."""
    spec = obj.get("spec") or {}
    causes: list[Cause] = []
    for at, rule in enumerate(spec.get("rules") or []):
        causes += _host(rule.get("host") or "", f"spec.rules[{at}].host")
        if rule.get("http") is not None:
            causes += _paths(rule["http"], f"spec.rules[{at}].http.paths")
    if spec.get("defaultBackend") is not None:
        causes += _backend(spec["defaultBackend"], "spec.defaultBackend")
    elif not spec.get("rules"):
        causes.append(invalid_value("spec", "null", "either `defaultBackend` or `rules` must be specified"))
    wanted, annotated = spec.get("ingressClassName"), annotations_of(obj).get(_CLASS)
    if wanted is not None:
        causes += check_subdomain("spec.ingressClassName", wanted)
        if annotated not in (None, wanted):
            why = "must match `ingressClassName` when both are specified"
            causes.append(invalid_value(f"annotations.{_CLASS}", quoted(annotated), why))
    return causes


def _host(host: str, path: str) -> list[Cause]:
    if not host:
        return []
    if _is_address(host):
        return [invalid_value(path, quoted(host), "must be a DNS name, not an IP address")]
    return check_subdomain(path, host.removeprefix("*."))


def _paths(http: Object, path: str) -> Iterator[Cause]:
    if not http.get("paths"):
        yield required(path)
    for at, item in enumerate(http.get("paths") or []):
        item_path, form, route = f"{path}[{at}]", item.get("pathType"), item.get("path") or ""
        if form is None:
            yield required(f"{item_path}.pathType", "pathType must be specified")
        elif form not in _PATH_TYPES:
            yield _unsupported(f"{item_path}.pathType", form, _PATH_TYPES)
        elif form != "ImplementationSpecific" or route:
            if not route.startswith("/"):
                yield invalid_value(f"{item_path}.path", quoted(route), "must be an absolute path")
            if form != "ImplementationSpecific" and "//" in route:
                yield invalid_value(f"{item_path}.path", quoted(route), "must not contain '//'")
        yield from _backend(item.get("backend") or {}, f"{item_path}.backend")


def _backend(backend: Object, path: str) -> Iterator[Cause]:
    found = backend.get("service")
    if found is None:
        if backend.get("resource") is None:
            yield invalid_value(path, '""', "resource or service backend is required")
        return
    port = found.get("port") or {}
    name, number = port.get("name") or "", port.get("number") or 0
    if not found.get("name"):
        yield required(f"{path}.service.name")
    else:
        yield from _label(found["name"], f"{path}.service.name")
    if name and number:
        yield invalid_value(path, '""', "cannot set both port name & port number")
    elif name:
        yield from _port_name(name, f"{path}.service.port.name")
    elif number:
        yield from _number(number, f"{path}.service.port.number")
    else:
        yield required(path, "port name or number is required")


def check_endpoint_slice(obj: Object) -> list[Cause]:
    """EndpointSlice: addresses of its addressType, ports with distinct names."""
    form = obj.get("addressType")
    causes = []
    if not form:
        causes.append(required("addressType"))
    elif form not in _ADDRESS_TYPES:
        causes.append(_unsupported("addressType", form, _ADDRESS_TYPES))
    else:
        for at, endpoint in enumerate(obj.get("endpoints") or []):
            causes += _addresses(endpoint.get("addresses") or [], form, f"endpoints[{at}].addresses")
    ports = obj.get("ports") or []
    for at, port in enumerate(ports):
        if port["name"]:
            causes += _label(port["name"], f"ports[{at}].name")
        if port["protocol"] not in _PROTOCOLS:
            causes.append(_unsupported(f"ports[{at}].protocol", port["protocol"], _PROTOCOLS))
    return causes + _duplicates((port["name"] for port in ports), "ports", ".name", empty=True)


def check_endpoint_slice_update(new: Object, old: Object) -> list[Cause]:
    """EndpointSlice: its addressType may not change."""
    if new["addressType"] == old["addressType"]:
        return []
    return [invalid_value("addressType", quoted(new["addressType"]), "field is immutable")]


def _addresses(addresses: list[str], form: str, path: str) -> Iterator[Cause]:
    if not addresses:
        yield required(path, "must contain at least 1 address")
    for at, address in enumerate(addresses):
        if form != "FQDN" and not _is_address(address):
            yield invalid_value(f"{path}[{at}]", quoted(address), _ADDRESS_RULE)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _label(value: str, path: str) -> list[Cause]:
    return [] if _LABEL.fullmatch(value) else [invalid_value(path, quoted(value), _LABEL_RULE)]


def _number(value: int, path: str) -> list[Cause]:
    return [] if 1 <= value <= 65535 else [invalid_value(path, str(value), _PORT_RULE)]


def _port_name(value: str, path: str) -> Iterator[Cause]:
    """Check a port name as IsValidPortName of k8s.io/apimachinery does."""
    if len(value) > 15:
        yield invalid_value(path, quoted(value), "must be no more than 15 characters")
    if not re.fullmatch(r"[-a-z0-9]+", value):
        yield invalid_value(path, quoted(value), "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not re.search(r"[a-z]", value):
        yield invalid_value(path, quoted(value), "must contain at least one letter (a-z)")
    if "--" in value:
        yield invalid_value(path, quoted(value), "must not contain consecutive hyphens")
    if value.startswith("-") or value.endswith("-"):
        yield invalid_value(path, quoted(value), "must not begin or end with a hyphen")


def _unsupported(path: str, value: Any, allowed: tuple[str, ...]) -> Cause:
    listed = ", ".join(f'"{item}"' for item in allowed)
    return Cause(path, f'Unsupported value: "{value}": supported values: {listed}', "FieldValueNotSupported")


def _duplicates(names: Iterable[str | None], path: str, field: str, *, empty: bool = False) -> list[Cause]:
    """One cause for each name that an earlier item has too. empty: an empty name counts as a name."""
    seen: set[str] = set()
    causes = []
    for at, name in enumerate(names):
        if not name and not empty:
            continue
        if (name or "") in seen:
            causes.append(Cause(f"{path}[{at}]{field}", f'Duplicate value: "{name}"', "FieldValueDuplicate"))
        seen.add(name or "")
    return causes
