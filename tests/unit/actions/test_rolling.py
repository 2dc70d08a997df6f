"""How many replicas a rolling update may take at once: the Deployment controller's own rounding."""

import pytest

from healer.actions.shared.rolling import RollingUpdate, Strategy, WholeSpec, unavailable
from healer.model.kube import LabelSelector


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
def test_unavailable(replicas: int, max_unavailable: int | str, max_surge: int | str, taken: int) -> None:
    """Down what may be unavailable, up what may surge; one when both come to nothing (MaxUnavailable, ResolveFenceposts)."""
    strategy = Strategy(rolling_update=RollingUpdate(max_surge, max_unavailable))
    assert unavailable(WholeSpec(replicas=replicas, selector=LabelSelector(), strategy=strategy, template={})) == taken
