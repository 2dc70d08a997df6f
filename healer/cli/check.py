"""The verb that checks rule files before a daemon reads them: check."""

import contextlib
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from healer.cli.common import (
    EXIT_PROBLEMS,
    EXIT_SETUP,
    Context,
    Output,
    PrometheusUrl,
    print_json,
    prometheus_url,
    tenants,
    with_cluster,
)
from healer.clock import SYSTEM
from healer.cluster.api import Api
from healer.daemon.rulefiles import RulesError, passed_over, read, vocabulary
from healer.daemon.rulesets import NAME_TAKEN
from healer.daemon.unusable import doubtful, unusable
from healer.engine.matching.coverage import counted
from healer.operate.cluster_check.cluster_check import Against, ClusterChecked, check_cluster
from healer.operate.explain.show import clean, console
from healer.operate.objects import OperateError, valid
from healer.operate.rbac import DEFAULT_NAME
from healer.rules.grants import RuleSetSettings, ignored, unknown_names, where_granted
from healer.rules.loading import load_all, remarks
from healer.rules.positions import Problem
from healer.rules.rulebook import BoundRule, Rulebook
from healer.section import PREFIX
from healer.settings import SettingsError, load_settings
from healer.sources.prometheus.client import connect

app = typer.Typer()

STDIN = Path("-")
_NAMES_TEMPLATES = ("HEALER_SLACK__TEMPLATE", "HEALER_WEBHOOK")
"""How the variables begin that name templates of messages."""


@app.command()
def check(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Rule files, folders of them, or - for standard input.")],
    cluster: Annotated[
        bool,
        typer.Option(
            "--cluster",
            help="Also look into the cluster: what each rule covers, and workloads, PodDisruptionBudgets, objects, permissions, "
            "alerts and metrics that would keep it from working.",
        ),
    ] = False,
    prometheus: PrometheusUrl = None,
    account: Annotated[
        str, typer.Option(metavar="NS/NAME", help="With --cluster: the service account of healer.")
    ] = f"{DEFAULT_NAME}/{DEFAULT_NAME}",
    within: Annotated[
        list[str] | None,
        typer.Option(
            "--namespace",
            "-n",
            metavar="NS",
            help="With --cluster: healer is confined to this namespace, as by HEALER_CLUSTER__NAMESPACES; several times "
            "for several.",
        ),
    ] = None,
    as_tenant: Annotated[
        str,
        typer.Option("--as-tenant", metavar="NS", help="Check the files as RuleSets that are applied to this namespace."),
    ] = "",
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="The daemon's settings: what rules need of them, what they grant RuleSets, their templates."
        ),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 for a remark, too: for pipelines.")] = False,
    output: Output = "text",
    context: Context = None,
) -> None:
    """Check rule files. Print every error with file:line:column and a hint, and remarks about rules that may surprise.

    With --config, or with HEALER_SLACK__TEMPLATE_FILE or HEALER_WEBHOOK__TARGETS set, the templates of messages are checked too;
    with --config also what rules need of the settings.

    A document with a namespace in its metadata is checked as a RuleSet in the cluster, by what the settings grant that namespace.
    With --cluster, nothing in the cluster is changed. The result is on standard output. Exit code 1 when there is an error, and
    with --strict also for a remark. 2 when the files, or with --cluster the cluster, cannot be read.
    """
    _refuse_options(cluster, {"--prometheus": prometheus, "--namespace": within})
    named = [path for path in paths if path != STDIN]
    texts = _read_texts(named) | ({"<stdin>": _stdin()} if STDIN in paths else {})
    rules, problems = _read_rules(texts, config, as_tenant)
    lacking, doubts = _by_settings(rules, config) if config is not None and not problems else ([], [])
    problems, notes = problems + lacking, [*passed_over(named), *remarks(rules), *doubts, *_on_grants(config, problems)]
    checked = ClusterChecked([], [], [])
    if cluster and not problems:
        checked = _against_cluster(rules, prometheus, account, within or [], context)
        notes += checked.notes
    (_show_plain if output == "json" else _show)(texts, rules, problems, notes, checked)
    if problems or (strict and (notes or checked.findings or any(each.doubts for each in checked.coverage))):
        raise typer.Exit(EXIT_PROBLEMS)


def _refuse_options(looks: bool, of_the_cluster: dict[str, object]) -> None:
    """Raises typer.BadParameter for an option that is given and says nothing without --cluster."""
    for option in (name for name, value in of_the_cluster.items() if value and not looks):
        raise typer.BadParameter("it says nothing without --cluster: add that, or leave it out", param_hint=option)


def _read_texts(paths: list[Path]) -> dict[str, str]:
    """The texts of rule files. An error is printed and ends the program with exit code 2."""
    try:
        return read(paths) if paths else {}
    except RulesError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(EXIT_SETUP) from error


def _read_rules(texts: dict[str, str], config: Path | None, as_tenant: str) -> tuple[list[BoundRule], list[Problem]]:
    """The rules, their problems, and those of templates. Wrong settings are printed and end the program with exit code 2."""
    try:
        rules, problems = load_all(texts, vocabulary(), tenants(config, as_tenant and valid(as_tenant, "a namespace")))
        return rules, [*problems, *_taken(rules), *_template_faults(config), *_unknown_grants(config)]
    except (SettingsError, OperateError) as error:
        typer.echo(clean(f"healer: {error}"), err=True)
        raise typer.Exit(EXIT_SETUP) from error


