"""What clients write comes into the archive, whatever happens on the way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.support.data_site import DataSite
from tests.support.waiting import becomes_true

if TYPE_CHECKING:
    from pathlib import Path

    from dataserver.service import DataServerService
    from tests.support.fake_redirector import FakeRedirector

LFN = "/store/my/a.txt"
CONTENT = b"events " * 1000


def make_site(folder: Path, redirector: FakeRedirector, **mss: Any) -> DataSite:
    mss = {"storecmd": "builtin", "store_delay": "0s", **mss}
    site = DataSite(folder, redirector, mss=mss, node={"inspect": False})
    # An archive that is empty is taken for one that is not mounted.
    site.write("/store/.archive", b"")
    return site


async def put(service: DataServerService, lfn: str = LFN, content: bytes = CONTENT) -> None:
    """Writes a file as most clients do."""
    upload = await service.uploads.begin(lfn, size_bytes=len(content))
    await upload.write(content, 0)
    await upload.finish()


def is_archived(service: DataServerService, lfn: str = LFN) -> bool:
    replica = service.node.pool.get(lfn)
    return replica is not None and replica.archived


async def test_a_file_that_was_written_is_stored_and_may_be_purged_then(
    tmp_path: Path, redirector: FakeRedirector
) -> None:
    site = make_site(tmp_path, redirector)
    async with site.running() as service:
        await put(service)
        await becomes_true(lambda: is_archived(service))
        assert (site.archive / LFN.lstrip("/")).read_bytes() == CONTENT
        assert service.node.pool.veto(LFN, 0.0) is None
    async with site.running() as service:
        assert is_archived(service)
