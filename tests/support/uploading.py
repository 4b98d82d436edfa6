"""What tests of uploads write, and how they look for what an upload has left behind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataserver.service import DataServerService
    from tests.support.data_site import DataSite

LFN = "/store/my/a.txt"
CONTENT = b"events " * 1000


async def put(
    service: DataServerService, lfn: str = LFN, content: bytes = CONTENT, **how: Any
) -> None:
    """Writes a file as most clients do."""
    upload = await service.uploads.begin(lfn, size_bytes=len(content), **how)
    await upload.write(content, 0)
    await upload.finish()


def nothing_is_left(site: DataSite, service: DataServerService) -> bool:
    """Whether neither the disk nor the books know of any upload."""
    node = service.node
    node.check()
    return (
        site.incoming() == []
        and node.is_idle
        and not node.pool.reserved_bytes
        and not node.claims()
    )
