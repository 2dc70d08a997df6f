"""Every setting: from the environment (prefix HEALER_, `__` for nesting), else from the file given by --config, else its default.

A name that is no setting is an error, in the file and in the environment.
"""

import difflib
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_origin

import yaml
from pydantic import BaseModel, Field, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from healer.engine.tuning import EngineSettings, LimitSettings
from healer.model.redact import redact
from healer.rules.grants import RuleSetSettings
from healer.rules.happening import EventsSettings
from healer.rules.pod_detectors import PodsSettings
from healer.rules.workload_detectors import WorkloadsSettings
from healer.section import PREFIX, Seconds, Section
from healer.settings.http import HttpSettings
from healer.settings.sections import (
    Alerts,
    Cluster,
    JournalSettings,
    LeaderSettings,
    Log,
    PrometheusSettings,
    RecordSettings,
)
from healer.sinks.base import SinkSettings
from healer.sinks.registry import SINKS
from healer.sinks.site import Site

_SERVICE_LINK = re.compile(r"HEALER_(SERVICE_(HOST|PORT(_\w+)?)|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)")
"""What the kubelet injects into pods beside a Service named healer (enableServiceLinks)."""


_PLAIN = re.compile(r"-?[\d.]{0,12}[a-zA-Z]{0,12}")
"""What may be shown of a value that is wrong: `maybe`, `10x`, `1h30`."""


class SettingsError(Exception):
    """The settings are not usable; the message has a line for each thing that is wrong."""


class _Environment(EnvSettingsSource):
    """The environment, where a list may also be written with commas: one,two."""

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        if get_origin(field.annotation) is tuple and isinstance(value, str) and _has_commas(value):
            return [part.strip() for part in value.split(",") if part.strip()]
        return super().decode_complex_value(field_name, field, value)


def _has_commas(value: str) -> bool:
    """Whether a list is written as words with commas, and not as JSON."""
    return not value.lstrip().startswith(("[", "{", '"'))


class Settings(BaseSettings):
    """All of them. `compose` adds a section for each sink, by the sink's name."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        nested_model_default_partial_update=True,
        use_attribute_docstrings=True,
    )

    http: HttpSettings = HttpSettings()
    cluster: Cluster = Cluster()
    alerts: Alerts = Alerts()
    prometheus: PrometheusSettings = PrometheusSettings()
    pods: PodsSettings = PodsSettings()
    workloads: WorkloadsSettings = WorkloadsSettings()
    events: EventsSettings = EventsSettings()
    engine: EngineSettings = EngineSettings()
    limits: LimitSettings = LimitSettings()
    site: Site = Site()
    log: Log = Log()
    journal: JournalSettings = JournalSettings()
    leader: LeaderSettings = LeaderSettings()
    record: RecordSettings = RecordSettings()
    rulesets: RuleSetSettings = RuleSetSettings()
    mode: Literal["observe", "approve", "enforce"] = "enforce"
    """The most that any rule may do, whatever it says: `observe` changes nothing, `approve` asks a human before each step."""
    rules_reload: Seconds = Field(3.0, gt=0)
    """Seconds between two looks at whether the rule files have changed. The kubelet changes those of a ConfigMap, within a minute
    or so."""
    shutdown: Seconds = Field(10.0, gt=0)
    """Seconds for actions under way and messages to end after SIGTERM. Keep it below terminationGracePeriodSeconds."""

    @property
    def sinks(self) -> dict[str, SinkSettings]:
        """The sections of the sinks, by their names."""
        sections = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: section for name, section in sections.items() if isinstance(section, SinkSettings)}

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment wins over the file, which comes in as arguments."""
        return _Environment(settings_cls), init_settings


class Isolated(Settings):
    """Settings of a program's own choice: nothing of the environment is read."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The arguments alone."""
        return (init_settings,)


def compose() -> None:
    """Give the settings a section for each sink that has settings. To be called again when the registry of sinks has changed."""
    own = {name: field for name, field in Settings.model_fields.items() if name in Settings.__annotations__}
    sections = {
        name: FieldInfo.from_annotated_attribute(sink.settings, sink.settings())
        for name, sink in SINKS.items()
        if sink.settings.model_fields
    }
    before = list(own)[: list(own).index("log")]  # in docs/settings.md messages stand before logs
    for model in (Settings, Isolated):
        model.__pydantic_fields__ = {name: own[name] for name in before} | sections | own
        model.model_rebuild(force=True)


compose()


def settings_schema() -> dict[str, Any]:
    """The JSON Schema of the file of settings (`--config`): editors complete and check by it."""
    schema = Settings.model_json_schema(mode="validation")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "Settings of healer"}


