"""`silence`: exactly the alerts of the incident, once, and only those that name a target. The Alertmanager is a real one."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from healer.actions.base import Clients, NotUndone
from healer.actions.silence import SilenceAlerts, SilenceParams
from healer.actions.undo_silence import mark_of, marked
from healer.clock import SYSTEM
from healer.cluster.errors import ClusterError
from healer.daemon.rulefiles import vocabulary
from healer.daemon.unusable import unusable
from healer.model.action import Outcome, OutcomeKind
from healer.model.incident import SickTarget, Symptom
from healer.model.silence import SilenceFailed
from healer.model.temporary import TemporaryChange, changes
from healer.rules.loading import load
from healer.settings import Settings
from healer.settings.sections import Alerts
from healer.sources.alertmanager.api import AlertStatus, MadeSilence
from healer.sources.alertmanager.silences import AlertmanagerSilences, own_silences
from tests.integration.test_alertmanager import post
from tests.integration.world import ruleset
from tests.support.prometheus import Monitor, alertmanager
from tests.support.world import rule, rulebook
from tests.unit.actions.conftest import NAME, NAMESPACE, Bench

pytestmark = pytest.mark.slow

CONFIG = {"route": {"receiver": "nobody"}, "receivers": [{"name": "nobody"}]}
LABELS = {"alertname": "HighLatency", "namespace": NAMESPACE, "deployment": NAME, "zone": 'a "b"\\'}


@pytest.fixture
async def monitor(tmp_path: Path) -> AsyncIterator[Monitor]:
    """An Alertmanager that tells nobody."""
    async with alertmanager(tmp_path / "alertmanager", CONFIG) as running:
        yield running


@pytest.fixture
async def silences(monitor: Monitor) -> AsyncIterator[AlertmanagerSilences]:
    """Its silences: the first address that the settings name does not answer."""
    made = own_silences(Alerts(url=f"http://127.0.0.1:1,http://{monitor.address}"), SYSTEM)
    assert made is not None
    yield made
    await made.aclose()


async def fire(monitor: Monitor, **labels: str) -> None:
    """Prometheus says that it fires."""
    now = datetime.now(UTC)
    sent = {"labels": LABELS | labels, "startsAt": now.isoformat(), "endsAt": (now + timedelta(minutes=5)).isoformat()}
    await post(monitor, "alerts", [sent])


class Alerted:
    """The bench, with an incident that has the alerts that fire."""

    def __init__(self, bench: Bench, silences: AlertmanagerSilences | None) -> None:
        self.bench = bench
        self.silences = silences
        self.signals: dict[str, Symptom] = {}

    async def look(self) -> "Alerted":
        """Take the alerts that fire now for those of the incident."""
        assert self.silences is not None
        firing = await self.silences.firing({LABELS["alertname"]})
        self.signals = {key: Symptom("alert", labels["alertname"], "1", 0.0) for key, labels in firing.items()}
        return self

    @property
    def facts(self) -> dict[str, Any]:
        """The fields of the incident."""
        return {"targets": {"w": SickTarget(self.bench.workload, self.signals, 0.0, "HighLatency")}}

    async def silence(self, **how: Any) -> Outcome:
        """One attempt."""
        self.bench.silences = self.silences
        return await self.bench.attempt("silence", params=SilenceParams(), target=self.bench.workload, **self.facts, **how)

    async def end(self) -> None:
        """Take all back that was noted."""
        for key, change in changes(self.bench.kept).items():
            clients = Clients(self.bench.api, self.silences)
            way = await SilenceAlerts().reversal(clients, self.bench.incident(**self.facts), key, change)
            way.check(force=False)
            await way.put_back(self.bench.api, force=False)

    async def made(self) -> list[dict[str, str]]:
        """The labels of the silences in force."""
        assert self.silences is not None
        return [dict(each.labels) for each in await self.silences.made(mark_of(self.bench.incident(**self.facts)))]


def verdict(outcome: Outcome) -> tuple[OutcomeKind, str]:
    return outcome.kind, outcome.reason


async def test_each_alert_of_the_incident_once_and_ended_again(
    bench: Bench, monitor: Monitor, silences: AlertmanagerSilences
) -> None:
    """Exactly their labels; a second attempt finds them; what is ended is gone, and ending it twice is no fault."""
    await fire(monitor)
    await fire(monitor, zone="c")
    alerted = await Alerted(bench, silences).look()
    await fire(monitor, zone="later")
    assert verdict(await alerted.silence()) == (OutcomeKind.DONE, "Silenced")
    assert sorted(each["zone"] for each in await alerted.made()) == ['a "b"\\', "c"]
    assert verdict(await alerted.silence()) == (OutcomeKind.DONE, "FoundDone")
    assert len(await alerted.made()) == 2
    assert [change.while_acting for change in changes(bench.kept).values()] == [True, True]
    assert bench.sent == ["silence"]
    await alerted.end()
    assert await alerted.made() == []
    await alerted.end()


async def test_a_dry_run_silences_nothing(bench: Bench, monitor: Monitor, silences: AlertmanagerSilences) -> None:
    """It says what it would do, and keeps nothing."""
    await fire(monitor)
    alerted = await Alerted(bench, silences).look()
    assert verdict(await alerted.silence(dry_run=True)) == (OutcomeKind.DONE, "WouldSilence")
    assert (await alerted.made(), bench.kept) == ([], {})


@pytest.mark.parametrize("label", ["namespace", "deployment"])
async def test_an_alert_whose_labels_name_no_target_is_not_silenced(
    bench: Bench, monitor: Monitor, silences: AlertmanagerSilences, label: str
) -> None:
    """A silence of the labels that are left would silence alerts of others, too."""
    await fire(monitor, **{label: ""})
    alerted = await Alerted(bench, silences).look()
    assert verdict(await alerted.silence()) == (OutcomeKind.REFUSED, "NotIdentified")
    assert await alerted.made() == []


async def test_what_has_ended_is_not_silenced(bench: Bench, silences: AlertmanagerSilences) -> None:
    """Alertmanager does not have it any more."""
    alerted = Alerted(bench, silences)
    alerted.signals = {"0123456789abcdef": Symptom("alert", "HighLatency", "1", 0.0)}
    assert verdict(await alerted.silence()) == (OutcomeKind.RECOVERED, "NotFiring")


async def test_too_many_alerts_are_for_people_to_hear(bench: Bench, monitor: Monitor, silences: AlertmanagerSilences) -> None:
    """Twenty-one are more than healer treats quietly."""
    for number in range(21):
        await fire(monitor, zone=str(number))
    alerted = await Alerted(bench, silences).look()
    assert verdict(await alerted.silence()) == (OutcomeKind.REFUSED, "TooManyAlerts")


async def test_without_an_answer_nothing_is_done_and_it_is_asked_again(bench: Bench) -> None:
    """A silence that may stand is no reason to forget it either."""
    nobody = own_silences(Alerts(url="http://127.0.0.1:1"), SYSTEM)
    assert nobody is not None
    alerted = Alerted(bench, nobody)
    alerted.signals = {"0123456789abcdef": Symptom("alert", "HighLatency", "1", 0.0)}
    assert verdict(await alerted.silence()) == (OutcomeKind.DEFERRED, "NoAnswer")
    assert verdict(await Alerted(bench, None).silence()) == (OutcomeKind.REFUSED, "NoAlertmanager")
    with pytest.raises(ClusterError, match="look for the silence"):
        await SilenceAlerts().reversal(Clients(bench.api, nobody), bench.incident(), "k", TemporaryChange("", "d", "0"))
    with pytest.raises(NotUndone, match="knows no Alertmanager any more"):
        await SilenceAlerts().reversal(Clients(bench.api), bench.incident(), "k", TemporaryChange("", "d", "0"))
    with pytest.raises(SilenceFailed):
        await nobody.end("x")
    await nobody.aclose()


async def test_only_a_silence_of_its_own_counts_for_nothing(monitor: Monitor, silences: AlertmanagerSilences) -> None:
    """Asked why an alert is suppressed: by healer's own silence it is not; by that and another's, or an inhibition, it is."""
    api, url = silences._alertmanagers, f"http://{monitor.address}"
    ours = await silences.make(LABELS, seconds=60, comment="healer incident production/x: so")
    theirs = await silences.make(LABELS, seconds=60, comment="somebody else")

    def own(silence: MadeSilence) -> bool:
        return marked(silence.comment) == "x"

    async def why(*by: str, inhibited: bool = False) -> str:
        return await api.suppression(url, AlertStatus("suppressed", by, ("1",) if inhibited else ()), own)

    assert await why(ours) == ""
    assert await why(ours, theirs) == "it is silenced by healer (somebody else)"
    assert await why(ours, inhibited=True) == "it is inhibited by another alert"
    assert await why() == "it is muted by Alertmanager"


@pytest.mark.parametrize("comment", ["", "healer incident", "somebody: healer incident a/b: x", "healer incident a/b"])
def test_a_comment_of_somebody_else_names_no_incident(comment: str) -> None:
    """Only one that begins as healer's do."""
    assert marked(comment) == ""


def test_a_rule_that_is_not_on_alerts_cannot_have_it_nor_one_without_the_setting() -> None:
    """Both are said when the rules are read."""
    _, (problem,) = load(ruleset(rule(heal=[{"silence": {}}])), "f.yaml", vocabulary())
    assert "the rule is not on alerts" in problem.message
    rules = rulebook(rule(when={"alert": ["HighLatency"]}, heal=[{"silence": {"for": "1h"}}, {"evict": {}}]))
    (missing,) = unusable(rules, Settings())
    assert "needs the setting HEALER_ALERTS__URL" in missing.message
    assert unusable(rules, Settings(alerts=Alerts(url="http://alertmanager"))) == []
