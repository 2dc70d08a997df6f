"""Run a Job of the team's own: from the template of a CronJob in the workload's namespace that allows it by a label.

Of a CronJob, and not of a ConfigMap: whoever may write a CronJob may run pods already, so that the action gives nobody a right.
It is best suspended. The Job is named after its incident and step, so that it is made once, whoever stops meanwhile. Its end is
the outcome of the action.
"""

from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from typing import Annotated, Any

import msgspec
from pydantic import Field

from healer.actions.base import Call
from healer.actions.shared.refusal import refusal, unread
from healer.actions.shared.rolling import rung
from healer.cluster.api import Api, ApiError, ClusterError
from healer.model.action import ActionSpec, Outcome, OutcomeKind, permissions
from healer.model.annotations import RAN_FOR, REMEDIATION
from healer.model.duration import Duration
from healer.model.target import ActsOn
from healer.rules.form import Model, Name

_POLL = 2.0
"""Seconds between two looks at a Job that runs."""
_KEPT = 86_400
_LEAST_KEPT = 3_600
"""Seconds for which a finished Job stays, where its template does not say."""
_MOST_PODS = 20
"""Sick pods that a Job is told of."""

Obj = dict[str, Any]


class JobParams(Model):
    """Which Job, and for how long."""

    template: Name
    """The CronJob whose `jobTemplate` is run, in the workload's namespace. Its label `healer.dev/remediation` must be "true"."""
    within: Annotated[Duration, Field(ge=10, le=600)] = 300.0
    """How long it may run (`activeDeadlineSeconds`): Kubernetes ends it then, and the next step follows."""


class _TemplateMeta(msgspec.Struct):
    labels: dict[str, str] = {}


class _JobTemplate(msgspec.Struct):
    spec: Obj
    metadata: Obj = {}


class _CronJobSpec(msgspec.Struct, rename="camel"):
    job_template: _JobTemplate


class _CronJob(msgspec.Struct):
    metadata: _TemplateMeta
    spec: _CronJobSpec


class _RunMeta(msgspec.Struct):
    annotations: dict[str, str] = {}


class _RunCondition(msgspec.Struct):
    type: str
    status: str
    reason: str = ""
    message: str = ""


class _RunStatus(msgspec.Struct):
    conditions: list[_RunCondition] | None = None


class _RunningJob(msgspec.Struct):
    metadata: _RunMeta
    status: _RunStatus | None = None


class RunJob:
    """The action `job`."""

    spec = ActionSpec(
        name="job",
        params=JobParams,
        targets=frozenset({ActsOn.WORKLOAD}),
        disrupts=False,
        verb="run a Job for",
        needs=lambda _: permissions("batch", "cronjobs", "get") | permissions("batch", "jobs", "get create"),
        meaning=(
            'runs a Job from the template of a CronJob whose label `healer.dev/remediation` is "true", and waits for its end; '
            "a Job that fails leads to the next step"
        ),
    )

    async def absent(self, api: Api, namespace: str, params: JobParams) -> str:
        """See `NamesObjects`."""
        try:
            template = await api.get(_template(namespace, params), _CronJob)
        except ApiError as error:
            if not error.is_not_found:
                raise
            return _no_template(namespace, params)
        return "" if template.metadata.labels.get(REMEDIATION) == "true" else _not_allowed(params)

    async def run(self, call: Call) -> Outcome:
        """Find the Job of this step, or make it; say how it ended, or that it runs."""
        params = call.act.params
        assert isinstance(params, JobParams)
        namespace, name = call.act.incident.workload.namespace, _name(call)
        path = f"/apis/batch/v1/namespaces/{namespace}/jobs"
        try:
            return _end(call, name, await call.api.get(f"{path}/{name}", _RunningJob))
        except ApiError as error:
            if not error.is_not_found:
                return unread(error, f"read job/{name}")
        except ClusterError as error:
            return unread(error, f"read job/{name}")
        if call.kept.get("made") == name:
            return Outcome(OutcomeKind.REFUSED, "JobGone", f"job/{name} was made, and is gone: how it ended is not known")
        try:
            template = await call.api.get(_template(namespace, params), _CronJob)
        except ApiError as error:
            if error.is_not_found:
                return Outcome(OutcomeKind.REFUSED, "NoTemplate", _no_template(namespace, params))
            return unread(error, f"read cronjob/{params.template}")
        except ClusterError as error:
            return unread(error, f"read cronjob/{params.template}")
        if template.metadata.labels.get(REMEDIATION) != "true":
            return Outcome(OutcomeKind.REFUSED, "TemplateNotAllowed", _not_allowed(params))
        return await _make(call, path, name, _body(call, params, name, template.spec.job_template))


