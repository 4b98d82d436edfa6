"""A pool that a stock XRootD serves: what its clients have open is not purged."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from protos.packhorse.v1 import redirector_pb2 as pb
from tests.support.data_site import DataSite
from tests.support.stock_xrootd import StockXrootd

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.fake_redirector import FakeRedirector

pytestmark = pytest.mark.skipif(shutil.which("xrootd") is None, reason="there is no xrootd here")

SIZE = 4_000_000


@pytest.fixture
def folder() -> Iterator[Path]:
    """A directory that the user of the XRootD server may enter, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "xrootd").mkdir()
        yield folder


@pytest.fixture
def site(folder: Path, redirector: FakeRedirector) -> DataSite:
    """A pool for three files."""
    made = DataSite(folder, redirector)
    made.node |= {"quota": "13MB", "inspect": False}
    for number in range(5):
        made.write(name(number), bytes([number]) * SIZE)
    return made


def name(number: int) -> str:
    return f"/store/f{number}"


async def stage(redirector: FakeRedirector, *numbers: int) -> None:
    """Stages files one after the other, so that their order of use is known."""
    for number in numbers:
        recall_id = redirector.start("disk1", name(number), size_bytes=SIZE)
        await redirector.staged("disk1", recall_id, name(number))


async def test_what_a_client_of_it_has_open_is_not_purged(
    site: DataSite, folder: Path, redirector: FakeRedirector
) -> None:
    with StockXrootd(site.pool, folder / "xrootd") as server:
        site.node["serve"] = f"root://127.0.0.1:{server.port}"
        async with site.running() as service:
            assert redirector.hellos[0].address.root_address == f"127.0.0.1:{server.port}"
            await stage(redirector, 0, 1, 2)
            file = await asyncio.to_thread(server.open, name(0))
            await stage(redirector, 3)
            node = redirector.nodes["disk1"]
            await redirector.until(lambda: set(node.replicas) == {name(0), name(2), name(3)})
            with pytest.raises(FileNotFoundError):
                await asyncio.to_thread(server.open, name(1))
            assert await asyncio.to_thread(file.read, 3, SIZE - 3) == b"\0\0\0"
            await asyncio.to_thread(file.close)
            query = pb.EvictFiles(lfns=[name(0)])
            (answer,) = await redirector.ask("disk1", "evict", query)
            assert list(answer.evicted) == [name(0)]
            service.node.check()
