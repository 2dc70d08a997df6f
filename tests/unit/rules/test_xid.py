"""The Xid error that an alert carries, and what the catalogue says of it."""

import pytest

from healer.model.signal import Signal
from healer.model.target import Target
from healer.model.view import View
from healer.rules.condition import CelCondition, ConditionFailed, facts
from healer.rules.triggers import ALERT
from healer.rules.xid import XIDS, XidClass, xid_class, xid_of
from healer.workloads.registry import WORKLOADS


def alert(labels: dict[str, str] | None = None, **annotations: str) -> Signal:
    target = Target("Pod", "production", "serving-1", "u1")
    return Signal("alert", "GpuXidError", target, True, 0.0, "k", "k@1", labels=labels or {}, annotations=annotations)


@pytest.mark.parametrize(
    ("signal", "number"),
    [
        (alert({"err_code": "31"}), 31),
        (alert({"xid": "79"}), 79),
        (alert(xid="48"), 48),
        (alert(xid="48.0"), 48),
        (alert({"err_code": "31"}, xid="31"), 31),
        (alert({"err_code": "0"}), None),
        (alert({"err_code": "31"}, xid="79"), None),
        (alert(xid="GPU 31"), None),
        (alert(), None),
    ],
)
def test_the_number_is_in_a_label_or_in_an_annotation(signal: Signal, number: int | None) -> None:
    """An exporter reports 0 where there was no error; two that differ tell nothing."""
    assert xid_of(signal) == number


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        *((n, "application") for n in (13, 31, 43, 45, 94)),
        *((n, "device") for n in (46, 48, 74, 79, 95, 119, 140)),
        (1, "unknown"),
    ],
)
def test_each_number_has_the_class_of_the_catalogue_and_any_other_is_a_humans(number: int, kind: str) -> None:
    assert xid_class(alert({"xid": str(number)})) == kind
    assert (number in XIDS) is (kind != XidClass.UNKNOWN)


def test_a_rule_that_asks_for_the_class_does_not_match_an_alert_without_a_number() -> None:
    """What is not known is neither of the two: `!=` does not match it either."""
    for expression in ("alert.xidClass == 'application'", "alert.xidClass != 'application'", "alert.xid > 0"):
        with pytest.raises(ConditionFailed, match="is not known of this target"):
            CelCondition(expression, ALERT).holds(facts(alert(), View(WORKLOADS), 0.0))
    assert CelCondition("alert.xid == 31 && alert.xidClass == 'application'", ALERT).holds(
        facts(alert({"err_code": "31"}), View(WORKLOADS), 0.0)
    )
