"""The page in a real Chromium, of a real daemon on the lab: what a person sees, does, and can reach."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from prometheus_client import CollectorRegistry

from healer.http.health import Health
from healer.http.server import Server
from healer.http.state import IncidentRow, StateBody, StateRoutes, UnitRow, WorkloadRow
from healer.lab import Lab
from healer.model.incident import Reason
from healer.model.target import Target
from healer.settings.http import HttpSettings
from tests.integration.conftest import Run
from tests.integration.world import CRASH_LOOP, NAMESPACE, evictions, rule, ruleset, serve
from tests.support.browser import Browser
from tests.support.healer import Healer, alert

pytestmark = pytest.mark.slow

CONTROL = "a-token-for-those-on-call"
ASKED = rule("slow", when={"alert": ["HighLatency"]}, mode="approve") | {"description": "Slow replicas are replaced when asked."}
OBSERVED = rule("watched", when={"alert": ["HighErrors"]}, mode="observe")
ROUTES = ("", "workloads", "canaries", "limits", "rules", "decisions", "health")


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with Browser() as browser:
        await browser.look()
        yield browser
    assert browser.trouble == []


@pytest.fixture
async def healer(lab: Lab, run: Run, tmp_path: Path) -> Healer:
    (tmp_path / "control").write_text(CONTROL)
    rules = ruleset(CRASH_LOOP, ASKED, OBSERVED)
    return await run(rules, HEALER_HTTP__CONTROL_TOKEN_FILE=tmp_path / "control", HEALER_SITE__CLUSTER="prod-eu-1")


async def test_an_incident_appears_and_heals_without_a_reload(lab: Lab, healer: Healer, browser: Browser) -> None:
    sick, *_ = await serve(lab)
    await browser.open(await healer.listens())
    await browser.until("document.querySelector('h1').textContent === 'All is well'")
    await browser.run("window.neverReloaded = true")
    await browser.picture("calm")
    await lab.behave(NAMESPACE, sick, "crash")
    card = "document.querySelector('[data-incident^=crash-loop]')"
    await browser.until(f"{card}.dataset.state === 'verifying'")
    await browser.picture("healing")
    await browser.until(f"{card}.dataset.state === 'healed'")
    assert evictions(lab) == [sick]
    assert await browser.run("window.neverReloaded")

    await browser.run(f"{card}.querySelector('a').click()")
    text = await browser.until("document.querySelector('.answers')?.innerText")
    assert all(f"{title}\n" in text for title in ("What broke", "What healer did", "Why", "Is it over?"))
    assert f"pod/{sick}: CrashLoopBackOff" in text
    assert "It has acted once" in text
    assert "Yes: healed." in text
    assert await browser.run("[...document.querySelectorAll('.timeline strong')].map((each) => each.textContent)") == [
        entry["state"] for entry in lab.objects("incidents.healer.dev", NAMESPACE)[0]["status"]["history"]
    ]
    await browser.picture("incident")


async def test_an_approval_is_pressed(lab: Lab, healer: Healer, browser: Browser) -> None:
    pod, *_ = await serve(lab)
    await browser.open(await healer.listens())
    await healer.post(alert("HighLatency", pod=pod))
    await browser.until("document.querySelector('button[data-verb=approve]')")
    assert await browser.run("document.querySelector('h1').textContent") == "1 incident needs a human"
    await browser.picture("needs-a-human")
    await browser.run("document.querySelector('button[data-verb=approve]').click()")
    await browser.until("document.querySelector('dialog input[type=password]').checkVisibility()")  # loopback alone may not act
    await browser.run("document.querySelector('dialog input[type=password]').focus()")
    await browser.write(CONTROL)
    await browser.run("document.querySelector('dialog input[autocomplete=name]').focus()")
    await browser.write("Ann")
    await browser.press("Enter", 13)
    shown = await browser.until(
        "document.querySelector('dialog pre').textContent.includes('evict') && document.querySelector('dialog pre').textContent"
    )
    assert f"evict pod/{pod}" in shown
    assert evictions(lab) == []
    await browser.picture("approve")
    await browser.press("Enter", 13)
    await browser.until("document.querySelector('dialog pre').textContent.startsWith('approved by Ann (page)')")
    await healer.says("incident healed")
    assert evictions(lab) == [pod]
    said = await healer.says("a person used the page")
    assert (said["verb"], said["by"]) == ("approve", "Ann (page)")
    (incident,) = lab.objects("incidents.healer.dev", NAMESPACE)
    assert [approval["by"] for approval in incident["status"]["approvals"]] == ["Ann (page)"]


async def test_rules_that_cannot_be_used_are_shown_beside_those_in_force(
    healer: Healer, browser: Browser, rules_folder: Path
) -> None:
    await browser.open(f"{await healer.listens()}/#/rules")
    await browser.until("document.querySelectorAll('[data-rule]').length === 3")
    loaded = "document.querySelector('#loaded')"
    (_, state) = await healer.get("/state")
    assert await browser.run(f"{loaded}.querySelector('code').textContent") == state["loaded"]["digest"]
    (rules_folder / "0.yaml").write_text(ruleset(ASKED).replace("approve", "approved"), "utf-8")
    await browser.until(f"{loaded}.innerText.includes('the last good rules stay in force')")
    assert "0.yaml:" in await browser.run(f"{loaded}.querySelector('.error').textContent")
    assert await browser.run("document.querySelectorAll('[data-rule]').length") == 3
    await browser.picture("rules")
    (rules_folder / "0.yaml").write_text(ruleset(ASKED), "utf-8")
    await browser.until(f"document.querySelectorAll('[data-rule]').length === 1 && !{loaded}.querySelector('.error')")


async def test_who_has_no_token_is_asked_for_one_and_sees_nothing_before(
    lab: Lab, run: Run, browser: Browser, tmp_path: Path
) -> None:
    await serve(lab)
    (tmp_path / "read").write_text(CONTROL)
    healer = await run(ruleset(CRASH_LOOP), HEALER_HTTP__READ_TOKEN_FILE=tmp_path / "read")
    await browser.open(f"{await healer.listens()}/#/workloads")
    await browser.until("document.activeElement.id === 'token'")
    assert await browser.flaws() == []
    await browser.picture("sign-in")
    for given, shown in (("wrong", "This token is not the right one."), (CONTROL, "tensorflow-serving")):
        await browser.write(given)
        await browser.press("Enter", 13)
        await browser.until(f"document.querySelector('main').innerText.includes({shown!r})")
    assert (
        await browser.run("Object.values(sessionStorage).join() + location.href")
        == f"{CONTROL}{await healer.listens()}/#/workloads"
    )
    assert await browser.run("localStorage.length + document.cookie.length") == 0


async def test_every_route_is_accessible_and_fits_a_phone(lab: Lab, healer: Healer, browser: Browser) -> None:
    sick, slow, _ = await serve(lab)
    base = await healer.listens()
    await browser.open(base)
    await lab.behave(NAMESPACE, sick, "crash")
    await healer.says("incident healed")
    await healer.post(alert("HighErrors", pod=slow))
    await healer.post(alert("HighLatency", pod=slow))
    await browser.until("document.querySelector('button[data-verb=approve]')")
    one = await browser.run("document.querySelector('[data-incident^=slow] a').getAttribute('href')")
    for route in (*(f"#/{each}" for each in ROUTES), one):
        await browser.run(f"location.hash = {route!r}")
        await browser.until("document.querySelector('main h1').textContent && !document.body.innerText.includes('looking …')")
        name = route.strip("#/").split("/")[0] or "now"
        for dark in (False, True):
            await browser.look(dark=dark)
            assert await browser.flaws() == [], (route, dark)
            await browser.picture(f"{name}-{'dark' if dark else 'light'}")
        await browser.look(width=360, height=740)
        wide = await browser.run("document.documentElement.scrollWidth - innerWidth")
        assert wide <= 0, route
        await browser.picture(f"{name}-phone")
        await browser.look()


class Crowd:
    """A thousand incidents and five hundred workloads, behind a server of its own. `state` may be changed."""

    def __init__(self) -> None:
        workloads = [_workload(number) for number in range(500)]
        self.state = replace(NOTHING, incidents=[_incident(number) for number in range(1000)], workloads=workloads)

    async def whole(self) -> StateBody:
        return self.state

    def heal(self, number: int) -> None:
        """One of the incidents heals."""
        incidents = list(self.state.incidents)
        incidents[number] = replace(incidents[number], state="healed", verdict="healed", tone="good", changed_at=AT + 5000)
        self.state = replace(self.state, incidents=incidents)

    def server(self) -> Server:
        settings, state = HttpSettings(host="127.0.0.1", port=0), StateRoutes(self.whole, lambda namespace, name: None)
        return Server(settings=settings, webhooks={}, health=Health, registry=CollectorRegistry(), state=state)


async def test_a_crowd_scrolls_and_changes_without_a_stutter(browser: Browser, capsys: pytest.CaptureFixture[str]) -> None:
    crowd = Crowd()
    async with crowd.server() as server:
        await browser.open(f"http://127.0.0.1:{server.port}/")
        await browser.run("""new PerformanceObserver((list) => (window.long ??= []).push(...list.getEntries().map((each) =>
            each.duration))).observe({type: "longtask", buffered: true}), true""")
        await browser.until("document.querySelector('main[data-known]')")
        shown = "document.querySelectorAll('[data-incident]').length"
        assert 0 < await browser.run(shown) <= 240, "no more is drawn than is near"
        first = await browser.run("document.querySelector('[data-incident]').dataset.incident")
        assert first == "crash-999", "the newest first"
        await browser.until(
            f"(scrollTo(0, document.body.scrollHeight), {shown} === 1000)"
        )  # each end that comes in sight adds some
        crowd.heal(0)
        await browser.until("document.querySelector('[data-incident=crash-0]').dataset.state === 'healed'")
        await browser.run("document.querySelector('#find').focus()")
        await browser.write("team-7 serving-7")
        await browser.until(f"0 < {shown} && {shown} < 100")
        await browser.run("location.hash = '#/workloads'")
        count = "document.querySelectorAll('[data-workload]').length"
        await browser.until(f"(scrollTo(0, document.body.scrollHeight), {count} === 500)")
        assert await browser.run("document.querySelector('[data-workload]').classList.contains('bad')"), "first what lacks units"
        long = await browser.run("window.long ?? []")
        with capsys.disabled():
            sys.stdout.write(
                f"\n1,000 incidents and 500 workloads: {len(long)} tasks over 50 ms, the longest {max(long, default=0):.0f} ms\n"
            )
        await browser.picture("crowd")


AT = 1_790_000_000.0
NOTHING = StateBody(
    at=AT, version="1", cluster="", mode="enforce", leads=True, leader="a", paused="", control=False,
    checks=[], incidents=[], workloads=[], canaries=[], limits=[], rules=[], activity=[],
)  # fmt: skip


def _workload(number: int) -> WorkloadRow:
    units = [
        UnitRow(f"serving-{number}-{each}", bool(each or number % 10), "" if number % 10 else "CrashLoopBackOff")
        for each in range(8)
    ]
    ready = sum(unit.ready for unit in units)
    return WorkloadRow(Target("Deployment", f"team-{number % 20}", f"serving-{number}", f"uid-{number}"), 8, ready, "", "", units)


def _incident(number: int) -> IncidentRow:
    workload = _workload(number % 500).target
    reason = Reason("Evicted", f"pod/serving-{number} is evicted; waiting for its replacement")
    return IncidentRow(
        name=f"crash-{number}", namespace=workload.namespace, workload=workload, rule="pack/crash-loop", severity="critical",
        mode="enforce", state="verifying", reason=reason, steps=["evict", "rollback"], step=0, storm=False, sick=1,
        opened_at=AT - 60, changed_at=AT + number, ended_at=None, wake_at=None, waits_for="", cause="CrashLoopBackOff",
        verdict="healer is on it", tone="warning", command="healer explain", links={},
    )  # fmt: skip
