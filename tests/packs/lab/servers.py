"""The model servers of a scene: what the server in each of its pods answers, well or ill."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from aiohttp import web

from healer.rules.served_model import ServedModel
from healer.rules.triggers import MODEL
from tests.packs.lab.models_file import BROKEN, WANTED
from tests.packs.lab.scene import Scene
from tests.packs.troubles import Trouble
from tests.support.model_servers import MODEL as RANKER
from tests.support.model_servers import TOKENS, Answer, Engine, Readiness, Repository
from tests.support.processes import PATIENCE
from tests.support.tensorflow_serving import status

IDLE = "vllm idle"
"""vLLM whose engines have nothing to do, and are asked for tokens."""
LOOKED_AT = {
    "tensorflow": f"/v1/models/{RANKER}",
    "v2": f"/v2/models/{RANKER}/ready",
    "vllm": "/metrics",
    IDLE: TOKENS,
    "sglang": "/health",
    "triton": "/v2/repository/index",
}
"""A path of each server that healer asks for while the server is well."""
_ENOUGH = 8
"""Looks in which healer would have acted."""


def _engine(server: str, *, running: int = 8, waiting: int = 0, moves: bool = True, health: int = 200) -> Callable[[str], Answer]:
    def made(model: str) -> Answer:
        engine = Engine(model)
        engine.running, engine.waiting, engine.moves, engine.health = running, waiting, moves, health
        answer: Answer = getattr(engine, server)
        return answer

    return made


def _repository(*versions: tuple[str, str, str]) -> Callable[[str], Answer]:
    return lambda model: Repository(*versions, model=model).triton


def _readiness(*, ready: bool) -> Callable[[str], Answer]:
    return lambda model: Readiness(ready=ready, model=model).kserve


def _versions(*versions: tuple[Any, ...]) -> Callable[[str], Answer]:
    return lambda _: lambda request: status(request, *versions)


_SERVES = ("1", "READY", "")
_WELL: Mapping[str, Callable[[str], Answer]] = {
    "tensorflow": _versions((1, "AVAILABLE"), (WANTED, "AVAILABLE")),
    "vllm": _engine("vllm"),
    IDLE: _engine("vllm", running=0),
    "sglang": _engine("sglang"),
    "triton": _repository(_SERVES),
    "v2": _readiness(ready=True),
}
_QUEUES: Mapping[str, Callable[[str], Answer]] = {
    "Saturated": _engine("vllm", waiting=900),
    "Waiting": _engine("vllm", running=0, waiting=5, moves=False),
}
"""Engines that nobody may ask for a token."""
_ILL: Mapping[tuple[str, str], Callable[[str], Answer]] = {
    ("tensorflow", "ModelStuckLoading"): _versions((WANTED, "LOADING")),
    ("tensorflow", "ModelNotAvailable"): _versions((WANTED, "END")),
    ("vllm", "EngineStalled"): _engine("vllm", moves=False),
    ("vllm", "EngineDead"): _engine("vllm", health=503),
    ("vllm", "Mute"): _engine("vllm", running=0, moves=False),
    (IDLE, "EngineStalled"): _engine("vllm", running=0, moves=False),
    (IDLE, "Idle"): _WELL[IDLE],
    **{(server, name): engine for server in ("vllm", IDLE) for name, engine in _QUEUES.items()},
    ("sglang", "EngineStalled"): _engine("sglang", moves=False),
    ("sglang", "Saturated"): _engine("sglang", waiting=900, health=503),
    ("sglang", "EngineUnhealthy"): _engine("sglang", running=0, health=503),
    ("triton", "ModelStuckLoading"): _repository(("1", "LOADING", "")),
    ("triton", "ModelNotAvailable"): _repository(("1", "UNAVAILABLE", "unloaded")),
    ("triton", "ModelVersionFailed"): _repository(_SERVES, ("2", "UNAVAILABLE", "Internal: failed to load")),
    ("v2", "ModelNotReady"): _readiness(ready=False),
    ("v2", "ModelStuckLoading"): _readiness(ready=False),
}
"""By the server and the condition, or the situation."""
_OF_FILE = {("tensorflow", "ModelVersionFailed"), ("tensorflow", "ModelVersionMissing")}
"""What TensorFlow Serving has because of its file."""


_CLOSED = {("tensorflow", "ModelStuckStarting"), ("triton", "ModelStuckStarting")}
"""What shows by a port at which nothing listens."""


def addresses(number: int, replicas: int) -> list[str]:
    """Those of the pods of a scene, and as many for the pods that replace them."""
    return [f"127.0.{number + 1}.{each + 1}" for each in range(2 * replicas)]


def _kind(served: ServedModel) -> str:
    return served.server if served.generate is None else IDLE


def install(scene: Scene, trouble: Trouble) -> None:
    """Servers at all addresses of the scene; that of a pod is ill while `scene.ill` has the pod."""
    served = scene.ruling.when.get(MODEL)
    if served is None:
        return
    server = _kind(served)
    well = _WELL[server]
    shown = (server, trouble.name)
    ill = partial(_of_file, scene) if shown in _OF_FILE else _ILL.get(shown, well)(served.name)
    assert shown in {*_OF_FILE, *_ILL, *_CLOSED}
    for address in scene.addresses:
        scene.stage.servers.says[address] = partial(_answer, scene, address, well(served.name), ill)


async def close(scene: Scene, pods: Iterable[str]) -> None:
    """The servers of these pods do not listen yet."""
    await scene.stage.lab.wait_for(lambda _: all(scene.pods()[pod]["status"].get("podIP") for pod in pods), PATIENCE)
    await scene.stage.servers.close(*(str(scene.pods()[pod]["status"]["podIP"]) for pod in pods))


def _of_file(scene: Scene, request: web.Request) -> web.StreamResponse:
    """The server has what the file says; the version that is BROKEN does not load."""
    assert scene.file is not None
    failed = ("END", "NOT_FOUND", "no such file")
    return status(request, *((each, *(failed if each == BROKEN else ("AVAILABLE",))) for each in scene.file.versions()))


def _answer(scene: Scene, address: str, well: Answer, ill: Answer, request: web.Request) -> web.StreamResponse:
    here = {name for name, pod in scene.pods().items() if pod["status"].get("podIP") == address}
    return (ill if here & scene.ill else well)(request)


async def looked_at(scene: Scene) -> None:
    """Return when healer has seen each server well: what has never been is starting."""
    served = scene.ruling.when.get(MODEL)
    if served is not None:
        found = scene.stage.servers.listening.intersection(_addresses(scene))
        await scene.stage.servers.looks(2, LOOKED_AT[_kind(served)], *found)


def _addresses(scene: Scene) -> list[str]:
    return [str(pod["status"]["podIP"]) for pod in scene.pods().values()]


async def left_alone(scene: Scene, trouble: Trouble, pod: str) -> None:
    """Return when healer has looked at the pod so often that it would have acted; an engine that may not be asked for a token was
    asked for none."""
    servers, address = scene.stage.servers, str(scene.pods()[pod]["status"]["podIP"])
    if trouble.name == "Idle":
        await servers.looks(_ENOUGH, TOKENS, address)
        return
    await servers.looks(2, "/metrics", address)  # what was asked before is over
    before = servers.count(TOKENS, address)
    await servers.looks(_ENOUGH, "/metrics", address)
    assert servers.count(TOKENS, address) == before
