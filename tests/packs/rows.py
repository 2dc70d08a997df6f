"""The table: for each shipped rule the trouble in which it heals, and what looks like it and must be left alone."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from tests.packs.troubles import (
    DEVICE_UNHEALTHY,
    FETCHING_AGAIN,
    KILLED_FETCHING,
    NEVER_READY,
    RESTARTING,
    RETIRED,
    TERMINATING,
    UNREADY,
    UNSCHEDULABLE,
    Trouble,
    alerted,
    alerted_down,
    alerted_retired,
    alerted_workload,
    asked,
    crashing,
    judged,
    measured,
    of_workload,
    on_node,
    out_of_memory,
    out_of_memory_at_two_revisions,
    recorded,
    reported,
    waiting,
    well,
)


@dataclass(frozen=True, slots=True)
class Hold:
    """What is tempting, and the code of why healer holds back; "" where a rule observes, and changes nothing ever."""

    name: str
    reason: str
    trouble: Trouble | None = None
    """Another one, which looks like the rule's."""
    sick: int = 1
    """So many pods fall ill at once, of `replicas`."""
    replicas: int = 4
    brief: bool = False
    """It is over before the rule's `for`."""
    during: bool = False
    """It comes while the rule's `for` lasts."""
    rollout: bool = False
    """A rollout of the workload is under way, and halts."""
    lasts: float = 4000
    """Seconds beyond the rule's `for`, in the engine."""
    for_another: bool = False
    """Whether another rule is right to act."""


@dataclass(frozen=True, slots=True)
class Row:
    """A rule by its full name, its trouble, the action of its first step, and what it must leave alone."""

    rule: str
    trouble: Trouble
    action: str
    holds: tuple[Hold, ...]
    then: tuple[str, ...] = ()
    """The actions of its later steps, when the ones before have not helped."""
    also: tuple[Trouble, ...] = ()
    """The troubles by its other names (another alert, another condition), to which it gives the same answer."""

    @property
    def ruleset(self) -> str:
        """The rule set that the rule is of."""
        return self.rule.partition("/")[0]

    @property
    def troubles(self) -> tuple[Trouble, ...]:
        """One for each name that the rule looks for."""
        return (self.trouble, *self.also)


STORM = Hold("three of four pods", "Storm", sick=3, lasts=60)
SHORT = Hold("over before `for`", "NotLongEnough", brief=True)
LAST = Hold("the last ready pod", "BelowFloor", replicas=1)
UNASKED = Hold("nobody approves", "ApprovalExpired")
ROLLOUT = Hold("a rollout is under way", "RolloutInProgress", rollout=True)


def instead(name: str, other: Trouble, reason: str) -> Hold:
    """Another trouble that looks like it."""
    return Hold(name, reason, other)


def brief(other: Trouble) -> Hold:
    """A trouble that is over before `for`."""
    return replace(SHORT, trouble=other)


def evicts(rule: str, trouble: Trouble, *holds: Hold) -> Row:
    """A rule that takes the pod, and calls people when its successor is sick as well."""
    return Row(rule, trouble, "evict", (*holds, ROLLOUT), ("page",))


def single(row: Row) -> Row:
    """It has no second step: people are told when the first does not help."""
    return replace(row, then=())


def asks(rule: str, trouble: Trouble, action: str, *holds: Hold) -> Row:
    """A rule that changes the workload when a human approves, and calls people when that does not help."""
    return Row(rule, trouble, action, (UNASKED, *holds), ("page",))


def pages(rule: str, trouble: Trouble, *holds: Hold) -> Row:
    """A rule that only tells people."""
    return Row(rule, trouble, "page", holds)


READY = "Kubernetes calls the pod ready"
RANK = "its orchestrator has retired the rank"
UNMET = "ConditionUnmet"
ONCE = instead("killed once", out_of_memory(1), "NotOftenEnough")
REFETCHING = instead("its download was killed out of memory before", FETCHING_AGAIN, UNMET)
KILLED = replace(instead("its download is killed out of memory meanwhile", KILLED_FETCHING, UNMET), during=True)


def by(row: Row, *troubles: Trouble) -> Row:
    """The rule looks for these, too."""
    return replace(row, also=troubles)


