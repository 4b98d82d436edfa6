"""What many tests stand on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.fake_redirector import FakeRedirector

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def redirector() -> AsyncIterator[FakeRedirector]:
    """A redirector for the data servers of a test."""
    async with FakeRedirector() as fake:
        yield fake
