"""The lines of what happened, which tests, simulations and replays of rules share."""

from healer.rehearsal.timeline import ACT, TimelineLine, clock


def test_a_line_is_printed_with_its_rule_and_the_code_of_its_reason() -> None:
    line = TimelineLine(3723.4, "waiting", "a rollout is in progress", "llm", "serving/crash", "RolloutInProgress")
    assert str(line) == "  1:02:03  waiting    serving/crash: RolloutInProgress: a rollout is in progress"


def test_the_text_of_an_act_begins_with_its_action_which_is_not_said_twice() -> None:
    line = TimelineLine(0.0, ACT, "evict pod/llm-1 (step 1 of 2)", "llm", "serving/crash", "evict")
    assert line.said == "serving/crash: evict pod/llm-1 (step 1 of 2)"


def test_a_line_of_a_record_has_the_time_that_its_reader_writes() -> None:
    line = TimelineLine(1.8e9, ACT, "evict pod/llm-1", rule="serving/crash", code="evict")
    assert line.columns(lambda at: f"{at:.0f} s since 1970") == (
        "1800000000 s since 1970",
        "act      ",
        "serving/crash: evict pod/llm-1",
    )


def test_programs_read_only_what_a_line_has() -> None:
    whole = TimelineLine(1.23456, "fault", "hang-1 strikes", workload="llm", fault="hang-1")
    assert whole.plain() == {"at": 1.235, "kind": "fault", "text": "hang-1 strikes", "workload": "llm", "fault": "hang-1"}


def test_a_clock_counts_hours_beyond_a_day() -> None:
    assert [clock(at) for at in (0, 59.6, 90_061)] == ["0:00:00", "0:01:00", "25:01:01"]
