"""`job` over HTTP against the lab: once for a step, of a template that allows it, and never another's Job."""

from typing import Any

from healer.actions.job import JobParams
from healer.lab.kinds import JOB
from healer.lab.objects import Object
from healer.model.action import Outcome, OutcomeKind
from tests.integration.test_job import template
from tests.unit.actions.conftest import NAMESPACE, Bench


async def attempt(bench: Bench, **how: Any) -> Outcome:
    return await bench.attempt("job", params=JobParams(template="mend"), target=bench.workload, **how)


def in_namespace(obj: Object, namespace: str) -> Object:
    return {**obj, "metadata": {**obj["metadata"], "namespace": namespace}}


def verdict(outcome: Outcome) -> tuple[OutcomeKind, str]:
    return outcome.kind, outcome.reason


def job(bench: Bench) -> Object:
    (found,) = bench.lab.objects("jobs", NAMESPACE)
    return found


async def test_it_is_made_once_and_its_end_is_waited_for(bench: Bench) -> None:
    """An attempt that finds it running has begun, so that signals which end meanwhile count as healed."""
    await bench.lab.apply(template("hang"))
    first, second = await attempt(bench), await attempt(bench)
    assert verdict(first) == verdict(second) == (OutcomeKind.DEFERRED, "JobRunning")
    assert first.begun
    assert second.begun
    assert bench.writes == []
    assert bench.kept == {"made": job(bench)["metadata"]["name"]}
    assert job(bench)["spec"]["ttlSecondsAfterFinished"] >= 3600, "its end must be seen before it is deleted"


async def test_one_that_was_made_and_is_gone_is_not_made_again(bench: Bench) -> None:
    await bench.lab.apply(template("hang"))
    await attempt(bench)
    bench.lab.store.remove(JOB.stored_in, (NAMESPACE, job(bench)["metadata"]["name"]))
    assert verdict(await attempt(bench)) == (OutcomeKind.REFUSED, "JobGone")
    assert bench.writes == []


async def test_another_incidents_job_of_that_name_is_left_alone(bench: Bench) -> None:
    await bench.lab.apply(template("hang"))
    await attempt(bench)
    bench.lab.api.modify(JOB, NAMESPACE, job(bench)["metadata"]["name"], lambda obj: obj["metadata"].update(annotations={}))
    assert verdict(await attempt(bench)) == (OutcomeKind.REFUSED, "NameTaken")


async def test_without_a_template_that_allows_it_nothing_runs(bench: Bench) -> None:
    assert verdict(await attempt(bench)) == (OutcomeKind.REFUSED, "NoTemplate")
    await bench.lab.apply(template(label="yes"))
    assert verdict(await attempt(bench)) == (OutcomeKind.REFUSED, "TemplateNotAllowed")
    assert bench.writes == []


async def test_a_template_of_another_namespace_is_not_run(bench: Bench) -> None:
    """Whoever may write a CronJob runs pods in its namespace, and in no other by way of healer."""
    await bench.lab.apply(in_namespace(template(), "theirs"))
    assert verdict(await attempt(bench)) == (OutcomeKind.REFUSED, "NoTemplate")
    assert bench.lab.objects("jobs") == []


async def test_a_dry_run_makes_none(bench: Bench) -> None:
    """The API server checks the Job all the same."""
    await bench.lab.apply(template())
    assert verdict(await attempt(bench, dry_run=True)) == (OutcomeKind.DONE, "WouldRunJob")
    assert bench.writes == ["create jobs"]
    assert bench.lab.objects("jobs", NAMESPACE) == []
