"""The three patch types, tested with the examples of their specifications."""

from __future__ import annotations

from typing import Any

import pytest

from healer.lab.apiserver.patch import json_patch, merge_patch, strategic_patch
from healer.lab.apiserver.status import ApiRefusal


@pytest.mark.parametrize(
    ("target", "patch", "expected"),
    [  # RFC 7396, appendix A
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"a": "foo"}, "bar", "bar"),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge_patch(target: Any, patch: Any, expected: Any) -> None:
    assert merge_patch(target, patch) == expected


@pytest.mark.parametrize(
    ("target", "patch", "expected"),
    [  # RFC 6902, appendix A
        ({"foo": "bar"}, [{"op": "add", "path": "/baz", "value": "qux"}], {"foo": "bar", "baz": "qux"}),
        ({"foo": ["a", "c"]}, [{"op": "add", "path": "/foo/1", "value": "b"}], {"foo": ["a", "b", "c"]}),
        ({"baz": "q", "foo": "b"}, [{"op": "remove", "path": "/baz"}], {"foo": "b"}),
        ({"foo": ["a", "b"]}, [{"op": "remove", "path": "/foo/1"}], {"foo": ["a"]}),
        ({"baz": "q"}, [{"op": "replace", "path": "/baz", "value": "b"}], {"baz": "b"}),
        ({"a": {"b": 1}, "c": {}}, [{"op": "move", "from": "/a/b", "path": "/c/d"}], {"a": {}, "c": {"d": 1}}),
        ({"a": [1]}, [{"op": "copy", "from": "/a", "path": "/b"}], {"a": [1], "b": [1]}),
        ({"a/b": 1, "m~n": 2}, [{"op": "test", "path": "/a~1b", "value": 1}], {"a/b": 1, "m~n": 2}),
        ({"foo": ["bar"]}, [{"op": "add", "path": "/foo/-", "value": [1]}], {"foo": ["bar", [1]]}),
        ({"a": 1}, [{"op": "replace", "path": "", "value": {"b": 2}}], {"b": 2}),
    ],
)
def test_json_patch(target: Any, patch: Any, expected: Any) -> None:
    assert json_patch(target, patch) == expected


@pytest.mark.parametrize(
    "patch",
    [
        [{"op": "test", "path": "/a", "value": 2}],
        [{"op": "add", "path": "/b/c", "value": 1}],
        [{"op": "remove", "path": "/b"}],
        [{"op": "add", "path": "/list/3", "value": 1}],
        [{"op": "add", "path": "/a/b", "value": 1}],
        [{"op": "frob", "path": "/a"}],
        [{"op": "add", "path": "a", "value": 1}],
    ],
)
def test_json_patch_that_cannot_be_applied(patch: Any) -> None:
    with pytest.raises(ApiRefusal) as caught:
        json_patch({"a": 1, "list": [1]}, patch)
    assert caught.value.code == 422


def test_a_patch_leaves_its_target_alone() -> None:
    target = {"a": {"b": [1]}, "containers": [{"name": "x", "image": "1"}]}
    json_patch(target, [{"op": "add", "path": "/a/b/-", "value": 2}])
    merge_patch(target, {"a": {"b": None}})
    strategic_patch({"spec": target}, {"spec": {"containers": [{"name": "x", "image": "2"}]}})
    assert target == {"a": {"b": [1]}, "containers": [{"name": "x", "image": "1"}]}


@pytest.mark.parametrize(
    ("patch", "expected"),
    [
        ({"finalizers": ["b"]}, {"finalizers": ["a", "b"]}),
        ({"$deleteFromPrimitiveList/finalizers": ["a"]}, {"finalizers": []}),
        ({"$setElementOrder/env": [{"name": "x"}]}, {}),
        ({"env": [{"name": "x", "value": "2"}]}, {"env": [{"name": "x", "value": "2"}]}),
        ({"env": [{"$patch": "replace"}, {"name": "y"}]}, {"env": [{"name": "y"}]}),
        ({"env": [{"name": "z"}]}, {"env": [{"name": "z"}, {"name": "x", "value": "1"}]}),
        ({"env": [{"name": "z"}, {"name": "x"}]}, {"env": [{"name": "z"}, {"name": "x", "value": "1"}]}),
        ({"env": [{"name": "x", "$patch": "delete"}]}, {"env": []}),
        ({"labels": {"$patch": "delete"}}, {"labels": None}),
        ({"command": ["new"]}, {"command": ["new"]}),
    ],
)
def test_strategic_patch(patch: Any, expected: dict[str, Any]) -> None:
    target = {"finalizers": ["a"], "env": [{"name": "x", "value": "1"}], "labels": {"a": "b"}, "command": ["old"]}
    merged = strategic_patch({"spec": target}, {"spec": patch})["spec"]
    wanted = target | expected
    assert merged == {key: value for key, value in wanted.items() if value is not None}


def test_a_list_at_the_top_of_an_object_is_replaced() -> None:
    target = {"ports": [{"name": "a", "port": 1}], "endpoints": []}
    assert strategic_patch(target, {"ports": [{"name": "b", "port": 2}]}) == {
        "ports": [{"name": "b", "port": 2}],
        "endpoints": [],
    }
