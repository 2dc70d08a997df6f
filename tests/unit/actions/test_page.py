"""`page` asks nothing of the cluster."""

import pytest

from healer.model.action import OutcomeKind
from tests.unit.actions.conftest import Bench


@pytest.mark.parametrize(("dry_run", "reason"), [(False, "Paged"), (True, "WouldPage")])
async def test_it_changes_nothing(bench: Bench, dry_run: bool, reason: str) -> None:
    outcome = await bench.attempt("page", dry_run=dry_run)
    assert (outcome.kind, outcome.reason) == (OutcomeKind.DONE, reason)
    assert bench.writes == []
    assert bench.sent == []
    assert bench.untouched
