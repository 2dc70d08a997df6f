"""The behaviours of simulated pods. Each is a generator of the container states that a kubelet reports, in their order.

Container states, exit codes and reasons are those recorded in tests/contract/kubernetes-1.36 and those of the kubelet's
source. Times are in seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from healer.lab.objects import Object, annotations_of, timestamp

ANNOTATION = "lab.healer.dev/behaviour"
ADDRESSES = "lab.healer.dev/addresses"
"""The annotation with the IP addresses that a pod may get, separated by commas. Each new pod gets the one that the fewest pods
have. A test's model servers can thus listen on the addresses of the pods, for example on `127.0.0.2`."""
STARTS, LOADS, STOPS = "lab.healer.dev/starts", "lab.healer.dev/loads", "lab.healer.dev/stops"
"""The annotations with a pod's own times in seconds: from its binding to a node until its containers run; from then on, and from
each restart, until they are ready; from its deletionTimestamp until it is gone."""
FIRST_BACKOFF = 10.0
LONGEST_BACKOFF = 300.0
"""Seconds. The kubelet's back-off between restarts starts at FIRST_BACKOFF and doubles up to LONGEST_BACKOFF."""


@dataclass(slots=True)
class Frame:
    """One state of a container as the kubelet reports it. The frame of the first container also sets the state of the pod."""

    state: Object
    ready: bool = False
    started: bool = False
    restarts: int = 0
    last: Object = field(default_factory=dict)
    sandbox: bool = True
    """Whether the pod has its network and its volumes."""
    initialized: bool = True
    initial: Frame | None = None
    """The state of the first init container. Only used while the pod is not initialized."""
    phase: str = "Running"
    reason: str = ""
    message: str = ""
    duration: float | None = None
    """Seconds that this state lasts. None: until the behaviour of the pod changes."""


@dataclass(frozen=True, slots=True)
class BehaviourContext:
    """The facts of a pod that its behaviour depends on."""

    name: str
    container: str
    image: str
    has_readiness_probe: bool
    """Whether the container has a readiness probe. Without one, a running container is ready."""
    ran: bool
    """Whether the container has run before. The phase is Pending before the first run, and never again after it."""
    restarts: int
    short_delay: float
    """Seconds that a short state lasts, such as a container that exits at once or an image pull that fails."""
    scale: float
    """Factor on the kubelet's back-off times."""
    ends: bool = False
    """Whether the container is not restarted when it exits (restartPolicy Never)."""
    initial: str = ""
    """The name of the first init container; "" without one."""
    loads: float = 0.0
    """Seconds from now until a container that runs well is ready."""


def _is_bad(container: Object) -> bool:
    """Whether the image of a container has the tag `bad`, with or without a digest: it cannot be pulled."""
    return str(container.get("image") or "").partition("@")[0].endswith(":bad")


def behaviour_of(pod: Object) -> str:
    """The behaviour that the pod's annotation names. Without one: `image` if an image has the tag `bad`, `ok` if none has."""
    default = "image" if any(map(_is_bad, pod["spec"]["containers"])) else "ok"
    return annotations_of(pod).get(ANNOTATION, default)


def behaviours_of(pod: Object) -> dict[str, str]:
    """The behaviour of each container and sidecar, by container name.

    A container without an annotation of its own runs well. The first container follows the annotation of the pod instead.
    """
    spec, notes, whole_pod = pod["spec"], annotations_of(pod), behaviour_of(pod)
    sidecars = [each for each in spec.get("initContainers") or [] if each.get("restartPolicy") == "Always"]
    containers = [*spec["containers"], *sidecars]
    if whole_pod in POD_WIDE or BEHAVIOURS.get(whole_pod) is None:
        return {container["name"]: whole_pod for container in containers}
    found: dict[str, str] = {}
    for number, container in enumerate(containers):
        default = "image" if _is_bad(container) else "ok"
        whole = notes.get(ANNOTATION) if number == 0 else None
        found[container["name"]] = notes.get(f"{ANNOTATION}.{container['name']}") or whole or default
    return found


