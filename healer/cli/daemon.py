"""The verbs for the daemon itself: run, rbac, demo."""

import asyncio
import contextlib
import gc
import signal
import sys
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated

import structlog
import typer
import yaml

from healer import shipped
from healer.actions.registry import ACTIONS
from healer.cli.common import EXIT_FAILED, EXIT_PROBLEMS, EXIT_SETUP, Context, HealerNamespace, LeaseName, RulePaths, tenants
from healer.cli.logs import configure_logging
from healer.cli.stream import LogStream
from healer.cluster.api import Api, ClusterConfigError
from healer.daemon import Daemon, RuleFiles, RulesError
from healer.daemon.daemon import Watchers
from healer.daemon.rulefiles import load_rules, passed_over, vocabulary
from healer.daemon.unusable import unusable
from healer.journal.base import JournalMissing
from healer.operate.objects import OperateError, valid
from healer.operate.rbac import DEFAULT_NAME, RULES_NAME, apart, asked_for, manifests, needed, rule_roles
from healer.rules.grants import ignored, where_granted
from healer.rules.loading import remarks
from healer.rules.rulebook import Rulebook
from healer.rules.schema import Mode
from healer.settings import Settings, SettingsError, load_settings
from healer.settings.exposed import exposed
from healer.settings.sections import Log

app = typer.Typer()

_SHOWN = (shipped.RULES, shipped.RULES / "models" / "vllm.yaml", shipped.RULES / "canary" / "tensorflow-serving.yaml")
"""The rules of the demo: all packs, and the files whose names are those of its workloads."""
_DRAIN_TIMEOUT = 1.0
"""Seconds to wait until the last log lines are written."""


class JournalKind(StrEnum):
    """The values of the setting journal.kind."""

    KUBERNETES = "kubernetes"
    MEMORY = "memory"


@app.command()
def run(
    rules: RulePaths,
    config: Annotated[Path | None, typer.Option(metavar="FILE", help="Settings in YAML; the environment overrides them.")] = None,
    context: Context = None,
    observe: Annotated[bool, typer.Option("--observe", help="No rule changes anything; overrides HEALER_MODE.")] = False,
    journal: Annotated[JournalKind | None, typer.Option(help="Where incidents are; overrides HEALER_JOURNAL__KIND.")] = None,
    record: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write what it sees, for `healer replay`; overrides HEALER_RECORD__FOLDER.")
    ] = None,
) -> None:
    """Run the daemon until SIGTERM or SIGINT.

    It finds the cluster like kubectl: by the service account inside a pod, otherwise by KUBECONFIG or ~/.kube/config. All
    settings are in docs/settings.md. A rule without a mode only observes; one with `mode: approve` asks a human before each step.
    """
    stream: LogStream | None = None
    try:
        settings = load_settings(config)
        if journal is not None:
            settings = settings.model_copy(update={"journal": settings.journal.model_copy(update={"kind": journal.value})})
        if observe:
            settings = settings.model_copy(update={"mode": Mode.OBSERVE.value})
        if record is not None:
            settings = settings.model_copy(update={"record": settings.record.model_copy(update={"folder": record})})
        stream = configure_logging(settings.log)
        for remark in [*exposed(settings), *ignored(settings.rulesets)]:
            structlog.get_logger("healer").warning(remark)
        most = Mode(settings.mode)
        if most is not Mode.ENFORCE:
            structlog.get_logger("healer").warning("no rule goes further than this mode, whatever it says", mode=most.value)
        files = RuleFiles(rules, vocabulary(), partial(unusable, settings=settings), most)
        rulebook = files.load()
        for remark in [*passed_over(rules), *remarks(rulebook.rules)]:
            structlog.get_logger("healer.rules").info(remark)
        asyncio.run(_run(settings, rulebook, files, context, stream))
    except (SettingsError, RulesError, ClusterConfigError, JournalMissing) as error:
        typer.echo(f"healer: {error}", err=True)
        raise typer.Exit(EXIT_SETUP) from error
    except ExceptionGroup as group:
        structlog.get_logger("healer").critical("healer failed", exc_info=group)
        raise typer.Exit(EXIT_FAILED) from group
    finally:
        if stream is not None:
            stream.drain(_DRAIN_TIMEOUT)


async def _run(settings: Settings, rulebook: Rulebook, files: RuleFiles, context: str | None, stream: LogStream) -> None:
    # msgspec's objects are not tracked by the garbage collector, and the objects loaded so far stay, so that rare collections are
    # enough. With the defaults, a full collection stops the event loop for about 30 ms at 10,000 pods (measured).
    gc.freeze()
    gc.set_threshold(10_000, 50, 200)
    # Threads that parse the answers of Prometheus share the interpreter with the event loop. With the default of 5 ms they would
    # delay pod events by as much.
    sys.setswitchinterval(0.001)
    api = await Api.connect(context=context, request_timeout=settings.cluster.request_timeout)
    daemon = Daemon(settings, rulebook, files=files, watchers=Watchers(lines_dropped=lambda: stream.dropped))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, daemon.stop)
    async with contextlib.aclosing(api):
        await daemon.run(api)


