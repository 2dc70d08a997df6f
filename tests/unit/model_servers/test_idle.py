"""Idle engines that are asked for a token: when, and what follows from their replies. Without I/O."""

from typing import Any

import msgspec
import pytest

from healer.model.kube import Pod
from healer.model_servers.heartbeat import Beat, Beats, Standstill
from healer.model_servers.idle import Reply, due, replied
from healer.model_servers.registry import SERVERS
from healer.model_servers.status import ModelStatus, TokensAsked
from healer.rules.served_model import Generate
from healer.rules.triggers import MODEL
from healer.sources.model import ModelMemory
from tests.support.world import NAMESPACE, START, rule, rulebook

ENGINE = "engine 0"
READY = ModelStatus(ready=True, text="GET /health answers 200")
GENERATE = Generate(every=60, within=20, misses=3)


def beat(steps: float = 7, running: float = 0, waiting: float | None = 0, *, awake: bool = True) -> Beat:
    return Beat(running, (running, steps), awake, waiting)


def still(one: Beat, since: float = 0.0) -> Standstill:
    return Standstill(one, since, moved=True)


# when an engine is asked


@pytest.mark.parametrize(
    ("one", "before", "asked"),
    [
        (beat(), still(beat()), True),
        (beat(), still(beat(), since=41), False),
        (beat(), still(beat(6)), False),
        (beat(), None, False),
        (beat(running=1), still(beat(running=1)), False),
        (beat(waiting=1), still(beat()), False),
        (beat(waiting=None), still(beat(waiting=None)), False),
        (beat(awake=False), still(beat(awake=False)), False),
    ],
    ids=["idle", "not for long", "a step just now", "first look", "busy", "queue", "queue unknown", "asleep"],
)
def test_an_engine_is_asked_when_it_is_idle_and_has_made_no_step_for_that_long(
    one: Beat, before: Standstill | None, asked: bool
) -> None:
    engines = {} if before is None else {ENGINE: before}
    assert due(GENERATE, {ENGINE: one}, engines, {}, 100) == (ENGINE if asked else None)


@pytest.mark.parametrize(
    ("vain", "pause"), [(0, 60), (1, 120), (2, 240), (5, 1920), (6, 3600), (400, 3600)], ids=lambda value: str(value)
)
def test_the_pause_doubles_with_each_request_in_vain_up_to_an_hour(vain: int, pause: float) -> None:
    asked = {ENGINE: TokensAsked(1000.0, vain, 0, "")}
    beats, engines = {ENGINE: beat()}, {ENGINE: still(beat())}
    assert due(GENERATE, beats, engines, asked, 1000 + pause - 1) is None
    assert due(GENERATE, beats, engines, asked, 1000 + pause) == ENGINE


def test_of_several_engines_the_one_that_was_not_asked_for_longest_and_none_while_one_works() -> None:
    beats: Beats = {f"engine {rank}": beat() for rank in range(3)}
    engines = {name: still(one) for name, one in beats.items()}
    asked: dict[str, TokensAsked] = {}
    turns = []
    for at in (100.0, 130.0, 160.0, 190.0):
        name = due(GENERATE, beats, engines, asked, at)
        assert name is not None
        turns.append(name)
        asked = replied(asked, Reply(name), engines, at)
    assert turns == ["engine 0", "engine 1", "engine 2", "engine 0"]
    assert due(GENERATE, {**beats, "engine 1": beat(8, running=1)}, engines, {}, 100) is None
    assert due(GENERATE, {**beats, "engine 1": beat(waiting=1)}, engines, {}, 100) is None


