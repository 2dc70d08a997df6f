"""LIST: pages, selectors, resourceVersions."""

from __future__ import annotations

import pytest

from tests.contract.client import Client, pod

HAPPY = "app in (serving),version!=v2"


async def _three_pods(api: Client) -> None:
    for name, version in (("a", "v1"), ("b", "v2"), ("c", "v1")):
        await api.make(f"{api.core}/pods", pod(name, labels={"app": "serving", "version": version}))


def _names(body: dict[str, list[dict[str, dict[str, str]]]]) -> list[str]:
    return [item["metadata"]["name"] for item in body["items"]]


async def test_a_list_names_its_kind_and_its_items_do_not(api: Client) -> None:
    await _three_pods(api)
    body = (await api.get(f"{api.core}/pods")).body
    assert (body["kind"], body["apiVersion"]) == ("PodList", "v1")
    assert _names(body) == ["a", "b", "c"]
    assert not any("kind" in item or "apiVersion" in item for item in body["items"])


async def test_a_list_of_the_metadata_alone(api: Client) -> None:
    """Where the objects are large, and only their names and owners matter."""
    path = f"{api.core}/configmaps"
    for name in ("a", "b"):
        await api.make(path, {"metadata": {"name": name, "labels": {"mine": name}}, "data": {"log": "long"}})
    form = {"Accept": "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"}
    body = (await api.get(f"{path}?labelSelector=mine=b", headers=form)).body
    assert (body["kind"], body["apiVersion"]) == ("PartialObjectMetadataList", "meta.k8s.io/v1")
    assert body["metadata"].keys() == {"resourceVersion"}
    (item,) = body["items"]
    assert item.keys() == {"kind", "apiVersion", "metadata"}
    assert (item["kind"], item["apiVersion"]) == ("PartialObjectMetadata", "meta.k8s.io/v1")
    whole = (await api.get(f"{path}/b")).body["metadata"]
    assert item["metadata"] | {"managedFields": None} == whole | {"managedFields": None}


async def test_pages_are_of_one_snapshot(api: Client) -> None:
    await _three_pods(api)
    first = (await api.get(f"{api.core}/pods?limit=2")).body
    await api.make(f"{api.core}/pods", pod("d"))
    await api.delete(f"{api.core}/pods/c", {"gracePeriodSeconds": 0})
    token = first["metadata"]["continue"]
    second = (await api.get(f"{api.core}/pods?limit=2&continue={token}")).body
    assert first["metadata"]["remainingItemCount"] == 1
    assert _names(second) == ["c"]
    assert second["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    assert "continue" not in second["metadata"]


async def test_a_selected_page_does_not_say_how_many_remain(api: Client) -> None:
    await _three_pods(api)
    body = (await api.get(f"{api.core}/pods?labelSelector=version=v1&limit=1")).body
    assert _names(body) == ["a"]
    assert "continue" in body["metadata"]
    assert "remainingItemCount" not in body["metadata"]


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("version=v1", "ac"),
        ("version==v2", "b"),
        ("version!=v1", "b"),
        ("version in (v1,v3)", "ac"),
        ("version notin (v1)", "b"),
        ("version", "abc"),
        ("!version", ""),
        ("app=serving,version in (v2)", "b"),
        ("missing!=x", "abc"),
        ("missing notin (x)", "abc"),
    ],
)
async def test_label_selectors(api: Client, selector: str, expected: str) -> None:
    await _three_pods(api)
    body = (await api.get(f"{api.core}/pods?labelSelector={selector}")).body
    assert "".join(_names(body)) == expected


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("metadata.name=b", "b"),
        ("metadata.name!=b", "ac"),
        ("status.phase=Pending", "abc"),
        ("status.phase=Running", ""),
        ("spec.nodeName=node-0,metadata.name=c", "c"),
        ("spec.nodeName=", ""),
    ],
)
async def test_field_selectors(api: Client, selector: str, expected: str) -> None:
    await _three_pods(api)
    body = (await api.get(f"{api.core}/pods?fieldSelector={selector}")).body
    assert "".join(_names(body)) == expected


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("fieldSelector=status.nope=x", "field label not supported: status.nope"),
        ("labelSelector=a b c", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
    ],
)
async def test_bad_selectors(api: Client, query: str, message: str) -> None:
    answer = await api.get(f"{api.core}/pods?{query}")
    assert (answer.code, answer.body["reason"], answer.body["message"]) == (400, "BadRequest", message)


async def test_an_exact_resource_version_shows_the_past(api: Client) -> None:
    await _three_pods(api)
    before = (await api.get(f"{api.core}/pods")).body["metadata"]["resourceVersion"]
    await api.make(f"{api.core}/pods", pod("d"))
    body = (await api.get(f"{api.core}/pods?resourceVersion={before}&resourceVersionMatch=Exact")).body
    assert _names(body) == ["a", "b", "c"]
    assert body["metadata"]["resourceVersion"] == before


async def test_a_resource_version_of_the_future_times_out(api: Client) -> None:
    path = f"{api.core}/pods?resourceVersion=999999999&resourceVersionMatch=NotOlderThan"
    answer = await api.get(path)
    assert (answer.code, answer.body["reason"]) == (504, "Timeout")
    assert answer.headers["Retry-After"] == "1"
    assert answer.body["details"]["retryAfterSeconds"] == 1
    assert [cause["reason"] for cause in answer.causes] == ["ResourceVersionTooLarge"]


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("resourceVersionMatch=Exact", "resourceVersionMatch is forbidden unless resourceVersion is provided"),
        (
            "resourceVersion=0&resourceVersionMatch=Exact",
            'resourceVersionMatch "exact" is forbidden for resourceVersion "0"',
        ),
    ],
)
async def test_options_that_contradict_each_other(api: Client, query: str, problem: str) -> None:
    answer = await api.get(f"{api.core}/pods?{query}")
    assert (answer.code, answer.body["reason"]) == (422, "Invalid")
    assert answer.causes == [
        {"reason": "FieldValueForbidden", "message": f"Forbidden: {problem}", "field": "resourceVersionMatch"}
    ]


async def test_a_continue_token_that_is_none(api: Client) -> None:
    answer = await api.get(f"{api.core}/pods?limit=1&continue=nonsense")
    assert (answer.code, answer.body["reason"]) == (400, "BadRequest")


async def test_compaction_ends_a_list_in_pages(uncached: Client) -> None:
    await _three_pods(uncached)
    first = (await uncached.get(f"{uncached.core}/pods?limit=2")).body["metadata"]
    await uncached.compact()
    answer = await uncached.get(f"{uncached.core}/pods?limit=2&continue={first['continue']}")
    assert (answer.code, answer.body["reason"]) == (410, "Expired")
    rest = await uncached.get(f"{uncached.core}/pods?limit=2&continue={answer.body['metadata']['continue']}")
    assert _names(rest.body) == ["c"]


async def test_compaction_ends_exact_reads(uncached: Client) -> None:
    await _three_pods(uncached)
    before = (await uncached.get(f"{uncached.core}/pods")).body["metadata"]["resourceVersion"]
    await uncached.compact()
    answer = await uncached.get(f"{uncached.core}/pods?resourceVersion={before}&resourceVersionMatch=Exact")
    assert (answer.code, answer.body["reason"]) == (410, "Expired")
