"""What is read off a pod's status."""

from datetime import UTC, datetime, timedelta

import pytest

from healer.model.kube import Condition, ContainerState, ContainerStatus, Meta, Pod, PodStatus, Running, Terminated, Waiting

BEGAN = datetime(2026, 8, 1, 12, tzinfo=UTC)
BEFORE, AFTER = BEGAN - timedelta(seconds=5), BEGAN + timedelta(seconds=5)
RUNS = ContainerState(running=Running(BEGAN))


def container(state: ContainerState = RUNS, *, ready: bool = False, name: str = "model") -> ContainerStatus:
    return ContainerStatus(name, ready, 0, state)


def pod(*containers: ContainerStatus, status: str = "False", turned: datetime | None = AFTER, kind: str = "Ready") -> Pod:
    """A pod with these containers, of which a condition turned to its status then."""
    condition = Condition(kind, status, "ContainersNotReady", "", turned)
    return Pod(
        Meta("tf-0", "p", "production"), status=PodStatus("Running", conditions=(condition,), container_statuses=containers)
    )


READY_SINCE = container(ContainerState(running=Running(AFTER)), ready=True, name="proxy")
WAS: dict[str, Pod] = {
    "it turned unready while its container ran": pod(container()),
    "a ready container beside it began later": pod(container(), READY_SINCE),
    "both of its unready containers ran": pod(container(), container(name="proxy")),
}
WAS_NOT: dict[str, Pod] = {
    "it is ready": pod(container(ready=True), status="True"),
    "it was unready before its container began: it never was ready in this process": pod(container(), turned=BEFORE),
    "it turned in the same second": pod(container(), turned=BEGAN),
    "one of its unready containers began later": pod(
        container(), container(ContainerState(running=Running(AFTER + timedelta(seconds=1))), name="proxy")
    ),
    "its container waits": pod(container(ContainerState(waiting=Waiting("CrashLoopBackOff")))),
    "its container has ended": pod(container(ContainerState(terminated=Terminated(1, "Error", BEGAN)))),
    "nothing says when its container began": pod(container(ContainerState(running=Running()))),
    "nothing says when it turned": pod(container(), turned=None),
    "nobody knows whether it is ready": pod(container(), status="Unknown"),
    "another condition turned": pod(container(), kind="ContainersReady"),
    "all of its containers are ready: a readiness gate is not": pod(container(ready=True)),
    "it has no container yet": pod(),
}


@pytest.mark.parametrize("why", WAS)
def test_a_pod_was_ready_in_the_processes_that_run_now(why: str) -> None:
    assert WAS[why].was_ready
    assert not WAS[why].ready


@pytest.mark.parametrize("why", WAS_NOT)
def test_and_one_that_was_not_or_of_which_that_is_not_known(why: str) -> None:
    assert not WAS_NOT[why].was_ready
