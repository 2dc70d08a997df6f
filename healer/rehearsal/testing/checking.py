"""What a file of tests cannot mean, though each of its values is right: unknown names, wrong times, things twice, too much."""

from collections.abc import Hashable, Iterator, Sequence

from healer.model.duration import say
from healer.rehearsal.testing.schema import CaseCluster, RuleCase, RuleTest
from healer.rehearsal.testing.stage import MAX_PODS, CaseError, rule_named
from healer.rules.positions import Path
from healer.rules.rulebook import Rulebook
from healer.rules.vocabulary import Vocabulary

MAX_EVENTS = 10_000
"""What may happen in one test, each time and each pod counted."""

Fault = tuple[Path, str, str]
"""Where it is, what is wrong, and what to do."""


def faults(whole: RuleTest, rules: Rulebook, known: Vocabulary) -> Iterator[Fault]:
    """All that is wrong. `rules` are those that the tests are about."""
    if whole.cluster is not None:
        yield from _of_cluster(whole.cluster, ("cluster",))
    for number, case in enumerate(whole.tests):
        place: Path = ("tests", number)
        if case.cluster is not None:
            yield from _of_cluster(case.cluster, (*place, "cluster"))
        yield from _unknown_rules(case, place, rules)
        yield from _after(case, place, known)
        yield from _times(case, place)
        yield from _too_many(case, place)


def _of_cluster(cluster: CaseCluster, place: Path) -> Iterator[Fault]:
    served = [f"{each.namespace or cluster.namespace}/{each.name}" for each in cluster.workloads]
    for index in _again(served):
        hint = "events name a workload by its name alone, of whichever kind it is: rename one"
        yield (*place, "workloads", index, "name"), f"two workloads are named {served[index]}", hint
    for key, entries in (("nodes", cluster.nodes), ("budgets", cluster.budgets)):
        names = [each.name for each in entries]
        for index in _again(names):
            yield (*place, key, index, "name"), f"two {key} are named {names[index]}", "delete one, or rename it"
    yield from _autoscalers(cluster, place)
    pods = sum(each.replicas * each.pods for each in cluster.workloads)
    if pods > MAX_PODS:
        hint = f"take fewer replicas, or write tests of their own: {MAX_PODS} pods a test"
        yield (*place, "workloads"), f"its workloads have {pods} pods, more than the {MAX_PODS} that a test can have", hint


def _autoscalers(cluster: CaseCluster, place: Path) -> Iterator[Fault]:
    known = {f"{each.namespace or cluster.namespace}/{each.name}": each for each in cluster.served}
    names = [f"{each.namespace or cluster.namespace}/{each.workload}" for each in cluster.autoscalers]
    for index in _again(names):
        yield (*place, "autoscalers", index, "workload"), f"two autoscalers scale {names[index]}", "delete one"
    for index, (name, scaler) in enumerate(zip(names, cluster.autoscalers, strict=True)):
        path = (*place, "autoscalers", index)
        if name not in known:
            yield (*path, "workload"), f"there is no workload {name!r}", f"there are {', '.join(known)}"
        elif known[name].replicas > scaler.max:
            message = f"{name} has {known[name].replicas} replicas, more than that"
            yield (*path, "max"), message, "let it begin with fewer replicas, or raise max"


def _again(values: Sequence[Hashable]) -> list[int]:
    """Where a value stands that was there before."""
    return [index for index, value in enumerate(values) if value in values[:index]]


def _unknown_rules(case: RuleCase, place: Path, rules: Rulebook) -> Iterator[Fault]:
    named: list[tuple[Path, str]] = [((*place, "rules", index), name) for index, name in enumerate(case.rules)]
    for index, event in enumerate(case.events):
        rule = getattr(event.played, "rule", None)
        named += [] if rule is None else [((*place, "events", index, event.key, "rule"), rule)]
    for index, check in enumerate(case.expect):
        at: Path = (*place, "expect", index)
        for key, entries in check.rules_named.items():
            named += [((*at, key, i, "rule"), each) for i, each in enumerate(entries) if each is not None]
    for path, name in named:
        try:
            rule_named(name, rules)
        except CaseError as error:
            yield path, str(error), error.hint


def _after(case: RuleCase, place: Path, known: Vocabulary) -> Iterator[Fault]:
    """Actions that there are not, and entries that no attempt comes to."""
    ended: set[str] = set()
    for index, after in enumerate(case.after):
        path = (*place, "after", index, "action")
        if after.action not in known.actions:
            yield path, f"there is no action {after.action!r}", f"the actions are {', '.join(sorted(known.actions))}"
        if after.action in ended:
            message = f"an entry before it holds for all attempts of {after.action}"
            yield path, message, "say there for how many: attempts"
        if after.attempts is None:
            ended.add(after.action)


def _times(case: RuleCase, place: Path) -> Iterator[Fault]:
    """What is after the end of a test, what is expected twice at a time, and expectations before anything happens alone."""
    timed = [((*place, "events", index, "at"), event.ends) for index, event in enumerate(case.events)]
    timed += [((*place, "expect", index, "at"), check.at or 0.0) for index, check in enumerate(case.expect)]
    for path, at in timed:
        if at > case.length:
            message = f"it is after the end of the test, which lasts {say(case.length)}"
            yield path, message, "let the test last longer: lasts"
    times = [case.length if check.at is None else check.at for check in case.expect]
    for index in _again(times):
        message = f"two entries are about one time, {say(times[index])}"
        yield (*place, "expect", index), message, "write what must be so at one time into one entry"
    begins = min((event.at for event in case.events), default=0.0)
    if max(times) < begins:
        message = f"all of it is before the first event, which is at {say(begins)}, so that this cannot fail"
        yield (*place, "expect"), message, "say what must be so after that: without `at` it is the end"


def _too_many(case: RuleCase, place: Path) -> Iterator[Fault]:
    happens = 0
    for index, event in enumerate(case.events):
        happens += event.played.parts
        if happens > MAX_EVENTS:
            message = f"with it more than {MAX_EVENTS} things happen in this test, each time and each pod counted"
            yield (*place, "events", index), message, "take fewer pods or times, or write a second test"
            return