def restarted(frame: Frame) -> Frame:
    """The state of a container after a reboot of its node. It runs again; the kubelet does not know how it exited."""
    return replace(frame, state=_running(), restarts=frame.restarts + 1, last=_terminated(255, "Unknown"))


def own_time(pod: Object, annotation: str, otherwise: float) -> float:
    """The seconds that an annotation of the pod says, or else the others."""
    return float(annotations_of(pod).get(annotation, otherwise))


def addresses_of(pod: Object) -> list[str]:
    """The IP addresses that the pod may get. Empty: any address."""
    return [address for address in annotations_of(pod).get(ADDRESSES, "").replace(" ", "").split(",") if address]


def _running() -> Object:
    return {"running": {"startedAt": timestamp()}}


def _waiting(reason: str, message: str) -> Object:
    return {"waiting": {"reason": reason, "message": message}}


def _terminated(code: int, reason: str) -> Object:
    return {"terminated": {"exitCode": code, "reason": reason, "startedAt": timestamp(), "finishedAt": timestamp()}}


def _fine(context: BehaviourContext) -> Iterator[Frame]:
    if context.loads:
        yield Frame(_running(), started=True, restarts=context.restarts, duration=context.loads)
    yield Frame(_running(), ready=True, started=True, restarts=context.restarts)


def _hang(context: BehaviourContext) -> Iterator[Frame]:
    yield Frame(_running(), started=True, restarts=context.restarts)


def _crash(context: BehaviourContext, code: int = 1, reason: str = "Error") -> Iterator[Frame]:
    """Exits after each start. The first restart is immediate; CrashLoopBackOff precedes each later one."""
    restarts, backoff = context.restarts, 0.0
    last: Object = {}
    ready = not context.has_readiness_probe
    if not context.ran:
        yield Frame(_running(), ready=ready, started=True, restarts=restarts, duration=context.short_delay)
    while True:
        died = _terminated(code, reason)
        if context.ends:
            yield Frame(died, restarts=restarts, last=last, phase="Failed")
            return
        if backoff:
            text = f"back-off {_go_duration(backoff)} restarting failed container={context.container} pod={context.name}"
            state = _waiting("CrashLoopBackOff", text)
            yield Frame(state, restarts=restarts, last=died, duration=backoff * context.scale)
        else:
            yield Frame(died, restarts=restarts, last=last, duration=context.short_delay)
        backoff = min(2 * backoff, LONGEST_BACKOFF) or FIRST_BACKOFF
        restarts, last = restarts + 1, died
        yield Frame(_running(), ready=ready, started=True, restarts=restarts, last=last, duration=context.short_delay)


def _go_duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"


def _oom(context: BehaviourContext) -> Iterator[Frame]:
    return _crash(context, 137, "OOMKilled")


def _image(context: BehaviourContext) -> Iterator[Frame]:
    phase, backoff = ("Running" if context.ran else "Pending"), FIRST_BACKOFF
    failed = f'Failed to pull image "{context.image}": not found'
    back_off = f'Back-off pulling image "{context.image}"'
    while True:
        yield Frame(_waiting("ErrImagePull", failed), restarts=context.restarts, phase=phase, duration=context.short_delay)
        state = _waiting("ImagePullBackOff", back_off)
        yield Frame(state, restarts=context.restarts, phase=phase, duration=backoff * context.scale)
        backoff = min(2 * backoff, LONGEST_BACKOFF)


def _not_created(reason: str, message: str) -> Callable[[BehaviourContext], Iterator[Frame]]:
    """The kubelet cannot create the container, and reports why. `{image}` in the message is replaced by the image."""

    def frames(context: BehaviourContext) -> Iterator[Frame]:
        state = _waiting(reason, message.replace("{image}", context.image))
        yield Frame(state, restarts=context.restarts, phase="Running" if context.ran else "Pending")

    return frames


