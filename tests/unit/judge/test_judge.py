"""The judge's verdicts, and its words."""

import math

import pytest

from healer.judge.judge import Judge, Missing, Window, Yardstick
from healer.model.verdict import Counts, Verdict, VerdictKind

ERRORS = Yardstick("errors", 1.5, None)
SLOW = Yardstick("latency", 1.5, None, "slower than 218.6 ms")
GOOD, BAD = Window(Counts(300, 3), Counts(3000, 30)), Window(Counts(300, 60), Counts(3000, 30))
CALM = [1.0, 0.0] * 500


def judge(*yardsticks: Yardstick, alpha: float = 0.01) -> Judge:
    """One that has learnt that stable's bad requests come alone."""
    made = Judge(alpha, yardsticks or [ERRORS])
    for yardstick in yardsticks or [ERRORS]:
        made.learn(yardstick.name, CALM)
    return made


def looks(judge: Judge, window: Window | Missing, times: int) -> Verdict:
    """The verdict after so many looks at the same."""
    for _ in range(times):
        judge.update({"errors": window})
    return judge.verdict


def test_a_canary_that_is_worse_is_bad_and_the_figures_are_said() -> None:
    verdict = judge().update({"errors": Window(Counts(310, 41), Counts(3050, 40))})
    assert verdict.kind is VerdictKind.BAD
    assert (
        verdict.text
        == "errors: canary 41 of 310 bad (13.2 %), stable 40 of 3,050 (1.31 %); evidence over a million where 100 is enough"
    )
    [finding] = verdict.findings
    assert (finding.canary, finding.stable, finding.needed) == (Counts(310, 41), Counts(3050, 40), 100)
    assert finding.phi < 1.1


def test_a_burst_of_the_canary_does_not_hide_that_it_goes_on_failing() -> None:
    """One window with a thousand bad requests, then a hundred each: its own unrest is no excuse without end."""
    windows = [Window(Counts(400, 0), Counts(160, 0)), Window(Counts(1000, 1000), Counts(400, 0))]
    judge_ = Judge(0.01, [ERRORS])
    kinds = [judge_.update({"errors": window}).kind for window in [*windows, *[Window(Counts(400, 100), Counts(160, 0))] * 30]]
    assert kinds[-1] is VerdictKind.BAD


def test_an_outage_in_stables_past_does_not_blind_the_judge() -> None:
    judge_ = Judge(0.01, [ERRORS])
    judge_.learn("errors", [3.0] * 360 + [5000.0] * 10 + [3.0] * 350)
    windows = [Window(Counts(300, 150), Counts(3000, 30))] * 10
    assert [judge_.update({"errors": window}).kind for window in windows][-1] is VerdictKind.BAD


def test_bad_stays_until_restart_with_the_figures_that_condemned() -> None:
    condemning = judge()
    said = condemning.update({"errors": BAD}).text
    assert looks(condemning, Window(Counts(3000, 0), Counts(3000, 30)), 20) == condemning.verdict
    assert condemning.verdict.text == said
    assert condemning.update({"errors": Missing("Prometheus does not answer")}).kind is VerdictKind.BAD
    condemning.restart()
    assert condemning.verdict == Verdict(VerdictKind.INSUFFICIENT, "no window yet")
    assert condemning.update({"errors": GOOD}).kind is VerdictKind.INSUFFICIENT


def test_a_restart_keeps_what_was_learnt_of_bursts_and_nothing_else() -> None:
    bursty = Judge(0.01, [ERRORS])
    bursty.learn("errors", [0, 0, 0, 20, 0, 0, 0, 0] * 50)
    first = bursty.update({"errors": BAD}).findings[0]
    bursty.restart()
    again = bursty.update({"errors": BAD}).findings[0]
    assert again.canary == first.canary
    assert again.phi == pytest.approx(first.phi, rel=0.1)
    assert first.phi > 20


def test_phi_does_not_sink_within_a_trial() -> None:
    """Or a calm hour would make much of what was seen before it."""
    calmed = Judge(0.01, [ERRORS])
    calmed.learn("errors", [0, 0, 0, 20, 0, 0, 0, 0] * 5)
    before = calmed.update({"errors": GOOD}).findings[0].phi
    assert before > 20
    assert looks(calmed, Window(Counts(300, 3), Counts(3000, 30)), 400).findings[0].phi == before
    calmed.restart()
    assert calmed.update({"errors": GOOD}).findings[0].phi < before / 2