@app.command()
def rbac(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Rule files, or folders of them.")],
    healer_namespace: HealerNamespace = "healer",
    within: Annotated[
        list[str] | None,
        typer.Option(
            "--namespace",
            "-n",
            metavar="NS",
            help="Confine healer to this namespace, as HEALER_CLUSTER__NAMESPACES does. May be given several times.",
        ),
    ] = None,
    lease: LeaseName = DEFAULT_NAME,
    name: Annotated[str, typer.Option(help="The name of the roles that the rules need; roles of two names add up.")] = RULES_NAME,
    roles_only: Annotated[
        bool, typer.Option("--roles-only", help="Print only those roles: deploy/healer has installed the others.")
    ] = False,
    config: Annotated[Path | None, typer.Option(metavar="FILE", help="The daemon's settings, if it has a file of them.")] = None,
) -> None:
    """Print the manifests that grant healer exactly the permissions that these rules need.

    For `kubectl apply -f -`: the service account; a ClusterRole healer-rules, which is added to the ClusterRole healer; and a
    Role for the lease, with their bindings. With --namespace there are Roles in these namespaces instead, and a ClusterRole only
    when a rule needs objects outside all namespaces. deploy/healer has the manifests for the rules in rules/, under the name
    healer-packs: it takes nothing back of what you apply here. The settings http.token_review, http.control_token_file,
    cluster.nodes and rulesets.enabled add the reviews of tokens, what people do on the page, and the watches of nodes and of
    RuleSets. A file with a namespace in its metadata is a RuleSet: what its rules need is printed too. HEALER_RULESETS__GRANTS,
    or the settings file in --config, must grant its namespace what they do. Exit code 2 when the rules or the settings cannot be
    used.
    """
    try:
        rulebook = load_rules(paths, vocabulary(), tenants(config))
        settings = load_settings(config)
        namespace = valid(healer_namespace, "a namespace")
        confined = [valid(each, "a namespace") for each in within or ()]
        lease, name = valid(lease, "the name of a Lease"), valid(name, "the name of a role")
    except (RulesError, OperateError, SettingsError) as error:
        typer.echo(f"healer: {error}", err=True)
        for remark in where_granted(error.problems if isinstance(error, RulesError) else ()):
            typer.echo(f"healer: {remark}", err=True)
        raise typer.Exit(EXIT_SETUP) from error
    needs, routes = needed(rulebook, ACTIONS) | asked_for(settings), apart(rulebook, ACTIONS)
    if roles_only:
        printed = rule_roles(needs, namespace, within=confined, routes=routes, name=name)
    else:
        printed = manifests(needs, namespace, within=confined, lease=lease, routes=routes, name=name)
    typer.echo(yaml.dump_all(printed, Dumper=_PlainDumper, sort_keys=False), nl=False)


class _PlainDumper(yaml.SafeDumper):
    """Writes YAML without anchors: parts that two manifests share are repeated, so that people can read them."""

    def ignore_aliases(self, data: object) -> bool:
        return True


@app.command("crd")
def crd_verb(
    rulesets: Annotated[bool, typer.Option("--rulesets", help="Print the manifest that defines RuleSets instead.")] = False,
) -> None:
    """Print the manifest that defines incidents in a cluster, in the version that this healer needs.

    For `healer crd | kubectl apply --server-side -f -`, before the first start and at every upgrade. RuleSets need to be defined
    only where the setting rulesets.enabled has healer take rules from them.
    """
    typer.echo((shipped.RULESETS if rulesets else shipped.DEFINITION).read_text("utf-8"), nl=False)


@app.command()
def demo(
    rules: RulePaths = [*_SHOWN],  # noqa: B006 - typer reads it and passes a copy
    definition: Annotated[
        Path, typer.Option(metavar="FILE", help="The manifest that defines incidents in a cluster.")
    ] = shipped.DEFINITION,
    svg: Annotated[Path | None, typer.Option(metavar="FILE", help="Also save the timeline as a picture.")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave it up until Ctrl-C, and print the address of its page.")] = False,
) -> None:
    """Show how healer heals, from beginning to end, in less than a minute and without a cluster.

    An embedded cluster serves the Kubernetes API on loopback, and the real daemon connects to it. Exit code 1 when a workload
    does not heal.
    """
    from healer.demo import show  # the other verbs do not need the lab

    configure_logging(Log(level="error"))
    try:
        healed = asyncio.run(show(rules, definition.read_text("utf-8"), svg, keep=keep))
    except (RulesError, ClusterConfigError, OSError) as error:
        typer.echo(f"healer: {error}", err=True)
        raise typer.Exit(EXIT_SETUP) from error
    raise typer.Exit(0 if healed else EXIT_PROBLEMS)
