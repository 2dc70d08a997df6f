"""Two stories compared: whether two deeds are one deed at another time, or two."""

import pytest

from healer.model.target import Target
from healer.rehearsal.replay.diff import Differs, differences
from healer.rehearsal.replay.story import Story, ToldAct

AT = 1_000_000.0
SERVING = Target("Deployment", "production", "serving", "serving-uid")
POD = Target("Pod", "production", "serving-2", "pod-uid")


def story(at: float) -> Story:
    """One eviction of one pod, at that time."""
    deed = ToldAct(at, "test/sick", "incident", SERVING, "evict", POD, 0, dry_run=False, why="it crashes")
    return Story(0.0, 2 * AT, [deed])


@pytest.mark.parametrize("sign", [1, -1], ids=["later", "earlier"])
@pytest.mark.parametrize(
    ("apart", "how"),
    [
        (0.0, []),
        (2.0, []),
        (2.5, [Differs.MOVED]),
        (3599.0, [Differs.MOVED]),
        (3600.0, [Differs.MOVED]),
        (3601.0, [Differs.MORE, Differs.LESS]),
    ],
)
def test_the_same_action_more_than_an_hour_apart_is_two_deeds(apart: float, how: list[Differs], sign: int) -> None:
    found = differences(story(AT + sign * apart), story(AT))
    assert sorted(each.how for each in found) == sorted(how)
    assert [each.at for each in found] == sorted(each.at for each in found)