def test_bursts_of_stable_in_the_trial_are_learnt_too() -> None:
    restless = judge()
    for _ in range(10):
        restless.update({"errors": Window(Counts(300, 3), Counts(3000, 0))})
        restless.update({"errors": Window(Counts(300, 3), Counts(3000, 60))})
    assert restless.verdict.findings[0].phi > 5


def test_good_takes_longer_where_bad_requests_come_in_bursts() -> None:
    bursty = Judge(0.01, [ERRORS])
    bursty.learn("errors", [0, 0, 0, 60, 0, 0, 0, 0] * 50)
    clean = Window(Counts(304, 0), Counts(3040, 0))
    assert looks(bursty, clean, 50).kind is VerdictKind.INSUFFICIENT
    assert looks(bursty, clean, 30).kind is VerdictKind.GOOD


def test_however_calm_stable_is_good_takes_ten_thousand_requests() -> None:
    """Of a canary of which 10 % are bad, in runs of 300, as many in a row are good once in 58 times."""
    calm = judge()
    kinds = [calm.update({"errors": Window(Counts(10, 0), Counts(100, 0))}).kind for _ in range(1070)]
    good = kinds.index(VerdictKind.GOOD) + 1
    assert 0.9 * math.exp(-10 * good / 2700) == pytest.approx(1 / 58, rel=0.02)
    assert set(kinds[:good]) == {VerdictKind.INSUFFICIENT, VerdictKind.GOOD}
    assert calm.verdict.text == "errors: canary 0 of 10,700 bad, stable 0 of 107,000; evidence for it 20.4 where 20 is enough"


def test_a_verdict_that_waits_says_what_good_takes() -> None:
    waiting = judge()
    said = looks(waiting, Window(Counts(100, 0), Counts(1000, 0)), 20)
    outlook = "evidence against it 1 of 100, for it 1.4 of 20; so far no sign of harm; GOOD takes about 8,700 more requests"
    assert said.text == f"errors: canary 0 of 2,000 bad, stable 0 of 20,000; {outlook}"
    assert looks(waiting, Window(Counts(100, 0), Counts(1000, 0)), 86).kind is VerdictKind.INSUFFICIENT
    assert looks(waiting, Window(Counts(100, 0), Counts(1000, 0)), 1).kind is VerdictKind.GOOD


def test_a_canary_that_stays_too_near_its_limit_is_told_that_it_does_not_become_good() -> None:
    said = looks(judge(), Window(Counts(300, 4.4), Counts(3000, 30)), 4)
    assert said.kind is VerdictKind.INSUFFICIENT
    assert said.text.endswith("; so far no sign of harm; GOOD takes a bad share further below 1.4 %")
    assert said.findings[0].lacking is None


def test_where_there_is_doubt_nobody_says_that_there_is_no_sign_of_harm() -> None:
    said = judge().update({"errors": Window(Counts(300, 12), Counts(3000, 30))})
    assert 3 < said.findings[0].evidence < 100
    assert "no sign of harm" not in said.text


def test_bad_requests_that_come_alone_are_no_runs() -> None:
    """One of a hundred on both sides costs a canary hardly any time, and two runs of 300 cost more than a long trial has."""

    def good(canary: list[float]) -> int | None:
        made = Judge(0.01, [ERRORS])
        made.learn("errors", [Counts(3000, bad) for bad in (28.0, 32.0) * 360])
        kinds = [made.update({"errors": Window(Counts(300, bad), Counts(3000, 30))}).kind for bad in canary]
        return kinds.index(VerdictKind.GOOD) + 1 if VerdictKind.GOOD in kinds else None

    alone, runs = good([2.0, 4.0] * 60), good([*[0.0] * 10, 300.0, *[0.0] * 10, 300.0, *[0.0] * 98])
    assert alone is not None
    assert alone <= 38, "11,400 requests"
    assert runs is None