def test_what_counts_of_the_replies() -> None:
    engines = {ENGINE: still(beat())}
    late, refused, token = Reply(ENGINE, late=True), Reply(ENGINE, refused="it answers 401"), Reply(ENGINE)
    asked: dict[str, TokensAsked] = {}
    seen = []
    for at, reply in enumerate((late, late, refused, late, token), 1):
        asked = replied(asked, reply, engines, at)
        seen.append((asked[ENGINE].vain, asked[ENGINE].misses, asked[ENGINE].refused))
    assert seen == [(1, 1, ""), (2, 2, ""), (3, 0, "it answers 401"), (4, 1, ""), (0, 0, "")]
    moved = replied(asked | {ENGINE: TokensAsked(5, 2, 2, "")}, late, {ENGINE: still(beat(), since=6)}, 99)
    assert (moved[ENGINE].vain, moved[ENGINE].misses) == (3, 1), "it has made a step since"
    assert {*replied(asked | {"engine 9": asked[ENGINE]}, late, engines, 99)} == {ENGINE}, "the other one is gone"


# what follows


class Life:
    """The pods of a rule that has idle engines asked for tokens: looks at them, each with what came of a request that was due."""

    def __init__(self, **generate: Any) -> None:
        model = {"name": "llm", "server": "vllm", "conditions": ["EngineStalled"], "generate": generate}
        (bound,) = rulebook(rule("hang", when={"model": model}, heal=[{"page": {}}])).rules
        served = bound.rule.when.get(MODEL)
        assert served is not None
        self.memory = ModelMemory(bound.name, served, SERVERS["vllm"])
        self.asked: list[float] = []

    def look(self, at: float, beats: dict[str, Beats], replies: dict[str, Reply], restarts: int = 0) -> dict[str, str]:
        """Of each pod: + it fires, - it is resolved, ? it is unclear, ! that is told, "" nothing new."""
        said = {}
        self.memory.look_begins()
        for name, shown in beats.items():
            pod = a_pod(name, restarts)
            engine = self.memory.due(pod, shown, START + at)
            reply = None if engine is None else replies.get(name, Reply(engine))
            self.asked += [at] * (engine is not None)
            signals = self.memory.answered(pod, READY, START + at, shown, reply)
            doubts, news = self.memory.doubts(pod)
            self.why = news or "".join(signal.message for signal in signals)
            said[name] = "".join("+" if signal.firing else "-" for signal in signals) + "?" * len(doubts) + "!" * bool(news)
        return said

    def alone(self, at: float, one: Beat, reply: Reply | None = None, restarts: int = 0) -> str:
        """The same, of one pod."""
        return self.look(at, {"llm-1": {ENGINE: one}}, {} if reply is None else {"llm-1": reply}, restarts)["llm-1"]


def a_pod(name: str, restarts: int = 0) -> Pod:
    status = {"phase": "Running", "containerStatuses": [{"name": "c", "restartCount": restarts}]}
    return msgspec.convert({"metadata": {"name": name, "namespace": NAMESPACE, "uid": name}, "status": status}, Pod)


LATE = Reply(ENGINE, late=True)


def proven(life: Life) -> None:
    """Its engine has generated a token at 60 s, and has made the step at 90 s."""
    assert [life.alone(0, beat(7)), life.alone(60, beat(7)), life.alone(90, beat(8))] == ["?", "?", "-"]


def test_a_hang_that_begins_idle_is_found_after_so_many_misses_and_a_look_that_shows_no_step() -> None:
    life = Life()
    proven(life)
    seen = [life.alone(at, beat(8), LATE) for at in range(120, 630, 30)]
    assert life.asked == [60, 150, 270, 510]
    assert seen == ["", "", *["?"] * 12, "+", "+", "+"], "the third miss is at 510 s"
    assert life.why == (
        "model llm: engine 0 has left 3 requests for one token unanswered, each for 20 s, and has made no step for 8 m 30 s "
        "(GET /health answers 200)"
    )
    assert life.alone(630, beat(9)) == "-", "a step"


def test_an_idle_engine_that_generates_is_left_alone_for_as_long() -> None:
    life, steps = Life(), 7.0
    seen = []
    for at in range(0, 7200, 30):
        before = len(life.asked)
        seen.append(life.alone(at, beat(steps)))
        steps += len(life.asked) - before
    assert seen == ["?", "?", "?", "-", *[""] * 236]
    assert len(life.asked) == 7200 // 90, "once a minute and a look"


