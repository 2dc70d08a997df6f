"""The model servers that rules may name: a new one is a new file and one line here."""

from healer.model_servers.base import ModelServer
from healer.model_servers.tensorflow_serving.server import TENSORFLOW_SERVING

SERVERS: dict[str, ModelServer] = {server.name: server for server in (TENSORFLOW_SERVING,)}
