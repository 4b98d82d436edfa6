"""XRootD and ours side by side, for tests of unmodified clients."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import pytest

from tests.support.side_by_side import Side, SideBySide, side_by_side
from tests.support.stock_staging import lacking
from tests.support.stock_xrootd import WritableXrootd

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: What both have, in directories that the servers share.
FILES = {
    "/store/run/small": b"0123456789" * 100,
    "/store/run/empty": b"",
    "/store/run/lines": b"".join(b"line %d\n" % number for number in range(1000)),
    "/store/run/medium": b"".join(number.to_bytes(4, "big") for number in range(2_500_000)),
    "/store/run/sub/one": b"one\n",
    "/store/run/sub/two": b"two" * 5000,
    "/store/run/sub/deep/three": b"3",
    # To be staged and evicted, so that the others stay where they are.
    "/store/staged/file": b"staged",
}


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SideBySide]:
    if missing := lacking():
        pytest.skip(f"not installed: {missing}")
    with side_by_side(tmp_path_factory.mktemp("side-by-side"), FILES) as both:
        yield both


@pytest.fixture
def both(sites: SideBySide, tmp_path: Path) -> SideBySide:
    """Runs clients against a redirector with two data servers of XRootD, and of ours."""
    sites.work_in(tmp_path)
    return sites


@pytest.fixture(scope="module")
def one_server(sites: SideBySide) -> Iterator[SideBySide]:
    with WritableXrootd() as server:
        for lfn, content in {**FILES, "/store/user/beacon": b""}.items():
            server.write(lfn, content)
        stock = Side("stock", server.port, (server.port,), server.data)
        yield SideBySide(sites.stock_cluster, sites.cluster, stock, sites.ours)


@pytest.fixture
def alone(one_server: SideBySide, sites: SideBySide, tmp_path: Path) -> SideBySide:
    """Runs clients against a single server of XRootD, and ours.

    A cluster of XRootD changes directories and names on the server it happens to choose,
    so that they are there afterwards or not. A single server shows what is meant.
    """
    one_server.work_in(tmp_path)
    return one_server


@pytest.fixture
def directory(request: pytest.FixtureRequest) -> str:
    """A directory of its own for each test that writes; it is not there yet."""
    return f"/store/user/{zlib.crc32(request.node.nodeid.encode()):08x}"
