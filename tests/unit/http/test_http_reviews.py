"""Reviews of tokens by a server that speaks HTTP: shared, in turns, within bounds, whoever floods healer with made-up tokens."""

import asyncio
import base64
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from healer.cluster.api import Api
from healer.http import reviews
from healer.http.lanes import Lane, Lanes, Review
from healer.http.reviews import Reviewer, ReviewError
from healer.lab import Lab

USER = "system:serviceaccount:monitoring:alertmanager"
PATH = "/hook"


def token(user: str, number: int = 0, audience: str = "healer") -> str:
    """A token as Kubernetes writes one, but for its signature."""
    claims = base64.urlsafe_b64encode(json.dumps({"sub": user, "aud": [audience], "jti": number}).encode()).decode().rstrip("=")
    return f"e30.{claims}.{number}"


@dataclass
class Desk:
    """A reviewer, and the cluster that it asks."""

    lab: Lab
    reviewer: Reviewer

    async def user(self, token: str, source: str = "10.0.0.1") -> str:
        return await self.reviewer.user(token, "post", PATH, source)

    def reviewed(self) -> int:
        return sum(seen.resource == "tokenreviews" for seen in self.lab.requests)

    def flood(self, stack: contextlib.ExitStack, count: int, source: str, of: str = "") -> list["asyncio.Task[str]"]:
        """Requests with made-up tokens, under way; those that are left are ended with the stack."""
        made_up = [token(of, number) if of else f"junk-{source}-{number}" for number in range(count)]
        tasks = [asyncio.create_task(self.user(each, source)) for each in made_up]
        for task in tasks:
            stack.callback(task.cancel)
        return tasks


@contextlib.asynccontextmanager
async def desk(folder: Path, *, places: int = 128, clock: Callable[[], float] = time.monotonic) -> AsyncIterator[Desk]:
    async with Lab() as lab:
        lab.write_kubeconfig(folder / "kubeconfig")
        async with contextlib.aclosing(await Api.connect(kubeconfig=str(folder / "kubeconfig"))) as api:
            reviewer = Reviewer(api, "healer", 60.0, places, clock)
            lab.reviews.grant(USER, "post", PATH)
            async with contextlib.aclosing(reviewer):
                yield Desk(lab, reviewer)


async def test_requests_with_one_token_share_one_review(tmp_path: Path) -> None:
    """Alertmanager sends each group of alerts on a connection of its own."""
    async with desk(tmp_path) as at:
        at.lab.reviews.add_token("valid", USER, "healer")
        assert set(await asyncio.gather(*[at.user("valid") for _ in range(100)])) == {USER}
        assert set(await asyncio.gather(*[at.user("junk") for _ in range(100)])) == {""}
        assert at.reviewed() == 2


async def test_refused_tokens_do_not_push_out_those_that_were_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reviews, "_KEPT", 3)
    async with desk(tmp_path) as at:
        at.lab.reviews.add_token("valid", USER, "healer")
        await at.user("valid")
        assert [await at.user(f"junk-{number}") for number in range(5)] == [""] * 5
        asked = at.reviewed()
        assert await at.user("valid") == USER
        assert await at.user("junk-4") == ""
        assert at.reviewed() == asked
        assert await at.user("junk-0") == ""
        assert at.reviewed() == asked + 1, "only so many refusals are kept"


async def test_claims_that_are_nested_too_deeply_are_none(tmp_path: Path) -> None:
    """Anybody can write claims: they are read before the API server has said whose the token is."""
    nested = base64.urlsafe_b64encode(b'{"x":' + b"[" * 5_000).decode().rstrip("=")
    async with desk(tmp_path) as at:
        assert await at.user(f"e30.{nested}.0") == ""
        assert at.reviewed() == 1