def load_settings(config: Path | None = None) -> Settings:
    """The settings in force. Raises SettingsError, which names every knob that is wrong and where it was set."""
    if wrong := [*_unknown(os.environ), *_not_json(os.environ)]:
        raise SettingsError("\n".join(wrong))
    values = {} if config is None else _read(config)
    try:
        return Settings(**values)
    except ValidationError as error:
        raise SettingsError("\n".join(_explain(error, config, os.environ))) from error


def isolated(values: Mapping[str, Any], where: str) -> Isolated:
    """Settings of these values alone. Raises SettingsError, which names every knob that is wrong; `where` they were written."""
    try:
        return Isolated(**values)
    except ValidationError as error:
        raise SettingsError("\n".join(_explain(error, Path(where), {}))) from error


def knobs() -> Iterator[tuple[str, str, Any, str]]:
    """Every knob: its variable, its key in the file, its default, what it is for."""
    for name, field in Settings.model_fields.items():
        section = field.default
        if not isinstance(section, Section):
            yield f"{PREFIX}{name.upper()}", name, field.default, field.description or ""
            continue
        for key, inner in type(section).model_fields.items():
            variable = f"{PREFIX}{name.upper()}__{key.upper()}"
            yield variable, f"{name}.{key}", inner.default, inner.description or f"{(type(section).__doc__ or '').strip()}"


def _read(config: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(config.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError(redact(f"{config}: {error}")) from error
    except RecursionError as error:
        raise SettingsError(f"{config}: it is nested too deeply: settings are sections of keys and values") from error
    if values is None:
        return {}
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise SettingsError(f"{config}: must be a mapping of sections, such as http:")
    return values


def _sections() -> set[str]:
    return {f"{PREFIX}{name.upper()}" for name, field in Settings.model_fields.items() if isinstance(field.default, Section)}


def _not_json(environ: Mapping[str, str]) -> Iterator[str]:
    """Mappings, and whole sections, are written as JSON in the environment; lists so, or with commas."""
    given = {name.upper(): value for name, value in environ.items()}
    lists = {variable for variable, _, default, _ in knobs() if isinstance(default, tuple)}
    forms = {variable: '["one", "two"]' for variable in lists if not _has_commas(given.get(variable, ""))}
    forms |= {variable: '{"name": "value"}' for variable, _, default, _ in knobs() if isinstance(default, dict)}
    for variable, form in (forms | dict.fromkeys(_sections(), '{"knob": 1}')).items():
        try:
            json.loads(given.get(variable, "null"))
        except ValueError:
            yield f"{variable}: is read as JSON: write it like {form}"


def _unknown(environ: Mapping[str, str]) -> Iterator[str]:
    known = [variable for variable, _, _, _ in knobs()]
    sections = _sections()
    for variable in environ:
        name = variable.upper()
        if not name.startswith(PREFIX) or name in known or name in sections or _SERVICE_LINK.fullmatch(name):
            continue
        near = difflib.get_close_matches(name, known, 1)
        yield f"{variable}: there is no such setting" + (f"; did you mean {near[0]}?" if near else " (see docs/settings.md)")


_FORMS = {
    "url": "a URL, as http://prometheus.monitoring:9090",
    "address": "HOST:PORT",
    "name": "a name as Kubernetes has them: lower-case letters, digits and -",
    "namespace": "the name of a namespace",
    "namespaces": "names of namespaces",
}
"""How a knob of that name is written, where its value has another form."""


def _explain(error: ValidationError, config: Path | None, environ: Mapping[str, str]) -> Iterator[str]:
    keys = [key for _, key, _, _ in knobs()]
    for problem in error.errors(include_url=False):
        parts = [part for part in problem["loc"] if isinstance(part, str)]
        key, variable = ".".join(parts), PREFIX + "__".join(part.upper() for part in parts)
        where = variable if variable in {name.upper() for name in environ} or config is None else f"{config}: {key}"
        if problem["type"] == "extra_forbidden":
            near = difflib.get_close_matches(key, keys, 1)
            yield f"{where}: there is no such setting" + (f"; did you mean {near[0]}?" if near else " (see docs/settings.md)")
        elif (
            isinstance(problem["input"], dict | BaseModel) and problem["type"] == "value_error"
        ):  # of several settings: it names them
            yield str(problem["msg"]).removeprefix("Value error, ")
        else:
            form = _FORMS.get(parts[-1] if parts else "") if problem["type"] == "string_pattern_mismatch" else None
            said = f"must be {form}" if form else problem["msg"].removeprefix("Value error, ")
            yield f"{where}: {said}{_given(problem['input'])}"


def _given(value: object) -> str:
    """What was given instead, where it can be no secret that came to the wrong place: a number, or one short word."""
    said = repr(value)
    plain = isinstance(value, int | float) or (isinstance(value, str) and _PLAIN.fullmatch(value) is not None)
    return f", not {said}" if plain and redact(said) == said else ""
