"""What a hollow pod does: each behaviour is a generator of the states that the kubelet would report, one after another.

The forms are those recorded in tests/contract/kubernetes-1.36 and of the kubelet's own source (container states,
exit codes, reasons). Times are in seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from healer.lab.objects import Object, annotations_of, timestamp

ANNOTATION = "lab.healer.dev/behaviour"
ADDRESSES = "lab.healer.dev/addresses"
"""Of a pod: the IP addresses that it may have, separated by commas. Pods of one template share them out evenly, so that
stand-ins can listen there: `127.0.0.2`."""
FIRST_BACKOFF = 10.0
LONGEST_BACKOFF = 300.0
"""Seconds; the kubelet's back-off between restarts doubles from the one to the other."""


@dataclass(slots=True)
class Frame:
    """What the kubelet reports for a while of a container; and of the pod as a whole, when it is the first one's."""

    state: Object
    ready: bool = False
    started: bool = False
    restarts: int = 0
    last: Object = field(default_factory=dict)
    sandbox: bool = True
    """Has the pod its network and its volumes?"""
    initialized: bool = True
    initial: Object = field(default_factory=dict)
    """The state of the first init container, while the pod is not initialized."""
    phase: str = "Running"
    reason: str = ""
    message: str = ""
    hold: float | None = None
    """How long this lasts, in seconds; None until the pod is told otherwise."""


@dataclass(frozen=True, slots=True)
class Life:
    """What a behaviour needs to know of its pod."""

    name: str
    container: str
    image: str
    probed: bool
    """Has the container a readiness probe? Without one, it counts as ready whenever it runs."""
    ran: bool
    """Has it run before? A pod that has never goes through Pending, and one that has never goes back to it."""
    restarts: int
    blink: float
    """How long the short states last: a container that dies at once, an image pull that fails."""
    scale: float
    """Factor on the kubelet's own times."""
    ends: bool = False
    """Is it over when it dies (restartPolicy Never)?"""


def behaviour_of(pod: Object) -> str:
    """The behaviour that the pod is told; an image with the tag `bad` cannot be pulled."""
    images = [container.get("image") or "" for container in pod["spec"]["containers"]]
    default = "image" if any(image.endswith(":bad") for image in images) else "ok"
    return annotations_of(pod).get(ANNOTATION, default)


def behaviours_of(pod: Object) -> dict[str, str]:
    """What each container and sidecar does, by name.

    One that is told nothing itself is well, but for the first one: that does what the pod is told.
    """
    spec, notes, told = pod["spec"], annotations_of(pod), behaviour_of(pod)
    sidecars = [each for each in spec.get("initContainers") or [] if each.get("restartPolicy") == "Always"]
    containers = [*spec["containers"], *sidecars]
    if told in POD_WIDE or BEHAVIOURS.get(told) is None:
        return {container["name"]: told for container in containers}
    found: dict[str, str] = {}
    for number, container in enumerate(containers):
        default = "image" if (container.get("image") or "").endswith(":bad") else "ok"
        whole = notes.get(ANNOTATION) if number == 0 else None
        found[container["name"]] = notes.get(f"{ANNOTATION}.{container['name']}") or whole or default
    return found


def restarted(frame: Frame) -> Frame:
    """The same container after a reboot of its node: it runs again, and the kubelet cannot tell how it ended."""
    return replace(frame, state=_running(), restarts=frame.restarts + 1, last=_terminated(255, "Unknown"))


def addresses_of(pod: Object) -> list[str]:
    """The addresses that the pod may have; none when any will do."""
    return [address for address in annotations_of(pod).get(ADDRESSES, "").replace(" ", "").split(",") if address]


def _running() -> Object:
    return {"running": {"startedAt": timestamp()}}


def _waiting(reason: str, message: str) -> Object:
    return {"waiting": {"reason": reason, "message": message}}


def _terminated(code: int, reason: str) -> Object:
    return {"terminated": {"exitCode": code, "reason": reason, "startedAt": timestamp(), "finishedAt": timestamp()}}


def _fine(life: Life) -> Iterator[Frame]:
    yield Frame(_running(), ready=True, started=True, restarts=life.restarts)


def _hang(life: Life) -> Iterator[Frame]:
    yield Frame(_running(), started=True, restarts=life.restarts)


def _crash(life: Life, code: int = 1, reason: str = "Error") -> Iterator[Frame]:
    """Dies whenever it runs: restarted at once the first time, later with CrashLoopBackOff in between."""
    restarts, backoff = life.restarts, 0.0
    last: Object = {}
    ready = not life.probed
    if not life.ran:
        yield Frame(_running(), ready=ready, started=True, restarts=restarts, hold=life.blink)
    while True:
        died = _terminated(code, reason)
        if life.ends:
            yield Frame(died, restarts=restarts, last=last, phase="Failed")
            return
        if backoff:
            text = f"back-off {_go_duration(backoff)} restarting failed container={life.container} pod={life.name}"
            state = _waiting("CrashLoopBackOff", text)
            yield Frame(state, restarts=restarts, last=died, hold=backoff * life.scale)
        else:
            yield Frame(died, restarts=restarts, last=last, hold=life.blink)
        backoff = min(2 * backoff, LONGEST_BACKOFF) or FIRST_BACKOFF
        restarts, last = restarts + 1, died
        yield Frame(_running(), ready=ready, started=True, restarts=restarts, last=last, hold=life.blink)