async def test_whoever_comes_from_another_address_waits_for_one_of_those_who_flood(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        at.lab.reviews.add_token("valid", USER, "healer")
        at.lab.faults.delay(0.02, resource="tokenreviews", times=None)
        with contextlib.ExitStack() as stack:
            flood = at.flood(stack, 60, "10.6.6.6")
            await asyncio.sleep(0)  # the flood is there first
            assert await at.user("valid", "10.0.0.1") == USER
            assert at.reviewed() < 30, "not after all who were there first"
            assert not all(task.done() for task in flood)


async def test_what_cannot_be_a_token_for_healer_does_not_hold_up_what_may_be_one_at_the_same_address(tmp_path: Path) -> None:
    valid = token(USER)
    async with desk(tmp_path) as at:
        at.lab.reviews.add_token(valid, USER, "healer")
        at.lab.faults.delay(0.02, resource="tokenreviews", times=None)
        with contextlib.ExitStack() as stack:
            at.flood(stack, 60, "10.0.0.1")
            await asyncio.sleep(0)
            assert await at.user(valid, "10.0.0.1") == USER
            assert at.reviewed() < 30, "not after all who were there first"


async def test_whoever_was_let_in_goes_before_strangers_also_with_the_next_token(tmp_path: Path) -> None:
    """At the same address as those who flood, and with all their tokens well-formed."""
    now = 0.0
    first, second = token(USER, 1), token(USER, 2)
    async with desk(tmp_path, places=20, clock=lambda: now) as at:
        at.lab.reviews.add_token(first, USER, "healer")
        at.lab.reviews.add_token(second, USER, "healer")
        assert await at.user(first) == USER
        now = 61.0
        under_way = [at.lab.faults.delay(600, resource="tokenreviews") for _ in range(3)]
        with contextlib.ExitStack() as stack:
            flood = at.flood(stack, 20, "10.0.0.1", of="somebody")
            for each in under_way:
                await each.used()
            assert list(await asyncio.gather(at.user(first), at.user(second))) == [USER, USER]
            assert at.reviewed() == 6, "theirs and the three that were under way"
            displaced = [task for task in flood if task.done() and isinstance(task.exception(), ReviewError)]
            assert len(displaced) == 2, "there was no place left"


async def test_the_next_token_waits_for_one_of_those_that_claim_its_user_at_another_address(tmp_path: Path) -> None:
    """Anybody can write claims, and the name of Alertmanager's service account is easily guessed. All places are theirs."""
    now = 0.0
    first, second = token(USER, 1), token(USER, 2)
    async with desk(tmp_path, places=20, clock=lambda: now) as at:
        at.lab.reviews.add_token(first, USER, "healer")
        at.lab.reviews.add_token(second, USER, "healer")
        assert await at.user(first) == USER
        now = 61.0
        at.lab.faults.delay(0.02, resource="tokenreviews", times=None)
        with contextlib.ExitStack() as stack:
            flood = at.flood(stack, 20, "10.6.6.6", of=USER)
            await asyncio.sleep(0)  # all places are theirs
            assert await at.user(second, "10.0.0.1") == USER
            assert at.reviewed() < 12, "not after all who were there first"
            displaced = [task for task in flood if task.done() and task.exception() is not None]
            assert [type(task.exception()) for task in displaced] == [ReviewError], "one place was made, and no more"


async def test_whoever_claims_many_users_at_one_address_has_one_share_of_the_places_and_turns() -> None:
    lanes = Lanes(8)
    users = [Lane(("10.6.6.6", f"user-{number}"), known=True, share="10.6.6.6") for number in range(8)]
    reviews = [Review(lane, "made up", "post", PATH, lane) for lane in users]
    for review in reviews:
        lanes.add(review)
        assert lanes.enter(review, review.lane) is not None
    theirs = Lane(("10.0.0.1", USER), known=True, share="10.0.0.1")
    one, two = Review("one", "one", "post", PATH, theirs), Review("two", "two", "post", PATH, theirs)
    for review in (one, two):
        lanes.add(review)
        assert lanes.enter(review, theirs) is not None
    assert lanes.enter(reviews[0], users[0]) is None, "its share has most"
    assert [lanes.take(True) for _ in range(4)] == [reviews[0], one, reviews[1], two]


async def test_claims_of_a_known_user_keep_no_stranger_out() -> None:
    lanes = Lanes(8)
    claims = Lane(("10.6.6.6", USER), known=True, share="10.6.6.6")
    strange = Lane(("10.0.0.1", True), known=False, share="10.0.0.1")
    many = [Review(number, "made up", "post", PATH, claims) for number in range(3)]
    new = Review("new", "new", "post", PATH, strange)
    for review in (*many, new):
        lanes.add(review)
    assert [lanes.take(True) for _ in range(3)] == [many[0], new, many[1]]
    assert lanes.take(False) is many[2]


async def test_the_api_server_is_asked_at_a_bounded_rate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reviews, "_PATIENCE", 0.5)
    async with desk(tmp_path, clock=lambda: 0.0) as at:
        said = await asyncio.gather(*[at.user(f"junk-{number}") for number in range(60)], return_exceptions=True)
        assert (said.count(""), sum(isinstance(each, ReviewError) for each in said), at.reviewed()) == (20, 40, 20)


async def test_without_an_answer_all_who_wait_are_told_so_and_the_next_one_asks_again(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        at.lab.reviews.add_token("valid", USER, "healer")
        at.lab.forbid("create", "tokenreviews")
        said = await asyncio.gather(*[at.user("valid") for _ in range(3)], return_exceptions=True)
        assert [isinstance(each, ReviewError) for each in said] == [True] * 3
        at.lab.allow("create", "tokenreviews")
        assert await at.user("valid") == USER


async def test_at_the_end_nobody_waits(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        held = at.lab.faults.delay(600, resource="tokenreviews")
        waiting = asyncio.create_task(at.user("valid"))
        await held.used()
        await at.reviewer.aclose()
        with pytest.raises(ReviewError, match="healer stops"):
            await waiting
