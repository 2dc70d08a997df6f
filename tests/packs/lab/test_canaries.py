"""Each shipped rule on a canary with the real daemon and a real Prometheus: it holds the weight, and takes it away."""

import asyncio
from pathlib import Path

import pytest

from healer.lab import Lab
from healer.model.incident import State
from healer.rules.rulebook import Rulebook
from healer.settings.sections import PrometheusSettings
from tests.integration.conftest import ROOT
from tests.packs.lab.canaries import BAD, MEASURES, WEIGHT, CanaryScene, asked, exporting, in_scene, shipped
from tests.packs.lab.telling import Scenario, in_slack, on_page
from tests.packs.troubles import judged
from tests.seams.house import House, house
from tests.support.processes import PATIENCE
from tests.support.prometheus import prometheus

pytestmark = pytest.mark.slow

CRDS = (ROOT / "deploy" / "healer" / "crd.yaml", ROOT / "tests" / "contract" / "crds" / "httproutes.yaml")


def test_each_measure_of_each_rule_has_a_canary_that_is_bad_by_it_alone() -> None:
    """A measure that is added to a shipped rule needs one, and none has a measure that was taken away."""
    measured = [(bound.ruleset, measure.name) for bound in shipped() for measure in asked(bound).measures]
    assert sorted(measured) == sorted(MEASURES)


async def test_each_holds_the_weight_of_a_canary_that_nothing_is_known_of_or_that_is_good_and_shifts_a_bad_one(
    tmp_path: Path,
) -> None:
    """All at the same time. First no server shows anything; then canaries are as good as stable; then each is bad by one measure
    of its rule, and good by the others."""
    of_sets = {bound.ruleset: bound for bound in shipped()}
    scenes = [(ruleset, measure, in_scene(of_sets[ruleset], measure)) for ruleset, measure in MEASURES]
    async with Lab(time_scale=0.02) as lab:
        for path in CRDS:
            await lab.apply_yaml(path.read_text("utf-8"))
        canaries = [CanaryScene(lab, bound, ruleset, measure) for ruleset, measure, bound in scenes]
        for canary in canaries:
            await lab.apply(canary.manifests())
        async with exporting(canaries) as exporter, prometheus(tmp_path / "prometheus", exporter.scraping()) as monitor:
            asks = PrometheusSettings(url=f"http://{monitor.address}")
            async with house(lab, tmp_path, rulebook=Rulebook(bound for *_, bound in scenes), prometheus=asks) as healer:
                await asyncio.gather(*(held(healer, canary) for canary in canaries))
                exporter.open = True
                await asyncio.gather(*(known(healer, canary) for canary in canaries))
                for canary in canaries:
                    canary.failing = BAD
                await asyncio.gather(*(shifted(healer, canary) for canary in canaries))
                assert [await faults(healer, canary, tmp_path / "slack-token") for canary in canaries] == [[]] * len(canaries)
        written = [(seen.permission, seen.namespace, seen.name) for seen in lab.requests if seen.verb in ("patch", "update")]
    routes = [(canary.namespace, canary.route) for canary in canaries]
    assert sorted(where for what, *where in written if "incidents" not in what) == sorted(map(list, routes)), "each changes once"


async def held(healer: House, canary: CanaryScene) -> None:
    """The series are missing: there is no verdict, and the weight stays."""
    await healer.decisions.until(
        lambda each: each.rule == canary.rule and each.reason.code == "UnknownVerdict" and each.verb == "defer"
    )
    assert canary.weight == WEIGHT


async def known(healer: House, canary: CanaryScene) -> None:
    """It is as good as the stable version: what was not known is over, and the weight stays."""
    ended = await healer.told.until(State.CLOSED, lambda incident: incident.rule == canary.rule)
    assert (ended.acted_at, canary.weight) == ((), WEIGHT)


async def shifted(healer: House, canary: CanaryScene) -> None:
    """It is bad: it loses its traffic, answers none, and the incident is healed."""
    await canary.lab.wait_for(lambda _: canary.weight == 0, PATIENCE)
    healed = await healer.told.until(State.HEALED, lambda incident: incident.rule == canary.rule)
    assert healed.workload.name == canary.sides[1]
    assert f"canary {WEIGHT} % -> 0 %" in str(healed.history)


async def faults(healer: House, canary: CanaryScene, token: Path) -> list[str]:
    """What people are not told of a canary that lost its traffic, or wrongly."""
    while True:
        mine = [each for each in healer.told.incidents.values() if each.rule == canary.rule and each.acted_at]
        (incident,) = mine
        row = (await on_page(healer.daemon.port))[incident.id]
        if healer.told.incidents[incident.id] == incident and row["changedAt"] == incident.changed_at:
            break
    rule = canary.bound.rule
    place = canary.sides[1], canary.namespace, ""
    scenario = Scenario(*place, rule.mode, rule.severity, "shiftTraffic", judged("BadCanary"))
    return list(scenario.faults(incident, await in_slack(incident, "", token), row))