def test_the_slo_is_the_limit_for_good() -> None:
    strict = judge(Yardstick("errors", 1.5, 0.0002))
    assert looks(strict, Window(Counts(1000, 0), Counts(10_000, 0)), 15).kind is VerdictKind.INSUFFICIENT
    assert looks(strict, Window(Counts(1000, 0), Counts(10_000, 0)), 2).kind is VerdictKind.GOOD


def test_where_stable_is_bad_the_canary_may_be_bad_too() -> None:
    assert looks(judge(), Window(Counts(300, 15), Counts(3000, 150)), 40).kind is VerdictKind.GOOD


def test_a_few_bad_requests_of_stable_excuse_nothing() -> None:
    """3 of 20 are a share of 15 %, by which 20 requests were enough; but 3 may be chance."""
    early = judge()
    early.update({"errors": Window(Counts(0, 0), Counts(20, 3))})
    assert early.update({"errors": Window(Counts(100, 0), Counts(1, 0))}).kind is VerdictKind.INSUFFICIENT


def test_a_canary_that_is_bad_for_one_window_only_is_not_condemned_in_the_middle_of_a_trial() -> None:
    """A burst the like of which stable never had: it has to outlast its window."""
    once = judge()
    looks(once, GOOD, 20)
    assert once.update({"errors": BAD}).kind is VerdictKind.INSUFFICIENT
    assert looks(once, GOOD, 50).kind is VerdictKind.INSUFFICIENT
    looks(once, BAD, 4)
    assert once.verdict.kind is VerdictKind.BAD


def test_good_is_lost_when_the_canary_breaks() -> None:
    breaking = judge()
    assert looks(breaking, Window(Counts(300, 0), Counts(3000, 30)), 500).kind is VerdictKind.GOOD
    assert looks(breaking, Window(Counts(300, 20), Counts(3000, 30)), 2).kind is not VerdictKind.GOOD
    assert looks(breaking, Window(Counts(300, 20), Counts(3000, 30)), 30).kind is VerdictKind.BAD


def test_a_canary_below_the_limit_but_worse_than_stable_is_not_good() -> None:
    """0.13 % are less than the 1 % that are always allowed, and four times what stable has."""
    verdict = looks(judge(), Window(Counts(6000, 8), Counts(600_000, 200)), 2)
    assert verdict.kind is VerdictKind.INSUFFICIENT
    assert 3 < verdict.findings[0].evidence < 100
    assert float(verdict.text.partition("for it ")[2].partition(" of")[0]) > 20


@pytest.mark.parametrize(
    ("bad", "requests", "said"),
    [
        (1000, 1000, "1,000 of 1,000 bad (100 %), "),
        (0, 1000, "0 of 1,000 bad, "),
        (1, 1e6, "1 of 1,000,000 bad (under 0.001 %), "),
    ],
)
def test_the_bad_share_is_a_percentage(bad: float, requests: float, said: str) -> None:
    assert said in judge().update({"errors": Window(Counts(requests, bad), Counts(3000, 30))}).text


def test_with_stable_nearly_broken_a_canary_can_still_be_good() -> None:
    assert looks(judge(), Window(Counts(300, 60), Counts(3000, 2700)), 44).kind is VerdictKind.GOOD


def test_with_nothing_learnt_one_burst_condemns_nobody_and_failing_on_does() -> None:
    """Twenty requests that fail together are one event; whoever knows nothing of bursts has to see more than one."""
    calm, burst = Window(Counts(300, 0), Counts(3000, 0)), Window(Counts(300, 30), Counts(3000, 0))
    unlearned = Judge(0.01, [ERRORS])
    assert looks(unlearned, calm, 5).kind is VerdictKind.INSUFFICIENT
    assert unlearned.update({"errors": burst}).kind is VerdictKind.INSUFFICIENT
    assert looks(unlearned, calm, 20).kind is VerdictKind.INSUFFICIENT
    assert looks(unlearned, burst, 8).kind is VerdictKind.BAD


def test_with_nothing_learnt_a_total_failure_is_caught_soon() -> None:
    total = Judge(0.01, [ERRORS])
    kinds = [total.update({"errors": Window(Counts(30, 30), Counts(270, 3))}).kind for _ in range(3)]
    assert kinds[-1] is VerdictKind.BAD


