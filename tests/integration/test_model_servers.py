"""Each model server with the real daemon: what is sick is evicted and made good; what only looks sick is left alone."""

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from healer.actions.pin_model_version import PinModelVersionParams
from healer.lab import Lab, serving
from healer.lab.kinds import POD
from healer.lab.objects import is_ready
from healer.model.incident import State
from healer.model_servers.tensorflow_serving.config import find
from healer.rules.rulebook import Rulebook
from healer.rules.schema import Step
from tests.integration.test_failures import daemon, pack, retire
from tests.integration.world import NAMESPACE, evictions, pods, rule, serve, serves
from tests.seams.house import house
from tests.support.model_servers import MODEL, Answer, Engine, Readiness, Repository, Servers, model_servers
from tests.support.processes import PATIENCE
from tests.support.tensorflow_serving import status, status_servers

ADDRESSES = ("127.0.0.1", "127.0.0.2", "127.0.0.3")


@pytest.fixture
async def servers() -> AsyncIterator[Servers]:
    async with model_servers(*ADDRESSES) as found:
        yield found


def when(servers: Servers, server: str, **more: Any) -> dict[str, Any]:
    return {"model": {"name": MODEL, "server": server, "port": servers.port, "every": "1s"} | more}


async def well_pods(lab: Lab, servers: Servers, well: Callable[[], Answer]) -> tuple[str, str]:
    """Have three servers that are well; returns the name and the address of one of their pods."""
    await serve(lab, addresses=ADDRESSES, min_available=None)
    for address in ADDRESSES:
        servers.says[address] = well()
    name = min(pods(lab))
    return name, pods(lab)[name]["status"]["podIP"]


def replaced(sick: str) -> Callable[[Lab], bool]:
    return lambda lab: sick not in pods(lab)


def working(server: str) -> Callable[[], Answer]:
    def engine() -> Answer:
        made = Engine()
        made.running, made.waiting = 3, 40
        found: Answer = getattr(made, server)
        return found

    return engine


@pytest.mark.parametrize("server", ["vllm", "sglang"])
async def test_an_engine_that_hangs_is_evicted_although_its_health_check_passes(
    lab: Lab, servers: Servers, tmp_path: Path, server: str
) -> None:
    """The others are as busy, and move: they are left alone."""
    sick, address = await well_pods(lab, servers, working(server))
    hung = Engine()
    hung.running, hung.moves, hung.steps = 3, False, 5
    servers.says[address] = getattr(hung, server)
    async with house(lab, tmp_path, rule("hang", when=when(servers, server, stalled="1s"))) as healer:
        await lab.wait_for(replaced(sick))
        servers.says[address] = working(server)()  # the new process moves
        healed = await healer.told.until(State.HEALED)
    assert evictions(lab) == [sick]
    assert any("EngineStalled" in e.reason.text and "has made no step for" in e.reason.text for e in healed.history)


@pytest.mark.parametrize("server", ["vllm", "sglang"])
async def test_an_engine_that_works_sleeps_or_cannot_be_seen_is_left_alone(
    lab: Lab, servers: Servers, tmp_path: Path, server: str
) -> None:
    """One prefills a long prompt: no step of it has an output. One is paused, and of one the metrics cannot be read. Then the
    first hangs, and only it is evicted."""
    sick, address = await well_pods(lab, servers, working(server))
    paused, unread = sorted({*ADDRESSES} - {address})
    engines = {each: Engine() for each in ADDRESSES}
    for each, engine in engines.items():
        engine.running, engine.waiting, engine.outputs = 3, 40, False
        engine.moves = each == address
        servers.says[each] = getattr(engine, server)
    engines[paused].paused = True
    engines[unread].metrics = web.Response(text="<html>not here</html>", status=404)
    async with house(lab, tmp_path, rule("hang", when=when(servers, server, stalled="1s"))) as healer:
        await servers.looks(4, "/metrics", *ADDRESSES)
        assert evictions(lab) == []
        engines[address].moves = False
        await lab.wait_for(replaced(sick))
        servers.says[address] = working(server)()
        await healer.told.until(State.HEALED)
    assert evictions(lab) == [sick]


