"""TokenReview and SubjectAccessReview: whose a token is, and what its user may request."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.apiserver import ADMIN
from tests.contract.client import Answer, Client

_TOKENS = "/apis/authentication.k8s.io/v1/tokenreviews"
_SELF = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
_ACCESS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
API_SERVER = "https://kubernetes.default.svc"


async def token_review(api: Client, token: str, *audiences: str, **headers: str) -> Answer:
    spec = {"token": token} | ({"audiences": list(audiences)} if audiences else {})
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": spec}
    return await api.send("POST", _TOKENS, body, headers=headers)


async def access_review(api: Client, spec: dict[str, Any], **headers: str) -> Answer:
    body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
    return await api.send("POST", _ACCESS, body, headers=headers)


@pytest.mark.parametrize("audiences", [(), (API_SERVER,), ("healer", API_SERVER)])
async def test_a_token_for_the_audience_has_a_user(api: Client, audiences: tuple[str, ...]) -> None:
    answer = await token_review(api, ADMIN, *audiences)
    assert answer.code == 201
    assert answer.body["kind"] == "TokenReview"
    found = answer.body["status"]
    assert (found["authenticated"], found["audiences"]) == (True, [API_SERVER])
    assert found["user"]["username"]
    assert "system:authenticated" in found["user"]["groups"]


@pytest.mark.parametrize(("token", "audience"), [("junk", API_SERVER), (ADMIN, "healer")])
async def test_another_token_and_one_for_another_audience_have_none(api: Client, token: str, audience: str) -> None:
    answer = await token_review(api, token, audience)
    assert (answer.code, answer.body["status"]) == (201, {"user": {}, "error": "invalid bearer token"})


async def test_a_review_without_a_token_is_a_bad_request(api: Client) -> None:
    answer = await token_review(api, "")
    assert (answer.code, answer.body["reason"]) == (400, "BadRequest")
    assert answer.body["message"] == "token is required for TokenReview in authentication"


async def test_whoever_is_known_is_told_by_which_name(api: Client) -> None:
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    answer = await api.post(_SELF, body)
    assert (answer.code, answer.body["kind"]) == (201, "SelfSubjectReview")
    found = answer.body["status"]["userInfo"]
    assert found["username"] == (await token_review(api, ADMIN)).body["status"]["user"]["username"]
    assert "system:authenticated" in found["groups"]
    assert (await api.get(_SELF)).code == 405


async def test_a_path_is_not_allowed_unless_it_is_granted(api: Client) -> None:
    answer = await access_review(api, {"user": "ann", "nonResourceAttributes": {"path": "/decisions", "verb": "get"}})
    assert (answer.code, answer.body["kind"], answer.body["status"]) == (201, "SubjectAccessReview", {"allowed": False})


@pytest.mark.parametrize("more", [{}, {"subresource": "eviction"}, {"namespace": "production", "name": "a"}])
async def test_a_resource_is_not_allowed_to_whom_nobody_grants_it(api: Client, more: dict[str, str]) -> None:
    asked = {"verb": "create", "group": "", "resource": "pods"} | more
    answer = await access_review(api, {"user": "ann", "groups": ["system:authenticated"], "resourceAttributes": asked})
    assert (answer.code, answer.body["kind"], answer.body["status"]) == (201, "SubjectAccessReview", {"allowed": False})
    assert answer.body["spec"]["resourceAttributes"] == {key: value for key, value in asked.items() if value}


@pytest.mark.parametrize("spec", [{"nonResourceAttributes": {"path": "/x", "verb": "get"}}, {"user": "ann"}])
async def test_an_access_review_needs_a_user_and_what_is_asked_for(api: Client, spec: dict[str, Any]) -> None:
    answer = await access_review(api, spec)
    assert (answer.code, answer.body["reason"]) == (422, "Invalid")
    [cause] = answer.causes
    field = "spec.resourceAttributes" if "user" in spec else "spec.user"
    assert (cause["reason"], cause["field"]) == ("FieldValueInvalid", field)
    assert answer.body["message"] == f'.authorization.k8s.io "" is invalid: {field}: {cause["message"]}'


@pytest.mark.parametrize(("path", "resource"), [(_TOKENS, "tokenreviews"), (_ACCESS, "subjectaccessreviews")])
async def test_reviews_need_a_permission_and_are_only_created(api: Client, path: str, resource: str) -> None:
    assert (await api.get(path)).code == 405
    answer = await api.send("POST", path, {"spec": {}}, headers=api.weaken("create", resource))
    group = path.split("/")[2]
    assert (answer.code, answer.body["details"]) == (403, {"group": group, "kind": resource})
    assert answer.body["message"].endswith(f'cannot create resource "{resource}" in API group "{group}" at the cluster scope')