def test_with_nothing_learnt_that_is_said() -> None:
    said = looks(Judge(0.01, [ERRORS]), Window(Counts(300, 0), Counts(3000, 0)), 33)
    assert said.kind is VerdictKind.INSUFFICIENT
    assert (
        ", with too little earlier traffic to learn from; so far no sign of harm; GOOD takes about 740 more requests" in said.text
    )


def test_with_nothing_learnt_windows_without_stables_requests_say_nothing() -> None:
    """A canary that gets nearly all of little traffic, and is as good as stable: one of ten on both sides."""
    nearly_all = Judge(0.01, [ERRORS])
    alone, both = Window(Counts(10, 1), Counts(0, 0)), Window(Counts(10, 1), Counts(1, 0.1))
    kinds = {nearly_all.update({"errors": both if number % 5 == 0 else alone}).kind for number in range(200)}
    assert VerdictKind.BAD not in kinds


def test_a_long_past_without_a_bad_request_is_one_that_is_known() -> None:
    """Bad requests do not come often there, be it in bursts: sixty at once are no burst of the usual kind."""
    window = Window(Counts(300, 90), Counts(3000, 0))
    known, unlearned = Judge(0.01, [ERRORS]), Judge(0.01, [ERRORS])
    known.learn("errors", [Counts(3000, 0)] * 300)
    assert known.update({"errors": window}).kind is VerdictKind.BAD
    assert unlearned.update({"errors": window}).kind is VerdictKind.INSUFFICIENT


def test_a_long_trial_tells_what_the_past_did_not() -> None:
    """A canary that breaks after hours is caught in a window or two, though nothing was known of bursts when they began."""
    late = Judge(0.01, [ERRORS])
    looks(late, GOOD, 400)
    assert looks(late, BAD, 3).kind is VerdictKind.BAD


def test_a_finding_has_the_figures_that_decided() -> None:
    [finding] = looks(judge(), Window(Counts(6000, 0), Counts(60_000, 0)), 2).findings
    assert (finding.kind, finding.praise, finding.limit, finding.lacking) == (VerdictKind.GOOD, 20, 0.01, 0)
    assert finding.favour > 20
    [unlearned] = Judge(0.01, [ERRORS]).update({"errors": Window(Counts(300, 0), Counts(3000, 0))}).findings
    assert unlearned.lacking == pytest.approx(10_640 - 300, rel=0.02)


def test_one_window_makes_nobody_good_however_many_requests_it_has() -> None:
    hasty = judge()
    assert hasty.update({"errors": Window(Counts(100_000, 0), Counts(100_000, 0))}).kind is VerdictKind.INSUFFICIENT
    assert hasty.update({"errors": Window(Counts(1, 0), Counts(1, 0))}).kind is VerdictKind.GOOD


def test_stables_past_tells_its_share_so_that_an_equal_canary_is_good_sooner() -> None:
    """One request of a hundred is bad on both sides, and 1.5 are tolerated."""
    looked = {}
    for name, history in (("bad ones alone", CALM), ("with their requests", [Counts(300, bad) for bad in (2.0, 4.0) * 360])):
        made = Judge(0.01, [ERRORS])
        made.learn("errors", history)
        even = [Window(Counts(100, bad), Counts(300, 3 * bad)) for bad in (1, 0, 2, 1)]
        looked[name] = [made.update({"errors": even[number % 4]}).kind for number in range(400)].index(VerdictKind.GOOD)
    assert looked["with their requests"] <= 114, "11,400 requests"
    assert looked["with their requests"] < looked["bad ones alone"]


def test_a_past_that_stable_has_left_behind_excuses_nothing() -> None:
    """It was 10 % bad, and is 1 % now: a canary of 6 % is not better than it may be."""
    recovered = Judge(0.01, [ERRORS])
    recovered.learn("errors", [Counts(300, bad) for bad in (29.0, 31.0) * 360])
    canary = [Window(Counts(100, 6), Counts(300, 3))] * 60
    assert VerdictKind.GOOD not in [recovered.update({"errors": window}).kind for window in canary]