async def test_a_dead_engine_of_vllm_is_evicted_and_a_proxy_without_a_server_is_not(
    lab: Lab, servers: Servers, tmp_path: Path
) -> None:
    """A sidecar answers 503 with a text while the server starts; vLLM's own 503 has none."""
    sick, address = await well_pods(lab, servers, working("vllm"))
    starting, asleep = sorted({*ADDRESSES} - {address})
    servers.says[starting] = lambda _: web.Response(status=503, text="upstream connect error: connection refused")
    sleeper = Engine()
    sleeper.running, sleeper.moves, sleeper.awake = 2, False, False
    servers.says[asleep] = sleeper.vllm
    async with house(lab, tmp_path, rule("dead", when=when(servers, "vllm", stalled="1s"))) as healer:
        await servers.looks(4, "/health", starting, asleep)
        assert evictions(lab) == []
        dead = Engine()
        dead.health = 503
        servers.says[address] = dead.vllm
        await lab.wait_for(replaced(sick))
        servers.says[address] = working("vllm")()
        healed = await healer.told.until(State.HEALED)
    assert evictions(lab) == [sick]
    assert any("EngineDead: model ranker: the engine is dead" in entry.reason.text for entry in healed.history)


async def test_an_sglang_server_that_generates_nothing_is_evicted_and_one_that_starts_is_not(
    lab: Lab, servers: Servers, tmp_path: Path
) -> None:
    """It hangs without a request in work: only its health check, which generates a token, finds that. One that was never ready
    is starting, and one whose engine moves is only slow."""
    sick, address = await well_pods(lab, servers, working("sglang"))
    starting, slow = sorted({*ADDRESSES} - {address})
    engines = {each: Engine() for each in ADDRESSES}
    engines[starting].health = 503
    engines[slow].running = 3
    for each, engine in engines.items():
        servers.says[each] = engine.sglang
    async with house(lab, tmp_path, rule("sick", when=when(servers, "sglang", stalled="1s"))) as healer:
        await servers.looks(2, "/health", address, slow)
        engines[slow].health = 503
        await servers.looks(4, "/health", starting, slow)
        assert evictions(lab) == []
        engines[address].health = 503
        await lab.wait_for(replaced(sick))
        servers.says[address] = working("sglang")()
        engines[starting].health = engines[slow].health = 200
        healed = await healer.told.until(State.HEALED)
    assert evictions(lab) == [sick]
    assert any("EngineUnhealthy" in entry.reason.text for entry in healed.history)


async def test_a_model_that_triton_has_not_is_healed_and_a_failed_newer_version_only_told(
    lab: Lab, servers: Servers, tmp_path: Path
) -> None:
    """A pod that serves version 1 is never taken down because version 2 does not load."""
    sick, address = await well_pods(lab, servers, lambda: Repository(("1", "READY", ""), ("2", "LOADING", "")).triton)
    failed = min({*ADDRESSES} - {address})
    repository = Repository(("1", "READY", ""), ("2", "UNAVAILABLE", "Internal: failed to load 'ranker'"))
    servers.says[failed] = repository.triton
    page = [{"page": {}, "verify": {"within": "30s", "stable": "300ms"}}]
    rules = (
        rule("gone", when=when(servers, "triton")),
        rule("failed", when=when(servers, "triton", conditions=["ModelVersionFailed"]), heal=page),
    )
    async with house(lab, tmp_path, *rules) as healer:
        told = await healer.told.until(State.VERIFYING)
        assert "version 2 did not load, and version 1 serves in its place" in str(told.history)
        await servers.looks(3, "/v2/repository/index", failed)
        assert evictions(lab) == []
        servers.says[address] = Repository(("1", "UNAVAILABLE", "unloaded")).triton
        await lab.wait_for(replaced(sick))
        servers.says[address] = servers.says[failed] = Repository(("2", "READY", "")).triton
        await healer.told.until(State.HEALED)
    assert evictions(lab) == [sick]


async def test_a_version_that_triton_has_not_is_healed_where_it_is_wanted_and_one_that_others_have_is_no_reason(
    lab: Lab, servers: Servers, tmp_path: Path
) -> None:
    """The others have version 2 beside version 1; the rule that wants version 1 sees nothing."""
    sick, address = await well_pods(lab, servers, lambda: Repository(("1", "READY", ""), ("2", "READY", "")).triton)
    rules = (
        rule("second", when=when(servers, "triton", version=2, conditions=["ModelVersionMissing"])),
        rule("first", when=when(servers, "triton", version=1, conditions=["ModelVersionMissing"])),
    )
    async with house(lab, tmp_path, *rules) as healer:
        await servers.looks(3, "/v2/repository/index", *ADDRESSES)
        assert evictions(lab) == []
        servers.says[address] = Repository(("1", "READY", "")).triton
        await lab.wait_for(replaced(sick))
        servers.says[address] = Repository(("1", "READY", ""), ("2", "READY", "")).triton
        healed = await healer.told.until(State.HEALED)
    assert evictions(lab) == [sick]
    assert {incident.rule for incident in healer.told.incidents.values()} == {healed.rule} == {"test/second"}


