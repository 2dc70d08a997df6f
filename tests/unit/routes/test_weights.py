"""Weights as values: what is kept of them, and how they are lowered."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from healer.routes.base import CanaryRoute, Weights
from healer.routes.note import Note, notes
from healer.rules.named_workload import NamedWorkload
from healer.rules.probe import RouteRef, Side

pairs = st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 10_000)), min_size=1, max_size=5).map(tuple)


@given(pairs)
def test_the_text_of_weights_is_read_back(pairs: tuple[tuple[int, int], ...]) -> None:
    assert Weights.parse(str(Weights(pairs))) == Weights(pairs)


@given(pairs, st.integers(0, 100))
def test_lowering_keeps_sums_and_never_raises_the_canary(pairs: tuple[tuple[int, int], ...], percent: int) -> None:
    lowered = Weights(pairs, ("more",)).at_most(percent)
    assert lowered.besides == ("more",)
    for (stable, canary), (new_stable, new_canary) in zip(pairs, lowered.pairs, strict=True):
        assert new_stable + new_canary == stable + canary
        assert 0 <= new_canary <= canary
        assert 100 * new_canary <= percent * (stable + canary)
        assert new_canary == canary or 100 * (new_canary + 1) > percent * (stable + canary), "lower than asked"
    assert lowered.at_most(percent) == lowered


@given(pairs)
def test_the_whole_percent_is_the_share_rounded_down(pairs: tuple[tuple[int, int], ...]) -> None:
    weights = Weights(pairs)
    assert max(weights.whole_percents) <= 100 * weights.share + 1e-9 < max(weights.whole_percents) + 1 + 1e-6
    assert weights.whole_percents == tuple(percent for pair in pairs for percent in Weights((pair,)).whole_percents)


def test_each_split_may_have_an_aim_of_its_own() -> None:
    """Of a route that has other splits by now, none is lowered further than the mildest of the aims says."""
    weights = Weights(((80, 20), (50, 50)), names=("rule 1", "rule 2"))
    assert str(weights.at_most((0, 30))) == "100:0,70:30"
    assert weights.at_most((0, 30)).names == ("rule 1", "rule 2")
    assert str(weights.at_most((0, 30, 10))) == "80:20,70:30"


@pytest.mark.parametrize("text", ["", "80", "80:20:1", "80:20,", "80:-20", "a:b", "80:²"])
def test_other_texts_are_no_weights(text: str) -> None:
    with pytest.raises(ValueError, match="no list of stable:canary"):
        Weights.parse(text)


def test_a_place_is_kept_as_one_text() -> None:
    place = CanaryRoute("production", "HTTPRoute", "model", "v1", "v2")
    assert CanaryRoute.parse(place.key) == place
    stable, canary = Side(workload=NamedWorkload("d1"), service="m", subset="v1"), Side(workload=NamedWorkload("d2"), pool="p")
    place = CanaryRoute.between("a", RouteRef(kind="HTTPRoute", name="r", namespace="infra"), stable, canary)
    assert (place.stable, place.canary) == ("m (subset v1)", "InferencePool p")
    assert place.counted_by == (NamedWorkload("d1"), NamedWorkload("d2"))
    assert CanaryRoute.parse(place.key) == place
    for text in ("", "a/b/c/d", "a/b/c/d/e/f", "a/b//d/e"):
        with pytest.raises(ValueError, match="namespace/kind/name/stable/canary"):
            CanaryRoute.parse(text)


def test_notes_are_read_back_and_what_is_none_is_an_error() -> None:
    place, note = CanaryRoute("production", "HTTPRoute", "model", "v1", "v2"), Note("80:20", "100:0", "0", 0)
    assert notes({place.key: str(note)}) == {place: note}
    several = Note("80:20,50:50", "100:0,70:30", "0", (0, 30))
    assert notes({place.key: str(several)}) == {place: several}
    for text in ("", "{}", str(note).replace("80:20", "80"), "null"):
        with pytest.raises(ValueError, match=r".+"):
            notes({place.key: text})
