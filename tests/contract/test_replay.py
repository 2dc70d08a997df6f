"""Every recorded exchange of a real API server, replayed against the lab."""

from __future__ import annotations

from tests.contract.replay import exchanges, replay


async def test_the_lab_answers_as_recorded() -> None:
    found = await replay()
    assert len(found) == len(exchanges()) == 80
    assert {name: differences for name, differences in found.items() if differences} == {}