@pytest.mark.parametrize("server", ["kserve", "mlserver"])
async def test_a_model_that_is_no_longer_ready_is_evicted_and_one_that_loads_is_not(
    lab: Lab, servers: Servers, tmp_path: Path, server: str
) -> None:
    """One that was never ready since healer looks is loading; a proxy's own 503 says nothing of the model."""
    sick, address = await well_pods(lab, servers, lambda: getattr(Readiness(), server))
    loading, proxied = sorted({*ADDRESSES} - {address})
    servers.says[loading] = getattr(Readiness(ready=False), server)
    async with house(lab, tmp_path, rule("unready", when=when(servers, "v2"))) as healer:
        await servers.looks(2, f"/v2/models/{MODEL}/ready", proxied)
        servers.says[proxied] = lambda _: web.Response(status=503, text="no healthy upstream")
        await servers.looks(3, f"/v2/models/{MODEL}/ready", loading, proxied)
        assert evictions(lab) == []
        servers.says[address] = getattr(Readiness(ready=False), server)
        await lab.wait_for(replaced(sick))
        for each in ADDRESSES:
            servers.says[each] = getattr(Readiness(), server)
        await healer.told.until(State.HEALED)
    assert evictions(lab) == [sick]


@pytest.mark.parametrize(
    ("server", "condition", "loading", "ready"),
    [
        ("triton", "ModelStuckLoading", Repository(("1", "LOADING", "")).triton, Repository(("1", "READY", "")).triton),
        ("v2", "ModelStuckLoading", Readiness(ready=False).kserve, Readiness().kserve),
        ("sglang", "EngineStuckStarting", lambda _: web.Response(status=503), lambda _: web.Response(status=200)),
    ],
)
async def test_a_server_that_does_not_come_up_is_evicted_after_that_long_and_not_before(
    lab: Lab, servers: Servers, tmp_path: Path, server: str, condition: str, loading: Answer, ready: Answer
) -> None:
    """The same three seconds are too long for the one rule, and no time for the other, which only tells."""
    sick, address = await well_pods(lab, servers, lambda: ready)
    servers.says[address] = loading
    rules = (
        rule("late", when=when(servers, server, conditions=[condition], loading="3s")),
        rule("in-time", when=when(servers, server, conditions=[condition], loading="20m"), heal=[{"page": {}}]),
    )
    async with house(lab, tmp_path, *rules) as healer:
        await lab.wait_for(replaced(sick))
        servers.says[address] = ready
        healed = await healer.told.until(State.HEALED)
    assert evictions(lab) == [sick]
    assert healed.rule == "test/late"
    assert {incident.rule for incident in healer.told.incidents.values()} == {"test/late"}


@pytest.mark.parametrize(
    ("server", "condition", "ready"),
    [
        ("tensorflow", "ModelStuckStarting", lambda request: status(request, (1, "AVAILABLE"))),
        ("triton", "ModelStuckStarting", Repository(("1", "READY", "")).triton),
        ("vllm", "EngineStuckStarting", Engine().vllm),
    ],
)
async def test_a_server_that_opens_no_port_is_evicted_and_one_that_is_ready_was_or_is_slow_is_not(
    lab: Lab, tmp_path: Path, server: str, condition: str, ready: Answer
) -> None:
    """Nothing listens at three of four pods. Kubernetes calls one ready, and called another one so. The same three seconds are
    too long for the one rule, and no time for the other, which only tells."""
    places = [f"127.0.1.{number}" for number in range(1, 6)]
    async with model_servers(*places) as servers:
        servers.says |= dict.fromkeys(places, ready)
        await lab.apply(serving(replicas=4, addresses=places, min_available=None, behaviour="hang"))
        await lab.wait_for(lambda lab: sum("podIP" in pod["status"] for pod in pods(lab).values()) == 4, PATIENCE)
        stuck, probed, served, well = pods(lab)
        for name in (probed, served, well):
            await lab.behave(NAMESPACE, name, "ok")
        await lab.wait_for(lambda lab: sum(map(is_ready, pods(lab).values())) == 3, PATIENCE)
        await lab.behave(NAMESPACE, served, "manual")
        lab.api.modify(POD, NAMESPACE, served, retire, subresource="status")
        await servers.close(*(str(pods(lab)[name]["status"]["podIP"]) for name in (stuck, probed, served)))
        rules = (
            rule("late", when=when(servers, server, conditions=[condition], loading="3s")),
            rule("in-time", when=when(servers, server, conditions=[condition], loading="20m"), heal=[{"page": {}}]),
        )
        async with house(lab, tmp_path, *rules) as healer:
            await lab.wait_for(replaced(stuck), PATIENCE)
            (successor,) = pods(lab).keys() - {stuck, probed, served, well}
            for name in (successor, served):
                await lab.behave(NAMESPACE, name, "ok")
            healed = await healer.told.until(State.HEALED)
    assert evictions(lab) == [stuck]
    assert {incident.rule for incident in healer.told.incidents.values()} == {healed.rule} == {"test/late"}
    assert any("its port has refused connections for" in entry.reason.text for entry in healed.history)


