"""How often and how long RuleSets are read: a tenant that edits over and over, or writes much, delays nobody else."""

import json
from typing import Any

import msgspec

from healer.daemon.rulefiles import vocabulary
from healer.daemon.ruleset_reading import RuleSetReader
from healer.daemon.rulesets import DELETED, TOO_MANY, JudgedRuleSet, RuleSets
from healer.model.ruleset import LARGEST_SPEC, RuleSet
from healer.model.view import View
from healer.rules.grants import RuleSetSettings
from healer.rules.positions import Problem
from healer.rules.rulebook import Rulebook
from healer.rules.schema import Mode
from healer.workloads.registry import WORKLOADS

SLOW = 0.4
SLOW_CONDITION = {"if": "signal.message.matches('[ab]*a[ab]{100}c')"}
"""About a twelfth of what the conditions of a namespace may take."""


class Tenants:
    """RuleSets of namespaces, under a clock that goes on when one is read."""

    def __init__(self, *, reading_takes: float = 0.0) -> None:
        self.now = 0.0
        self.readings: list[str] = []
        self._takes = reading_takes
        self.view = View(WORKLOADS)
        settings = RuleSetSettings(enabled=True)
        self.reader = RuleSetReader(settings, vocabulary(), self._read, Mode.ENFORCE, lambda: self.now)
        self.sets = RuleSets(self.view, settings, self.reader)

    def _read(self, rulebook: Rulebook) -> list[Problem]:
        self.readings.append(rulebook.rules[0].ruleset)
        self.now += self._takes
        return []

    def put(self, name: str, generation: int = 1, namespace: str = "pay", rules: int = 1, **more: Any) -> None:
        head = {"name": name, "namespace": namespace, "uid": f"{namespace}-{name}", "generation": generation} | more
        each = {
            "when": {"pod": ["CrashLoopBackOff"]} | more.get("when", {}),
            "heal": [{"page": {}}],
            "description": more.get("said", "here"),
        }
        spec = {"rules": [{"name": f"r{number}"} | each for number in range(rules)]}
        self.view.put(msgspec.json.decode(json.dumps({"metadata": head, "spec": spec}), type=RuleSet))

    def drop(self, name: str, namespace: str = "pay") -> None:
        self.view.drop(RuleSet, f"{namespace}-{name}")

    async def look(self, later: float = 0.0) -> dict[str, JudgedRuleSet]:
        self.now += later
        await self.sets.look(())
        return {each.object.full_name: each for each in self.sets.judged}


async def test_one_that_is_edited_every_second_is_read_now_and_then_and_is_said_to_be_of_what_was_read() -> None:
    tenants = Tenants()
    seen: list[int] = []
    for second in range(1, 301):
        tenants.put("hasty", generation=second)
        found = (await tenants.look(1.0))["pay/hasty"]
        assert found.in_force == found.generation <= found.object.metadata.generation == second
        seen.append(found.generation)
    assert seen[:10] == list(range(1, 11)), "a person who tries a few times in a row waits for nothing"
    assert len(tenants.readings) == len(set(seen)) <= 10 + 300 / 10
    assert tenants.reader.hasty == {"pay/hasty"}
    assert (await tenants.look(10.0))["pay/hasty"].generation == 300, "the last edit counts"
    assert tenants.reader.hasty == frozenset()


async def test_one_that_is_deleted_and_made_again_is_the_same_one() -> None:
    tenants = Tenants()
    for _ in range(100):
        tenants.put("hasty")
        await tenants.look(1.0)
        tenants.drop("hasty")
        await tenants.look()
    assert len(tenants.readings) <= 10 + 100 / 10


