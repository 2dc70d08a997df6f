"""A lab with a serving workload of three, a client of it, and attempts on its first pod."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from pydantic import BaseModel

from healer.actions.base import Call, Reversal, Undoable
from healer.actions.registry import ACTIONS
from healer.cluster.api import Api
from healer.engine.incidents.opening import opened
from healer.engine.tuning import LimitSettings
from healer.lab import Lab, serving
from healer.lab.kinds import DEPLOYMENT, POD
from healer.lab.objects import Object, is_ready
from healer.model.action import Outcome
from healer.model.effects import Act
from healer.model.incident import Incident, Reason
from healer.model.kube import Namespace, Pod, PodDisruptionBudget, ReplicaSet
from healer.model.signal import Signal
from healer.model.silence import Silences
from healer.model.target import Target
from healer.model.view import View, target_of
from healer.workloads.deployment import Deployment
from healer.workloads.registry import WORKLOADS
from tests.support.world import rule, rulebook

NAMESPACE = "production"
NAME = "tensorflow-serving"


def _nothing() -> None:
    """Nothing happens between the look and the request."""


@dataclass
class Bench:
    """Attempts to act, and what the API server saw of them."""

    lab: Lab
    api: Api
    view: View
    target: Target
    workload: Target
    kubeconfig: str
    sent: list[str] = field(default_factory=list)
    """The actions that said they were about to send."""
    kept: dict[str, str] = field(default_factory=dict)
    """What the attempts have kept beside the incident."""
    earlier: list[dict[str, str]] = field(default_factory=list)
    """What was kept beside earlier incidents."""
    silences: Silences | None = None
    """The silences of an Alertmanager."""
    limits: LimitSettings = field(default_factory=LimitSettings)
    """What bounds healer as a whole."""
    unkept: Outcome | None = None
    """When set, nothing can be kept, and why."""

    def incident(self, **facts: Any) -> Incident:
        """The incident of the attempts, with these fields."""
        signal = Signal("pod", "CrashLoopBackOff", self.target, firing=True, at=0.0, key="k")
        (bound,) = rulebook(rule()).rules
        return replace(opened(bound, self.workload, signal, 0.0, 1), **facts)

    async def ways_back(self, action: str) -> Sequence[Reversal]:
        """What `healer undo` finds of an action for what was kept."""
        does = ACTIONS[action]
        assert isinstance(does, Undoable)
        return await does.reversals(self.api, self.incident(), NAMESPACE, self.kept)

    async def attempt(
        self,
        action: str = "evict",
        *,
        dry_run: bool = False,
        min_ready: int = 1,
        alone: bool = True,
        sick: bool = True,
        wanted: Callable[[], Reason | None] = lambda: None,
        meanwhile: Callable[[], None] = _nothing,
        params: BaseModel | None = None,
        target: Target | None = None,
        step: int = 0,
        **facts: Any,
    ) -> Outcome:
        """One attempt, on the pod unless another target is given; `meanwhile` happens between the last look and the request.

        `facts` are fields of the incident.
        """
        act = Act(
            incident=self.incident(**facts),
            step=step,
            attempt=1,
            action=action,
            params=ACTIONS[action].spec.params() if params is None else params,
            target=self.target if target is None else target,
            dry_run=dry_run,
            min_ready=min_ready,
            seen_at=0.0,
            alone=alone,
        )

        def sending() -> None:
            self.sent.append(action)
            meanwhile()

        async def keep(state: Mapping[str, str]) -> Outcome | None:
            if self.unkept is None:
                self.kept = dict(state)
            return self.unkept

        call = Call(
            act=act,
            api=self.api,
            view=self.view,
            still_sick=lambda pod, act: sick,
            still_wanted=lambda act, fresh: wanted(),
            sending=sending,
            kept=self.kept,
            keep=keep,
            earlier=self.earlier,
            silences=self.silences,
            limits=self.limits,
        )
        self.lab.requests.clear()
        return await ACTIONS[action].run(call)

    @property
    def writes(self) -> list[str]:
        """The requests of the last attempt that may change something."""
        return [f"{s.verb} {s.permission}" for s in self.lab.requests if s.verb not in ("get", "list", "watch")]

    def pod(self) -> Object | None:
        """The target as the cluster has it; None when it is gone, or its name is another's."""
        found = [pod for pod in self.lab.objects("pods", NAMESPACE) if pod["metadata"]["uid"] == self.target.uid]
        return found[0] if found else None

    @property
    def untouched(self) -> bool:
        """Whether the target is there and stays."""
        pod = self.pod()
        return pod is not None and "deletionTimestamp" not in pod["metadata"]

    def change(self, what: str = "pod", **annotations: str) -> None:
        """Annotate the pod or the Deployment."""

        def annotate(obj: Object) -> None:
            obj["metadata"]["annotations"] = (obj["metadata"].get("annotations") or {}) | annotations

        kind, name = (POD, self.target.name) if what == "pod" else (DEPLOYMENT, NAME)
        self.lab.api.modify(kind, NAMESPACE, name, annotate)

    def replace(self) -> None:
        """Another pod takes the target's name, at once."""
        pod = self.pod()
        assert pod is not None
        self.remove()
        for key in ("uid", "resourceVersion", "creationTimestamp"):
            del pod["metadata"][key]
        self.lab.api.create(POD, NAMESPACE, pod)

    def remove(self) -> None:
        """The target is gone, at once."""
        self.lab.store.remove(POD.stored_in, (NAMESPACE, self.target.name))

    def look(self) -> None:
        """Have a view of the cluster as it is."""
        self.view = View(WORKLOADS)
        kinds: list[tuple[str, type[Any]]] = [
            ("namespaces", Namespace),
            ("deployments", Deployment),
            ("replicasets", ReplicaSet),
            ("poddisruptionbudgets", PodDisruptionBudget),
            ("pods", Pod),
        ]
        for resource, kind in kinds:
            for obj in self.lab.objects(resource):
                self.view.put(msgspec.convert(obj, kind))


def three_ready(lab: Lab) -> bool:
    pods = lab.objects("pods", NAMESPACE)
    status = lab.objects("deployments", NAMESPACE)[0].get("status") or {}
    return len(pods) == 3 and all(map(is_ready, pods)) and status.get("readyReplicas") == status.get("updatedReplicas") == 3


def counted(lab: Lab) -> bool:
    (budget,) = lab.objects("poddisruptionbudgets", NAMESPACE)
    return bool(budget["status"].get("currentHealthy") == 3)


@pytest.fixture
async def bench(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    """The bench; parametrize with `min_available` for a budget, without there is none."""
    min_available = getattr(request, "param", None)
    async with Lab(start_delay=0.005, termination_delay=0.005) as lab:
        await lab.apply(serving(NAME, NAMESPACE, min_available=min_available))
        await lab.wait_for(three_ready)
        if min_available is not None:
            await lab.wait_for(counted)
        lab.write_kubeconfig(tmp_path / "config")
        kubeconfig = str(tmp_path / "config")
        api = await Api.connect(kubeconfig=kubeconfig)
        bench = Bench(
            lab, api, View(WORKLOADS), Target("Pod", NAMESPACE, "", ""), Target("Deployment", NAMESPACE, NAME, ""), kubeconfig
        )
        bench.look()
        pod = min(bench.view.pods(), key=lambda pod: pod.metadata.name)
        deployment = bench.view.workload_named("Deployment", NAMESPACE, NAME)
        assert deployment is not None
        bench.target, bench.workload = target_of(pod), target_of(deployment)
        try:
            yield bench
        finally:
            await api.aclose()
