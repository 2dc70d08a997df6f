"""The store: one resourceVersion for all kinds, a readable log, and compaction."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from healer.lab.apiserver.store import Store


def _object(name: str, **fields: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, **fields}


def test_every_write_has_a_resource_version_of_its_own() -> None:
    store = Store()
    versions = [
        store.put("pods", ("", "a"), _object("a"))["metadata"]["resourceVersion"],
        store.put("leases", ("", "a"), _object("a"))["metadata"]["resourceVersion"],
        store.remove("pods", ("", "a"))["metadata"]["resourceVersion"],
    ]
    assert versions == ["2", "3", "4"]


_WRITES = st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=30)


@given(_WRITES)
def test_earlier_states_can_be_read(writes: list[tuple[str, bool]]) -> None:
    store = Store()
    history: dict[int, dict[tuple[str, str], Any]] = {}
    for number, (name, keep) in enumerate(writes):
        key = ("", name)
        if keep:
            store.put("pods", key, _object(name, number=number))
        elif key in store.collection("pods").objects:
            store.remove("pods", key)
        history[store.revision] = {key: stored.object for key, stored in store.collection("pods").objects.items()}
    for revision, expected in history.items():
        past = store.collection("pods").at(revision)
        assert {key: stored.object for key, stored in past.items()} == expected


@pytest.mark.parametrize("history", [1, 5])
def test_only_so_much_history_is_kept(history: int) -> None:
    store = Store(history)
    for number in range(20):
        store.put("pods", ("", "a"), _object("a", number=number))
    collection = store.collection("pods")
    assert history <= len(collection.log) <= 2 * history
    assert collection.floor == collection.lost == collection.log[0].revision - 1


def test_compaction_reaches_collections_that_come_later() -> None:
    store = Store()
    store.put("pods", ("", "a"), _object("a"))
    store.compact()
    assert store.collection("pods").floor == store.collection("leases").floor == store.revision