def _taken(rules: list[BoundRule]) -> list[Problem]:
    """The RuleSets of namespaces whose name is that of a rule set in the files beside them: the daemon says NameTaken."""
    of_files = {name for each in rules for home, _, name in [each.name.rpartition("/")[0].rpartition("/")] if not home}
    found = {}
    for each in rules:
        full = each.name.rpartition("/")[0]
        home, _, name = full.rpartition("/")
        if home and name in of_files and full not in found:
            file, _, line = each.where.rpartition(":")
            message = f"{NAME_TAKEN}: the rule set {name!r} is in healer's rule files too"
            found[full] = Problem(file, int(line), 1, "metadata.name", message, "give the RuleSet another name")
    return [*found.values()]


def _by_settings(rules: list[BoundRule], config: Path) -> tuple[list[Problem], list[str]]:
    """What settings that were read already, without an error, lack for the rules: problems, and remarks."""
    settings = load_settings(config)
    return unusable(Rulebook(rules), settings), [*doubtful(rules, settings)]


def _grants(config: Path | None) -> RuleSetSettings | None:
    """What the settings say of RuleSets; None where they say nothing. Raises SettingsError."""
    if config is None and not any(name.upper().startswith(f"{PREFIX}RULESETS") for name in os.environ):
        return None
    return load_settings(config).rulesets


def _on_grants(config: Path | None, problems: list[Problem]) -> list[str]:
    """Remarks on what the settings grant, or do not. Raises SettingsError."""
    grants = _grants(config)
    return [*where_granted(problems), *([] if grants is None else ignored(grants))]


def _unknown_grants(config: Path | None) -> list[Problem]:
    """Grants of what there is not. Raises SettingsError."""
    grants = _grants(config)
    found = () if grants is None else unknown_names(grants, vocabulary())
    return [Problem(f"{PREFIX}RULESETS__GRANTS", 0, 0, "", each) for each in found]


def _template_faults(config: Path | None) -> list[Problem]:
    """The faults of the templates of messages that the settings name. Raises SettingsError."""
    if config is None and not any(name.upper().startswith(_NAMES_TEMPLATES) for name in os.environ):
        return []
    sinks = load_settings(config).sinks
    return [Problem(name, 0, 0, "", fault) for name, sink in sinks.items() for fault in sink.template_faults()]


def _against_cluster(
    rules: list[BoundRule], url: str | None, account: str, within: list[str], context: str | None
) -> ClusterChecked:
    """Look into the cluster. An error is printed and ends the program with exit code 2."""
    try:
        settings = load_settings()
        address = prometheus_url(url or settings.prometheus.url) if url or settings.prometheus.url else ""
        namespace, _, name = account.partition("/")
        who = f"{valid(namespace, 'a namespace')}/{valid(name, 'the name of a service account')}"
        confined = [valid(each, "a namespace") for each in within] or list(settings.cluster.namespaces)
    except (SettingsError, OperateError) as error:
        typer.echo(clean(f"healer: {error}"), err=True)
        raise typer.Exit(EXIT_SETUP) from error

    async def look(api: Api) -> ClusterChecked:
        async with contextlib.AsyncExitStack() as stack:
            client = None
            if address:
                client = await stack.enter_async_context(contextlib.aclosing(connect(settings.prometheus, url=address)))
            return await check_cluster(api, rules, Against(who, confined, client, SYSTEM.wall()))

    return with_cluster(look, context)


def _stdin() -> str:
    try:
        return sys.stdin.buffer.read().decode("utf-8")
    except UnicodeDecodeError as error:
        typer.echo(f"healer: standard input is not UTF-8 text: {error}", err=True)
        raise typer.Exit(EXIT_SETUP) from error


def _show(
    texts: dict[str, str], rules: list[BoundRule], problems: list[Problem], notes: list[str], checked: ClusterChecked
) -> None:
    screen = console()
    for problem in problems:
        screen.print(clean(str(problem)), style="red")
    for remark in notes:
        screen.print(clean(f"remark: {remark}"), style="yellow")
    covered = checked.coverage
    said = Counter(doubt for each in covered for doubt in each.doubts)
    for each in covered:
        screen.print(clean(str(each)), style="" if each.pods else "yellow")
        for doubt in each.doubts:
            if said[doubt] == 1:
                screen.print(clean(f"    {doubt}"), style="yellow")
    for doubt, rules_of_it in said.items():
        if rules_of_it > 1:
            screen.print(clean(f"{rules_of_it} rules: {doubt}"), style="yellow")
    for finding in checked.findings:
        screen.print(clean(str(finding)), style="dim" if finding.unknown else "yellow")
    if problems:
        screen.print(f"{counted(len(problems), 'problem')} in {counted(len(texts), 'file')}", style="bold red")
        return
    doubts = len(notes) + len(said) + len(checked.findings)
    found = f"no errors, {counted(doubts, 'remark')}" if doubts else "no problems"
    screen.print(
        f"{counted(len(rules), 'rule')} in {counted(len(texts), 'file')}: {found}", style="yellow" if doubts else "green"
    )


def _show_plain(
    texts: dict[str, str], rules: list[BoundRule], problems: list[Problem], notes: list[str], checked: ClusterChecked
) -> None:
    content = {
        "files": list(texts),
        "rules": [{"name": bound.name, "where": bound.where, "mode": bound.rule.mode} for bound in rules],
        "problems": [
            {
                "file": problem.file,
                "line": problem.line,
                "column": problem.column,
                "path": problem.path,
                "message": problem.message,
                "hint": problem.hint,
            }
            for problem in problems
        ],
        "remarks": notes,
        "coverage": [
            {
                "rule": each.rule,
                "pods": each.pods,
                "workloads": each.workloads,
                "watched": each.watched,
                "doubts": each.doubts,
            }
            for each in checked.coverage
        ],
        "findings": [
            {"topic": each.topic, "rules": each.rules, "text": each.text, "unknown": each.unknown} for each in checked.findings
        ],
    }
    print_json(content)
