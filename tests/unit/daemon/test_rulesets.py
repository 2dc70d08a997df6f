"""What is wrong with one RuleSet harms nothing but itself, however hostile it is."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from healer.daemon.rulefiles import vocabulary
from healer.daemon.ruleset_reading import RuleSetReader
from healer.daemon.rulesets import REFUSED, RuleSets
from healer.model.ruleset import RuleSet
from healer.model.view import View
from healer.rules.grants import RuleSetSettings
from healer.rules.schema import Mode
from healer.workloads.registry import WORKLOADS

CRASH = {"name": "crash", "when": {"pod": ["CrashLoopBackOff"]}, "heal": [{"page": {}}]}


def ruleset(name: str, spec: str, generation: int = 1) -> RuleSet:
    head = {"name": name, "namespace": "pay", "uid": f"uid-{name}", "generation": generation}
    return msgspec.json.decode(f'{{"metadata": {json.dumps(head)}, "spec": {spec}}}', type=RuleSet)


def spec(*rules: Any) -> str:
    return json.dumps({"rules": list(rules)})


def rulesets(*objects: RuleSet, clock: Callable[[], float] = lambda: 0.0) -> tuple[View, RuleSets]:
    settings = RuleSetSettings(enabled=True)
    view = View(WORKLOADS)
    for each in objects:
        view.put(each)
    return view, RuleSets(view, settings, RuleSetReader(settings, vocabulary(), lambda _: [], Mode.ENFORCE, clock))


@pytest.mark.parametrize(
    ("hostile", "said"),
    [
        (spec(CRASH | {"mode": "x" * 50_000}), "'xxx"),
        (spec(CRASH | {"notify": [{"x": "y" * 50_000}]}), "a text, not a mapping"),
        ('{"rules": ' + "[" * 900 + "1" + "]" * 900 + "}", ""),
        ('{"rules": 1' + "0" * 5000 + "}", ""),
        (spec(CRASH | {"description": "x" * 70_000}), "larger than 64 KiB"),
        (spec(*({"name": f"r{number}"} | {f"odd{key}": 1 for key in range(99)} for number in range(45))), ""),
    ],
    ids=["a long mode", "a long address", "nested", "a number of 5,000 digits", "large", "wrong in 5,000 places"],
)
async def test_a_hostile_one_is_refused_and_the_other_is_in_force(hostile: str, said: str) -> None:
    _, found = rulesets(ruleset("hostile", hostile), ruleset("good", spec(CRASH)))
    await found.look([])
    bad, good = sorted(found.judged, key=lambda each: not each.problems)
    assert (bad.reason, [bound.name for bound in good.rules]) == (REFUSED, ["pay/good/crash"])
    assert 1 <= len(bad.problems) <= 100
    assert all(len(problem.message) <= 300 for problem in bad.problems), "what is written there is not repeated whole"
    assert said in str(bad.problems[0])


async def test_the_digest_can_be_read_while_others_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """The metrics and the page ask for it at any moment."""
    gone, kept = ruleset("gone", spec(CRASH)), ruleset("kept", spec(CRASH))
    view, found = rulesets(gone, kept)
    await found.look([])
    before = found.digest
    seen: list[str] = []
    in_thread = asyncio.to_thread

    async def meanwhile(*work: Any) -> Any:
        seen.append(found.digest)
        return await in_thread(*work)

    monkeypatch.setattr(asyncio, "to_thread", meanwhile)
    view.drop(RuleSet, gone.metadata.uid)
    view.put(ruleset("kept", spec(CRASH, CRASH | {"name": "other"}), generation=2))
    await found.look([])
    assert set(seen) == {before}
    assert found.digest not in ("", before)
