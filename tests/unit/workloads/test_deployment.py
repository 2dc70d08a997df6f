"""How many replicas a rolling update may take at once: the Deployment controller's own rounding."""

import pytest

from healer.model.kube import Meta
from healer.workloads.deployment import Deployment, DeploymentSpec, RollingUpdate, Strategy


@pytest.mark.parametrize(
    ("replicas", "max_unavailable", "max_surge", "taken"),
    [
        (3, "25%", "25%", 0),
        (4, "25%", "25%", 1),
        (10, "25%", "25%", 2),
        (3, 1, 0, 1),
        (3, 0, 1, 0),
        (3, 0, 0, 1),
        (3, "30%", "0%", 1),
        (3, "30%", "1%", 0),
        (1, "100%", 0, 1),
        (3, 5, 0, 3),
        (0, 1, 0, 0),
        (0, 0, 0, 0),
    ],
)
def test_what_a_roll_takes(replicas: int, max_unavailable: int | str, max_surge: int | str, taken: int) -> None:
    """Down what may be unavailable, up what may surge; one when both come to nothing (MaxUnavailable, ResolveFenceposts)."""
    strategy = Strategy(rolling_update=RollingUpdate(max_surge, max_unavailable))
    deployment = Deployment(Meta(name="tf", uid="1"), DeploymentSpec(replicas, strategy=strategy))
    assert deployment.workload().roll.takes == taken
