"""What is asked of a model's versions, in plain numbers: where it leads, and what TensorFlow Serving would refuse."""

import pytest

from healer.model_servers.history import stack
from healer.model_servers.tensorflow_serving.plan import add, beside, pin, promote, rollback
from healer.model_servers.versions import ConfiguredModel, ModelChange, PlanRefused, Policy, specific, version_of


def served(*versions: int, **labels: int) -> ConfiguredModel:
    return ConfiguredModel("m", "/m", specific(versions), labels)


LATEST = ConfiguredModel("m", "/m", Policy("latest", 1), {})


@pytest.mark.parametrize(("text", "version"), [("1", 1), ("20231001", 20231001), (str(2**63 - 1), 2**63 - 1)])
def test_a_version(text: str, version: int) -> None:
    assert version_of(text) == version


@pytest.mark.parametrize("text", ["0", "-1", "", "1.5", "v3", "2023_10_01", "2023-10-01", str(2**63), "١"])
def test_no_version(text: str) -> None:
    with pytest.raises(PlanRefused, match="20231001, not 2023_10_01"):
        version_of(text)


def test_pin_takes_every_label_along() -> None:
    assert pin(served(1, 2, stable=1, canary=2, own=2), 1) == ModelChange(
        specific([1]),
        {"stable": 1, "canary": 1, "own": 1},
        (
            "label canary moves from version 2, which is not loaded any more, to 1",
            "label own moves from version 2, which is not loaded any more, to 1",
        ),
    )
    assert not pin(served(1, stable=1), 1).differs(served(1, stable=1))
    assert pin(served(1, stable=2), 1).differs(served(1, stable=2)), "a label of another version than the loaded one"


def test_beside_what_is_loaded() -> None:
    assert beside(served(1, 2, stable=1), 3, [9]) == ModelChange(specific([1, 2, 3]), {"stable": 1}), (
        "the file says what is loaded"
    )
    assert beside(LATEST, 3, [1, 2]) == ModelChange(specific([1, 2, 3]), {})
    assert beside(ConfiguredModel("m", "", Policy("latest"), {"stable": 1}), 3, [2]).policy == specific([1, 2, 3]), (
        "no label dangles"
    )
    every = ConfiguredModel("m", "", Policy("all"), {})
    assert not beside(every, 3, []).differs(every)
    with pytest.raises(PlanRefused, match="latest 1, and which versions its servers have is not known"):
        beside(LATEST, 3, [])


def test_a_label_that_is_new_comes_at_once_with_a_warning_unless_available() -> None:
    change = add(served(1, stable=1), 2, "canary", None)
    assert (change.policy, change.labels, change.left) == (specific([1, 2]), {"stable": 1, "canary": 2}, "")
    assert "--allow_version_labels_for_unavailable_models" in change.notes[0]
    assert add(served(1, stable=1), 2, "canary", {1, 2}).notes == ()


def test_a_new_label_waits_where_the_servers_would_refuse_the_whole_file_for_it() -> None:
    change = add(served(1, stable=1), 2, "canary", {1}, any_label=False)
    assert (change.policy, change.labels) == (specific([1, 2]), {"stable": 1})
    assert change.left.startswith("label canary is not set: version 2 is not AVAILABLE on every server")
    assert add(served(1, 2, stable=1), 2, "canary", {1, 2}, any_label=False).labels == {"stable": 1, "canary": 2}


@pytest.mark.parametrize("available", [None, {1, 2}])
def test_a_label_that_exists_never_moves_in_the_file_that_first_loads_the_version(available: set[int] | None) -> None:
    change = add(served(1, 2, canary=2), 3, "canary", available)
    assert (change.policy, change.labels) == (specific([1, 2, 3]), {"canary": 2})
    assert "label canary stays at version 2" in change.left


def test_a_label_moves_to_what_is_loaded_and_available() -> None:
    assert add(served(1, 2, 3, canary=2), 3, "canary", {1, 2, 3}) == ModelChange(specific([1, 2, 3]), {"canary": 3})
    assert add(served(1, 2, 3, canary=2), 3, "canary", None).labels == {"canary": 3}
    assert add(served(1, 2, 3, canary=2), 3, "canary", {1, 2}).left
    assert add(served(1, 2, canary=2), 2, "canary", None).left == ""


def test_promote() -> None:
    now = served(1, 2, stable=1, canary=2)
    assert promote(now, None, None) == promote(now, 2, {1, 2}) == ModelChange(specific([1, 2]), {"stable": 2, "canary": 2})
    with pytest.raises(PlanRefused, match=r"version 3 of model m is not loaded \(specific 1, 2\)"):
        promote(now, 3, None)
    with pytest.raises(PlanRefused, match="not AVAILABLE on every server"):
        promote(now, 2, {1})
    with pytest.raises(PlanRefused, match="no label canary"):
        promote(served(1, stable=1), None, None)


def test_promote_warns_where_the_version_before_may_be_gone() -> None:
    labelled = ConfiguredModel("m", "", Policy("latest", 2), {"stable": 1, "canary": 2})
    assert promote(labelled, None, None).notes == (
        "version 1 stays loaded only while it is among the latest 2: a roll-back may find it gone",
    )
    assert "label stable is new" in promote(served(1), 1, None).notes[0]
    assert promote(served(1), 1, {1}).notes == ()


def test_prune_keeps_what_has_a_label_and_the_version_before() -> None:
    change = promote(served(1, 2, 3, 4, 5, stable=3, canary=4, own=1), None, None, prune=True)
    assert change.policy == specific([1, 3, 4])
    assert change.notes == ("version 2 is unloaded", "version 5 is unloaded")
    assert promote(served(4, stable=3, canary=4), None, None, prune=True).policy == specific([4]), "3 was not loaded before"


def test_rollback() -> None:
    now = served(1, 2, stable=2, canary=2)
    assert rollback(now, [1, 2], None) == ModelChange(specific([1, 2]), {"stable": 1, "canary": 2})
    for stables, said in (
        ([], "knows no promotion to version 2"),
        ([2], "knows no version before 2"),
        ([1, 3], "does not tell how"),
    ):
        with pytest.raises(PlanRefused, match=said):
            rollback(now, stables, None)
    with pytest.raises(PlanRefused, match=r"is not loaded .* load it again"):
        rollback(now, [3, 2], None)
    with pytest.raises(PlanRefused, match="not AVAILABLE on every server"):
        rollback(now, [1, 2], {2})
    with pytest.raises(PlanRefused, match="no label stable"):
        rollback(served(1), [1, 2], None)


@pytest.mark.parametrize(
    ("moves", "had"),
    [
        ([], []),
        ([(None, 1)], [1]),
        ([(1, 2)], [1, 2]),
        ([(1, 2), (2, 3)], [1, 2, 3]),
        ([(1, 2), (2, 3), (3, 2)], [1, 2]),
        ([(1, 2), (2, 3), (3, 2), (2, 1)], [1]),
        ([(1, 2), (2, 1), (1, 2)], [1, 2]),
        ([(1, 2), (5, 6)], [1, 2, 5, 6]),
        ([(1, 2), (2, None), (None, 4)], [4]),
    ],
)
def test_the_versions_that_were_stable(moves: list[tuple[int | None, int | None]], had: list[int]) -> None:
    """Going back forgets what came after, whoever goes back: a second rollback goes further back, not forth again."""
    assert stack(moves) == had
