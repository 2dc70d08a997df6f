"""healer in each scenario of the corpus: healed or rightly held, as a good engineer would, and never harmed."""

from pathlib import Path

import pytest

from healer.rehearsal.simulate.result import HEALER, NONE
from tests.corpus.corpus import SCENARIOS, judge


def test_the_corpus_is_as_large_as_promised() -> None:
    assert len(SCENARIOS) >= 40


@pytest.mark.slow
@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_healer_does_what_a_good_engineer_would(path: Path) -> None:
    judged = judge(path, (HEALER, NONE))
    assert judged.name == path.stem
    assert (judged.met, judged.faults) == (True, ())
