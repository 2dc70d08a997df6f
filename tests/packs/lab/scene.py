"""A scene: one workload of a stage on which a rule heals, or holds back."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from healer.actions.pin_model_version import PinModelVersionParams
from healer.lab import Lab, serving
from healer.lab.custom import INFERENCE_SERVICE
from healer.lab.kinds import DEPLOYMENT
from healer.lab.kubelet.behaviour import ANNOTATION
from healer.lab.objects import Object, annotations_of, is_ready
from healer.model.annotations import PAUSED
from healer.model.effects import Decision
from healer.model.incident import Incident, State
from healer.model.target import Target
from healer.operate.approve import approve
from healer.rules.schema import Rule
from tests.packs.lab.models_file import ModelsFile
from tests.packs.lab.stage import HURRIED, Stage, paced, place
from tests.support.operators import own
from tests.support.processes import PATIENCE

_OF_KSERVE = "serving.kserve.io/inferenceservice"
"""The label of what KServe makes for an InferenceService. Without Knative (the mode Standard) that is a Deployment of its own."""


@dataclass
class Scene:
    """A Deployment of its own, in the scope of the rule, which is given by its full name. `number` tells scenes apart.

    `addresses`: those that its pods may have, so many more than replicas that no new pod gets the one of an old pod.
    """

    stage: Stage
    number: int
    shipped: str
    pace: str = HURRIED
    addresses: list[str] = field(default_factory=list)
    ill: set[str] = field(default_factory=set)
    """The pods whose model servers are ill, by name."""

    @property
    def rule(self) -> str:
        """The full name of the rule that is in force here."""
        return paced(self.shipped, self.pace)

    @property
    def ruling(self) -> Rule:
        """The rule."""
        return self.stage.rules.by_name[self.rule].rule

    @property
    def workload(self) -> str:
        """The name of the Deployment."""
        return f"scene-{self.number}"

    @property
    def namespace(self) -> str:
        """The namespace, which nothing else is in."""
        return place(self.number, self.pace)

    @property
    def file(self) -> ModelsFile | None:
        """The file that the rule pins versions in."""
        pins = [step.params for step in self.ruling.heal if isinstance(step.params, PinModelVersionParams)]
        return ModelsFile(self.stage.lab, self.namespace, pins[0]) if pins else None

    # the cluster

    async def serve(self, replicas: int, *, born: str = "", sick: int = 0) -> list[str]:
        """Have the workload run, paused for healer. `sick` pods of it begin with the behaviour `born`, and are the first ones
        that are returned."""
        selector = self.stage.rules.by_name[self.rule].scope.selector
        labels = {} if selector is None else dict(selector.match_labels)
        labels |= {} if selector is None else {each.key: self.workload for each in selector.match_expressions}
        manifests = serving(
            self.workload,
            self.namespace,
            replicas=replicas,
            min_available=None,
            behaviour=born or None,
            app=labels.get("app", self.workload),
            version=self.workload,
            addresses=self.addresses,
        )
        deployment = manifests[0]
        for part in (deployment, deployment["spec"]["template"]):
            part["metadata"]["labels"] = part["metadata"]["labels"] | labels
        deployment["metadata"]["annotations"] = {PAUSED: "true"}
        deployment["spec"]["template"]["spec"]["initContainers"] = [{"name": "fetch", "image": "fetch:1"}]
        if _OF_KSERVE in labels:
            deployment["metadata"]["annotations"] |= {"serving.kserve.io/deploymentMode": "Standard"}
            owner = await own(self.stage.lab, INFERENCE_SERVICE, self.workload, spec={"predictor": {}}, namespace=self.namespace)
            deployment["metadata"]["ownerReferences"] = [owner]
        if self.file is not None:
            manifests.append(self.file.manifest())
            deployment["spec"]["template"]["spec"]["volumes"] = [self.file.volume()]
        await self.stage.lab.apply(manifests)
        await self.stage.lab.wait_for(lambda _: len(self.pods()) == replicas, PATIENCE)
        names = sorted(self.pods())
        if born:
            for name in names[sick:]:
                await self.behave(name, "ok")
        await self.ready(replicas - sick if born else replicas)
        return names

    def pods(self) -> dict[str, Object]:
        """The pods of the workload, by name."""
        return self.stage.pods[self.workload]

    async def ready(self, count: int) -> None:
        """Return when so many pods are ready."""

        await self.stage.lab.wait_for(lambda _: sum(map(is_ready, self.pods().values())) >= count, PATIENCE)

    async def behave(self, pod: str, behaviour: str) -> None:
        """See `Lab.behave`."""
        await self.stage.lab.behave(self.namespace, pod, behaviour)

    def pause(self, paused: bool = True) -> None:
        """Pause the workload for healer, or no longer."""

        def change(obj: Object) -> None:
            others = {key: value for key, value in annotations_of(obj).items() if key != PAUSED}
            obj["metadata"]["annotations"] = others | ({PAUSED: "true"} if paused else {})

        self.stage.lab.api.modify(DEPLOYMENT, self.namespace, self.workload, change)

    def halt(self) -> None:
        """Halt the rollouts of the workload, as `kubectl rollout pause` does."""
        self.stage.lab.api.modify(DEPLOYMENT, self.namespace, self.workload, lambda obj: obj["spec"].update(paused=True))

    def ship(self, image: str, behaviour: str = "") -> None:
        """Roll out another image, whose pods behave so; none of the old pods goes before a new one is ready."""

        def change(obj: Object) -> None:
            obj["spec"]["progressDeadlineSeconds"] = 11
            obj["spec"]["strategy"] = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "100%", "maxUnavailable": 0}}
            template = obj["spec"]["template"]
            template["spec"]["containers"][0]["image"] = image
            others = {key: value for key, value in annotations_of(template).items() if key != ANNOTATION}
            template["metadata"]["annotations"] = others | ({ANNOTATION: behaviour} if behaviour else {})

        self.stage.lab.api.modify(DEPLOYMENT, self.namespace, self.workload, change)

    @property
    def image(self) -> str:
        """What its template has."""
        found = self.stage.lab.api.get(DEPLOYMENT, self.namespace, self.workload)
        return str(found["spec"]["template"]["spec"]["containers"][0]["image"])

    async def gone(self, pod: str) -> None:
        """Return when the pod is gone."""
        await self.stage.lab.wait_for(lambda _: pod not in self.pods(), PATIENCE)

    # healer

    async def decided(self, code: str = "", of: str = "") -> Decision:
        """The first decision of the rule on the workload, or on that pod of it, for that reason if one is given."""

        def fits(decision: Decision) -> bool:
            about = self._is(decision.target) if not of else decision.target.name == of
            return about and decision.rule == self.rule and code in ("", decision.reason.code)

        return await self.stage.healer.decisions.until(fits)

    async def seen_by_another_rule(self, pod: str) -> None:
        """Return when another rule has decided something on the pod."""
        await self.stage.healer.decisions.until(lambda each: each.target.name == pod and each.rule not in ("", self.rule))

    async def came(self, state: State) -> Incident:
        """The first incident of the rule on the workload that came to that state."""
        return await self.stage.healer.told.until(
            state, lambda incident: incident.rule == self.rule and self._is(incident.workload)
        )

    async def seen(self) -> tuple[Incident, Mapping[str, Any]]:
        """The incident of the rule on the workload, and how the page shows it at the same moment."""
        async with asyncio.timeout(PATIENCE):
            while True:
                (incident,) = self.incidents()
                row = (await self.stage.state()).get(incident.id, {})
                if self.incidents() == [incident] and (row.get("changedAt"), row.get("state")) == (
                    incident.changed_at,
                    incident.state,
                ):
                    return incident, row

    def incidents(self) -> list[Incident]:
        """Those of the rule on the workload, so far."""
        return list(filter(self._mine, self.stage.healer.told.incidents.values()))

    async def noted(self, code: str) -> Incident:
        """The incident of the rule on the workload when its history has that reason."""

        def fits(incident: Incident) -> bool:
            return self._mine(incident) and any(entry.reason.code == code for entry in incident.history)

        return await self.stage.healer.told.until(State.OPEN, fits)

    async def approve(self, incident: Incident) -> None:
        """A human approves, as with `healer approve`, when `kubectl get incidents` shows that it waits."""

        def shown(lab: Lab) -> bool:
            stored = lab.store.get("incidents.healer.dev", (self.namespace, incident.id))
            return stored is not None and stored.get("status", {}).get("state") == State.WAITING

        await self.stage.lab.wait_for(shown, PATIENCE)
        await approve(self.stage.api, self.namespace, incident.id, "ann", lambda _: None)

    def changes(self) -> list[tuple[str, str]]:
        """What healer has changed of the workload."""
        return self.stage.changes(self.namespace)

    def _mine(self, incident: Incident) -> bool:
        return incident.rule == self.rule and self._is(incident.workload)

    def _is(self, target: Target) -> bool:
        return target.name == self.workload or target.name.startswith(f"{self.workload}-")
