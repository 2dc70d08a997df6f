"""The HTTP server of the lab. One handler authenticates, applies faults, and turns requests into calls of ObjectApi."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from aiohttp import web

from healer.lab.apiserver import decoding, discovery, patch, routing, status, subresources, tables
from healer.lab.apiserver.api import DeleteOptions, ObjectApi
from healer.lab.apiserver.listing import ListOptions, list_objects
from healer.lab.apiserver.logs import Logs
from healer.lab.apiserver.reviews import Reviews
from healer.lab.apiserver.watching import WatchRequest, WatchStream
from healer.lab.controllers.nodes import is_lost
from healer.lab.faults import FaultKind, Faults, Requests, SeenRequest
from healer.lab.kinds import Kind
from healer.lab.objects import Object

_MERGE, _JSON, _STRATEGIC = (
    "application/merge-patch+json",
    "application/json-patch+json",
    "application/strategic-merge-patch+json",
)
_READ_ONLY = "the body of the request was in an unknown format - accepted media types include: "
_CUSTOM_PATCHES = _READ_ONLY + "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml"
_BODY_TYPES = _READ_ONLY + "application/json, application/yaml, application/vnd.kubernetes.protobuf"
_WARNINGS = web.RequestKey("warnings", list[str])
"""The warnings in the answer to a request, also if the request is refused."""
_MOST_SHOWN = 30
"""The number of characters of a body in a message."""
_LARGEST_BODY = 3 * 1024 * 1024
"""The largest request body in bytes: the API server's limit."""


class LabServer:
    """Answers HTTP requests with an ObjectApi.

    token: the bearer token that requests must have; None: no authentication.
    """

    def __init__(self, api: ObjectApi, faults: Faults, requests: Requests, token: str | None) -> None:
        self._api = api
        self._faults = faults
        self._requests = requests
        self._token = token
        self._forbidden: set[tuple[str, str]] = set()
        self._allows: Callable[[SeenRequest], bool] = lambda _: True
        self.user = "system:serviceaccount:healer:healer"
        self.logs = Logs()
        self.reviews = Reviews(lambda user, asked: user == self.user and self._may(asked))
        if token is not None:
            self.reviews.add_token(token, self.user)
        self.bookmark_every = 60.0
        self.closing = asyncio.Event()

    def forbid(self, verb: str, resource: str) -> None:
        """Answer 403 to this verb on `pods` or `pods/eviction`, as RBAC would."""
        self._forbidden.add((verb, resource))

    def allow(self, verb: str, resource: str) -> None:
        """Remove a `forbid`."""
        self._forbidden.discard((verb, resource))

    def authorize(self, allows: Callable[[SeenRequest], bool]) -> None:
        """Answer 403 to each request for a resource that this does not allow, as RBAC would."""
        self._allows = allows

    def _may(self, seen: SeenRequest) -> bool:
        return (seen.verb, seen.permission) not in self._forbidden and self._allows(seen)

    def app(self) -> web.Application:
        """The aiohttp application."""
        app = web.Application(client_max_size=_LARGEST_BODY)
        app.router.add_route("*", "/{path:.*}", self._handle)
        return app

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        to = routing.route(request.path, self._api.kinds)
        seen = routing.seen(request.method, request.path, request.query, request.headers, to)
        self._requests.add(seen)
        fault = self._faults.at_request(seen)
        if fault is not None and fault.kind is FaultKind.ANSWER:
            body = fault.body if fault.body is not None else status.ApiRefusal(fault.code, "", "an injected fault").body
            return _json(body, fault.code, fault.headers)
        if fault is not None and fault.kind is FaultKind.DROP:
            if request.transport is not None:
                request.transport.abort()
            return web.Response()
        if fault is not None:
            await (fault.released() if fault.kind is FaultKind.HOLD else asyncio.sleep(fault.seconds))
        try:
            return await self._answer(request, to, seen)
        except status.ApiRefusal as error:
            return _json(error.body, error.code, error.headers, warnings=request.get(_WARNINGS, ()))

    async def _answer(self, request: web.Request, to: routing.ResourceRoute, seen: SeenRequest) -> web.StreamResponse:
        if request.path in ("/healthz", "/readyz", "/livez"):
            return web.Response(text="ok")
        if self._token is not None and request.headers.get("Authorization") != f"Bearer {self._token}":
            raise status.unauthorized()
        if request.path == discovery.OPENAPI_PATH:
            return web.Response(body=discovery.OPENAPI, content_type=discovery.OPENAPI_TYPE)
        found = discovery.discover(request.path, self._api.kinds)
        if found is not None and request.method == "GET":
            return _json(found)
        review = self.reviews.kind(to.group, to.version, to.plural)
        if review is not None:
            return await self._review(request, review, seen)
        if to.kind is None:
            if (seen.verb, seen.permission) in self._forbidden:  # said before anybody looks what there is
                unserved = status.Unserved(to.group, to.plural)
                raise status.forbidden(unserved, to.name, to.namespace or "", seen.verb, seen.permission, self.user)
            if to.plural and self._api.kinds.has_built_in(to.group):
                raise status.no_such_endpoint()
            return _plain_not_found()
        if not self._may(seen):
            namespace = to.namespace or ""
            raise status.forbidden(to.kind, to.name, namespace, seen.verb, seen.permission, self.user)
        return await _ResourceRequest(self, self._api, request, to, to.kind, seen).answer()

    async def _review(self, request: web.Request, kind: Kind, seen: SeenRequest) -> web.Response:
        if not self._may(seen):
            raise status.forbidden(kind, "", "", seen.verb, seen.permission, self.user)
        if seen.verb != "create":
            raise status.method_not_allowed()
        body = msgspec.json.decode(await request.read(), type=dict[str, Any])
        return _json(self.reviews.review(kind, body, request.headers.get("Authorization", "")), 201)

    async def stream(self, request: web.Request, kind: Kind, namespace: str | None, seen: SeenRequest) -> web.StreamResponse:
        """Answer a WATCH."""
        watch = WatchRequest.read(self._api.store, kind, namespace, request.query, self.bookmark_every)
        return await WatchStream(watch, self._faults, seen, self.closing).run(request)


