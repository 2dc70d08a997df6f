"""The file by which the model servers of a scene are told which versions to load."""

from dataclasses import dataclass

from healer.actions.pin_model_version import PinModelVersionParams
from healer.lab import Lab
from healer.lab.objects import Object
from healer.model_servers.tensorflow_serving.config import find

STABLE, BROKEN, WANTED = 1, 2, 7
"""Versions: the one with the label `stable`, one that does not load, and the one that a rule names."""


@dataclass(frozen=True, slots=True)
class ModelsFile:
    """The ConfigMap that `pin` names: with the broken version beside the stable one, or without the version that is wanted."""

    lab: Lab
    namespace: str
    pin: PinModelVersionParams

    def manifest(self) -> Object:
        """As it is before anything happens."""
        versions = [STABLE] if self.pin.label is None else [STABLE, BROKEN]
        policy = " ".join(f"versions: {version}" for version in versions)
        text = f"""model_config_list {{ config {{ name: "{self.pin.model}" base_path: "/models/{self.pin.model}"
            model_version_policy {{ specific {{ {policy} }} }} version_labels {{ key: "stable" value: {STABLE} }} }} }}"""
        metadata = {"name": self.pin.config_map, "namespace": self.namespace}
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {self.pin.key: text}}

    def volume(self) -> Object:
        """What a pod has of it."""
        return {"name": "config", "configMap": {"name": self.pin.config_map}}

    def versions(self) -> tuple[int, ...]:
        """Those that it has the servers load."""
        stored = self.lab.store.get("configmaps", (self.namespace, self.pin.config_map))
        assert stored is not None
        return find(stored["data"][self.pin.key], self.pin.model).policy.versions
