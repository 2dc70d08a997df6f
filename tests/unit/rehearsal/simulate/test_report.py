"""The report as people see it: a real browser reads it."""

from pathlib import Path

import pytest

from healer.rehearsal.simulate.report import html
from healer.rehearsal.simulate.result import simulate
from healer.settings import isolated
from tests.support.browser import Browser
from tests.unit.rehearsal.simulate.played import rules, scenario

HANG = {"name": "hang", "at": "10m", "target": {"workload": "llm", "pods": 1}, "shows": {"pod": "hang"}}


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """The report of a scenario in which one pod hangs."""
    read = scenario(faults=[HANG], about="It hangs <b>& more</b>.", expect={"verdict": "healed", "should": [{"action": "evict"}]})
    found = simulate(read, rules(), isolated({}, "test"), policies=["healer", "none"], seed=1)
    (tmp_path / "report.html").write_text(html(found), "utf-8")
    return tmp_path / "report.html"


@pytest.mark.slow
async def test_a_browser_finds_nothing_wrong_and_asks_for_nothing(page: Path) -> None:
    async with Browser() as browser:
        for dark in (False, True):
            await browser.look(dark=dark)
            await browser.open(page.as_uri())
            assert await browser.flaws() == []
            await browser.picture(f"simulation{'-dark' if dark else ''}", whole=True)
        await browser.look(width=400)
        assert await browser.run("document.documentElement.scrollWidth <= 400")
        assert await browser.run("performance.getEntriesByType('resource').length") == 0
        assert "It hangs <b>& more</b>." in await browser.run("document.body.innerText")
        rows = await browser.run("[...document.querySelectorAll('tr.act')].map((row) => row.cells[0].innerText)")
        assert rows == ["0:11:00"]
        assert await browser.run("document.querySelectorAll('svg polyline').length") == 4
        shown = "[...document.querySelectorAll('.story tbody tr')].filter((row) => row.offsetHeight).map((row) => row.className)"
        assert {"fault", "act", "open"} <= {*await browser.run(shown)}
        await browser.run("document.querySelector('#only-healer').click()")
        kinds = await browser.run(shown)
        assert {"fault", "act"} <= {*kinds}
        assert not {"open", "acting", "verifying", "healed"} & {*kinds}
        words = await browser.run("[...document.querySelectorAll('svg')].map((each) => each.getAttribute('aria-label'))")
        assert words == [
            "Share of the requests that is answered, over time: healer ends at 100 %; none ends at 66.667 %",
            "Requests that have failed so far: healer ends at 450; none ends at 15,000",
        ]
        assert browser.trouble == []