def test_spikes_of_traffic_do_not_blind_the_judge() -> None:
    """A minute of thirty times the traffic in every ten: a canary five times as bad is caught as without them."""

    def caught(spike: int) -> int:
        times = [spike if number % 20 < 2 else 1 for number in range(900)]
        made = Judge(0.01, [ERRORS])
        made.learn("errors", [Counts(300 * each, 3 * each) for each in times[:800]])
        windows = [Window(Counts(30 * each, 1.5 * each), Counts(270 * each, 2.7 * each)) for each in times[803:]]
        return [made.update({"errors": window}).kind for window in windows].index(VerdictKind.BAD)

    assert caught(30) <= caught(1)


def test_without_requests_it_has_nothing_to_say() -> None:
    verdict = looks(judge(), Window(Counts(0, 0), Counts(3000, 30)), 100)
    assert (verdict.kind, verdict.text) == (VerdictKind.INSUFFICIENT, "errors: no requests yet")


def test_missing_data_is_unknown_for_one_look_and_keeps_the_evidence() -> None:
    interrupted, control = judge(), judge()
    window = Window(Counts(30, 1), Counts(300, 9))
    for number in range(12):
        if number % 2:
            verdict = interrupted.update({"errors": Missing("no series for the canary")})
            assert (verdict.kind, verdict.text) == (VerdictKind.UNKNOWN, "errors: no series for the canary")
            assert verdict.findings[0].canary == control.verdict.findings[0].canary
        else:
            assert interrupted.update({"errors": window}) == control.update({"errors": window})
    assert interrupted.update({}).text == "errors: not measured"


@pytest.mark.parametrize(
    ("window", "why"),
    [
        (Window(Counts(math.nan, 0), Counts(10, 0)), "errors: canary has a count of nan"),
        (Window(Counts(10, 0), Counts(10, math.inf)), "errors: stable has a count of inf"),
        (Window(Counts(10, -1), Counts(10, 0)), "errors: canary has a count of -1"),
        (Window(Counts(1e300, 0), Counts(10, 0)), "errors: canary has a count of 1e+300"),
        (Window(Counts(100, 103), Counts(10, 0)), "errors: canary has 103 bad of 100 requests: the two do not belong together"),
        (Window(Counts(10, 1), None), "errors: nothing to compare with: stable is gone, and there is no slo"),
    ],
)
def test_figures_that_cannot_be_judged_are_unknown(window: Window, why: str) -> None:
    asked = judge()
    verdict = looks(asked, window, 50)
    assert (verdict.kind, verdict.text) == (VerdictKind.UNKNOWN, why)
    assert verdict.findings[0].evidence == pytest.approx(1)
    assert asked.update({"errors": GOOD}).findings[0].canary == GOOD.canary


def test_a_little_more_bad_than_requests_is_extrapolation() -> None:
    assert judge().update({"errors": Window(Counts(10, 10.9), Counts(100, 0))}).findings[0].canary == Counts(10, 10)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e6, 1e12])
def test_any_count_can_be_judged(scale: float) -> None:
    asked = judge(Yardstick("errors", 1.5, 0.01))
    verdict = looks(asked, Window(Counts(300 * scale, 150 * scale), Counts(300 * scale, 3 * scale)), 300)
    assert verdict.kind is VerdictKind.BAD
    assert math.isfinite(verdict.findings[0].evidence)
    well = judge(Yardstick("errors", 1.5, 0.01))
    assert looks(well, Window(Counts(300 * scale, scale / 10), Counts(300 * scale, scale)), 300).findings[0].evidence >= 0
    assert (well.verdict.kind is VerdictKind.GOOD) == (scale >= 1)


def test_with_stable_gone_the_slo_judges() -> None:
    alone = judge(Yardstick("errors", 1.5, 0.02))
    verdict = looks(alone, Window(Counts(300, 30), None), 1)
    assert verdict.kind is VerdictKind.BAD
    assert verdict.text.startswith("errors: canary 30 of 300 bad (10 %), 2 % are allowed; evidence ")
    assert verdict.findings[0].stable is None
    good = judge(Yardstick("errors", 1.5, 0.02))
    assert good.update({"errors": Window(Counts(0, 0), Counts(100, 1))}).findings[0].stable == Counts(100, 1)
    assert good.update({"errors": Window(Counts(100, 0), None)}).text.startswith("errors: canary 0 of 100 bad, 2 % are allowed; ")
    assert looks(good, Window(Counts(300, 0), None), 36).kind is VerdictKind.GOOD


