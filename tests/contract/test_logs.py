"""The log of a pod: which names are refused, and what one says that runs nowhere. No kubelet is here to tell the rest."""

from __future__ import annotations

from tests.contract.client import Client, pod


async def test_a_pod_without_a_node_says_nothing(api: Client) -> None:
    made = pod("waiting")
    del made["spec"]["nodeName"]
    await api.make(f"{api.core}/pods", made)
    answer = await api.get(f"{api.core}/pods/waiting/log")
    assert (answer.code, answer.body) == (204, "")


async def test_a_container_that_the_pod_does_not_have(api: Client) -> None:
    await api.make(f"{api.core}/pods", pod("waiting"))
    answer = await api.get(f"{api.core}/pods/waiting/log?container=other")
    assert (answer.code, answer.body["message"]) == (400, "container other is not valid for pod waiting")


async def test_a_pod_with_several_containers_needs_a_name(api: Client) -> None:
    made = pod("pair")
    made["spec"]["containers"] = [made["spec"]["containers"][0] | {"name": name} for name in ("one", "two")]
    await api.make(f"{api.core}/pods", made)
    answer = await api.get(f"{api.core}/pods/pair/log")
    assert answer.code == 400
    assert answer.body["message"] == "a container name must be specified for pod pair, choose one of: [one two]"


async def test_the_log_of_no_pod(api: Client) -> None:
    assert (await api.get(f"{api.core}/pods/nobody/log")).code == 404