async def test_a_namespace_with_many_edits_is_read_now_and_then_and_another_one_at_once() -> None:
    tenants = Tenants()
    for second in range(1, 61):
        for number in range(50):
            tenants.put(f"flood{number:02}", generation=second)
        tenants.put("calm", generation=1 + second // 30, namespace="web")
        assert (await tenants.look(1.0))["web/calm"].generation == 1 + second // 30
    assert tenants.readings.count("web/calm") == 3
    assert len(tenants.readings) <= 3 + 3 * 100, "all that a namespace may have: twice at once, and once a minute"


async def test_of_two_namespaces_one_with_much_to_read_does_not_keep_the_other_waiting() -> None:
    tenants = Tenants(reading_takes=SLOW)
    for number in range(40):
        tenants.put(f"slow{number}", namespace="aaa")
    tenants.put("mine", namespace="zzz")
    found = await tenants.look()
    assert not found["zzz/mine"].reason
    assert tenants.sets.more, "what is left is for the next look"
    assert tenants.now <= 1.0 + SLOW
    while tenants.sets.more:
        found = await tenants.look()
    assert len(found) == 41


async def test_what_one_look_leaves_is_begun_with_by_the_next() -> None:
    tenants = Tenants(reading_takes=SLOW)
    for number in range(9):
        tenants.put("only", namespace=f"ns{number}")
    looks = 0
    while tenants.sets.more or not looks:
        await tenants.look()
        looks += 1
    assert tenants.readings == [f"ns{number}/only" for number in range(9)]
    assert looks == 3


async def test_all_that_a_namespace_may_have_is_read_at_the_start() -> None:
    """Else the incidents of rules that are read later would end."""
    tenants = Tenants()
    for number in range(2):
        tenants.put(f"full{number}", rules=25, said="x" * 1000)
    for number in range(30):
        tenants.put("one", namespace=f"ns{number}", rules=50)
    found = await tenants.look()
    assert len(found) == 32
    assert not any(each.reason for each in found.values())


async def test_a_namespace_has_so_many_bytes_as_rules_are_granted() -> None:
    tenants = Tenants()
    most = tenants.reader.bytes_granted("pay")
    for number in range(8):
        tenants.put(f"big{number}", said="x" * (LARGEST_SPEC - 1000))
    found = await tenants.look()
    accepted = [each for each in found.values() if not each.reason]
    left = [each for each in found.values() if each.reason == TOO_MANY]
    assert sum(len(each.object.spec_bytes) for each in accepted) <= most
    assert (len(accepted), len(left)) == (most // LARGEST_SPEC, 8 - most // LARGEST_SPEC)
    assert "400 KiB" in str(left[0].problems[0])
    assert len(tenants.readings) == len(accepted), "what is left out is not even read"


async def test_the_conditions_of_a_namespace_may_take_so_long_together() -> None:
    """All of them are asked about one signal, and healer decides nothing else meanwhile."""
    tenants = Tenants()
    for number in range(20):
        tenants.put(f"slow{number:02}", when=SLOW_CONDITION)
    tenants.put("mine", namespace="web", when=SLOW_CONDITION)
    found = await tenants.look()
    left = [each for each in found.values() if each.reason == TOO_MANY]
    took = sum(bound.condition.longest for each in found.values() for bound in each.rules if bound.condition is not None)
    assert 0 < len(left) < 20
    assert took <= 250.0 + tenants.sets.rules[0].condition.longest  # type: ignore[union-attr] # that of web
    assert "the conditions (if) of the RuleSets of pay may take more than 250 ms" in str(left[0].problems[0])
    assert not found["web/mine"].reason


async def test_all_rules_of_a_namespace_may_have_an_ordinary_pattern() -> None:
    tenants = Tenants()
    pattern = "(?i)(out of memory|cuda error|nccl (timeout|error)|xid [0-9]+|uncorrectable ecc)"
    tenants.put("mine", rules=50, when={"if": f"signal.message.matches('{pattern}')"})
    found = (await tenants.look())["pay/mine"]
    assert (found.reason, len(found.rules)) == ("", 50)


async def test_an_edit_over_the_bound_is_refused_and_what_is_in_force_stays_in_force() -> None:
    tenants = Tenants()
    tenants.put("old", when=SLOW_CONDITION)
    tenants.put("young", rules=6, when=SLOW_CONDITION)
    before = await tenants.look()
    assert [len(each.rules) for each in before.values()] == [1, 6]
    for _ in range(2):
        tenants.put("old", generation=2, rules=9, when=SLOW_CONDITION)
        found = await tenants.look(60.0)
        assert (found["pay/old"].reason, found["pay/old"].generation, found["pay/old"].in_force) == (TOO_MANY, 2, 1)
        assert found["pay/old"].rules == before["pay/old"].rules
        assert found["pay/old"].digest == before["pay/old"].digest
        assert (found["pay/young"].reason, found["pay/young"].rules) == ("", before["pay/young"].rules)
    tenants.put("young", generation=2, when=SLOW_CONDITION)
    await tenants.look(60.0)
    found = await tenants.look(60.0)
    assert [(each.reason, each.in_force, len(each.rules)) for each in found.values()] == [("", 2, 9), ("", 2, 1)]


async def test_what_tenants_write_is_short() -> None:
    # Else reading it at the start would take long, and healer leads no sooner.
    tenants = Tenants()
    tenants.put("long", when={"if": " || ".join(["1 == 2"] * 120)})
    found = (await tenants.look())["pay/long"]
    assert "the expression has more than 1024 characters" in str(found.problems[0])
    assert found.rules == ()


async def test_one_that_is_being_deleted_is_not_in_force_whatever_its_finalizers_say() -> None:
    tenants = Tenants()
    tenants.put("mine")
    assert len((await tenants.look())["pay/mine"].rules) == 1
    tenants.put("mine", generation=2, deletionTimestamp="2026-01-01T00:00:00Z", finalizers=["a/b"])
    found = (await tenants.look())["pay/mine"]
    assert (found.reason, found.rules, found.generation) == (DELETED, (), 2)
    assert tenants.sets.rules == []


def test_what_is_decoded_keeps_no_more_than_a_spec_that_is_read() -> None:
    answer = json.dumps({"metadata": {"name": "a", "uid": "u"}, "spec": {"rules": ["x" * 1_000_000]}, "status": {}}).encode()
    found = msgspec.json.decode(answer, type=RuleSet)
    assert found.too_large
    assert len(found.spec_bytes) == LARGEST_SPEC + 1
    small = msgspec.json.decode(b'{"metadata": {"name": "a", "uid": "u"}, "spec": {"rules": [1]}}', type=RuleSet)
    assert small.spec_bytes == b'{"rules": [1]}'