def test_an_slo_condemns_what_stable_shares() -> None:
    both = Window(Counts(300, 30), Counts(3000, 300))
    assert looks(judge(Yardstick("errors", 1.5, 0.02)), both, 3).kind is VerdictKind.BAD
    assert looks(judge(), both, 300).kind is VerdictKind.GOOD


def test_alpha_is_split_over_all_tests() -> None:
    verdict = judge(ERRORS, Yardstick("latency", 1.5, 0.05)).update({"errors": GOOD, "latency": GOOD})
    assert [finding.needed for finding in verdict.findings] == pytest.approx([300, 300])


def test_of_several_measures_the_one_that_condemned_first_is_told_first() -> None:
    two = judge(ERRORS, SLOW)
    assert two.update({"errors": GOOD, "latency": BAD}).text.startswith(
        "latency: canary 60 of 300 slower than 218.6 ms (20 %), stable"
    )
    for _ in range(3):
        later = two.update({"errors": Window(Counts(300, 200), Counts(3000, 30)), "latency": GOOD})
    assert later.text.startswith("latency: canary 60 of 300 slower than 218.6 ms (20 %), stable 30 of 3,000 (1 %); evidence ")
    assert ". errors: canary 203 of 600 bad (33.8 %), stable 60 of 6,000 (1 %); evidence " in later.text
    assert [finding.measure for finding in later.findings] == ["errors", "latency"]


def test_one_measure_that_is_missing_makes_all_unknown_but_not_a_bad_one() -> None:
    two = judge(ERRORS, SLOW)
    verdict = two.update({"errors": GOOD, "latency": Missing("no buckets")})
    assert (verdict.kind, verdict.text) == (VerdictKind.UNKNOWN, "latency: no buckets")
    for _ in range(3):
        verdict = two.update({"errors": BAD, "latency": Missing("no buckets")})
    assert verdict.kind is VerdictKind.BAD


def test_all_measures_must_be_good() -> None:
    two = judge(ERRORS, SLOW)
    clean, slow = Window(Counts(6000, 0), Counts(60_000, 0)), Window(Counts(4, 0), Counts(40, 0))
    verdict = two.update({"errors": clean, "latency": slow})
    assert verdict.kind is VerdictKind.INSUFFICIENT
    verdict = two.update({"errors": clean, "latency": slow})
    assert verdict.text.startswith("latency: canary 0 of 8 slower than 218.6 ms, stable 0 of 80; evidence against it 1 of 200")
    assert [two.update({"errors": clean, "latency": clean}).kind for _ in range(2)] == [
        VerdictKind.INSUFFICIENT,
        VerdictKind.GOOD,
    ]


def test_evidence_is_never_rounded_up() -> None:
    asked = judge(alpha=0.2)
    texts = []
    for _ in range(40):
        finding = asked.update({"errors": Window(Counts(20, 0.21), Counts(200, 1))}).findings[0]
        texts.append((finding.evidence, finding.text))
    for evidence, text in texts:
        said = float(text.partition("evidence against it ")[2].partition(" ")[0])
        assert said <= evidence + 1e-9 < said + 0.1 + 1e-9


def test_a_judge_without_measures_would_find_everything_good() -> None:
    with pytest.raises(ValueError, match="needs measures"):
        Judge(0.01, [])
    with pytest.raises(ValueError, match="a name of its own"):
        Judge(0.01, [ERRORS, ERRORS])


def test_a_measure_that_it_does_not_know_is_an_error() -> None:
    with pytest.raises(KeyError, match="errrors"):
        judge().update({"errrors": GOOD})
    with pytest.raises(KeyError, match="errrors"):
        judge().learn("errrors", CALM)


def test_a_history_with_gaps_is_learnt_without_them() -> None:
    gaps, whole = Judge(0.01, [ERRORS]), Judge(0.01, [ERRORS])
    gaps.learn("errors", [1, math.nan, 0, 2, -1, math.inf, 0, 0] * 20)
    whole.learn("errors", [1, 0, 2, 0, 0] * 20)
    assert gaps.update({"errors": GOOD}) == whole.update({"errors": GOOD})
