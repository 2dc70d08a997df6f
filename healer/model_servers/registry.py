"""The model servers that rules may name: a new one is a new file and one line here."""

from healer.model_servers.tensorflow_serving import server as tensorflow_serving
from healer.rules.vocabulary import ServerSpec

SERVERS: dict[str, ServerSpec] = {spec.name: spec for spec in (tensorflow_serving.SPEC,)}
