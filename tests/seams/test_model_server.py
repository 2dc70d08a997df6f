"""The seam of model servers: one of the tests' own, added from one file, is asked over HTTP and its dead engine is evicted."""

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from healer.daemon.rulefiles import vocabulary
from healer.lab import Lab
from healer.model.incident import State
from healer.model_servers.asking import ask
from healer.model_servers.registry import SERVERS
from healer.model_servers.status import ModelStatus, Observation
from healer.rules.loading import load
from healer.rules.reference import tables
from healer.rules.served_model import ServedModel
from tests.integration.world import evictions, pods, rule, ruleset, serve
from tests.seams.health_server import HEALTH_SERVER
from tests.seams.house import house
from tests.seams.index_server import INDEX_SERVER

pytestmark = pytest.mark.slow

ADDRESSES = ("127.0.0.1", "127.0.0.2", "127.0.0.3")


@pytest.fixture(autouse=True)
def added(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one line that the registry needs."""
    monkeypatch.setitem(SERVERS, HEALTH_SERVER.name, HEALTH_SERVER)


class HealthServers:
    """Real servers on the addresses of the pods, on one port; those in `dead` answer 503."""

    def __init__(self) -> None:
        self.port = 0
        self.dead: set[str] = set()

    async def answer(self, request: web.Request) -> web.Response:
        """What the server at the address that was asked says."""
        assert request.transport is not None
        return web.Response(status=503 if request.transport.get_extra_info("sockname")[0] in self.dead else 200)


@pytest.fixture
async def servers() -> AsyncIterator[HealthServers]:
    found = HealthServers()
    app = web.Application()
    app.router.add_get("/health", found.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    for address in ADDRESSES:
        await web.TCPSite(runner, address, found.port).start()
        found.port = found.port or runner.addresses[0][1]
    yield found
    await runner.cleanup()


async def test_a_pod_whose_engine_is_dead_is_evicted_and_the_workload_verified(
    lab: Lab, servers: HealthServers, tmp_path: Path
) -> None:
    """Its status is read from its own path, and its own condition is what the rule looks for by default."""
    await serve(lab, addresses=ADDRESSES, min_available=None)
    dead = min(pods(lab))
    servers.dead = {pods(lab)[dead]["status"]["podIP"]}

    def replaced(lab: Lab) -> bool:
        return dead not in pods(lab)

    when = {"model": {"name": "llm", "server": "health", "port": servers.port, "every": "1s"}}
    async with house(lab, tmp_path, rule("dead-engine", when=when)) as healer:
        await lab.wait_for(replaced)
        servers.dead.clear()  # the new process serves
        healed = await healer.told.until(State.HEALED)
    assert evictions(lab) == [dead]
    assert any("EngineDead: model llm: the engine is dead (GET /health answers 503)" in e.reason.text for e in healed.history)


def test_the_rule_language_and_its_reference_follow() -> None:
    """Its name, its port and its conditions are those that rules may use, and docs/rules.md lists them."""
    when = {"model": {"name": "llm", "server": "health"}}
    (bound,), problems = load(ruleset(rule("dead-engine", when=when)), "f.yaml", vocabulary())
    assert problems == []
    assert bound.rule.when.names == ("EngineDead",)
    assert bound.rule.when.value.port == 8000
    made = tables(vocabulary())
    assert "| `health` | a server with a health check | `GET /health` | 8000 | `5m` |" in made["servers"]
    assert "| `health` | `EngineDead` | yes | `GET /health` answers 503 |" in made["server_conditions"]


@pytest.mark.parametrize(
    ("key", "value", "message", "hint"),
    [
        ("server", "healht", "server 'healht' is not known", "did you mean health?"),
        ("conditions", ["ModelStuckLoading"], "conditions 'ModelStuckLoading' is not known", "one of EngineDead"),
        ("version", 3, "server health reports no versions", "delete the line"),
    ],
)
def test_what_it_does_not_have_is_an_error_with_its_line(key: str, value: object, message: str, hint: str) -> None:
    """A condition of another server, and a version, are no conditions and no version of this one."""
    when = {"model": {"name": "llm", "server": "health", key: value}}
    text = ruleset(rule("dead-engine", when=when))
    _, (problem,) = load(text, "f.yaml", vocabulary())
    where = value[0] if isinstance(value, list) else f"{key}: {value}"
    assert (problem.line, problem.message, problem.hint) == (1 + text[: text.index(str(where))].count("\n"), message, hint)


def test_a_version_that_it_cannot_pin_is_an_error() -> None:
    """It has no file that names versions, and the rule's step would ask for one."""
    when = {"model": {"name": "llm", "server": "health"}}
    step = {"pinModelVersion": {"configMap": "models", "model": "llm", "version": 3}}
    _, (problem,) = load(ruleset(rule("dead-engine", when=when, heal=[step])), "f.yaml", vocabulary())
    assert problem.message == "healer cannot pin a version on the server health; it can on tensorflow"


async def test_a_server_whose_answer_is_about_all_its_models() -> None:
    """Its own method is used, its answer is read for the model that was asked about, and the versioned conditions are shared."""

    async def index(_: web.Request) -> web.Response:
        found = [("ranker", "1", "READY"), ("ranker", "2", "LOADING"), ("other", "7", "UNAVAILABLE")]
        return web.json_response([{"name": name, "version": version, "state": state} for name, version, state in found])

    app = web.Application()
    app.router.add_post("/v2/repository/index", index)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with aiohttp.ClientSession() as session:
            port = runner.addresses[0][1]
            ranker, other = [await ask(session, INDEX_SERVER, "127.0.0.1", port, name) for name in ("ranker", "other")]
    finally:
        await runner.cleanup()
    assert str(ranker) == "2 LOADING, 1 AVAILABLE"
    assert ranker.available == {1}

    def detected(status: ModelStatus, loading: dict[int, float]) -> set[str]:
        seen = Observation(ServedModel(name="any", version=2, loading=60.0), status, loading)
        return {name for name, condition in INDEX_SERVER.conditions.items() if condition.detect(seen) is not None}

    assert detected(ranker, {2: 61.0}) == {"ModelStuckLoading", "ModelVersionMissing"}
    assert detected(other, {}) == {"ModelNotAvailable", "ModelVersionMissing"}