def _tensorflow_serving() -> Iterator[Row]:
    pack = "tensorflow-serving"
    yield single(evicts(f"{pack}/crash-loop", crashing(), STORM, brief(crashing(1))))
    yield single(evicts(f"{pack}/restarting", RESTARTING, STORM, LAST, instead("out of memory", out_of_memory(3), UNMET)))
    yield single(evicts(f"{pack}/not-ready", UNREADY, STORM, SHORT))
    yield by(single(evicts(f"{pack}/image-pull", waiting("ImagePullBackOff"), STORM, SHORT)), waiting("ErrImagePull"))
    yield by(single(evicts(f"{pack}/slow", alerted("TFServingLatencyHigh"), STORM, LAST)), alerted("HighLatency"))
    yield single(evicts(f"{pack}/failing", alerted("TFServingErrorsHigh"), STORM, LAST))
    seen = instead(READY, alerted("TFServingDown"), UNMET)
    down = single(evicts(f"{pack}/down", alerted_down("TFServingDown"), STORM, seen))
    yield by(down, alerted_down("ModelServiceDown"))
    yield asks(f"{pack}/bad-rollout", of_workload("ProgressDeadlineExceeded"), "rollback", SHORT)
    yield asks(f"{pack}/version-failing", alerted_workload("TFServingVersionFailing"), "rollback")
    two = instead("at two revisions", out_of_memory_at_two_revisions(), "NotOftenEnough")
    yield asks(f"{pack}/oom-killed", out_of_memory(3), "rollback", ONCE, two)
    yield pages(f"{pack}/config-error", waiting("CreateContainerConfigError"), SHORT)
    yield pages(f"{pack}/not-starting", waiting("CreateContainerError"), SHORT)
    yield pages(f"{pack}/unschedulable", UNSCHEDULABLE, SHORT)
    yield pages(f"{pack}/stuck-terminating", TERMINATING, SHORT)
    pressed = pages(f"{pack}/node-pressure", recorded(3), instead("two records", recorded(2), "NotOftenEnough"))
    yield by(pressed, recorded(3, "Failed"))


def _vllm() -> Iterator[Row]:
    once = instead("its first exit", crashing(1), UNMET)
    yield evicts("vllm/engine-stalled", alerted("VllmEngineStalled"), STORM, LAST)
    yield evicts("vllm/failing", alerted("VllmErrorsHigh"), STORM, LAST)
    yield evicts("vllm/engine-dead", crashing(), STORM, SHORT, once)
    left = instead(RANK, alerted_retired("VllmDown"), UNMET)
    yield single(evicts("vllm/down", alerted_down("VllmDown"), STORM, instead(READY, alerted("VllmDown"), UNMET), left))
    yield evicts("vllm/weights-stuck", waiting("CreateContainerError"), STORM, SHORT, REFETCHING, KILLED)
    yield single(evicts("vllm/not-ready", NEVER_READY, STORM, SHORT, instead(RANK, RETIRED, UNMET)))
    never = replace(instead("it never was ready", NEVER_READY, ""), for_another=True)
    yield single(asks("vllm/no-longer-ready", RETIRED, "evict", SHORT, never))
    yield by(single(evicts("vllm/image-pull", waiting("ErrImagePull"), STORM, SHORT)), waiting("ImagePullBackOff"))
    yield asks("vllm/saturated", alerted_workload("VllmSaturated"), "scale")
    yield asks("vllm/bad-rollout", of_workload("ProgressDeadlineExceeded"), "rollback", SHORT)
    yield asks("vllm/version-failing", alerted_workload("VllmVersionFailing"), "rollback")
    yield pages("vllm/oom-killed", out_of_memory(2), ONCE)
    yield pages("vllm/config-error", waiting("CreateContainerConfigError"), SHORT)
    yield pages("vllm/unschedulable", UNSCHEDULABLE, SHORT)


