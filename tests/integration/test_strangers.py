"""What a stranger is given of four moments, by the shipped rules: the thread in Slack, and the page in a real Chromium.

Each says what broke, what healer did, why, and whether it is over. With HEALER_PICTURES both are kept: NAME.txt and NAME.png.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from healer.daemon.rulefiles import load_rules, vocabulary
from healer.engine.tuning import EngineSettings
from healer.lab import Lab, serving
from healer.lab.objects import is_ready
from healer.model.incident import Incident, State
from healer.rules.pod_detectors import PodsSettings
from healer.rules.rulebook import Rulebook, scaled
from healer.settings.sections import PrometheusSettings
from healer.sinks.site import Site
from healer.sinks.slack.settings import SlackSettings
from tests.integration.world import CHANNEL
from tests.packs.drills import RULES
from tests.packs.lab.canaries import BAD, WEIGHT, CanaryScene, exporting, in_scene, shipped
from tests.seams.house import House, house
from tests.support.browser import PICTURES, Browser
from tests.support.processes import PATIENCE
from tests.support.prometheus import prometheus
from tests.support.reading import fields, read_all, read_message, read_thread, tells_all, titles
from tests.support.slack import FakeSlack, Posted

pytestmark = pytest.mark.slow

SPEED = 120
REPLICAS = 4
PLACES = {"crash": "production", "storm": "ranking", "escalated": "search"}
"""Where each of them has its workload."""
CLUSTER = "prod-eu-1"
RULE = "tensorflow-serving/crash-loop"


@dataclass(frozen=True)
class Moment:
    """An incident as a stranger finds it: its message in Slack, and where its page is."""

    incident: Incident
    posted: Posted
    port: int

    @property
    def headline(self) -> str:
        """The first line of the message."""
        return read_message(self.posted)[0]

    @property
    def now(self) -> str:
        """The line that says how it stands."""
        (found,) = [line for line in read_message(self.posted) if line.startswith("*Now* ")]
        return found

    @property
    def told(self) -> list[str]:
        """The lines of the thread."""
        return read_thread(self.posted)

    @property
    def called(self) -> list[str]:
        """Those that the channel shows too."""
        return [reply.text for reply in self.posted.replies if reply.broadcast]


def rules(canary: CanaryScene) -> Rulebook:
    """The shipped rules, in a hurry, where these workloads are."""
    pack = scaled(Rulebook(load_rules([RULES / "tensorflow-serving.yaml"], vocabulary()).rules), 1 / SPEED)
    placed = []
    for bound in pack.rules:
        scope = bound.scope.model_copy(update={"namespaces": tuple(PLACES.values())})
        placed.append(replace(bound, rule=bound.rule.model_copy(update={"scope": scope})))
    return Rulebook([*placed, canary.bound])


async def serve(lab: Lab, namespace: str, behaviour: str | None = None) -> list[str]:
    """A workload runs in that namespace; new pods of it behave so, and the first ones are well."""
    await lab.apply(serving(namespace=namespace, replicas=REPLICAS, min_available=None, behaviour=behaviour))

    def pods() -> list[str]:
        return sorted(pod["metadata"]["name"] for pod in lab.objects("pods", namespace))

    await lab.wait_for(lambda _: len(pods()) == REPLICAS, PATIENCE)
    for pod in pods() if behaviour else ():
        await lab.behave(namespace, pod, "ok")
    await lab.wait_for(lambda _: sum(map(is_ready, lab.objects("pods", namespace))) == REPLICAS, PATIENCE)
    return pods()


@contextlib.asynccontextmanager
async def moments(folder: Path, slack: FakeSlack) -> AsyncIterator[Mapping[str, Moment]]:
    """All four at once."""
    (of_canary,) = [bound for bound in shipped() if bound.ruleset == "canary"]
    token = folder / "slack-token"
    token.write_text(slack.token)
    async with Lab(time_scale=1 / SPEED) as lab:
        canary = CanaryScene(lab, in_scene(of_canary, "errors"), "canary", "errors")
        await lab.apply(canary.manifests())
        crashing, *_ = await serve(lab, PLACES["crash"])
        stormed = await serve(lab, PLACES["storm"])
        hopeless, *_ = await serve(lab, PLACES["escalated"], "crash")
        async with exporting([canary]) as exporter, prometheus(folder / "prometheus", exporter.scraping()) as monitor:
            exporter.open = True
            count = f'sum(:tensorflow:serving:request_count{{namespace="{canary.namespace}"}})'
            await monitor.until(f"{count} > 2000")
            async with house(
                lab,
                folder,
                rulebook=rules(canary),
                slack=SlackSettings(token_file=token, channel=CHANNEL, base_url=slack.url, mention="here"),
                site=Site(cluster=CLUSTER, dashboard="https://grafana.example.com/d/serving?var-namespace={{ namespace }}"),
                prometheus=PrometheusSettings(url=f"http://{monitor.address}"),
                pods=PodsSettings(settle=1.0, starting=0.5),
                engine=EngineSettings(retry=0.3, recheck=0.3),
            ) as healer:
                for name, pods in {"crash": [crashing], "escalated": [hopeless], "storm": stormed[:3]}.items():
                    for pod in pods:
                        await lab.behave(PLACES[name], pod, "crash")
                await monitor.until(f"{count} > 8000")
                canary.failing = BAD
                ends = {"crash": State.HEALED, "storm": State.WAITING, "escalated": State.ESCALATED, "canary": State.HEALED}
                places = PLACES | {"canary": canary.namespace}
                await asyncio.gather(*(came(healer, places[name], state) for name, state in ends.items()))
                await slack.wait_for(lambda _: all(is_told(healer, slack, place) for place in places.values()), PATIENCE)
                yield {name: moment(healer, slack, place) for name, place in places.items()}


async def came(healer: House, namespace: str, state: State) -> None:
    """The incident there came to that state; a storm waits twice, for people at last."""
    await healer.told.until(state, lambda each: each.workload.namespace == namespace and (not each.storm or each.stormed))


def moment(healer: House, slack: FakeSlack, namespace: str) -> Moment:
    """The moment of the incident in a namespace."""
    (incident,) = [each for each in healer.told.incidents.values() if each.workload.namespace == namespace]
    (posted,) = [each for each in slack.messages[CHANNEL] if each.metadata["event_payload"]["incident"] == incident.id]
    return Moment(incident, posted, healer.daemon.port)


def is_told(healer: House, slack: FakeSlack, namespace: str) -> bool:
    """Whether the thread tells all of it."""
    (incident,) = [each for each in healer.told.incidents.values() if each.workload.namespace == namespace]
    return tells_all(slack, CHANNEL, incident)


CRASHED = "CrashLoopBackOff: container tensorflow-serving crashed 5 times, last exit 1 (Error)"


async def test_each_moment_says_what_broke_what_healer_did_why_and_whether_it_is_over(tmp_path: Path) -> None:
    async with FakeSlack() as slack, moments(tmp_path, slack) as found:
        for name, each in found.items():
            keep(name, read_all(each.posted))
            shown = fields(each.posted)
            assert (shown["Namespace"], shown["Cluster"]) == (each.incident.workload.namespace, CLUSTER)
            assert shown["Severity"].endswith("critical")
            assert len(set(each.told)) == len(each.told), "nothing is said twice"
        in_slack(**found)
        async with Browser() as browser:
            await on_the_page(browser, found)
            assert browser.trouble == []


def in_slack(crash: Moment, storm: Moment, escalated: Moment, canary: Moment) -> None:
    (pod,) = [each.target.name for each in crash.incident.targets.values()]
    assert crash.headline == f"✅ {CRASHED} on pod/{pod}"
    assert titles(crash.posted)[:5] == ["Seen", "Acts (evict)", "Done (evict)", "No longer sick", "Healed (evict)"]
    assert any(f"pod/{pod} is evicted" in line for line in crash.told)
    assert crash.now.startswith(("*Now* healed: ", "*Now* over: "))
    assert crash.called == []

    assert storm.headline == f"🚨 3 of 4 pods are sick at once, more than 40%: {CRASHED}"
    assert storm.now.startswith("*Now* a human is needed: ")
    assert [title for title in titles(storm.posted) if "evict" in title] == ["A human is needed (evict)"], "it takes no pod"
    assert any(line.endswith("*Done*: people are paged about deployment/tensorflow-serving") for line in storm.told)
    assert "\n".join(storm.told).count(CRASHED) == 1
    (called,) = storm.called
    assert called.startswith("<!here> ")
    assert "healer does nothing more until fewer are sick" in called

    old, new = sorted(escalated.incident.targets.values(), key=lambda each: each.since)
    assert escalated.headline == f"🚨 {CRASHED} on {new.target}"
    assert titles(escalated.posted)[-2:] == ["Seen", "A human is needed (evict)"]
    assert any(f"{old.target} is evicted" in line for line in escalated.told)
    assert any(line.endswith(f"the new {new.target} is sick too: CrashLoopBackOff") for line in escalated.told)
    assert escalated.now == f"*Now* a human is needed: no step is left after evict: sick as well: the new {new.target}"
    assert len(escalated.called) == 1

    assert canary.headline.startswith("⛔ BadCanary: errors: canary ")
    assert canary.headline.endswith(" on deployment/tensorflow-serving-v2")
    assert any(line.endswith(f"canary {WEIGHT} % -> 0 %, all to tensorflow-serving-v1") for line in canary.told)
    assert titles(canary.posted)[-1] == "Taken off, the release failed (shiftTraffic)"
    assert canary.now.startswith("*Now* taken off, the release failed: ")
    assert "Healed" not in " ".join(titles(canary.posted))
    assert canary.called == []


ON_THE_PAGE: Mapping[str, Mapping[str, str]] = {
    "crash": {"What broke": CRASHED, "What healer did": "It has acted once", "Why": "will evict pod/", "Is it over?": "Yes: "},
    "storm": {
        "What broke": f"3 of 4 pods are sick at once, more than 40%: {CRASHED}",
        "What healer did": "Nothing was changed.",
        "Why": "healer does nothing more until fewer are sick",
        "Is it over?": "No: healer holds back. A human is needed.",
    },
    "escalated": {
        "What broke": CRASHED,
        "What healer did": "It has acted once",
        "Why": "no step is left after evict: sick as well: the new pod/",
        "Is it over?": "No: healer has done what it may. A human is needed.",
    },
    "canary": {
        "What broke": "BadCanary: errors: canary ",
        "What healer did": f"canary {WEIGHT} % -> 0 %, all to tensorflow-serving-v1",
        "Why": "will shift traffic away from deployment/tensorflow-serving-v2",
        "Is it over?": "Yes: taken off, the release failed.",
    },
}
"""What stands under each title."""


async def on_the_page(browser: Browser, found: Mapping[str, Moment]) -> None:
    await browser.look(width=1100, height=900)
    await browser.open(f"http://127.0.0.1:{found['crash'].port}")
    await browser.until("document.querySelectorAll('[data-incident]').length >= 4")
    assert await browser.run("document.querySelector('h1').textContent") == "2 incidents need a human"
    await browser.picture("now", whole=True)
    for name, each in found.items():
        incident = each.incident
        await browser.run(f"location.hash = '#/incidents/{incident.workload.namespace}/{incident.id}'")
        await browser.until(f"document.querySelector('.answers + h2 ~ dl').innerText.includes('{incident.id}')")
        script = "[...document.querySelectorAll('.answers section')].map((each) => [each.firstChild.textContent, each.innerText])"
        answers = dict(await browser.run(script))
        thread = "[...document.querySelectorAll('main a')].find((each) => each.textContent === 'Slack thread').href"
        assert (await browser.run(thread)).endswith(f"/p{each.posted.ts.replace('.', '')}"), name
        for title, said in ON_THE_PAGE[name].items():
            assert said in answers[title], (name, title, answers[title])
        assert await browser.flaws() == [], name
        await browser.picture(name, whole=True)
    await browser.run("location.hash = '#/canaries'")
    await browser.until("document.querySelector('main svg')")
    await browser.picture("canaries", whole=True)


def keep(name: str, text: str) -> None:
    """Keep the thread, where the environment names a folder for it."""
    if PICTURES:
        Path(PICTURES).mkdir(parents=True, exist_ok=True)
        (Path(PICTURES) / f"{name}.txt").write_text(text + "\n", "utf-8")
