"""Every scene of the shipped rules, as the page draws it: in one Chromium, by its own scripts, from the daemon's own report."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from healer.daemon.rulefiles import load_rules
from healer.daemon.state import StateReport
from healer.http.health import Health
from healer.http.server import Server
from healer.http.state import StateRoutes
from healer.model.effects import Approval
from healer.model.incident import Incident, State
from healer.rules.rulebook import Rulebook
from healer.settings import Isolated
from healer.settings.http import HttpSettings
from healer.sinks.base import SinkMeters
from healer.sinks.group import Sinks
from tests.packs.drills import FILES, begin, end, new_drill, rules_of
from tests.packs.rows import ROWS, Hold, Row
from tests.support.browser import Browser
from tests.support.world import START, VOCABULARY, Drill, World

pytestmark = pytest.mark.slow

PODS = ("serving-1", "serving-2", "serving-3")
OVER = {State.HEALED, State.CLOSED}
READ_ALL = """(async (addresses) => {
    const found = {};
    for (const [address, name] of addresses) {
        location.hash = address;
        await new Promise((done, failed) => {
            const last = performance.now() + 30000;
            const look = () => document.querySelector("main dl")?.innerText.includes(name) ? done()
                : performance.now() > last ? failed(new Error(`${address} is not drawn`)) : setTimeout(look, 5);
            look();
        });
        found[name] = Object.fromEntries([...document.querySelectorAll(".answers section")].map((each) =>
            [each.firstChild.textContent, each.innerText.split("\\n").slice(1).join(" ").trim()]));
        found[name].chip = document.querySelector("main .chip").textContent;
        found[name].whole = document.querySelector("main").innerText;
    }
    return found;
})(%s)"""


def scenes() -> Iterator[tuple[Row, Hold | None, Drill]]:
    """Each row as it heals, and as it holds back."""
    for row in ROWS:
        for hold in (None, *row.holds):
            rule = rules_of(row.ruleset).by_name[row.rule].rule
            trouble = (hold and hold.trouble) or row.trouble
            d = new_drill(row.ruleset, hold.replicas if hold else 4)
            d.world.respecify(paused=bool(hold and hold.rollout))
            d.world.pause("deployment")  # until all are sick: they fall ill at once
            for pod in PODS[: hold.sick if hold else 1]:
                begin(d, trouble, row.rule, pod)
            d.world.pause("deployment", "")
            if hold is not None:
                d.wait(rule.when.held_for + (0 if hold.brief else hold.lasts))
            else:
                heal(d, row, rule.when.held_for)
            yield row, hold, d


def heal(d: Drill, row: Row, held: float) -> None:
    """The step is approved where that is asked for, taken, and helps."""
    d.wait(held + 700)
    for incident in [each for each in d.incidents.values() if each.reason.code == "NeedsApproval"]:
        d.feed(Approval(incident.id, "ann"))
    while d.waiting:
        d.answer()
    taken = [act.target.name for act in d.acts if act.action == "evict"]
    for pod in list(d.world.pods):
        if pod.metadata.name in taken:
            d.world.replace(pod.metadata.name)
        else:
            end(d, row.trouble, row.rule, pod.metadata.name)
    d.wait(1200)


def served(incidents: list[Incident]) -> Server:
    """A server whose state has these incidents."""
    every = Rulebook(load_rules(FILES, VOCABULARY).rules)
    report = StateReport(
        settings=Isolated(),
        view=World(1).view,
        rulebook=lambda: every,
        incidents=lambda: incidents,
        rows=tuple,
        health=Health,
        further=tuple,
        leader=lambda: "healer-1",
        sight=lambda: None,
        threads=Sinks([], SinkMeters(CollectorRegistry())),
        clock=lambda: START + 10_000,
    )
    state = StateRoutes(report.whole, report.incident)
    settings = HttpSettings(host="127.0.0.1", port=0)
    return Server(settings=settings, webhooks={}, health=Health, registry=CollectorRegistry(), state=state)


def faults(incident: Incident, shown: Mapping[str, str]) -> Iterator[str]:
    """What the page of an incident does not say, or says wrongly."""
    if not shown["Is it over?"].startswith("Yes: " if incident.state in OVER else "No"):
        yield f"whether it is over: {shown['Is it over?']!r}"
    if incident.state is State.ESCALATED and "A human is needed." not in shown["Is it over?"]:
        yield f"that a human is needed: {shown['Is it over?']!r}"
    names = {each.what.partition(":")[0] for each in incident.targets.values()}
    if not any(name in shown["What broke"] for name in names):
        yield f"what broke: {shown['What broke']!r} has none of {names}"
    acted = "It has acted " in shown["What healer did"]
    if acted is not bool(incident.acted_at):
        yield f"what healer did: {shown['What healer did']!r}"
    doing = shown["whole"].partition("Doing\n")[2].partition("\n")[0]
    if doing.startswith("nothing: ") is not (incident.state in OVER or "A human is needed." in shown["Is it over?"]):
        yield f"what it is doing: {doing!r}"
    if "Attempts on this step" in shown["whole"] and not acted and incident.mode != "observe":
        yield "attempts, where nothing was changed"
    if incident.background.description[:60] not in shown["Why"]:
        yield f"why: {shown['Why']!r}"
    if wrong := [each for each in ("undefined", "NaN", "[object", "null", "Invalid Date") if each in shown["whole"]]:
        yield f"what a script could not read: {wrong}"


async def test_every_scene_is_drawn_with_its_four_answers() -> None:
    found: list[Incident] = []
    for row, hold, d in scenes():
        mine = [incident for incident in d.incidents.values() if incident.rule == row.rule]
        assert mine or hold is not None, row.rule
        found += [replace(each, id=f"{each.id[:40]}-{len(found)}") for each in mine]
    assert {each.state for each in found} >= {State.WAITING, State.ESCALATED, State.CLOSED}
    async with served(found) as server, Browser() as browser:
        await browser.look()
        await browser.open(f"http://127.0.0.1:{server.port}/")
        await browser.until("document.querySelector('[data-incident]')")
        assert await browser.flaws() == []
        cards = await browser.run(
            "[...document.querySelectorAll('[data-incident]')].map((e) => [e.dataset.incident, e.textContent])"
        )
        over = {each.id for each in found if each.state in OVER}
        assert cards
        assert {name for name, said in cards if "lasts so far" in said} == {name for name, _ in cards} - over
        addresses = [(f"#/incidents/{each.workload.namespace}/{each.id}", each.id) for each in found]
        read: Mapping[str, Mapping[str, Any]] = {}
        for at in range(0, len(addresses), 40):
            read = {**read, **await browser.run(READ_ALL % json.dumps(addresses[at : at + 40]))}
        told = {each.id: list(faults(each, read[each.id])) for each in found}
        assert {name: said for name, said in told.items() if said} == {}
        for state in sorted({each.state for each in found}):
            one = next(each for each in found if each.state is state)
            await browser.run(READ_ALL % json.dumps([(f"#/incidents/{one.workload.namespace}/{one.id}", one.id)]))
            assert await browser.flaws() == [], state
        assert browser.trouble == []