def _unrunnable(context: BehaviourContext) -> Iterator[Frame]:
    """The container runtime cannot start the process: RunContainerError at each attempt, CrashLoopBackOff between attempts."""
    message = 'failed to create containerd task: exec: "serve": executable file not found in $PATH'
    restarts, backoff, last = context.restarts, FIRST_BACKOFF, Object()
    while True:
        yield Frame(_waiting("RunContainerError", message), restarts=restarts, last=last, duration=context.short_delay)
        last = _terminated(128, "StartError")
        last["terminated"]["message"] = message
        text = f"back-off {_go_duration(backoff)} restarting failed container={context.container} pod={context.name}"
        yield Frame(_waiting("CrashLoopBackOff", text), restarts=restarts, last=last, duration=backoff * context.scale)
        backoff, restarts = min(2 * backoff, LONGEST_BACKOFF), restarts + 1


def _creating(context: BehaviourContext) -> Iterator[Frame]:
    """The volumes or the network of the pod are never ready. The kubelet reports no more than ContainerCreating."""
    yield Frame({"waiting": {"reason": "ContainerCreating"}}, phase="Pending", sandbox=False)


def _initializing(context: BehaviourContext) -> Iterator[Frame]:
    """The first init container runs for ever."""
    yield _initial(Frame(_running(), started=True))


def _init_oom(context: BehaviourContext) -> Iterator[Frame]:
    """The first init container, which fetches the model, is killed out of memory each time (`Init:OOMKilled`)."""
    for frame in _oom(replace(context, container=context.initial, ran=False, restarts=0)):
        yield _initial(replace(frame, ready=False))


def _initial(frame: Frame) -> Frame:
    """The container waits while the first init container is in that state."""
    waiting: Object = {"waiting": {"reason": "PodInitializing"}}
    return Frame(waiting, phase="Pending", initialized=False, initial=frame, duration=frame.duration)


def _config(context: BehaviourContext) -> Iterator[Frame]:
    state = _waiting("CreateContainerConfigError", f'configmap "{context.container}" not found')
    yield Frame(state, restarts=context.restarts, phase="Running" if context.ran else "Pending")


def _complete(context: BehaviourContext) -> Iterator[Frame]:
    yield Frame(_terminated(0, "Completed"), restarts=context.restarts, phase="Succeeded")


def _fail(context: BehaviourContext) -> Iterator[Frame]:
    yield Frame(_terminated(1, "Error"), restarts=context.restarts, phase="Failed")


def _evicted(context: BehaviourContext) -> Iterator[Frame]:
    message = (
        "The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. "
        f"Container {context.container} was using 2Gi, request is 0, has larger consumption of memory. "
    )
    killed = _terminated(137, "Error")
    yield Frame(killed, restarts=context.restarts, phase="Failed", reason="Evicted", message=message)


BEHAVIOURS: dict[str, Callable[[BehaviourContext], Iterator[Frame]] | None] = {
    "ok": _fine,
    "complete": _complete,
    "slow": _fine,  # ready for the kubelet; the model servers of the tests read the annotation and answer slowly
    "refuse-to-terminate": _fine,
    "hang": _hang,
    "crash": _crash,
    "oom": _oom,
    "image": _image,
    "config": _config,
    "fail": _fail,
    "evicted": _evicted,
    "creating": _creating,
    "initializing": _initializing,
    "init-oom": _init_oom,
    "create-error": _not_created("CreateContainerError", "context deadline exceeded"),
    "run-error": _unrunnable,
    "invalid-image": _not_created(
        "InvalidImageName",
        'Failed to apply default image tag "{image}": couldn\'t parse image name "{image}": invalid reference format',
    ),
    "never-pull": _not_created("ErrImageNeverPull", 'Container image "{image}" is not present with pull policy of Never'),
    "unschedulable": _fine,  # the scheduler reads this; a pod that already has a node runs
    "manual": None,  # the kubelet writes no status; the test does
}

POD_WIDE = frozenset({"complete", "fail", "evicted", "creating", "initializing", "init-oom"})
"""The behaviours that all containers of a pod share."""