def test_a_step_at_any_look_begins_anew() -> None:
    """Requests of users came right after the look: the token waits behind them, and is late."""
    life = Life()
    proven(life)
    assert [life.alone(at, beat(8), LATE) for at in (150, 270, 510)] == ["", "?", "?"]
    assert life.alone(540, beat(900)) == ""
    assert life.alone(600, beat(900), LATE) == "", "the pause goes on, because the last request was in vain"
    assert life.alone(990, beat(900), LATE) == ""
    assert life.alone(1020, beat(900)) == "?"


def test_a_server_that_answers_without_a_token_is_no_hang_and_is_told_once() -> None:
    life = Life()
    proven(life)
    for at in (150, 270):
        life.alone(at, beat(8), LATE)
    assert life.alone(510, beat(8), Reply(ENGINE, refused="POST /v1/completions answers 401")) == "?"
    assert life.alone(540, beat(8)) == "?!"
    assert life.why == "engine 0 brings no token: POST /v1/completions answers 401"
    assert [life.alone(at, beat(8), LATE) for at in (570, 990, 1020)] == ["?", "?", "?"], "and the row begins anew"


def test_what_fires_goes_on_when_the_server_answers_without_a_token() -> None:
    life = Life()
    proven(life)
    for at in (150, 270, 510):
        life.alone(at, beat(8), LATE)
    assert life.alone(540, beat(8)) == "+"
    life.alone(990, beat(8), Reply(ENGINE, refused="it answers 503"))
    assert life.alone(1020, beat(8)) == "?!"
    assert life.alone(1050, beat(9)) == "-"


def test_requests_that_no_server_answers_are_no_evidence() -> None:
    """As with servers that do not serve such a request at all: prefill and decode pods of some connectors."""
    life = Life()
    assert [life.alone(at, beat(7), LATE) for at in (0, 60, 180, 420)] == ["?"] * 4
    assert life.alone(450, beat(7)) == "?!"
    assert "no server of the rule has answered such a request" in life.why
    life.look(450, {"llm-2": {ENGINE: beat(1)}}, {})
    life.look(510, {"llm-2": {ENGINE: beat(1)}}, {})
    assert life.alone(540, beat(7)) == "+", "another one does"


def test_a_token_without_a_step_is_told() -> None:
    """Something before the server has answered, or another engine."""
    life = Life()
    assert [life.alone(at, beat(7)) for at in (0, 60, 90)] == ["?", "?", "?!"]
    assert life.why == "engine 0 answers a request for a token, and its metrics show no step"


def test_a_queue_that_the_metrics_do_not_show_is_told() -> None:
    life = Life()
    assert life.alone(0, beat(waiting=None)) == "?!"
    assert life.asked == []


def test_it_must_stand_still_for_longer_than_stalled_as_well() -> None:
    life = Life(every="10s", misses=2)
    proven(life)
    assert [life.alone(at, beat(8), LATE) for at in (110, 130, 160)] == ["", "?", "?"]
    assert life.asked[-2:] == [110, 130]
    assert [life.alone(at, beat(8), LATE) for at in (210, 211)] == ["?", "+"]


def test_a_new_process_is_asked_anew_and_unclear_until_then() -> None:
    """A hang of before healer was restarted is not resolved because nobody knows of it."""
    life = Life()
    proven(life)
    for at in (150, 270, 510, 540):
        life.alone(at, beat(8), LATE)
    assert life.alone(1000, beat(8), restarts=1) == "?"
    assert life.asked[-1] == 510, "what is known of the old process says nothing of this one"
    assert [life.alone(1060, beat(8), restarts=1), life.alone(1090, beat(9), restarts=1)] == ["?", "-"]
    assert life.asked[-1] == 1060


