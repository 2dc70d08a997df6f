"""A list, page by page, with bounds: a server that never ends it is refused, and not obeyed until memory is gone."""

from collections.abc import AsyncGenerator, Mapping

from healer.cluster.api import Api
from healer.cluster.decode import ListPage
from healer.cluster.errors import Unreadable

MOST = 200_000
"""Objects of one list. Kubernetes is tested with 150,000 pods."""


async def pages(
    api: Api, path: str, *, page: int, query: Mapping[str, str] | None = None, most: int = MOST
) -> AsyncGenerator[ListPage, None]:
    """Every page, from the first to the one without a continue token; `page` is their size in objects.

    Raises Unreadable when the list has no end: a token that repeats, a page that is empty and not the last, twice as many objects
    as the first page said there are (which is an estimate, of a snapshot), or more than `most`. Raises ClusterError.
    """
    asked = {"limit": str(page), **(query or {})}
    tokens: set[str] = set()
    found, expected = 0, most
    while True:
        part = await api.get(path, ListPage, asked)
        meta, items = part.metadata, len(part.items or ())
        if not tokens and meta.remaining_item_count is not None and meta.continue_:
            expected = min(most, 2 * (items + meta.remaining_item_count) + page)
        found += items
        token = meta.continue_
        if found > expected or (found == expected and token):
            raise Unreadable(f"LIST {path}: has no end: {found} objects and more to come, where at most {expected} were expected")
        yield part
        if not token:
            return
        if not items or token in tokens:
            raise Unreadable(f"LIST {path}: has no end: {'an empty page' if not items else 'a page again'} that is not the last")
        tokens.add(token)
        asked["continue"] = token
