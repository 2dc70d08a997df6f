"""The page in a real Chromium, of a real daemon on the lab: what a person sees, does, and can reach."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from healer.lab import Lab
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
    assert f"pod/{sick} CrashLoopBackOff" in text
    assert "It has acted once" in text
    assert "Yes: verified healthy." in text
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
