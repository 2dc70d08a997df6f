"""Whether labels match a Kubernetes label selector.

Source: apimachinery's labels.Requirement.Matches. NotIn and DoesNotExist also match when the key is absent.
"""

from collections.abc import Mapping

from healer.model.kube import LabelRequirement, LabelSelector


def matches(selector: LabelSelector, labels: Mapping[str, str]) -> bool:
    """Whether `labels` satisfy every requirement of `selector`; an empty selector matches all.

    Raises ValueError on an operator that Kubernetes does not have.
    """
    return all(labels.get(key) == value for key, value in selector.match_labels.items()) and all(
        _meets(requirement, labels) for requirement in selector.match_expressions
    )


def _meets(requirement: LabelRequirement, labels: Mapping[str, str]) -> bool:
    value = labels.get(requirement.key)
    match requirement.operator:
        case "In":
            return value is not None and value in requirement.values
        case "NotIn":
            return value is None or value not in requirement.values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case other:
            raise ValueError(f"label selector operator {other!r} is none of In, NotIn, Exists, DoesNotExist")
