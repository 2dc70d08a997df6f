"""TensorFlow Serving as rules name it."""

from healer.model_servers.tensorflow_serving.status import PORT
from healer.rules.vocabulary import ConditionSpec, ServerSpec

SPEC = ServerSpec(
    name="tensorflow",
    title="TensorFlow Serving",
    request="GET /v1/models/NAME",
    port=PORT,
    conditions={
        "ModelNotAvailable": ConditionSpec("no version is AVAILABLE, and none is on its way"),
        "ModelStuckLoading": ConditionSpec("a version is START or LOADING for longer than `loading`"),
        "ModelVersionMissing": ConditionSpec("the version of the rule is not AVAILABLE", usual=False, of_version=True),
    },
)