async def test_a_version_of_tensorflow_serving_that_fails_is_pinned_away_and_no_pod_is_taken(lab: Lab, tmp_path: Path) -> None:
    """The right answer: the servers keep the version that serves, by their models.config, and people are told."""
    config = """model_config_list { config { name: "ranker" base_path: "/models/ranker"
        model_version_policy { specific { versions: 1 versions: 2 } } version_labels { key: "stable" value: 1 } } }"""
    metadata = {"name": "models", "namespace": NAMESPACE}
    models = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"models.config": config}}
    objects = serving(min_available=None, addresses=ADDRESSES)
    objects[0]["spec"]["template"]["spec"]["volumes"] = [{"name": "config", "configMap": {"name": "models"}}]
    async with status_servers(*ADDRESSES) as servers:

        def follow(*_: object) -> None:
            """The servers have what the file says; version 2 does not load."""
            (found,) = [each for each in lab.objects("configmaps", NAMESPACE) if each["metadata"]["name"] == "models"]
            versions = find(found["data"]["models.config"], MODEL).policy.versions
            failed = [(2, "END", "NOT_FOUND", "no such file")] if 2 in versions else []
            for address in ADDRESSES:
                servers.say(address, (1, "AVAILABLE"), *failed)

        await lab.apply([models, *objects])
        await lab.wait_for(serves(3))
        follow()
        lab.store.listeners.append(follow)
        looked = {"name": MODEL, "conditions": ["ModelVersionFailed"], "port": servers.port, "every": "1s"}
        pin = {"configMap": "models", "model": MODEL, "label": "stable", "port": servers.port}
        heal = [{"pinModelVersion": pin, "verify": {"within": "30s", "stable": "300ms"}}]
        async with house(lab, tmp_path, rule("failed", when={"model": looked}, heal=heal)) as healer:
            healed = await healer.told.until(State.HEALED)
        lab.store.listeners.remove(follow)
    assert "version 2 did not load, and version 1 serves in its place" in str(healed.history)
    assert evictions(lab) == []


async def test_a_version_of_tensorflow_serving_that_never_loads_costs_one_pod_and_is_pinned_away(
    lab: Lab, tmp_path: Path
) -> None:
    """The shipped rule: a new pod may help. If it is stuck as well, the version is at fault, and the old one is pinned."""
    config = """model_config_list { config { name: "ranker" base_path: "/models/ranker"
        model_version_policy { specific { versions: 1 versions: 2 } } version_labels { key: "stable" value: 1 } } }"""
    metadata = {"name": "models", "namespace": NAMESPACE}
    models = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"models.config": config}}
    objects = serving("tensorflow-serving", min_available=None, addresses=ADDRESSES, behaviour="hang")
    objects[0]["spec"]["template"]["spec"]["volumes"] = [{"name": "config", "configMap": {"name": "models"}}]
    async with status_servers(*ADDRESSES) as servers:

        def follow(*_: object) -> None:
            """The servers have what the file says; at one address version 2 is on its way for ever."""
            (found,) = [each for each in lab.objects("configmaps", NAMESPACE) if each["metadata"]["name"] == "models"]
            versions = find(found["data"]["models.config"], MODEL).policy.versions
            for address in ADDRESSES:
                state = "LOADING" if address == ADDRESSES[0] else "AVAILABLE"
                servers.say(address, (1, "AVAILABLE"), *([(2, state)] if 2 in versions else []))

        await lab.apply([models, *objects])
        await lab.wait_for(lambda lab: all("podIP" in pod["status"] for pod in pods(lab).values()) and len(pods(lab)) == 3)
        (stuck,) = [name for name, pod in pods(lab).items() if pod["status"]["podIP"] == ADDRESSES[0]]
        well = {*pods(lab)} - {stuck}
        for name in well:
            await lab.behave(NAMESPACE, name, "ok")
        await lab.wait_for(lambda lab: sum(map(is_ready, pods(lab).values())) == 2, PATIENCE)
        follow()
        lab.store.listeners.append(follow)
        async with daemon(lab, tmp_path, _shipped("stuck-loading", servers.port)) as healer:
            await lab.wait_for(lambda lab: _versions(lab) == (1,), PATIENCE)
            (successor,) = {*pods(lab)} - well
            await lab.behave(NAMESPACE, successor, "ok")
            healed = await healer.told.until(State.HEALED)
        lab.store.listeners.remove(follow)
    assert healed.rule == "models-tensorflow-serving/stuck-loading"
    assert evictions(lab) == [stuck], "one pod, and none of those that serve"
    assert successor != stuck
    assert [entry.step for entry in healed.history if entry.reason.code == "Allowed"] == [0, 1]


