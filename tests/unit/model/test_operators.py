"""What people are told to change in place of what an operator owns."""

import pytest

from healer.model.operators import OPERATORS, Operator, is_known, owning


@pytest.mark.parametrize("operator", OPERATORS, ids=lambda each: each.kind)
def test_each_names_its_object(operator: Operator) -> None:
    """The text says which object, by its name; it is found with and without its group."""
    found = owning(operator.kind, "bert", operator.group)
    assert "bert" in found.instead
    assert found == owning(operator.kind, "bert")
    assert found.name == f"{operator.product} ({operator.kind} bert)"


def test_a_kind_of_another_group_is_another_kind() -> None:
    found = owning("InferenceService", "bert", "example.com")
    assert (found.name, found.instead) == (
        "the controller of inferenceservice/bert, which owns it",
        "change inferenceservice/bert",
    )
    assert not is_known("Model")
