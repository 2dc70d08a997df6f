"""The faults of a scenario at work: which pods each one makes sick, how they show it, and what cures them.

Faults are modelled, and everything else that follows is the lab's own: a fault sets how the kubelet reports a pod (the behaviours
of the lab), what a node's agent writes, and how the pod answers requests. What cures it follows from where it sits.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from healer.lab.apiserver.store import StoreEvent
from healer.lab.kinds import POD
from healer.lab.kubelet.behaviour import ANNOTATION
from healer.lab.objects import Object, annotations_of, is_ready, labels_of
from healer.rehearsal.simulate.happenings import CURED, FAULT, Happenings
from healer.rehearsal.simulate.played import PlayedCluster, image_of, is_quarantined, node_of, workload_of
from healer.rehearsal.simulate.scenario import DRAWN, FaultSpec, SickAnswers
from healer.rehearsal.simulate.signs import mark_nodes, post_event
from healer.rules.portion import part_of

_DAY = 86400.0
_REVISIONS = ("pod-template-hash", "controller-revision-hash")
_WELL = SickAnswers()


@dataclass(slots=True, eq=False)
class Strike:
    """One time that a fault strikes. Times are in seconds from the beginning of the scenario."""

    id: str
    spec: FaultSpec
    began: float
    node: str = ""
    revision: str = ""
    most: int | None = None
    """At most so many pods are sick of it at the same time; None: no limit."""
    known: frozenset[str] = frozenset()
    """The uids of the pods that were there when it began."""
    chosen: set[str] = field(default_factory=set)
    """The uids of the pods that it has struck and that are still there."""
    restarts: dict[str, int] = field(default_factory=dict)
    """Their restarts when they were struck."""
    cured_pods: set[str] = field(default_factory=set)
    """Those whose container was restarted."""
    workloads: dict[str, None] = field(default_factory=dict)
    """The workloads that it has hurt."""
    over: bool = False
    """It has ended: it strikes no further pod."""
    healed: float | None = None
    """Since when no pod is sick of it, and the workloads that it has hurt are whole."""

    @property
    def moves(self) -> bool:
        """Whether it strikes further pods while it lasts."""
        return self.spec.sits not in ("container", "pod") or self.spec.target.new


class Strikes:
    """All faults of a scenario. `clock` gives seconds from the beginning; `changed` is told of each pod that answers in another
    way; `served` says whether a workload may get requests."""

    def __init__(
        self,
        faults: Sequence[FaultSpec],
        cluster: PlayedCluster,
        lasts: float,
        seed: int,
        happenings: Happenings,
        clock: Callable[[], float],
        changed: Callable[[str], None],
        served: Callable[[str], bool] = lambda _: True,
    ) -> None:
        self._faults = faults
        self._cluster = cluster
        self._lasts = lasts
        self._seed = seed
        self._happenings = happenings
        self._clock = clock
        self._changed = changed
        self._served = served
        self._sick: dict[str, list[Strike]] = {}
        """The strikes by the uid of the pod that is sick of them."""
        self._returns: asyncio.Queue[FaultSpec] = asyncio.Queue()
        self.all: list[Strike] = []
        self._looking = False

    def answers(self, uid: str) -> SickAnswers:
        """How a pod answers with all that it is sick of."""
        found = [strike.spec.shows.answers for strike in self._sick.get(uid, ())]
        if not found:
            return _WELL
        served, left, slower = 1.0, 1.0, 1.0
        for each in found:
            served, left, slower = served * (1 - each.fail), left * each.capacity, slower * each.slower
        return SickAnswers(fail=1 - served, capacity=left, slower=slower)

    def sick(self, strike: Strike) -> list[Object]:
        """The pods that are sick of it now."""
        found = (self._cluster.pod(uid) for uid in strike.chosen)
        return sorted((pod for pod in found if pod is not None), key=lambda pod: str(pod["metadata"]["name"]))

    def plan(self) -> list[tuple[float, FaultSpec]]:
        """When which fault strikes, in this order. The drawn times are a Poisson process's: as many, each at any time."""
        planned: list[tuple[float, FaultSpec]] = []
        for spec in self._faults:
            if spec.at is not None:
                planned.append((spec.at, spec))
                continue
            chance = random.Random(f"{self._seed} {spec.name}")
            at = chance.expovariate((spec.per_day or 0.0) / _DAY)
            while at < self._lasts:
                planned.append((at, spec))
                at += chance.expovariate((spec.per_day or 0.0) / _DAY)
        return sorted(planned, key=lambda each: (each[0], each[1].name))

    async def run(self) -> None:
        """Strike at the planned times, until cancelled."""
        async with asyncio.TaskGroup() as group:
            for at, spec in self.plan():
                group.create_task(self._strike_at(at, spec))
            while True:
                spec = await self._returns.get()
                group.create_task(self._strike_at(self._clock() + (spec.returns or 0.0), spec))

    async def _strike_at(self, at: float, spec: FaultSpec) -> None:
        await asyncio.sleep(at - self._clock())
        strike = self._begin(spec)
        if spec.lasts is not None:
            await asyncio.sleep(spec.lasts)
            self.end(strike, "it ends by itself")

    def _begin(self, spec: FaultSpec) -> Strike:
        number = sum(strike.spec is spec for strike in self.all) + 1
        chance = random.Random(f"{self._seed} {spec.name} {number}")  # the same draws under each policy
        known = frozenset(pod["metadata"]["uid"] for pod in self._cluster.pods())
        strike = Strike(f"{spec.name}-{number}", spec, self._clock(), known=known)
        candidates = [pod for pod in self._cluster.pods() if self._fits(strike, pod)]
        if spec.target.node == DRAWN:
            nodes = sorted({node_of(pod) for pod in candidates if node_of(pod)}) or sorted(self._cluster.nodes())
            strike.node = chance.choice(nodes)
        else:
            strike.node = spec.target.node or ""
        candidates = [pod for pod in candidates if node_of(pod) == (strike.node or node_of(pod))]
        if spec.sits == "revision" and spec.target.image is None:
            newest = max(candidates, key=lambda pod: str(pod["metadata"]["creationTimestamp"]), default=None)
            strike.revision = "" if newest is None else _revision(newest)
            candidates = [pod for pod in candidates if _revision(pod) == strike.revision]
        if spec.target.pods is not None:
            workloads = [spec.target.workload] if spec.target.workload else list(self._cluster.workloads)
            strike.most = part_of(spec.target.pods, sum(map(self._cluster.desired, workloads)))
            candidates = chance.sample(candidates, min(strike.most, len(candidates)))
        self.all.append(strike)
        self._happenings.add(FAULT, f"{strike.id} strikes{self._where(strike)}", spec.target.workload or "", fault=strike.id)
        mark_nodes(self._cluster, strike.spec.shows.node, self._nodes_of(strike), begins=True)
        for pod in [] if spec.target.new else candidates:
            self._hit(strike, pod)
        return strike

    def _where(self, strike: Strike) -> str:
        target = strike.spec.target
        parts = [target.workload and f"workload {target.workload}", strike.node, target.zone, target.image]
        said = ", ".join(part for part in parts if part)
        return f" ({said})" if said else ""

    def end(self, strike: Strike, why: str) -> None:
        """The fault has ended: the pods that are sick of it are well again."""
        if strike.over:
            return
        strike.over = True
        self._happenings.add(CURED, f"{strike.id} is over: {why}", fault=strike.id)
        mark_nodes(self._cluster, strike.spec.shows.node, self._nodes_of(strike), begins=False)
        for uid in sorted(strike.chosen):
            self._heal(strike, uid)
        self._look_soon()

    def mended(self, workload: str, why: str) -> None:
        """A person has been asked to help with a workload: what people can mend, they will have mended after a while."""
        for strike in self.all:
            hurt = workload in strike.workloads or strike.spec.target.workload == workload
            if strike.spec.human is not None and not strike.over and hurt:
                asyncio.get_running_loop().call_later(strike.spec.human, self.end, strike, f"a person mended it: {why}")

    # pods

    def observe(self, collection: str, change: StoreEvent) -> None:
        """Take a change of the store. It changes nothing at once: the store is being written."""
        if collection != POD.stored_in:
            self._look_soon()
            return
        pod = change.now.object
        uid = pod["metadata"]["uid"]
        if change.type == "DELETED" or is_quarantined(pod):
            self._forget(uid)
        elif workload_of(pod) and any(not strike.over for strike in self.all):
            asyncio.get_running_loop().call_soon(self._look_at, uid, change.key)
        self._look_soon()

    def _look_at(self, uid: str, key: tuple[str, str]) -> None:
        """Whether a pod that has changed is struck now, or cured."""
        pod = self._cluster.lab.store.get(POD.stored_in, key)
        if pod is None or pod["metadata"]["uid"] != uid or "deletionTimestamp" in pod["metadata"]:
            return
        if is_quarantined(pod):
            return
        for strike in self.all:
            if strike.over:
                continue
            if uid in strike.chosen:
                if strike.spec.sits == "container" and _restarts(pod) > strike.restarts[uid]:
                    strike.cured_pods.add(uid)
                    self._heal(strike, uid)
            elif strike.moves and uid not in strike.cured_pods and self._struck_too(strike, pod):
                self._hit(strike, pod)

    def _struck_too(self, strike: Strike, pod: Object) -> bool:
        """Whether a fault that is at work strikes this pod as well."""
        if strike.most is not None and len(strike.chosen) >= strike.most:
            return False
        if strike.spec.target.new and pod["metadata"]["uid"] in strike.known:
            return False
        if strike.node and strike.spec.sits == "node" and node_of(pod) != strike.node:
            return False
        return self._fits(strike, pod) and (not strike.revision or _revision(pod) == strike.revision)

    def _fits(self, strike: Strike, pod: Object) -> bool:
        target = strike.spec.target
        if target.workload is not None and workload_of(pod) != target.workload:
            return False
        if target.image is not None and image_of(pod) != target.image:
            return False
        return target.zone is None or node_of(pod) in self._cluster.nodes(target.zone)

    def _hit(self, strike: Strike, pod: Object) -> None:
        uid = pod["metadata"]["uid"]
        strike.chosen.add(uid)
        strike.restarts[uid] = _restarts(pod)
        strike.workloads[workload_of(pod)] = None
        strike.healed = None
        self._sick.setdefault(uid, []).append(strike)
        self._show(pod)
        if strike.spec.shows.event is not None:
            post_event(self._cluster, strike.spec.shows.event, pod)
        self._changed(uid)

    def _heal(self, strike: Strike, uid: str) -> None:
        strike.chosen.discard(uid)
        if strike in self._sick.get(uid, ()):
            self._sick[uid].remove(strike)
        pod = self._cluster.pod(uid)
        if pod is not None:
            self._show(pod)
            self._changed(uid)

    def _forget(self, uid: str) -> None:
        for strike in self._sick.pop(uid, ()):
            strike.chosen.discard(uid)

    def _show(self, pod: Object) -> None:
        """Have the kubelet report the pod as what it is sick of last."""
        shown = [each.spec.shows.pod for each in self._sick.get(pod["metadata"]["uid"], ()) if each.spec.shows.pod]
        wanted = shown[-1] if shown else None
        if annotations_of(pod).get(ANNOTATION) == wanted:
            return

        def change(obj: Object) -> None:
            annotations = {name: value for name, value in annotations_of(obj).items() if name != ANNOTATION}
            obj["metadata"]["annotations"] = annotations | ({ANNOTATION: wanted} if wanted else {})

        self._cluster.lab.api.modify(POD, pod["metadata"]["namespace"], pod["metadata"]["name"], change)

    def _nodes_of(self, strike: Strike) -> list[str]:
        """The nodes that it strikes as such."""
        zone = strike.spec.target.zone
        return [strike.node] if strike.node else [] if zone is None else sorted(self._cluster.nodes(zone))

    # the end

    def _look_soon(self) -> None:
        if not self._looking and any(strike.healed is None or strike.chosen for strike in self.all):
            self._looking = True
            asyncio.get_running_loop().call_soon(self._look)

    def _look(self) -> None:
        """Which faults are healed: nobody is sick of them, and the workloads that they have hurt are whole again."""
        self._looking = False
        for strike in self.all:
            if self._hurts(strike):
                strike.healed = None
                continue
            if strike.healed is not None:
                continue
            if strike.workloads and not all(self._whole(name, strike) for name in strike.workloads):
                continue
            if not strike.workloads and not strike.over:
                continue
            strike.healed = self._clock()
            if not strike.over and not strike.moves and not strike.chosen:
                strike.over = True
                self._happenings.add(CURED, f"{strike.id} is cured", fault=strike.id)
            elif strike.workloads and not strike.over:
                self._happenings.add(CURED, f"{strike.id} hurts nobody any more", fault=strike.id)
            if strike.over and strike.spec.returns is not None and strike.spec.at is not None:
                self._returns.put_nowait(strike.spec)

    def _hurts(self, strike: Strike) -> bool:
        """Whether pods are sick of it that may get requests, or are not gone yet."""
        pods = map(self._cluster.pod, strike.chosen)
        return any(pod is None or self._served(workload_of(pod)) for pod in pods)

    def _whole(self, workload: str, strike: Strike) -> bool:
        """Whether the workload is as it should be, but for what other faults do to it. One that gets no requests always is."""
        missing = self._cluster.desired(workload) - self._cluster.ready(workload)
        if missing <= 0 or not self._served(workload):
            return True
        others = [each for each in self.all if each is not strike and not each.over and workload in each.workloads]
        sick = {uid for each in others for uid in each.chosen}
        sick_of_others = sum(pod["metadata"]["uid"] in sick and not is_ready(pod) for pod in self._cluster.pods(workload))
        return (strike.over or not strike.moves) and missing <= sick_of_others


def _revision(pod: Object) -> str:
    """The revision that the pod is of, as its controller has labelled it."""
    labels = labels_of(pod)
    return next((labels[name] for name in _REVISIONS if name in labels), "")


def _restarts(pod: Object) -> int:
    return sum(each.get("restartCount", 0) for each in (pod.get("status") or {}).get("containerStatuses") or [])
