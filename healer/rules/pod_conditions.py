"""The conditions of a pod."""

from enum import StrEnum


class PodCondition(StrEnum):
    """What healer observes of a pod, containers of every sort (init, sidecar, main) included."""

    CRASH_LOOP_BACK_OFF = "CrashLoopBackOff"
    OOM_KILLED = "OOMKilled"
    IMAGE_PULL_BACK_OFF = "ImagePullBackOff"
    ERR_IMAGE_PULL = "ErrImagePull"
    CREATE_CONTAINER_CONFIG_ERROR = "CreateContainerConfigError"
    NOT_STARTING = "NotStarting"
    """Its containers cannot be created or started, or have not been for long."""
    NOT_READY = "NotReady"
    RESTARTING = "Restarting"
    """Restarts as a rate, never the lifetime count."""
    UNSCHEDULABLE = "Unschedulable"
    STUCK_TERMINATING = "StuckTerminating"
    EVICTED = "Evicted"
    FAILED = "Failed"


RECORDS = frozenset({PodCondition.EVICTED, PodCondition.FAILED})
"""The conditions of a pod that has finished: what has them is a record, and no pod of the workload any more."""
REPLACED = RECORDS | {PodCondition.STUCK_TERMINATING}
"""The conditions of a pod that does not count among the replicas of its workload: the controller has replaced it."""
