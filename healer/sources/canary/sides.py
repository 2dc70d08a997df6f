"""The two sides of a canary as they are observed, and the expressions of a rule for one of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from healer.rules.probe import fill, named


@dataclass(frozen=True, slots=True)
class ObservedSide:
    """What is known of a side's workload: the names of its pods of the present revision, terminating ones too, and how many
    are ready.

    `rolling`: pods of more than one revision serve, or will soon; `pods` are those of all of them then. `wanted`: the replicas
    that it is to have.
    """

    pods: Sequence[str]
    ready: int
    revision: str = ""
    rolling: bool = False
    wanted: int = 1


class Sides(NamedTuple):
    """Both; None for a workload that does not exist."""

    canary: ObservedSide | None
    stable: ObservedSide | None


def serving(side: ObservedSide | None) -> ObservedSide | None:
    """A side that serves; else None."""
    return side if side is not None and side.ready > 0 else None


def filled(template: str, namespace: str, workload: str, side: ObservedSide, every: float) -> str:
    """The expression of a template for one side; `every`: seconds that its {{ window }} is long."""
    values = {
        "workload": workload,
        "deployment": workload,
        "namespace": namespace,
        "pods": "|".join(pod.replace(".", "[.]") for pod in sorted(side.pods)) or "no pods",
        "window": f"{every:.0f}s" if every == int(every) else f"{every * 1e3:.0f}ms",
    }
    return fill(template, {place: values[place] for place in named(template)})