def _go_duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"


def _oom(life: Life) -> Iterator[Frame]:
    return _crash(life, 137, "OOMKilled")


def _image(life: Life) -> Iterator[Frame]:
    phase, backoff = ("Running" if life.ran else "Pending"), FIRST_BACKOFF
    failed = f'Failed to pull image "{life.image}": not found'
    held = f'Back-off pulling image "{life.image}"'
    while True:
        yield Frame(_waiting("ErrImagePull", failed), restarts=life.restarts, phase=phase, hold=life.blink)
        state = _waiting("ImagePullBackOff", held)
        yield Frame(state, restarts=life.restarts, phase=phase, hold=backoff * life.scale)
        backoff = min(2 * backoff, LONGEST_BACKOFF)


def _held_up(reason: str, message: str) -> Callable[[Life], Iterator[Frame]]:
    """The kubelet cannot create the container, and says why; `{image}` stands for its image."""

    def frames(life: Life) -> Iterator[Frame]:
        state = _waiting(reason, message.replace("{image}", life.image))
        yield Frame(state, restarts=life.restarts, phase="Running" if life.ran else "Pending")

    return frames


def _unrunnable(life: Life) -> Iterator[Frame]:
    """The runtime cannot start its process: RunContainerError at each try, CrashLoopBackOff in between."""
    message = 'failed to create containerd task: exec: "serve": executable file not found in $PATH'
    restarts, backoff, last = life.restarts, FIRST_BACKOFF, Object()
    while True:
        yield Frame(_waiting("RunContainerError", message), restarts=restarts, last=last, hold=life.blink)
        last = _terminated(128, "StartError")
        last["terminated"]["message"] = message
        text = f"back-off {_go_duration(backoff)} restarting failed container={life.container} pod={life.name}"
        yield Frame(_waiting("CrashLoopBackOff", text), restarts=restarts, last=last, hold=backoff * life.scale)
        backoff, restarts = min(2 * backoff, LONGEST_BACKOFF), restarts + 1


def _creating(life: Life) -> Iterator[Frame]:
    """Its volumes or its network do not come: the kubelet says no more than that."""
    yield Frame({"waiting": {"reason": "ContainerCreating"}}, phase="Pending", sandbox=False)


def _initializing(life: Life) -> Iterator[Frame]:
    """Its first init container runs and does not end."""
    waiting: Object = {"waiting": {"reason": "PodInitializing"}}
    yield Frame(waiting, phase="Pending", initialized=False, initial=_running())


def _config(life: Life) -> Iterator[Frame]:
    state = _waiting("CreateContainerConfigError", f'configmap "{life.container}" not found')
    yield Frame(state, restarts=life.restarts, phase="Running" if life.ran else "Pending")


def _complete(life: Life) -> Iterator[Frame]:
    yield Frame(_terminated(0, "Completed"), restarts=life.restarts, phase="Succeeded")


def _fail(life: Life) -> Iterator[Frame]:
    yield Frame(_terminated(1, "Error"), restarts=life.restarts, phase="Failed")


def _evicted(life: Life) -> Iterator[Frame]:
    message = (
        "The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. "
        f"Container {life.container} was using 2Gi, request is 0, has larger consumption of memory. "
    )
    killed = _terminated(137, "Error")
    yield Frame(killed, restarts=life.restarts, phase="Failed", reason="Evicted", message=message)


BEHAVIOURS: dict[str, Callable[[Life], Iterator[Frame]] | None] = {
    "ok": _fine,
    "complete": _complete,
    "slow": _fine,  # ready and well, as far as the kubelet can see; stand-in model servers heed the annotation
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
    "create-error": _held_up("CreateContainerError", "context deadline exceeded"),
    "run-error": _unrunnable,
    "invalid-image": _held_up(
        "InvalidImageName",
        'Failed to apply default image tag "{image}": couldn\'t parse image name "{image}": invalid reference format',
    ),
    "never-pull": _held_up("ErrImageNeverPull", 'Container image "{image}" is not present with pull policy of Never'),
    "unschedulable": _fine,  # heeded by the scheduler; a pod that is placed already is past it
    "manual": None,  # the kubelet writes no status: whoever tells the pod so does
}

POD_WIDE = frozenset({"complete", "fail", "evicted", "creating", "initializing"})
"""What a pod does as a whole: all its containers do it."""
