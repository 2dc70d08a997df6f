"""ResourceQuotas: the usage of a namespace, and the refusal of a pod that would exceed a quota.

Sources: plugin/pkg/admission/resourcequota/controller.go and pkg/quota/v1/evaluator/core/pods.go of Kubernetes 1.36.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from healer.lab.apiserver import status
from healer.lab.objects import Object, is_active

if TYPE_CHECKING:
    from healer.lab.kinds import Kind

_SUFFIXES = {
    "": Decimal(1),
    "m": Decimal("0.001"),
    **{letter: Decimal(1000) ** power for power, letter in enumerate("kMGTPE", 1)},
    **{f"{letter}i": Decimal(1024) ** power for power, letter in enumerate("KMGTPE", 1)},
}
_BARE = ("cpu", "memory", "ephemeral-storage")
"""Resources whose name without a prefix means their requests in a quota."""


def used(pods: list[Object], resource: str) -> Decimal:
    """The usage of a quota's resource by the pods of a namespace that have not finished."""
    return sum((_usage(pod, resource) for pod in pods if is_active(pod) or _terminating(pod)), Decimal(0))


def refuse(kind: Kind, pod: Object, quotas: list[Object], pods: list[Object]) -> None:
    """Raises ApiRefusal 403 if a quota of the namespace does not allow this pod."""
    name = pod["metadata"]["name"]
    for quota in quotas:
        hard = {resource: limit for resource, limit in (quota["spec"].get("hard") or {}).items() if counted(resource)}
        quota_name = quota["metadata"]["name"]
        unspecified = [f"{resource} for: {','.join(missing)}" for resource in hard if (missing := _unspecified(pod, resource))]
        if unspecified:
            raise status.forbidden_because(
                kind, name, f"failed quota: {quota_name}: must specify {'; '.join(sorted(unspecified))}"
            )
        exceeded = [r for r, limit in hard.items() if used(pods, r) + _usage(pod, r) > quantity(limit) and _usage(pod, r)]
        if exceeded:
            requested = _listed({resource: _usage(pod, resource) for resource in exceeded})
            spent = _listed({resource: used(pods, resource) for resource in exceeded})
            limited = _listed({resource: quantity(hard[resource]) for resource in exceeded})
            why = f"exceeded quota: {quota_name}, requested: {requested}, used: {spent}, limited: {limited}"
            raise status.forbidden_because(kind, name, why)


def _listed(amounts: dict[str, Decimal]) -> str:
    return ",".join(f"{resource}={shown(resource, amounts[resource])}" for resource in sorted(amounts))


def quantity(written: str | int) -> Decimal:
    """The number of a resource.Quantity. Raises ValueError if it is invalid."""
    text = str(written)
    number = text.rstrip("mkMGTPEKi")
    suffix = text[len(number) :]
    if suffix not in _SUFFIXES or not number:
        raise ValueError(f"{text!r} is no quantity")
    return Decimal(number) * _SUFFIXES[suffix]


def shown(resource: str, value: Decimal) -> str:
    """A quantity in its canonical form: cpu in thousandths if not whole, memory in the largest exact power of 1024."""
    if value != value.to_integral_value():
        return f"{int(value * 1000)}m"
    whole = int(value)
    if resource.endswith(("memory", "storage")):
        for power, letter in reversed(list(enumerate("KMGTPE", 1))):
            if whole and whole % 1024**power == 0:
                return f"{whole // 1024**power}{letter}i"
    return str(whole)


def counted(resource: str) -> bool:
    """Whether the lab counts the resource: only resources of pods."""
    return resource in ("pods", "count/pods", *_BARE) or resource.startswith(("requests.", "limits."))


def _usage(pod: Object, resource: str) -> Decimal:
    if resource in ("pods", "count/pods"):
        return Decimal(1)
    section, key = _container_field(resource)
    amounts = [(c.get("resources") or {}).get(section, {}).get(key, "0") for c in pod["spec"]["containers"]]
    return sum((quantity(amount) for amount in amounts), Decimal(0))


def _unspecified(pod: Object, resource: str) -> list[str]:
    """The containers without a value for a quota's resource. Extended resources need no value."""
    section, key = _container_field(resource)
    if resource in ("pods", "count/pods") or key not in _BARE:
        return []
    return sorted(c["name"] for c in pod["spec"]["containers"] if key not in ((c.get("resources") or {}).get(section) or {}))


def _container_field(resource: str) -> tuple[str, str]:
    if resource.startswith(("requests.", "limits.")):
        section, _, key = resource.partition(".")
        return section, key
    return "requests", resource


def _terminating(pod: Object) -> bool:
    return "deletionTimestamp" in pod["metadata"] and (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed")
