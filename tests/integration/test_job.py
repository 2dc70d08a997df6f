"""A Job of the team's own heals, the real process against the lab; a template that does not allow it is not run."""

from typing import Any

from healer.lab import Lab
from healer.lab.objects import Object, condition
from tests.integration.conftest import Run
from tests.integration.test_scale import history, says
from tests.integration.world import NAMESPACE, evictions, rule, ruleset, serve, told
from tests.support.processes import PATIENCE
from tests.support.slack import FakeSlack


def template(behaviour: str = "complete", label: str = "true") -> Object:
    """The CronJob of the team, suspended."""
    container = {"name": "mend", "image": "mend:1", "env": [{"name": "OWN", "value": "kept"}]}
    pod = {
        "metadata": {"annotations": {"lab.healer.dev/behaviour": behaviour}},
        "spec": {"restartPolicy": "Never", "containers": [container]},
    }
    job = {"backoffLimit": 0, "template": pod}
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": "mend", "namespace": NAMESPACE, "labels": {"healer.dev/remediation": label}},
        "spec": {"schedule": "@yearly", "suspend": True, "jobTemplate": {"spec": job}},
    }


def mended(**more: Any) -> str:
    """The rule: the Job, then evict."""
    steps = [
        {"job": {"template": "mend"}, "verify": {"within": "30s", "stable": "300ms"}},
        {"evict": {}, "verify": {"within": "30s", "stable": "300ms"}},
    ]
    return ruleset(rule("stuck", when={"pod": ["NotReady"], "for": "300ms"}, heal=steps, **more))


def jobs(lab: Lab) -> list[Object]:
    return lab.objects("jobs", NAMESPACE)


async def test_a_job_runs_once_and_knows_what_is_sick(lab: Lab, run: Run, slack: FakeSlack) -> None:
    """Its end is waited for; what was sick gets well by it, and no pod is evicted."""
    sick, *_ = await serve(lab)
    await lab.apply(template())
    await run(mended())
    await lab.behave(NAMESPACE, sick, "hang")
    await lab.wait_for(lambda lab: bool(jobs(lab)) and condition(jobs(lab)[0], "Complete") is not None, PATIENCE)
    await lab.behave(NAMESPACE, sick, "ok")
    await slack.wait_for(told("healed"), PATIENCE)

    (job,) = jobs(lab)
    (incident,) = lab.objects("incidents.healer.dev", NAMESPACE)
    variables = {each["name"]: each["value"] for each in job["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert variables["OWN"] == "kept"
    assert (variables["HEALER_PODS"], variables["HEALER_WORKLOAD"]) == (sick, "tensorflow-serving")
    assert variables["HEALER_INCIDENT"] == incident["metadata"]["name"]
    assert job["spec"]["activeDeadlineSeconds"] == 300
    assert evictions(lab) == []
    assert "Healed" in history(lab)


async def test_a_template_without_the_label_is_not_run(lab: Lab, run: Run, slack: FakeSlack) -> None:
    """The next step is taken."""
    sick, *_ = await serve(lab)
    await lab.apply(template(label="false"))
    await run(mended())
    await lab.behave(NAMESPACE, sick, "hang")
    await slack.wait_for(told("healed"), PATIENCE)
    assert "TemplateNotAllowed" in history(lab)
    assert jobs(lab) == []
    assert evictions(lab) == [sick]


async def test_a_job_that_fails_leads_to_the_next_step(lab: Lab, run: Run, slack: FakeSlack) -> None:
    sick, *_ = await serve(lab)
    await lab.apply(template("fail"))
    await run(mended())
    await lab.behave(NAMESPACE, sick, "hang")
    await slack.wait_for(told("healed"), PATIENCE)
    assert "JobFailed" in history(lab)
    assert len(jobs(lab)) == 1
    assert evictions(lab) == [sick]


async def test_a_rule_that_observes_runs_no_job(lab: Lab, run: Run, slack: FakeSlack) -> None:
    sick, *_ = await serve(lab)
    await lab.apply(template())
    await run(mended(mode="observe"))
    await lab.behave(NAMESPACE, sick, "hang")
    await slack.wait_for(says("would be run (observe"), PATIENCE)
    assert jobs(lab) == []
