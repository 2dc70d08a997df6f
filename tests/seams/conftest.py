"""The lab that the seams are tried on."""

from collections.abc import AsyncIterator

import pytest

from healer.lab import Lab


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    """A cluster in a hurry: a crash loop's first back-off lasts 0.2 s."""
    async with Lab(time_scale=0.02) as lab:
        yield lab