def _template(namespace: str, params: JobParams) -> str:
    return f"/apis/batch/v1/namespaces/{namespace}/cronjobs/{params.template}"


def _no_template(namespace: str, params: JobParams) -> str:
    return f"there is no cronjob/{params.template} in {namespace}, whose template is to be run"


def _not_allowed(params: JobParams) -> str:
    return f'cronjob/{params.template} may not be run by healer: it lacks the label {REMEDIATION}: "true"'


def _name(call: Call) -> str:
    """The same for each attempt of one step of one incident, and short enough for the label of its pods."""
    incident = call.act.incident
    digest = sha256(f"{incident.workload.namespace}/{incident.id}/{rung(call)}".encode()).hexdigest()
    return f"healer-job-{digest[:20]}"


def _end(call: Call, name: str, job: _RunningJob) -> Outcome:
    if job.metadata.annotations.get(RAN_FOR) != call.act.incident.id:
        return Outcome(OutcomeKind.REFUSED, "NameTaken", f"job/{name} is not healer's for this incident: it is left alone")
    conditions = () if job.status is None else job.status.conditions or ()
    ended = {each.type: each for each in conditions if each.status == "True"}
    if "Complete" in ended:
        return Outcome(OutcomeKind.DONE, "JobDone", f"job/{name} has completed")
    if (failed := ended.get("Failed")) is not None:
        return Outcome(OutcomeKind.REFUSED, "JobFailed", f"job/{name} has failed: {failed.reason}: {failed.message}")
    return Outcome(OutcomeKind.DEFERRED, "JobRunning", f"job/{name} runs: waiting for its end", _POLL, begun=True)


def _body(call: Call, params: JobParams, name: str, template: _JobTemplate) -> Obj:
    """The Job, from its template. Raises nothing: what is wrong with the template, the API server says."""
    incident, sick = call.act.incident, [each.target for each in call.act.incident.sick if each.target.is_pod][:_MOST_PODS]
    pods = [pod for target in sick if (pod := call.view.pod(target.uid)) is not None]
    told = {
        "HEALER_INCIDENT": incident.id,
        "HEALER_NAMESPACE": incident.workload.namespace,
        "HEALER_WORKLOAD_KIND": incident.workload.kind,
        "HEALER_WORKLOAD": incident.workload.name,
        "HEALER_PODS": ",".join(target.name for target in sick),
        "HEALER_NODES": ",".join(sorted({pod.spec.node_name for pod in pods if pod.spec.node_name})),
    }
    spec = dict(template.spec)
    limit = spec.get("activeDeadlineSeconds")
    spec["activeDeadlineSeconds"] = min(int(params.within), limit) if isinstance(limit, int) else int(params.within)
    ttl = spec.get("ttlSecondsAfterFinished")
    spec["ttlSecondsAfterFinished"] = max(ttl, _LEAST_KEPT) if isinstance(ttl, int) else _KEPT  # its end must be seen
    labels = template.metadata.get("labels") or {}
    metadata = {"name": name, "labels": labels, "annotations": {RAN_FOR: incident.id}}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": _with_variables(spec, told)}


def _with_variables(spec: Obj, told: Mapping[str, str]) -> Obj:
    """The spec of a Job whose containers have these variables, too."""
    more = [{"name": name, "value": value} for name, value in told.items()]
    template = spec.get("template") or {}
    pod = template.get("spec") or {}
    containers = [each | {"env": [*(each.get("env") or []), *more]} for each in pod.get("containers") or []]
    return spec | {"template": template | {"spec": pod | {"containers": containers}}}


async def _make(call: Call, path: str, name: str, body: Obj) -> Outcome:
    doing = f"make job/{name}"
    if (unwanted := call.still_wanted(call.act, None)) is not None:
        return Outcome(OutcomeKind.RECOVERED, unwanted.code, unwanted.text)
    if (forbidden := call.sending()) is not None:
        return forbidden
    try:
        await call.api.request("POST", path, body=body, query={"dryRun": "All"} if call.act.dry_run else None)
    except ApiError as error:
        if error.is_conflict:  # an earlier attempt has made it meanwhile
            return Outcome(OutcomeKind.DEFERRED, "JobRunning", f"job/{name} is there: looking again", _POLL, begun=True)
        return refusal(error, doing)
    except ClusterError as error:
        return refusal(error, doing)
    if call.act.dry_run:
        return Outcome(OutcomeKind.DONE, "WouldRunJob", f"job/{name} would be run (observe: dry run, nothing was done)")
    if (unkept := await call.keep({"made": name})) is not None:
        return replace(unkept, begun=True)
    return Outcome(OutcomeKind.DEFERRED, "JobRunning", f"job/{name} is made: waiting for its end", _POLL, begun=True)
