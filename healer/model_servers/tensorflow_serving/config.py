"""The models of a models.config: the versions that are loaded, and their labels."""

from typing import Any

from google.protobuf import text_format

from healer.model_servers.tensorflow_serving.schema import ModelServerConfig
from healer.model_servers.tensorflow_serving.spans import fields_of
from healer.model_servers.versions import DIGITS, ConfigError, ConfiguredModel, Policy, specific


def read(text: str) -> Any:
    """The text as a ModelServerConfig message. Raises ConfigError, with line and column where the fault has one."""
    fields_of(text)
    message = ModelServerConfig()
    try:
        text_format.Parse(text, message)
    except text_format.ParseError as error:
        raise ConfigError(_reason(error)) from error
    names = [config.name for config in message.model_config_list.config]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"model {twice[0]!r} is listed twice: TensorFlow Serving refuses that")
    return message


def _reason(error: text_format.ParseError) -> str:
    line, column, text = error.GetLine(), error.GetColumn(), str(error)
    if line is None:
        return f"{text}: TensorFlow Serving may know more than healer, which changes no file that it cannot check"
    reason = text.removeprefix(f"{line}:{column} : ").rpartition("': ")[2]
    hint = f": {DIGITS}" if "parse integer" in reason else ""
    return f"line {line}, column {column}: {reason.rstrip('.')}{hint}"


def models(text: str) -> tuple[ConfiguredModel, ...]:
    """The models of a models.config, in its order. Raises ConfigError."""
    return tuple(_configured(config) for config in read(text).model_config_list.config)


def find(text: str, name: str) -> ConfiguredModel:
    """One model. Raises ConfigError when there is none of that name."""
    message = read(text)
    for config in message.model_config_list.config:
        if config.name == name:
            return _configured(config)
    if message.WhichOneof("config") == "custom_model_config":
        raise ConfigError("it has a custom_model_config, which holds no list of models: nothing for healer to change")
    known = ", ".join(repr(config.name) for config in message.model_config_list.config)
    raise ConfigError(f"there is no model {name!r} in it; there " + (f"are {known}" if known else "is none at all"))


def _configured(config: Any) -> ConfiguredModel:
    return ConfiguredModel(
        config.name, config.base_path, _policy(config.model_version_policy), dict(sorted(config.version_labels.items()))
    )


def _policy(message: Any) -> Policy:
    """A policy that is left out, and a count of 0, mean the latest version alone (file_system_storage_path_source.cc)."""
    match message.WhichOneof("policy_choice"):
        case "all":
            return Policy("all")
        case "specific":
            return specific(message.specific.versions)
        case _:
            return Policy("latest", max(message.latest.num_versions, 1))