async def test_a_start_that_is_stuck_on_a_version_is_pinned_away_and_one_more_pod_begins_without_it(
    lab: Lab, tmp_path: Path
) -> None:
    """The shipped rule. The servers that run have both versions. One that starts reads the file once, and opens no port while it
    loads: the pin reaches it only with a new pod."""
    config = """model_config_list { config { name: "ranker" base_path: "/models/ranker"
        model_version_policy { specific { versions: 1 versions: 2 } } version_labels { key: "stable" value: 1 } } }"""
    metadata = {"name": "models", "namespace": NAMESPACE}
    models = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"models.config": config}}
    objects = serving("tensorflow-serving", min_available=None, addresses=ADDRESSES, behaviour="hang")
    objects[0]["spec"]["template"]["spec"]["volumes"] = [{"name": "config", "configMap": {"name": "models"}}]
    async with model_servers(*ADDRESSES) as servers:
        servers.says |= dict.fromkeys(
            ADDRESSES, lambda request: status(request, *((each, "AVAILABLE") for each in _versions(lab)))
        )
        await lab.apply([models, *objects])
        await lab.wait_for(lambda lab: sum("podIP" in pod["status"] for pod in pods(lab).values()) == 3, PATIENCE)
        (stuck,) = [name for name, pod in pods(lab).items() if pod["status"]["podIP"] == ADDRESSES[0]]
        well = {*pods(lab)} - {stuck}
        await servers.close(ADDRESSES[0])
        for name in well:
            await lab.behave(NAMESPACE, name, "ok")
        await lab.wait_for(lambda lab: sum(map(is_ready, pods(lab).values())) == 2, PATIENCE)
        async with daemon(lab, tmp_path, _shipped("stuck-starting", servers.port)) as healer:
            await lab.wait_for(lambda lab: _versions(lab) == (1,), PATIENCE)
            (successor,) = {*pods(lab)} - well
            await lab.wait_for(replaced(successor), PATIENCE)
            await servers.open(ADDRESSES[0])
            (last,) = {*pods(lab)} - well
            await lab.behave(NAMESPACE, last, "ok")
            healed = await healer.told.until(State.HEALED)
    assert evictions(lab) == [stuck, successor]
    assert [entry.step for entry in healed.history if entry.reason.code == "Allowed"] == [0, 1, 2]
    assert _versions(lab) == (1,)


def _versions(lab: Lab) -> tuple[int, ...]:
    """The versions that the file has the servers load."""
    (found,) = [each for each in lab.objects("configmaps", NAMESPACE) if each["metadata"]["name"] == "models"]
    return find(found["data"]["models.config"], MODEL).policy.versions


def _shipped(rule: str, port: int) -> Rulebook:
    """The shipped rule of that name on TensorFlow Serving; the pin asks the servers at that port, too."""

    def at_port(step: Step) -> Step:
        if not isinstance(step.params, PinModelVersionParams):
            return step
        return step.model_copy(update={"params": step.params.model_copy(update={"port": port})})

    packed = pack("models/tensorflow-serving.yaml", port=port).rules
    bound = [each for each in packed if each.name.endswith(f"/{rule}")]
    return Rulebook(replace(b, rule=b.rule.model_copy(update={"heal": tuple(map(at_port, b.rule.heal))})) for b in bound)