class _ResourceRequest:
    """One request to one resource."""

    def __init__(
        self, server: LabServer, api: ObjectApi, request: web.Request, to: routing.ResourceRoute, kind: Kind, seen: SeenRequest
    ) -> None:
        self._server = server
        self._api = api
        self._request = request
        self._to = to
        self._kind = kind
        self._seen = seen
        self._namespace = to.namespace or ""
        self._dry_run = request.query.get("dryRun") == "All"

    async def answer(self) -> web.StreamResponse:
        subresource = self._to.subresource
        misplaced = bool(self._to.name) and self._to.namespace is None
        if misplaced and self._kind.custom:
            return _plain_not_found()
        if misplaced or (subresource and subresource not in self._kind.subresources):
            raise status.no_such_endpoint()
        verb = self._seen.verb
        if subresource == "eviction":
            if verb != "create":
                raise status.method_not_allowed()
            body = await self._object("Eviction", "policy/v1")
            done = subresources.evict(self._api, self._namespace, self._to.name, body, dry_run=self._dry_run)
            return _json(done, 201)
        if subresource == "log":
            return self._log()
        if verb == "watch":
            return await self._server.stream(self._request, self._kind, self._to.namespace, self._seen)
        if verb == "list":
            return await self._list()
        if verb == "get":
            return _json(self._shown(self._api.get(self._kind, self._namespace, self._to.name)))
        if verb == "update" and self._to.name:
            return self._put(await self._object(*self._written_kind()))
        if verb == "patch" and self._to.name:
            return self._put(await self._patched(), patched=True)
        if verb == "create" and not self._to.name and self._to.namespace is not None:
            return self._create(await self._object(self._kind.kind, self._kind.api_version))
        if verb == "delete" and not subresource:
            options = await self._delete_options()
            return _json(self._api.delete(self._kind, self._namespace, self._to.name, options))
        if verb == "deletecollection" and self._to.namespace is not None:
            return await self._delete_all()
        raise status.method_not_allowed()

    def _log(self) -> web.Response:
        if self._seen.verb != "get":
            raise status.method_not_allowed()
        pod = self._api.get(self._kind, self._namespace, self._to.name)
        node = pod["spec"].get("nodeName", "")
        said = self._server.logs.read(pod, self._request.query, lost=bool(node) and is_lost(self._api, node))
        return web.Response(text=said) if node else web.Response(status=204)

    def _written_kind(self) -> tuple[str, str]:
        if self._to.subresource == "scale":
            return "Scale", "autoscaling/v1"
        return self._kind.kind, self._kind.api_version

    def _shown(self, obj: Object) -> Object:
        return subresources.scale_of(obj) if self._to.subresource == "scale" else self._api.shown(self._kind, obj)

    async def _list(self) -> web.Response:
        options = ListOptions.read(self._kind, self._to.namespace, self._request.query)
        body = await list_objects(self._api.store, self._kind, options)
        form = self._request.headers.get("Accept", "")
        if "as=Table" in form:
            return _json(tables.table(self._kind, msgspec.json.decode(body)))
        if "as=PartialObjectMetadataList" in form:
            return _json(tables.metadata_list(msgspec.json.decode(body)))
        return web.Response(body=body, content_type="application/json")

    def _create(self, body: Object) -> web.Response:
        obj, unknown = self._decoded(body)
        self._request[_WARNINGS] = unknown
        stored = self._api.create(self._kind, self._namespace, obj, dry_run=self._dry_run)
        return _json(self._api.shown(self._kind, stored), 201, warnings=unknown)

    def _put(self, body: Object, *, patched: bool = False) -> web.Response:
        name, subresource, unknown = self._to.name, self._to.subresource, list[str]()
        if subresource == "scale":
            obj, subresource = subresources.scaled(self._api.get(self._kind, self._namespace, name), body), ""
        else:
            obj, unknown = self._decoded(body, patched=patched)
        self._request[_WARNINGS] = unknown
        stored, created = self._api.update(self._kind, self._namespace, name, obj, subresource=subresource, dry_run=self._dry_run)
        return _json(self._shown(stored), 201 if created else 200, warnings=unknown)

    def _decoded(self, body: Object, *, patched: bool = False) -> tuple[Object, list[str]]:
        """The decoded body, and the paths of the unknown fields to warn about. Raises ApiRefusal if fieldValidation is Strict."""
        obj, unknown = decoding.decode(self._kind, body, patched=patched)
        field_validation = self._request.query.get("fieldValidation", "Warn")
        if unknown and field_validation == "Strict":
            fields = ", ".join(f'unknown field "{path}"' for path in unknown)
            if patched:
                raise status.invalid_patch(f"strict decoding error: {fields}")
            kind = self._kind
            message = f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}'
            raise status.bad_request(f"{message}: strict decoding error: {fields}")
        return obj, unknown if field_validation == "Warn" else []

    async def _patched(self) -> Object:
        """The result of the patch. It is not stored yet."""
        form = self._request.content_type
        if self._kind.custom and form not in (_MERGE, _JSON):
            raise status.unsupported_media_type(_CUSTOM_PATCHES, plain=True)
        if form not in (_MERGE, _JSON, _STRATEGIC):
            raise status.unsupported_media_type()
        old = self._api.get(self._kind, self._namespace, self._to.name)
        try:
            change = msgspec.json.decode(await self._request.read())
        except msgspec.DecodeError:
            raise status.bad_request("error decoding patch: unexpected end of JSON input") from None
        apply = {_MERGE: patch.merge_patch, _JSON: patch.json_patch, _STRATEGIC: patch.strategic_patch}[form]
        if form != _JSON and not isinstance(change, dict):
            raise status.bad_request(
                "error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}"
            )
        new = apply(self._shown(old), change)
        if not isinstance(new, dict):
            raise status.patch_failed()
        return new

    async def _object(self, kind: str, api_version: str) -> Object:
        """The body of a write. Raises ApiRefusal if it is not an object of the kind."""
        if self._request.content_type not in ("application/json", "application/octet-stream"):
            raise status.unsupported_media_type(_BODY_TYPES, plain=True)
        raw = await self._request.read()
        try:
            body = msgspec.json.decode(raw)
        except msgspec.DecodeError as error:
            text = raw.decode("utf-8", "replace")
            message = (
                f"the object provided is unrecognized (must be of type {kind}): couldn't get version/kind; "
                f"json parse error: {error} ({text})"
            )
            raise status.bad_request(message) from None
        if not isinstance(body, dict):
            message = f"the object provided is unrecognized (must be of type {kind}): couldn't get version/kind"
            raise status.bad_request(message)
        if self._kind.custom and not body.get("kind"):
            text = raw.decode()
            shown = text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]} ..."
            message = (
                f"the object provided is unrecognized (must be of type {kind}): Object 'Kind' is missing in '{text}' ({shown})"
            )
            raise status.bad_request(message)
        given_kind, given_version = body.get("kind") or kind, body.get("apiVersion") or ("" if self._kind.custom else api_version)
        if given_kind != kind:
            version = given_version.rpartition("/")[2]
            served = f"{self._kind.group.partition('.')[0] or 'core'}.{kind}"
            message = (
                f'{given_kind} in version "{version}" cannot be handled as a {kind}: '
                f"converting ({version}.{given_kind}) to ({served}): unknown conversion"
            )
            raise status.bad_request(message)
        if given_version != api_version and (kind, given_version) != ("Eviction", "policy/v1beta1"):
            message = f"the API version in the data ({given_version}) does not match the expected API version ({api_version})"
            raise status.bad_request(message)
        return body

    async def _delete_options(self) -> DeleteOptions:
        raw = await self._request.read()
        try:
            body = msgspec.json.decode(raw, type=dict[str, Any]) if raw else {}
        except msgspec.DecodeError:
            message = "couldn't get version/kind; json parse error: unexpected end of JSON input"
            raise status.bad_request(message) from None
        query = self._request.query
        if "gracePeriodSeconds" in query:
            body["gracePeriodSeconds"] = int(query["gracePeriodSeconds"])
        if "propagationPolicy" in query:
            body["propagationPolicy"] = query["propagationPolicy"]
        if self._dry_run:
            body["dryRun"] = ["All"]
        return DeleteOptions.read(body)

    async def _delete_all(self) -> web.Response:
        options = ListOptions.read(self._kind, self._to.namespace, self._request.query)
        delete_options = await self._delete_options()
        listed = await list_objects(self._api.store, self._kind, options)
        for item in msgspec.json.decode(listed)["items"]:
            metadata = item["metadata"]
            self._api.delete(self._kind, metadata.get("namespace") or "", metadata["name"], delete_options)
        return web.Response(body=listed, content_type="application/json")


def _plain_not_found() -> web.Response:
    """The plain 404 answer to a path without a handler."""
    return web.Response(status=404, text="404 page not found\n")


def _json(body: Any, code: int = 200, headers: Mapping[str, str] | None = None, *, warnings: Sequence[str] = ()) -> web.Response:
    answer = web.Response(
        body=msgspec.json.encode(body), status=code, headers=dict(headers or {}), content_type="application/json"
    )
    for path in warnings:
        answer.headers.add("Warning", f'299 - "unknown field \\"{path}\\""')
    return answer
