"""Pausing and resuming, against the lab: what stands in the cluster then, and that healer heeds it."""

import asyncio
from datetime import UTC, datetime

import pytest

from healer.cluster.errors import ApiError
from healer.cluster.lease import Lease, LeaseSettings
from healer.lab.kinds import NAMESPACE
from healer.operate.leases import find_lease
from healer.operate.objects import OperateError
from healer.operate.pause import PauseResult, parse_pause_ref, pause, pause_lines, plain_result, resume
from tests.support.lease import QUICK
from tests.support.processes import PATIENCE
from tests.unit.operate.conftest import NAME, SPACE, Place

ALL = {"healer.dev/paused": "true", "healer.dev/paused-by": "alice", "healer.dev/paused-reason": "a migration"}
FOR = {"healer.dev/paused-healer": "healer/healer"}
"""On anything but a Lease: the healer for which it was paused."""
DEPLOYMENT = f"deployment/{NAME}"


async def paused(place: Place, what: str, by: str = "alice", reason: str = "a migration") -> PauseResult:
    return await pause(place.api, parse_pause_ref(what, SPACE, "healer"), by, reason, "healer")


async def resumed(place: Place, what: str) -> PauseResult:
    return await resume(place.api, parse_pause_ref(what, SPACE, "healer"), "healer")


def ours(annotations: dict[str, str]) -> dict[str, str]:
    return {key: value for key, value in annotations.items() if key.startswith("healer.dev/paused")}


@pytest.mark.parametrize(
    ("what", "kind", "name"),
    [(DEPLOYMENT, "deployments", NAME), (f"namespace/{SPACE}", "namespaces", SPACE), ("everything", "leases", "healer")],
)
async def test_a_pause_is_annotations_and_a_resume_removes_them_and_no_others(
    place: Place, what: str, kind: str, name: str
) -> None:
    await place.lead()
    before = place.annotations(kind, name)
    done = await paused(place, what)
    assert place.annotations(kind, name) == before | ALL | ({} if kind == "leases" else FOR)
    assert (done.now is not None, done.before) == (True, None)
    done = await resumed(place, what)
    assert place.annotations(kind, name) == before
    assert (done.now, done.before and done.before.by) == (None, "alice")


async def test_short_words_are_understood(place: Place) -> None:
    await paused(place, f"deploy/{NAME}")
    await paused(place, f"ns/{SPACE}")
    assert ours(place.annotations()) == ALL
    assert ours(place.annotations("namespaces", SPACE)) == ALL


async def test_without_a_reason_an_older_one_does_not_stay(place: Place) -> None:
    await paused(place, DEPLOYMENT)
    done = await paused(place, DEPLOYMENT, by="bob", reason="")
    assert ours(place.annotations()) == {"healer.dev/paused": "true", "healer.dev/paused-by": "bob"}
    assert "it was before: deployment/tensorflow-serving in production by alice (a migration)" in pause_lines(done)[0]


async def test_the_leader_hears_of_a_pause_of_everything(place: Place) -> None:
    """And goes on leading: an annotation is no rival."""
    heard: asyncio.Queue[bool] = asyncio.Queue()
    settings = LeaseSettings(namespace="healer", **QUICK)
    lease = Lease(
        place.api, settings, "healer-a", on_annotations=lambda found: heard.put_nowait(found.get("healer.dev/paused") == "true")
    )
    leading = asyncio.Event()

    async def term() -> None:
        leading.set()
        await asyncio.Event().wait()

    async def hears(what: bool) -> None:
        while await heard.get() is not what:
            assert lease.is_leader()

    await place.lab.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "healer"}})
    running = asyncio.create_task(lease.run(term))
    try:
        async with asyncio.timeout(PATIENCE):
            await leading.wait()
            await paused(place, "everything")
            await hears(True)
            await resumed(place, "everything")
            await hears(False)
        assert lease.is_leader()
        assert lease.epoch == 0
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_what_is_not_there_cannot_be_paused(place: Place) -> None:
    for what, said in (
        ("deployment/typo", "there is no deployment/typo in production"),
        ("namespace/typo", "there is no namespace/typo"),
        ("everything", "there is no Lease 'healer' in namespace 'healer'"),
    ):
        with pytest.raises(OperateError, match=said):
            await paused(place, what)
        with pytest.raises(OperateError, match=said):
            await resumed(place, what)
    assert not any(seen.verb in ("create", "patch", "update") for seen in place.lab.requests if seen.user_agent == "healer")


@pytest.mark.parametrize(
    "what", ["everythin", "pod/x", "replicaset/x", "deployment/", "deployment/../../leases", "deployment/A b"]
)
def test_what_cannot_be_meant_is_an_error(what: str) -> None:
    with pytest.raises(OperateError, match=r"leaderworkerset/NAME or namespace/NAME|cannot be the name"):
        parse_pause_ref(what, SPACE, "healer")


async def test_a_resume_says_what_else_still_pauses_it(place: Place) -> None:
    await place.lead()
    await paused(place, f"namespace/{SPACE}", by="bob", reason="")
    await paused(place, "everything")
    await paused(place, DEPLOYMENT)
    done = await resumed(place, DEPLOYMENT)
    assert pause_lines(done)[-2:] == [
        "still paused: namespace/production by bob",
        "still paused: everything by alice (a migration)",
    ]
    assert [other["on"]["kind"] for other in plain_result(done)["others"]] == ["Namespace", "Lease"]  # type: ignore[attr-defined]


