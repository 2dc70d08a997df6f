"""Copies of objects: a copy shares no value with its original, and no value occurs twice in it."""

import pytest

from healer.lab.objects import Object, clone


def test_a_copy_shares_nothing() -> None:
    """A value that occurs twice in the original is two values in the copy."""
    labels = {"app": "serving"}
    value: Object = {"selector": labels, "labels": labels, "ports": [8501, None, 0.5, True]}
    copied = clone(value)
    assert copied == value
    copied["labels"]["app"] = "other"
    assert (copied["selector"], labels) == ({"app": "serving"}, {"app": "serving"})


def test_what_is_no_json_is_refused() -> None:
    with pytest.raises(ValueError, match="unmarshallable"):
        clone({"at": object()})
