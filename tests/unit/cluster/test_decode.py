"""A list with one object that is nested deeper than the decoder goes: it hides none of the others."""

import msgspec
import pytest

from healer.cluster.api import Api, Unreadable, pages
from healer.cluster.decode import UNDECODABLE, page_of_deep_items
from healer.model.kube import Pod
from tests.unit.cluster.conftest import Server

DEEP = '{"metadata":{"name":"deep","uid":"d"},"x":' + '{"a":' * 5000 + "1" + "}" * 5000 + "}"
WELL = '{"metadata":{"name":"well","uid":"w","annotations":{"note":"a } in \\\\\\" a ] text"}}}'
HEAD = '{"kind":"PodList","metadata":{"resourceVersion":"7","continue":""},"items":'


@pytest.mark.parametrize("items", [[DEEP, WELL], [WELL, DEEP], [WELL, DEEP, WELL]])
async def test_the_others_of_a_page_are_read(server: Server, api: Api, items: list[str]) -> None:
    server.say(f"{HEAD}[{','.join(items)}]}}")
    (page,) = [page async for page in pages(api, "/pods", page=10)]
    assert page.metadata.resource_version == "7"
    assert [bytes(raw).decode() for raw in page.items or ()] == items
    for raw in page.items or ():
        if bytes(raw).decode() == WELL:
            assert msgspec.json.decode(raw, type=Pod).metadata.name == "well"
        else:
            with pytest.raises(UNDECODABLE):
                msgspec.json.decode(raw, type=Pod)


@pytest.mark.parametrize("items", ["[]", "[{}]", "null", "[{}, {}]"])
def test_it_reads_what_the_decoder_reads(items: str) -> None:
    found = page_of_deep_items(f"{HEAD}{items}}}".encode())
    assert [msgspec.json.decode(raw) for raw in found.items or ()] == (msgspec.json.decode(items) or [])


async def test_one_object_that_is_too_deep_is_unreadable(server: Server, api: Api) -> None:
    server.say(DEEP)
    with pytest.raises(Unreadable, match="the answer is no Pod"):
        await api.get("/pod", Pod)
