"""TensorFlow Serving: the status by its REST API, the versions by its models.config.

Source of the caveats: tensorflow_serving/model_servers/{main,server,server_core}.cc.
"""

from collections.abc import Mapping
from typing import Any

from healer.model_servers.base import ModelServer
from healer.model_servers.mount import arguments, caveats
from healer.model_servers.status import VERSIONED
from healer.model_servers.tensorflow_serving import config, edit, plan, spans, status
from healer.model_servers.versions import ConfigError, ConfiguredModel, ModelChange

_POLL = "model_config_file_poll_wait_seconds"
_UNAVAILABLE = "allow_version_labels_for_unavailable_models"


class ModelsConfig:
    """The file models.config (`--model_config_file`), in protobuf's text format."""

    key = "models.config"
    effect = (
        "takes effect when the kubelets have copied the ConfigMap, within a minute or two, and the servers look at the file "
        f"(--{_POLL})"
    )
    about = (
        "TensorFlow Serving reads its models.config. A server takes a change when the kubelet has copied the ConfigMap (a minute "
        "or two; never where it is mounted by subPath) and the server looks at the file, which it does only with "
        f"--{_POLL}; there is no /reload. A file with labels needs --{_UNAVAILABLE}, or a server that starts refuses it."
    )
    models = staticmethod(config.models)
    find = staticmethod(config.find)
    remarks = staticmethod(spans.octals)
    pin = staticmethod(plan.pin)
    beside = staticmethod(plan.beside)
    add = staticmethod(plan.add)
    promote = staticmethod(plan.promote)
    rollback = staticmethod(plan.rollback)

    def changed(self, text: str, name: str, change: ModelChange) -> str:
        """See `VersionsFile`: every label of the model must name a version that is loaded."""
        before = config.find(text, name)
        after = ConfiguredModel(name, before.base_path, change.policy, change.labels)
        if dangling := after.dangling():
            label, version = next(iter(dangling.items()))
            raise ConfigError(
                f"label {label} of model {name} would name version {version}, which is not loaded ({after.policy}): "
                "TensorFlow Serving may refuse the whole file; load it, or move the label"
            )
        return edit.change(text, name, change.policy, change.labels)

    def caveats(self, template: Mapping[str, Any], config_map: str, *, labels: bool) -> list[str]:
        """See `VersionsFile`."""
        found = caveats(template, config_map)
        if _POLL not in arguments(template):
            found.append(f"no container is told --{_POLL}: they read the file only when they start (there is no /reload)")
        if labels and not self.takes_any_label(template):
            found.append(f"no container is told --{_UNAVAILABLE}: a server that starts refuses a file with labels, and ends")
        return found

    def takes_any_label(self, template: Mapping[str, Any]) -> bool:
        """See `VersionsFile`."""
        return _UNAVAILABLE in arguments(template)


TENSORFLOW_SERVING = ModelServer(
    name="tensorflow",
    title="TensorFlow Serving",
    port=status.PORT,
    path=status.path,
    parse=status.parse,
    conditions=VERSIONED,
    file=ModelsConfig(),
)