async def test_resuming_what_is_not_paused_says_so(place: Place) -> None:
    place.annotate(NAMESPACE, SPACE, annotations={"healer.dev/paused-reason": "left over"})
    done = await resumed(place, f"namespace/{SPACE}")
    assert pause_lines(done) == [f"healer was not paused for namespace/{SPACE}: nothing to take back"]


async def test_only_true_is_a_pause(place: Place) -> None:
    place.annotate(annotations={"healer.dev/paused": "yes"})
    assert (await resumed(place, DEPLOYMENT)).before is None


async def test_a_refusal_is_not_taken_for_an_absence(place: Place) -> None:
    place.lab.forbid("patch", "deployments")
    with pytest.raises(ApiError) as caught:
        await paused(place, DEPLOYMENT)
    assert caught.value.is_forbidden


async def test_who_may_not_read_the_lease_may_pause_all_the_same(place: Place) -> None:
    place.lab.forbid("get", "leases")
    assert (await paused(place, DEPLOYMENT)).others == ()
    assert ours(place.annotations()) == ALL | FOR


async def _leads(place: Place, namespace: str, name: str, **labels: str) -> None:
    """Another healer, with a Lease of its own."""
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    spec = {"holderIdentity": "healer-7@10.0.0.7:8080", "renewTime": now, "leaseDurationSeconds": 10}
    metadata = {"name": name, "namespace": namespace, "labels": labels}
    await place.lab.apply({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec})


def _lease(place: Place, namespace: str, name: str) -> dict[str, str]:
    (found,) = [each for each in place.lab.objects("leases", namespace) if each["metadata"]["name"] == name]
    return ours(found["metadata"].get("annotations") or {})


@pytest.mark.parametrize("labels", [{"app.kubernetes.io/name": "healer"}, {}], ids=["its own", "made by somebody else"])
async def test_everything_is_paused_on_the_lease_that_healer_has_whatever_its_name(place: Place, labels: dict[str, str]) -> None:
    await _leads(place, "ml-platform", "our-healer", **labels)
    found = await find_lease(place.api)
    done = await pause(place.api, found, "alice", "a migration", found.namespace)
    assert _lease(place, "ml-platform", "our-healer") == ALL
    assert done.doubt == ""
    await resume(place.api, await find_lease(place.api), "ml-platform")
    assert _lease(place, "ml-platform", "our-healer") == {}


async def test_of_several_healers_the_one_must_be_named(place: Place) -> None:
    label = {"app.kubernetes.io/name": "healer"}
    await _leads(place, "one", "a", **label)
    await _leads(place, "two", "b", **label)
    with pytest.raises(OperateError, match="--healer-namespace one --lease a, or --healer-namespace two --lease b"):
        await find_lease(place.api)
    assert (await find_lease(place.api, "two", "b")).path.endswith("/two/leases/b")


async def test_who_may_not_look_for_leases_is_told_what_to_name(place: Place) -> None:
    place.lab.forbid("list", "leases")
    with pytest.raises(OperateError, match=r"cannot be listed .* by --healer-namespace and --lease"):
        await find_lease(place.api)


async def test_a_lease_that_is_named_and_missing_is_made_with_the_pause_on_it(place: Place) -> None:
    """A healer without an election reads it, and one that begins with it."""
    done = await pause(place.api, await find_lease(place.api, SPACE, "ours"), "alice", "a migration", SPACE, make=True)
    assert _lease(place, SPACE, "ours") == ALL
    assert "no replica holds it" in pause_lines(done)[-1]


async def test_a_pause_that_no_leader_reads_is_doubted(place: Place) -> None:
    await _leads(place, SPACE, "ours")
    [path] = [await find_lease(place.api, SPACE, "ours")]
    old = {"spec": {"renewTime": "2020-01-01T00:00:00.000000Z"}}
    await place.api.request("PATCH", path.path, body=old, content_type="application/merge-patch+json")
    done = await pause(place.api, path, "alice", "", SPACE)
    assert "has not renewed it for" in pause_lines(done)[-1]


async def test_a_resume_finds_the_pause_of_everything_on_the_lease_that_healer_has(place: Place) -> None:
    """Whatever its name: the one that is named, else the one that is found."""
    await _leads(place, "ml-platform", "our-healer", **{"app.kubernetes.io/name": "healer"})
    await pause(place.api, await find_lease(place.api), "alice", "a migration", "healer")
    still = ["still paused: everything (Lease our-healer in ml-platform) by alice (a migration)"]
    assert pause_lines(await resumed(place, f"namespace/{SPACE}"))[-1:] == still
    named = await resume(place.api, parse_pause_ref(DEPLOYMENT, SPACE, "healer"), "ml-platform", lease="our-healer")
    assert pause_lines(named)[-1:] == still
    other = await resume(place.api, parse_pause_ref(DEPLOYMENT, SPACE, "healer"), "elsewhere")
    assert other.others == (), "the one that is named is believed"


async def test_of_several_healers_each_pause_of_everything_is_named(place: Place) -> None:
    for namespace in ("one", "two"):
        await _leads(place, namespace, "ours", **{"app.kubernetes.io/name": "healer"})
        await pause(place.api, await find_lease(place.api, namespace, "ours"), namespace, "", namespace)
    assert [other.by for other in (await paused(place, DEPLOYMENT)).others] == ["one", "two"]
