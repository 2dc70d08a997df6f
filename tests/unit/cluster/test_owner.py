"""Whose pod it is, read fresh when the view does not know."""

import pytest

from healer.cluster.api import Api, ApiError
from healer.cluster.owner import resolve_owner
from healer.model.kube import Meta, OwnerReference, Pod, ReplicaSet
from healer.model.target import Target
from healer.model.view import View
from tests.unit.cluster.conftest import Server


def pod(kind: str = "ReplicaSet", name: str = "rs", uid: str = "uid-rs") -> Pod:
    return Pod(Meta(name="a", uid="a", namespace="ns", owner_references=(OwnerReference(kind, name, uid, controller=True),)))


def replica_set(uid: str = "uid-rs", *, owner: str = "Deployment") -> dict[str, object]:
    owners = [{"kind": owner, "name": "top", "uid": "uid-top", "controller": True}] if owner else []
    return {"metadata": {"name": "rs", "namespace": "ns", "uid": uid, "ownerReferences": owners}}


def deployment(uid: str = "uid-top") -> dict[str, object]:
    return {"metadata": {"name": "top", "namespace": "ns", "uid": uid}}


async def test_what_the_view_knows_is_not_asked(server: Server, api: Api) -> None:
    view = View()
    view.put(
        ReplicaSet(
            Meta(name="rs", uid="uid-rs", namespace="ns", owner_references=(OwnerReference("Deployment", "top", "t", True),))
        )
    )
    assert await resolve_owner(api, view, pod()) == Target("Deployment", "ns", "top", "t")
    assert await resolve_owner(api, view, Pod(Meta(name="bare", uid="b"))) is None
    assert await resolve_owner(api, view, pod("DaemonSet", "ds", "d")) == Target("DaemonSet", "ns", "ds", "d")
    assert server.asked == []


async def test_what_it_does_not_know_is_read(server: Server, api: Api) -> None:
    server.say(replica_set())
    server.say(deployment())
    view = View()
    assert await resolve_owner(api, view, pod()) == Target("Deployment", "ns", "top", "uid-top")
    assert [path for _, path, _, _ in server.asked] == [
        "/apis/apps/v1/namespaces/ns/replicasets/rs",
        "/apis/apps/v1/namespaces/ns/deployments/top",
    ]
    assert view.count(ReplicaSet) == 0


async def test_a_replica_set_without_owner_is_the_workload(server: Server, api: Api) -> None:
    server.say(replica_set(owner=""))
    assert await resolve_owner(api, View(), pod()) == Target("ReplicaSet", "ns", "rs", "uid-rs")


async def test_an_owner_of_another_kind_is_taken_from_the_reference(server: Server, api: Api) -> None:
    server.say(replica_set(owner="Rollout"))
    assert await resolve_owner(api, View(), pod()) == Target("Rollout", "ns", "top", "uid-top")


async def test_the_uid_counts_at_each_hop(server: Server, api: Api) -> None:
    server.say(replica_set("another"))
    assert await resolve_owner(api, View(), pod()) is None
    server.say(replica_set())
    server.say(deployment("another"))
    assert await resolve_owner(api, View(), pod()) is None


async def test_an_owner_that_is_gone(server: Server, api: Api) -> None:
    server.say({}, status=404)
    assert await resolve_owner(api, View(), pod()) is None
    server.say(replica_set())
    server.say({}, status=404)
    assert await resolve_owner(api, View(), pod()) is None


async def test_not_being_able_to_ask_is_an_error(server: Server, api: Api) -> None:
    server.say({}, status=500)
    with pytest.raises(ApiError):
        await resolve_owner(api, View(), pod())
