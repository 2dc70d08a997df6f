"""What an API server's answer about a token means: only a user who is authenticated, for this audience."""

import contextlib
from pathlib import Path
from typing import Any

import pytest

from healer.cluster.api import Api, Unreadable
from healer.cluster.reviews import ReviewedUser, may, user_of
from healer.lab import Lab

KNOWN = {"authenticated": True, "user": {"username": "ann", "groups": ["ml"]}, "audiences": ["healer"]}
ANN = ReviewedUser("ann", groups=["ml"])


@pytest.mark.parametrize(
    ("status", "user"),
    [
        (KNOWN, ANN),
        (KNOWN | {"audiences": ["other", "healer"]}, ANN),
        (KNOWN | {"audiences": ["other"]}, None),
        (KNOWN | {"audiences": None}, None),  # an authenticator that knows no audiences
        (KNOWN | {"authenticated": False}, None),
        (KNOWN | {"user": {}}, None),
        ({"error": "invalid bearer token", "user": {}}, None),
        ({}, None),
    ],
)
async def test_only_a_user_for_the_audience_is_one(tmp_path: Path, status: dict[str, Any], user: ReviewedUser | None) -> None:
    async with Lab() as lab, contextlib.aclosing(await _api(lab, tmp_path)) as api:
        lab.faults.answer(201, body={"status": status}, resource="tokenreviews")
        assert await user_of(api, "a-token", "healer", within=5) == user


@pytest.mark.parametrize(
    ("status", "allowed"),
    [({"allowed": True}, True), ({"allowed": False}, False), ({"allowed": True, "denied": True}, False), ({}, False)],
)
async def test_what_is_denied_is_not_allowed(tmp_path: Path, status: dict[str, Any], allowed: bool) -> None:
    async with Lab() as lab, contextlib.aclosing(await _api(lab, tmp_path)) as api:
        lab.faults.answer(201, body={"status": status}, resource="subjectaccessreviews")
        assert await may(api, ANN, "get", "/decisions", within=5) is allowed


async def test_another_answer_is_an_error(tmp_path: Path) -> None:
    async with Lab() as lab, contextlib.aclosing(await _api(lab, tmp_path)) as api:
        lab.faults.answer(201, body={"status": {"authenticated": "yes"}}, resource="tokenreviews")
        with pytest.raises(Unreadable, match="TokenReview"):
            await user_of(api, "a-token", "healer", within=5)


async def _api(lab: Lab, folder: Path) -> Api:
    lab.write_kubeconfig(folder / "kubeconfig")
    return await Api.connect(kubeconfig=str(folder / "kubeconfig"))
