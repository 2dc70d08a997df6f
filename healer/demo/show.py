"""Run the demo: start the lab and the daemon, run the scenarios, print a summary, stop everything."""

import asyncio
import contextlib
import secrets
import signal
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import aiohttp
from rich.table import Table

from healer.cluster.api import Api
from healer.daemon import Daemon, RuleFiles, Watchers
from healer.daemon.rulefiles import vocabulary
from healer.demo.cluster import LLM, NAMESPACE, REPLICAS, STABLE, llm, ready_pods, stable
from healer.demo.engines import ADDRESSES, Engines
from healer.demo.prometheus import StandIn
from healer.demo.scenario import Stage, hang, play, trial
from healer.demo.timeline import Timeline, short
from healer.demo.traffic import Traffic
from healer.engine.tuning import EngineSettings
from healer.lab import Lab
from healer.model.effects import Decision, Verb
from healer.model.incident import Incident, State
from healer.model_servers.vllm import VLLM
from healer.rules.pod_detectors import PodsSettings
from healer.rules.rulebook import BoundRule, Rulebook, scaled
from healer.rules.served_model import ServedModel
from healer.rules.triggers import MODEL
from healer.settings import Isolated, Settings
from healer.settings.http import HttpSettings
from healer.settings.sections import Alerts, LeaderSettings, Log, PrometheusSettings
from healer.sinks.site import Site
from healer.sources.alertmanager.webhook import PATH

SPEED = 60
"""The factor by which the rules' times are shorter than in production."""
_START_DELAY = 1.5
_LONGEST = 60.0


async def show(rules: Sequence[Path], definition: str, svg: Path | None, *, keep: bool = False) -> bool:
    """Run the demo. Returns whether everything healed.

    `definition` is the YAML manifest of the incidents' definition. `keep`: go on after the scenarios until SIGINT or SIGTERM, so
    that people can look at the page. Raises RulesError if the rules are invalid.
    """
    rulebook = scaled(RuleFiles(rules, vocabulary()).load(), 1 / SPEED)
    timeline = Timeline()
    ignored: list[Decision] = []
    watchers = Watchers(sinks=[timeline], decisions=(timeline.decided, ignored.append))
    async with Lab(start_delay=_START_DELAY, time_scale=1 / SPEED) as lab, AsyncExitStack() as stack:
        await lab.apply_yaml(definition)
        await lab.apply(stable())
        engines, rulebook = await _engines(lab, stack, rulebook, timeline)
        await lab.wait_for(lambda lab: len(ready_pods(lab, STABLE)) == REPLICAS)
        traffic = Traffic(lab)
        prometheus = await stack.enter_async_context(StandIn(traffic.samples))
        for line in _preface(lab.url, rules):
            timeline.title(line)
        token = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "token" if keep else None
        if token is not None:
            token.write_text(secrets.token_hex(4))
        daemon = Daemon(_settings(prometheus.url, token), rulebook, watchers=watchers)
        ending = await _perform(lab, traffic, daemon, timeline, engines, token)
        left_alone = [pod for pod in ready_pods(lab, LLM) if pod == ending.saturated]
        journaled = await _get_incidents(lab)
    # one alert, of which several packs have a rule
    gone = {d.target: d for d in ignored if d.verb is Verb.IGNORE and d.reason.code == "TargetGone"}
    timeline.table(_summary(daemon.incidents, list(gone.values()), left_alone))
    timeline.title(f"$ kubectl get incidents -n {NAMESPACE}")
    timeline.lines(journaled)
    expected = 3 if engines is None else 4
    healed = ending.completed and len(daemon.incidents) == expected and len(gone) == 1 and all(map(_healed, daemon.incidents))
    healed = healed and (engines is None or bool(left_alone))
    timeline.title("Everything healed." if healed else "Something did not heal: see the timeline.")
    if svg is not None:
        timeline.save(svg)
    return healed


def _preface(cluster: str, rules: Sequence[Path]) -> Iterator[str]:
    yield f"A cluster in this process serves the Kubernetes API at {cluster}: {REPLICAS} replicas of {STABLE}."
    here = Path.cwd()
    read = ", ".join(str(path.relative_to(here) if path.is_relative_to(here) else path) for path in rules)
    yield f"The real daemon connects to it, with the rules in {read}: {SPEED} times as fast as in production."
    yield "Alerts and requests to the models are simulated; a stand-in for Prometheus counts the requests."
    yield "A line: when, who (lab: what befalls the cluster; else what healer sees, decides and does), the rule, what happened."


@dataclass(frozen=True, slots=True)
class _ShowResult:
    completed: bool
    """Whether the scenarios completed, and every incident ended."""
    saturated: str = ""
    """The pod whose engine is only saturated."""


def _of_vllm(bound: BoundRule) -> ServedModel | None:
    """What a rule that asks vLLM for its model's status writes about it; None for any other rule."""
    served = bound.rule.when.get(MODEL)
    return served if served is not None and served.server == VLLM.name else None