def _sglang() -> Iterator[Row]:
    once = instead("its first exit", crashing(1), UNMET)
    yield evicts("sglang/engine-stalled", alerted("SglangEngineStalled"), STORM, LAST)
    yield evicts("sglang/failing", alerted("SglangErrorsHigh"), STORM, LAST)
    yield evicts("sglang/engine-dead", crashing(), STORM, SHORT, once)
    yield single(evicts("sglang/down", alerted_down("SglangDown"), STORM, instead(READY, alerted("SglangDown"), UNMET)))
    yield evicts("sglang/weights-stuck", waiting("CreateContainerError"), STORM, SHORT, REFETCHING, KILLED)
    yield single(evicts("sglang/not-ready", UNREADY, STORM, SHORT))
    yield by(single(evicts("sglang/image-pull", waiting("ErrImagePull"), STORM, SHORT)), waiting("ImagePullBackOff"))
    yield asks("sglang/saturated", alerted_workload("SglangSaturated"), "scale")
    yield asks("sglang/bad-rollout", of_workload("ProgressDeadlineExceeded"), "rollback", SHORT)
    yield asks("sglang/version-failing", alerted_workload("SglangVersionFailing"), "rollback")
    yield pages("sglang/oom-killed", out_of_memory(2), ONCE)
    yield pages("sglang/config-error", waiting("CreateContainerConfigError"), SHORT)
    yield pages("sglang/unschedulable", UNSCHEDULABLE, SHORT)


def _triton() -> Iterator[Row]:
    yield evicts("triton/failing", alerted("TritonFailuresHigh"), STORM, LAST)
    yield evicts("triton/crash-loop", crashing(), STORM, SHORT, instead("out of memory", out_of_memory(3), UNMET))
    yield single(evicts("triton/down", alerted_down("TritonDown"), STORM, instead(READY, alerted("TritonDown"), UNMET)))
    yield evicts("triton/repository-stuck", waiting("CreateContainerError"), STORM, SHORT, REFETCHING, KILLED)
    yield single(evicts("triton/not-ready", UNREADY, STORM, SHORT))
    yield by(single(evicts("triton/image-pull", waiting("ImagePullBackOff"), STORM, SHORT)), waiting("ErrImagePull"))
    yield asks("triton/saturated", alerted_workload("TritonSaturated"), "scale")
    yield asks("triton/bad-rollout", of_workload("ProgressDeadlineExceeded"), "rollback", SHORT)
    yield asks("triton/version-failing", alerted_workload("TritonVersionFailing"), "rollback")
    yield pages("triton/oom-killed", out_of_memory(2), ONCE)
    yield pages("triton/config-error", waiting("CreateContainerConfigError"), SHORT)
    yield pages("triton/unschedulable", UNSCHEDULABLE, SHORT)


def _kserve() -> Iterator[Row]:
    # The scenes play the mode Standard: no queue-proxy counts errors, and the alert is that of the server inside.
    one = replace(instead("one of its pods fails", alerted("VllmErrorsHigh"), ""), for_another=True)
    failing = evicts("kserve/failing", alerted("VllmErrorsHigh"), STORM, LAST)
    yield by(failing, *map(alerted, ("KServeErrorsHigh", "SglangErrorsHigh", "TritonFailuresHigh", "TFServingErrorsHigh")))
    yield evicts("kserve/crash-loop", crashing(), STORM, SHORT, instead("out of memory", out_of_memory(3), UNMET))
    yield evicts("kserve/storage-stuck", waiting("CreateContainerError"), STORM, SHORT, REFETCHING, KILLED)
    yield single(evicts("kserve/not-ready", UNREADY, STORM, SHORT))
    yield by(single(evicts("kserve/image-pull", waiting("ImagePullBackOff"), STORM, SHORT)), waiting("ErrImagePull"))
    yield pages("kserve/bad-rollout", of_workload("ProgressDeadlineExceeded"), SHORT)
    version_failing = pages("kserve/version-failing", alerted_workload("VllmVersionFailing"), one)
    others = ("KServeVersionFailing", "SglangVersionFailing", "TritonVersionFailing", "TFServingVersionFailing")
    yield by(version_failing, *map(alerted_workload, others))
    yield pages("kserve/oom-killed", out_of_memory(2), ONCE)
    yield pages("kserve/config-error", waiting("CreateContainerConfigError"), SHORT)
    yield pages("kserve/unschedulable", UNSCHEDULABLE, SHORT)


NODE_CONDITIONS = (
    *("ContainerRuntimeReady", "KernelReady", "NetworkingReady", "StorageReady"),
    *("KernelDeadlock", "ReadonlyFilesystem", "FilesystemCorruptionProblem"),
    *("GPUMissing", "NVLinkStatusInactive", "UnhealthyNvidiaDevicePlugin", "XIDErrors"),
)
"""What agents say of nodes, beside AcceleratedHardwareReady."""


