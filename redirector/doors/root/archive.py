"""What the archive has, as clients of root:// ask for it: asked through the data servers.

Nothing here ever stages a file: to look at one is no reason to mount a tape.
"""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, NamedTuple

from protos.packhorse.v1 import redirector_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redirector.questions import Questions

THERE = pb.ArchiveFile.PRESENCE_THERE
NOT_THERE = pb.ArchiveFile.PRESENCE_NOT_THERE


class Archived(NamedTuple):
    """What the archive says of one name. `size_bytes` 0 and `mtime_s` 0: unknown.

    `reason` says why it is not known whether the file is there.
    """

    is_there: bool = False
    is_directory: bool = False
    size_bytes: int = 0
    mtime_s: int = 0
    checksum: tuple[str, str] | None = None
    reason: str = ""


class ArchiveView:
    """Asks data servers what the archive has."""

    def __init__(self, questions: Questions) -> None:
        self._questions = questions

    async def look_up(self, lfn: str) -> Archived:
        """What the archive says of one name."""
        return (await self.look_up_all([lfn]))[lfn]

    async def look_up_all(self, lfns: Sequence[str]) -> dict[str, Archived]:
        """What it says of many, by name."""
        found: dict[str, Archived] = {
            lfn: Archived(reason="nobody could ask the archive") for lfn in lfns
        }
        async with aclosing(self._questions.examine(list(found))) as pieces:
            async for files in pieces:
                found.update((file.lfn, _archived(file)) for file in files)
        return found


def _archived(file: pb.ArchiveFile) -> Archived:
    checksum = None
    if file.checksum.algorithm:
        checksum = (file.checksum.algorithm, file.checksum.value)
    return Archived(
        is_there=file.presence == THERE and not file.is_directory,
        is_directory=file.is_directory,
        size_bytes=file.size_bytes,
        mtime_s=int(file.mtime_unix_s),
        checksum=checksum,
        reason="" if file.presence in (THERE, NOT_THERE) else file.reason,
    )
