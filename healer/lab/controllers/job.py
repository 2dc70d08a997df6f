"""The Job controller. It runs pods to completion, counts each once, and fails the Job at its backoff limit.

It follows pkg/controller/job of Kubernetes 1.36. A finalizer keeps a finished pod until it is counted, failed pods are retried
with a back-off, and a podFailurePolicy (exit codes) may fail the Job at once or ignore a failure. Indexed Jobs and suspension
are not covered.
"""

from __future__ import annotations

from healer.lab.apiserver.api import ObjectApi
from healer.lab.apiserver.store import Key
from healer.lab.controllers.owned import PodsController, finished, is_terminating
from healer.lab.kinds import JOB, POD
from healer.lab.objects import Object, is_ready, seconds_since, timestamp

TRACKING = "batch.kubernetes.io/job-tracking"
_FIRST_BACKOFF = 10.0
_LONGEST_BACKOFF = 600.0


class JobController(PodsController):
    """Keys are Jobs. `time_scale` is a factor on the back-off between failures."""

    def __init__(self, api: ObjectApi, time_scale: float) -> None:
        super().__init__(api, JOB)
        self._time_scale = time_scale

    def reconcile(self, key: Key) -> float | None:
        job = self.api.store.get(JOB.stored_in, key)
        if job is None or is_terminating(job):
            return None
        status = dict(job["status"] or {})
        status.setdefault("startTime", timestamp())
        ended = _ended(status)
        verdict = self._count(job, status)
        active = [pod for pod in self._pods(job) if not finished(pod) and not is_terminating(pod)]
        wait = None
        if ended:
            return None
        verdict = verdict or _verdict(job, status)
        if verdict is not None:
            for pod in active:
                self._delete_pod(pod)
            active = []
            _add_end_conditions(status, *verdict)
        else:
            wait = self._fill(job, status, active)
            active = [pod for pod in self._pods(job) if not finished(pod) and not is_terminating(pod)]
        counts = {"active": len(active), "ready": sum(map(is_ready, active))}
        terminating = sum(is_terminating(pod) and not finished(pod) for pod in self._pods(job))
        self._write(key, {**status, **counts, "terminating": terminating, "uncountedTerminatedPods": {}})
        return wait

    def _count(self, job: Object, status: Object) -> tuple[str, str, str] | None:
        """Count each newly finished pod once. Returns what a podFailurePolicy decides, None if it decides nothing."""
        verdict = None
        for pod in self._pods(job):
            if TRACKING not in (pod["metadata"].get("finalizers") or []) or not (finished(pod) or is_terminating(pod)):
                continue
            if is_terminating(pod) and not finished(pod) and pod["metadata"].get("deletionGracePeriodSeconds"):
                continue  # the pod still runs
            if pod["status"].get("phase") == "Succeeded":
                status["succeeded"] = status.get("succeeded", 0) + 1
            else:
                action, why = _policy(job, pod)
                if action != "Ignore":
                    status["failed"] = status.get("failed", 0) + 1
                if action == "FailJob":
                    verdict = ("Failed", "PodFailurePolicy", why)
            self._release(pod)
        return verdict

    def _release(self, pod: Object) -> None:
        def change(obj: Object) -> None:
            obj["metadata"]["finalizers"] = [each for each in obj["metadata"]["finalizers"] if each != TRACKING]

        self.api.modify(POD, pod["metadata"]["namespace"], pod["metadata"]["name"], change)

    def _fill(self, job: Object, status: Object, active: list[Object]) -> float | None:
        """Start the missing pods, after a failure only when its back-off has passed. Returns the seconds to wait."""
        spec, name = job["spec"], job["metadata"]["name"]
        left = spec["completions"] - status.get("succeeded", 0) if spec.get("completions") else spec["parallelism"]
        missing = min(spec["parallelism"], left) - len(active)
        if missing > 0 and (wait := self._backoff(job, status)) > 0:
            return wait
        uid = job["metadata"]["uid"]
        labels = {
            "batch.kubernetes.io/controller-uid": uid,
            "batch.kubernetes.io/job-name": name,
            "controller-uid": uid,
            "job-name": name,
        }
        for _ in range(max(missing, 0)):
            self._create_pod(job, labels, generateName=f"{name}-", finalizers=[TRACKING])
        return None

    def _backoff(self, job: Object, status: Object) -> float:
        """Seconds until the next pod may start."""
        failed = [pod for pod in self._pods(job) if pod["status"].get("phase") == "Failed"]
        if not failed or not status.get("failed"):
            return 0.0
        times: int = status["failed"]
        pause = min(_FIRST_BACKOFF * float(2 ** min(times - 1, 10)), _LONGEST_BACKOFF) * self._time_scale
        return max(pause - min(seconds_since(_ended_at(pod)) for pod in failed), 0.0)


def _ended_at(pod: Object) -> str:
    ends = [(item.get("state") or {}).get("terminated") for item in pod["status"].get("containerStatuses") or []]
    return str(max((end["finishedAt"] for end in ends if end), default=pod["metadata"]["creationTimestamp"]))


def _ended(status: Object) -> bool:
    return any(item["type"] in ("Complete", "Failed") and item["status"] == "True" for item in status.get("conditions") or [])


def _verdict(job: Object, status: Object) -> tuple[str, str, str] | None:
    spec = job["spec"]
    if spec.get("completions") and status.get("succeeded", 0) >= spec["completions"]:
        return "Complete", "CompletionsReached", "Reached expected number of succeeded pods"
    if status.get("failed", 0) > spec["backoffLimit"]:
        return "Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit"
    return None


def _add_end_conditions(status: Object, kind: str, reason: str, message: str) -> None:
    """Set the two conditions of a Job that ends: the one for the coming end, and the final one."""
    first = "SuccessCriteriaMet" if kind == "Complete" else "FailureTarget"
    now = timestamp()
    common = {"status": "True", "lastProbeTime": now, "lastTransitionTime": now, "reason": reason, "message": message}
    status["conditions"] = [*(status.get("conditions") or []), {"type": first, **common}, {"type": kind, **common}]
    if kind == "Complete":
        status["completionTime"] = now


def _policy(job: Object, pod: Object) -> tuple[str, str]:
    """The action of the first matching rule of the podFailurePolicy (Count if none matches), and the message for FailJob."""
    ends = [
        (item["name"], item["state"]["terminated"]["exitCode"])
        for item in pod["status"].get("containerStatuses") or []
        if (item.get("state") or {}).get("terminated")
    ]
    for index, rule in enumerate((job["spec"].get("podFailurePolicy") or {}).get("rules") or []):
        asked = rule.get("onExitCodes")
        for container, code in ends if asked else []:
            named = asked.get("containerName") in (None, container)
            matches = (code in asked["values"]) == (asked["operator"] == "In")
            if named and matches and code != 0:
                where = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
                failed = f"Container {container} for pod {where} failed with exit code {code}"
                return rule["action"], f"{failed} matching {rule['action']} rule at index {index}"
    return "Count", ""
