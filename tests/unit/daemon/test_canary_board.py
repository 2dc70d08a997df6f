"""What is kept of the looks at canaries."""

from dataclasses import replace

from healer.daemon.canary_board import MOST, POINTS, CanaryBoard
from healer.model.target import Target
from healer.model.verdict import Counts, MeasureFinding, Verdict, VerdictKind
from healer.sources.base import Judgement


def judgement(evidence: float = 2.0, *, uid: str = "uid-1", rule: str = "models/bad-canary") -> Judgement:
    finding = MeasureFinding(
        "errors", VerdictKind.INSUFFICIENT, "not decided", Counts(100, 5), Counts(1000, 10), evidence, 100.0, 1.0
    )
    verdict = Verdict(VerdictKind.INSUFFICIENT, "not decided yet", (finding,))
    return Judgement(rule, Target("Deployment", "production", "v2", uid), "ingress/ab", 0.2, verdict, True)


def test_the_last_verdict_stands_there_with_the_past_of_its_evidence() -> None:
    board = CanaryBoard()
    for number in range(POINTS + 3):
        board.judged(judgement(float(number)), 1000.0 + number)
    (row,) = board.rows(["models/bad-canary"])
    assert (row.rule, row.route, row.weight, row.verdict, row.at) == (
        "models/bad-canary",
        "ingress/ab",
        0.2,
        "INSUFFICIENT",
        1242.0,
    )
    (measure,) = row.measures
    assert (measure.evidence, measure.needed) == (242.0, 100.0)
    assert (len(measure.line), measure.line[0], measure.line[-1]) == (POINTS, (1003.0, 3.0), (1242.0, 242.0))
    assert (measure.canary.requests, measure.canary.bad) == (100, 5)
    assert measure.canary.low < 0.05 < measure.canary.high
    assert measure.stable is not None


def test_why_a_canary_was_bad_stays_when_it_has_no_traffic_any_more() -> None:
    board = CanaryBoard()
    board.judged(judgement(120.0), 1.0)
    board.judged(replace(judgement(), verdict=Verdict(VerdictKind.INSUFFICIENT, "the weight is 0"), share=0.0), 2.0)
    (row,) = board.rows(["models/bad-canary"])
    assert (row.text, row.weight, row.at) == ("the weight is 0", 0.0, 2.0)
    assert [measure.evidence for measure in row.measures] == [120.0]


def test_a_rule_that_is_gone_shows_none() -> None:
    board = CanaryBoard()
    board.judged(judgement(), 1.0)
    assert list(board.rows(["another/rule"])) == []


def test_of_too_many_the_one_that_was_judged_longest_ago_goes() -> None:
    board = CanaryBoard()
    for number in range(MOST + 1):
        board.judged(judgement(uid=f"uid-{number}"), float(number))
        board.judged(judgement(uid="uid-0"), float(number))
    kept = [row.workload.uid for row in board.rows(["models/bad-canary"])]
    assert len(kept) == MOST
    assert kept[-1] == "uid-0"
    assert "uid-1" not in kept