async def _engines(lab: Lab, stack: AsyncExitStack, rulebook: Rulebook, timeline: Timeline) -> tuple[Engines | None, Rulebook]:
    """Start the language model and its stand-ins when a rule asks vLLM; returns them, and the rules with their port."""
    found = next(((bound, served) for bound in rulebook.rules if (served := _of_vllm(bound)) is not None), None)
    if found is None:
        return None, rulebook
    bound, served = found
    try:
        engines = await stack.enter_async_context(Engines(lab, served.name))
    except OSError as error:
        timeline.title(
            f"The scenario of an engine that hangs is left out: this machine has not {', '.join(ADDRESSES)} ({error})."
        )
        return None, rulebook
    selector = bound.scope.selector
    await lab.apply(llm({} if selector is None else selector.match_labels, ADDRESSES))
    await lab.wait_for(lambda lab: len(ready_pods(lab, LLM)) == REPLICAS)

    def with_port(each: BoundRule) -> BoundRule:
        asked = _of_vllm(each)
        if asked is None:
            return each
        when = each.rule.when.model_copy(update={MODEL.name: asked.model_copy(update={"port": engines.port})})
        return replace(each, rule=each.rule.model_copy(update={"when": when}))

    return engines, Rulebook(map(with_port, rulebook.rules))


async def _perform(
    lab: Lab, traffic: Traffic, daemon: Daemon, timeline: Timeline, engines: Engines | None, token: Path | None
) -> _ShowResult:
    """Run the scenarios. With a `token`, which acts on the page, go on until somebody ends it."""
    completed, saturated = True, ""
    with tempfile.TemporaryDirectory() as folder:
        kubeconfig = Path(folder) / "kubeconfig"
        lab.write_kubeconfig(kubeconfig)
        api = await Api.connect(kubeconfig=str(kubeconfig))
    async with contextlib.aclosing(api), asyncio.TaskGroup() as group:
        running = group.create_task(daemon.run(api))
        try:
            try:
                async with asyncio.timeout(_LONGEST), aiohttp.ClientSession() as http:
                    await daemon.ready.wait()
                    if token is not None:
                        timeline.title(_page(daemon, token))
                    stage = Stage(lab, traffic, timeline, http, f"http://127.0.0.1:{daemon.port}{PATH}")
                    await play(stage)
                    if engines is not None:
                        saturated = await hang(stage, engines)
                    await trial(stage)
                    await timeline.until(lambda incidents: all(incident.ended_at for incident in incidents))
            except TimeoutError:
                completed = False
            if token is not None:
                timeline.title(f"The scenarios are over. {_page(daemon, token)} Ctrl-C ends the demo.")
                timeline.title("Where to try rules of your own: healer lab run.")
                await _interrupted()
        finally:
            daemon.stop()
            await running
    return _ShowResult(completed=completed, saturated=saturated)


def _page(daemon: Daemon, token: Path) -> str:
    return f"healer's page: http://127.0.0.1:{daemon.port}/ (the token to act there: {token.read_text()})."


async def _interrupted() -> None:
    """Return when the process gets SIGINT or SIGTERM."""
    ended, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    await ended.wait()


async def _get_incidents(lab: Lab) -> list[str]:
    """The lines that kubectl prints: the API server's table with the columns of the definition."""
    accept = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
    async with (
        aiohttp.ClientSession() as http,
        http.get(f"{lab.url}/apis/healer.dev/v1alpha1/namespaces/{NAMESPACE}/incidents", headers=accept) as response,
    ):
        response.raise_for_status()
        found = await response.json()
    columns = [number for number, column in enumerate(found["columnDefinitions"]) if column["priority"] == 0]
    head = [found["columnDefinitions"][number]["name"].upper() for number in columns]
    rows = [[str(row["cells"][n]) for n in columns] for row in found["rows"]]
    widths = [max(map(len, cells)) for cells in zip(head, *rows, strict=True)]
    return ["   ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in [head, *rows]]


def _settings(prometheus: str, token: Path | None) -> Settings:
    """The demo's settings. The operator's environment is ignored: no Slack, no other Prometheus, no other namespace."""
    return Isolated(
        http=HttpSettings(host="127.0.0.1", port=0, control_token_file=token),
        site=Site(cluster="demo"),
        pods=PodsSettings(settle=60 / SPEED, restarts_within=600 / SPEED),
        engine=EngineSettings(retry=15 / SPEED, recheck=15 / SPEED, max_wait=1800 / SPEED),
        alerts=Alerts(freshness=600),  # there is no Alertmanager to confirm that an alert still fires
        prometheus=PrometheusSettings(url=prometheus),
        log=Log(level="error", audit=False),
        leader=LeaderSettings(namespace="default"),
    )


def _healed(incident: Incident) -> bool:
    return any(entry.state is State.HEALED for entry in incident.history)


def _summary(incidents: list[Incident], gone: list[Decision], left_alone: list[str]) -> Table:
    """It fits a terminal of 80 columns: a name that wraps in a table cannot be copied."""
    table = Table(
        "rule", "on", "steps", "outcome", "took", title=f"What healer did in {NAMESPACE}", box=None, padding=(0, 2, 0, 0)
    )
    for incident in incidents:
        healed = _healed(incident)
        steps = ", ".join(incident.steps[: incident.step + 1])
        took = f"{incident.ended_at - incident.opened_at:.1f} s" if healed and incident.ended_at else "-"
        outcome = "[green]healed[/]" if healed else f"[red]{incident.state}[/]"
        table.add_row(incident.rule.rpartition("/")[2], incident.workload.name, steps, outcome, took)
    for decision in gone:
        name = short(decision.target.name)
        table.add_row(decision.rule.rpartition("/")[2], name, "none", "[green]already gone[/]", "-")
    for pod in left_alone:
        table.add_row("(none)", short(pod), "none", "[green]left alone[/]", "-")
    return table