@pytest.mark.parametrize("both", [("llm-1", "llm-2"), ("llm-2", "llm-1")], ids=" ".join)
def test_engines_that_hang_together_are_reported_together(both: tuple[str, str]) -> None:
    """Whatever the order of the pods, and at whatever time each was asked: many at once are a storm."""
    life = Life()
    late = dict.fromkeys(both, LATE)
    for at in (0, 60, 90):
        life.look(at, {name: {ENGINE: beat(7 + (at == 90))} for name in both}, {})
    hung: dict[str, Beats] = {name: {ENGINE: beat(8)} for name in both}
    for at in (150, 270, 510):
        life.look(at, {"llm-1": hung["llm-1"]}, late)
    for at in (170, 290):
        life.look(at, {"llm-2": hung["llm-2"]}, late)
    assert life.look(530, hung, late) == {"llm-1": "?", "llm-2": "?"}, "the third miss of the second"
    assert life.look(540, hung, late) == {"llm-1": "+", "llm-2": "+"}


def test_a_hang_waits_for_what_others_show_and_not_for_ever() -> None:
    life = Life()
    both = ("llm-1", "llm-2")
    for at in (0, 60, 90):
        life.look(at, {name: {ENGINE: beat(7 + (at == 90))} for name in both}, {})
    hung: dict[str, Beats] = {"llm-1": {ENGINE: beat(8)}}
    for at in (150, 270, 510):
        life.look(at, hung, {"llm-1": LATE})
    life.look(520, {"llm-2": {ENGINE: beat(8)}}, {"llm-2": LATE})
    assert life.look(540, hung, {}) == {"llm-1": "?"}
    life.look(550, {"llm-2": {ENGINE: beat(9)}}, {})
    assert life.look(570, hung, {}) == {"llm-1": "+"}, "the other one works"


def test_a_hang_that_others_keep_waiting_is_reported_after_one_miss_more() -> None:
    life = Life()
    both = ("llm-1", "llm-2")
    for at in (0, 60, 90):
        life.look(at, {name: {ENGINE: beat(7 + (at == 90))} for name in both}, {})
    hung: dict[str, Beats] = {"llm-1": {ENGINE: beat(8)}}
    for at in (150, 270, 510):
        life.look(at, hung, {"llm-1": LATE})
    life.look(520, {"llm-2": {ENGINE: beat(8)}}, {"llm-2": LATE})
    assert life.look(540, hung, {}) == {"llm-1": "?"}
    assert life.look(990, hung, {"llm-1": LATE}) == {"llm-1": "?"}
    assert life.look(1020, hung, {}) == {"llm-1": "+"}


def test_a_pod_that_is_gone_keeps_nobody_waiting() -> None:
    life = Life()
    both = ("llm-1", "llm-2")
    for at in (0, 60, 90):
        life.look(at, {name: {ENGINE: beat(7 + (at == 90))} for name in both}, {})
    for at in (150, 270, 510):
        life.look(at, {"llm-1": {ENGINE: beat(8)}}, {"llm-1": LATE})
    life.look(520, {"llm-2": {ENGINE: beat(8)}}, {"llm-2": LATE})
    life.memory.gone(["llm-2"], START + 530)
    assert life.look(540, {"llm-1": {ENGINE: beat(8)}}, {}) == {"llm-1": "+"}


def test_without_the_key_nothing_is_asked_and_an_idle_engine_is_well() -> None:
    model = {"name": "llm", "server": "vllm", "conditions": ["EngineStalled"]}
    (bound,) = rulebook(rule("hang", when={"model": model}, heal=[{"page": {}}])).rules
    served = bound.rule.when.get(MODEL)
    assert served is not None
    assert served.generate is None
    memory = ModelMemory(bound.name, served, SERVERS["vllm"])
    told = [
        [signal.firing for signal in memory.answered(a_pod("llm-1"), READY, START + at, {ENGINE: beat()})] for at in (0, 9000)
    ]
    assert told == [[False], []]
    assert memory.due(a_pod("llm-1"), {ENGINE: beat()}, START + 99_000) is None


def test_an_engine_that_sleeps_is_well() -> None:
    life = Life()
    assert [life.alone(at, beat(awake=False)) for at in (0, 600)] == ["-", ""]
    assert life.asked == []
