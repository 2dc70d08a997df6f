"""The model servers that rules may name: a new one is a new file and one line here."""

from healer.model_servers.base import ModelServer
from healer.model_servers.sglang import SGLANG
from healer.model_servers.tensorflow_serving.server import TENSORFLOW_SERVING
from healer.model_servers.triton import TRITON
from healer.model_servers.v2 import V2
from healer.model_servers.vllm import VLLM

SERVERS: dict[str, ModelServer] = {server.name: server for server in (TENSORFLOW_SERVING, TRITON, V2, VLLM, SGLANG)}
