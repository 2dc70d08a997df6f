"""Whether a pod's name has the form of the names of a workload's pods."""

import re

import pytest

from healer.workloads.registry import WORKLOADS

CASES = [
    ("Deployment", "web", "web-7b5b8c9d4-x2c4v", True),
    ("Deployment", "web", "web-x2c4v", False),
    ("Deployment", "web", "web-0", False),
    ("Deployment", "web", "web-api-7b5b8c9d4-x2c4v", False),
    ("StatefulSet", "web", "web-0", True),
    ("StatefulSet", "web", "web-1234", True),
    ("StatefulSet", "web", "web-a", False),
    ("StatefulSet", "web", "web-api-0", False),
    ("StatefulSet", "web", "web-0-0", False),
    ("StatefulSet", "web", "web-", False),
    ("DaemonSet", "web", "web-x2c4v", True),
    ("DaemonSet", "web", "web-7b5b8c9d4-x2c4v", False),
    ("DaemonSet", "web", "web-0", False),
]


@pytest.mark.parametrize(("kind", "workload", "pod", "fits"), CASES)
def test_the_form_of_a_name_is_that_of_the_kind(kind: str, workload: str, pod: str, fits: bool) -> None:
    """The same for healer's own look as for the pattern that Prometheus is asked with."""
    names = WORKLOADS[kind].pods
    assert names.fit(pod, workload) is fits
    assert bool(re.fullmatch(names.pattern(workload), pod)) is fits


def test_a_generated_name_is_cut_before_its_random_end() -> None:
    """A StatefulSet's pod has the whole name, or there is none."""
    long = "a-workload-whose-name-is-so-long-that-the-names-of-pods-are-cut-off"
    cut = f"{long[:58]}x2c4v"
    assert len(cut) == 63
    assert [WORKLOADS[kind].pods.fit(cut, long) for kind in ("Deployment", "DaemonSet", "StatefulSet")] == [True, True, False]
