"""The messages of TensorFlow Serving's models.config, described for the protobuf library.

Source: tensorflow/serving, tensorflow_serving/config/{model_server_config,file_system_storage_path_source,logging_config,
log_collector_config}.proto (2026-07). They are described here because the tensorflow-serving-api package, which has them
generated, brings all of TensorFlow. Fields that configure nothing in a models.config (FileSystemStoragePathSourceConfig's own)
are left out.
"""

from typing import Any

from google.protobuf import any_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor_pb2 import DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto

_PACKAGE = "tensorflow.serving"
_SCALARS = {
    "string": FieldDescriptorProto.TYPE_STRING,
    "int32": FieldDescriptorProto.TYPE_INT32,
    "int64": FieldDescriptorProto.TYPE_INT64,
    "uint32": FieldDescriptorProto.TYPE_UINT32,
    "double": FieldDescriptorProto.TYPE_DOUBLE,
}
_POLICY = "FileSystemStoragePathSourceConfig.ServableVersionPolicy"


def _field(name: str, number: int, kind: str, *, repeated: bool = False, oneof: bool = False) -> FieldDescriptorProto:
    """A field. A `kind` that is not a scalar names a message, or an enum with "enum " before it."""
    label = FieldDescriptorProto.LABEL_REPEATED if repeated else FieldDescriptorProto.LABEL_OPTIONAL
    field = FieldDescriptorProto(name=name, number=number, label=label)
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
    else:
        is_enum, name_of = kind.startswith("enum "), kind.removeprefix("enum ")
        field.type = FieldDescriptorProto.TYPE_ENUM if is_enum else FieldDescriptorProto.TYPE_MESSAGE
        field.type_name = f".{name_of}" if name_of.startswith("google.") else f".{_PACKAGE}.{name_of}"
    if oneof:
        field.oneof_index = 0
    return field


def _message(
    name: str, *fields: FieldDescriptorProto, oneof: str = "", nested: tuple[DescriptorProto, ...] = ()
) -> DescriptorProto:
    message = DescriptorProto(name=name, field=fields, nested_type=nested)
    if oneof:
        message.oneof_decl.add(name=oneof)
    return message


def _enum(name: str, *values: str) -> EnumDescriptorProto:
    enum = EnumDescriptorProto(name=name)
    for number, value in enumerate(values):
        enum.value.add(name=value, number=number)
    return enum


def _per_task() -> DescriptorProto:
    """PerTaskSamplingConfig: its task_index is `optional`, which proto3 writes as a oneof of one."""
    task = _field("task_index", 2, "int32", oneof=True)
    task.proto3_optional = True
    fields = (_field("dc", 1, "string"), task, _field("sampling_rate", 3, "double"))
    return _message("PerTaskSamplingConfig", *fields, oneof="_task_index")


def _labels() -> DescriptorProto:
    """The entry of map<string, int64> version_labels."""
    entry = _message("VersionLabelsEntry", _field("key", 1, "string"), _field("value", 2, "int64"))
    entry.options.map_entry = True
    return entry


def _policy() -> DescriptorProto:
    """ServableVersionPolicy, in the message that it is nested in."""
    policy = _message(
        "ServableVersionPolicy",
        _field("latest", 100, f"{_POLICY}.Latest", oneof=True),
        _field("all", 101, f"{_POLICY}.All", oneof=True),
        _field("specific", 102, f"{_POLICY}.Specific", oneof=True),
        oneof="policy_choice",
        nested=(
            _message("Latest", _field("num_versions", 1, "uint32")),
            _message("All"),
            _message("Specific", _field("versions", 1, "int64", repeated=True)),
        ),
    )
    return _message("FileSystemStoragePathSourceConfig", nested=(policy,))


def _model() -> DescriptorProto:
    return _message(
        "ModelConfig",
        _field("name", 1, "string"),
        _field("base_path", 2, "string"),
        _field("model_type", 3, "enum ModelType"),
        _field("model_platform", 4, "string"),
        _field("logging_config", 6, "LoggingConfig"),
        _field("model_version_policy", 7, _POLICY),
        _field("version_labels", 8, "ModelConfig.VersionLabelsEntry", repeated=True),
        nested=(_labels(),),
    )


def _file() -> FileDescriptorProto:
    return FileDescriptorProto(
        name="healer/models_config.proto",
        package=_PACKAGE,
        syntax="proto3",
        dependency=[any_pb2.DESCRIPTOR.name],
        enum_type=[_enum("ModelType", "MODEL_TYPE_UNSPECIFIED", "TENSORFLOW", "OTHER")],
        message_type=[
            _message("LogCollectorConfig", _field("type", 1, "string"), _field("filename_prefix", 2, "string")),
            _per_task(),
            _message(
                "SamplingConfig",
                _field("sampling_rate", 1, "double"),
                _field("attributes", 2, "int32"),
                _field("per_task_sampling_configs", 3, "PerTaskSamplingConfig", repeated=True),
            ),
            _message(
                "LoggingConfig",
                _field("log_collector_config", 1, "LogCollectorConfig"),
                _field("sampling_config", 2, "SamplingConfig"),
                _field("custom_logging_config", 3, "google.protobuf.Any"),
            ),
            _policy(),
            _model(),
            _message("ModelConfigList", _field("config", 1, "ModelConfig", repeated=True)),
            _message(
                "ModelServerConfig",
                _field("model_config_list", 1, "ModelConfigList", oneof=True),
                _field("custom_model_config", 2, "google.protobuf.Any", oneof=True),
                oneof="config",
            ),
        ],
    )


def _pool() -> descriptor_pool.DescriptorPool:
    """A pool of its own, so that it does not clash with TensorFlow's generated files in the same program."""
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(any_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(_file())
    return pool


_POOL = _pool()
ModelServerConfig: type[Any] = message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"{_PACKAGE}.ModelServerConfig"))
"""A whole models.config."""
VersionLabel: type[Any] = message_factory.GetMessageClass(
    _POOL.FindMessageTypeByName(f"{_PACKAGE}.ModelConfig.VersionLabelsEntry")
)
"""One entry of a model's `version_labels`."""