def _gpu() -> Iterator[Row]:
    application, old, unknown = (alerted("GpuXidError", xid=number) for number in ("31", "79", "999"))
    device = alerted("GpuXidDevice", xid="79")
    yield evicts("gpu/device-unhealthy", DEVICE_UNHEALTHY, STORM, SHORT)
    yield evicts("gpu/xid-application", application, STORM, LAST, instead("the device is at fault", old, UNMET))
    ill = pages("gpu/xid-device", device, instead("a number that nobody knows", unknown, UNMET))
    yield by(replace(ill, then=("evict",)), old)
    broken = pages("nodes-gpu/node-broken", on_node("AcceleratedHardwareReady"), SHORT)
    yield by(broken, *map(on_node, NODE_CONDITIONS))
    yield pages("gpu/xid-unknown", unknown, instead("the device is at fault", old, UNMET))


def _workloads() -> Iterator[Row]:
    for rule, condition in (
        ("pods-refused", "ReplicaFailure"),
        ("at-maximum", "HpaAtMaximum"),
        ("scaling-blind", "HpaUnableToScale"),
        ("unavailable", "Unavailable"),
    ):
        yield pages(f"workloads/{rule}", of_workload(condition), SHORT)
    rarely = instead("two failures", reported("FailedMount", 2), "NotOftenEnough")
    mount = pages("workloads/cannot-mount", reported("FailedMount"), rarely)
    yield by(mount, reported("FailedAttachVolume"), reported("FailedCreatePodSandBox"))


def _models() -> Iterator[Row]:
    loading, starting = (asked(condition, ready=False) for condition in ("ModelStuckLoading", "ModelStuckStarting"))
    serves = instead("it still serves another version", asked("ModelStuckLoading"), UNMET)
    tensorflow, triton = "models-tensorflow-serving", "models-triton"
    yield replace(evicts(f"{tensorflow}/stuck-loading", loading, STORM, serves), then=("pinModelVersion", "page"))
    # A server that starts looks at the file no more: the pin needs a new pod.
    yield replace(evicts(f"{tensorflow}/stuck-starting", starting, STORM), then=("pinModelVersion", "evict", "page"))
    yield by(evicts(f"{triton}/stuck-loading", loading, STORM, serves), starting)
    for pack in (tensorflow, triton):
        yield evicts(f"{pack}/not-available", asked("ModelNotAvailable"), STORM, SHORT, LAST)
    for rule, condition in (("version-failed", "ModelVersionFailed"), ("version-missing", "ModelVersionMissing")):
        rule = f"{tensorflow}/{rule}"
        yield asks(rule, asked(condition), "pinModelVersion", SHORT)
    rule = f"{triton}/version-failed"
    yield pages(rule, asked("ModelVersionFailed"), SHORT)
    saturated = instead("it is saturated", well("Saturated"), "")
    queue = instead("requests wait, and none is in work", well("Waiting"), "")
    mute = instead("it hangs idle, and nobody asks it for a token", well("Mute"), "")
    generates = instead("it is idle, and generates", well("Idle"), "")
    for rule, condition, *more in (
        ("models-kserve/model-not-ready", "ModelNotReady", SHORT),
        ("models-kserve/stuck-loading", "ModelStuckLoading"),
        ("models-vllm/engine-hangs", "EngineStalled", saturated, queue, mute),
        ("models-vllm-idle/engine-hangs", "EngineStalled", saturated, queue, generates),
        ("models-vllm/engine-dead", "EngineDead", SHORT),
        ("models-sglang/engine-hangs", "EngineStalled", saturated),
        ("models-sglang/engine-unhealthy", "EngineUnhealthy", saturated),
    ):
        yield evicts(rule, asked(condition), STORM, LAST, *more)


def _queries() -> Iterator[Row]:
    for server in ("tensorflow-serving", "triton", "vllm"):
        yield evicts(f"queries-{server}/failing-alone", measured(), STORM, SHORT, LAST)


def _canary() -> Iterator[Row]:
    for ruleset in ("canary", "canary-vllm", "canary-sglang", "canary-triton", "canary-kserve"):
        rule = f"{ruleset}/bad-canary"
        unknown = instead("no verdict", judged("UnknownVerdict"), "UnknownVerdict")
        yield Row(rule, judged("BadCanary"), "shiftTraffic", (unknown,), ("page",))


ROWS = (
    *_tensorflow_serving(),
    *_vllm(),
    *_sglang(),
    *_triton(),
    *_kserve(),
    *_gpu(),
    *_workloads(),
    *_models(),
    *_queries(),
    *_canary(),
)
