"""What the archive has, as clients of root:// ask for it: asked through the data servers.

Nothing here ever stages a file: to look at one is no reason to mount a tape.
"""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, NamedTuple

from common.errors import AlreadyExists, Refused, Unreachable
from protos.packhorse.v1 import redirector_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redirector.questions import Questions

THERE = pb.ArchiveFile.PRESENCE_THERE
NOT_THERE = pb.ArchiveFile.PRESENCE_NOT_THERE


class Archived(NamedTuple):
    """What the archive says of one name. `size_bytes` 0 and `mtime_s` 0: unknown.

    `reason` says why it is not known whether the file is there; `may_be_there` that it could
    be: there is a way to ask, but asking failed.
    """

    is_there: bool = False
    is_directory: bool = False
    size_bytes: int = 0
    mtime_s: int = 0
    checksum: tuple[str, str] | None = None
    reason: str = ""
    may_be_there: bool = False


class ArchiveView:
    """Asks data servers what the archive has."""

    def __init__(self, questions: Questions) -> None:
        self._questions = questions

    async def look_up(self, lfn: str) -> Archived:
        """What the archive says of one name."""
        return (await self.look_up_all([lfn]))[lfn]

    async def check_free(self, lfn: str) -> None:
        """Raises AlreadyExists or Refused if the archive has something of this name, and
        Unreachable if it cannot be asked: what it has must never get a second content.
        """
        found = await self.look_up(lfn)
        if found.is_directory:
            raise AlreadyExists(f"{lfn} is a directory of the archive")
        if found.is_there:
            raise Refused(f"{lfn} is in the archive, where clients change nothing")
        if found.may_be_there:
            raise Unreachable(f"{lfn} may be in the archive, which cannot be asked: {found.reason}")

    async def look_up_all(self, lfns: Sequence[str]) -> dict[str, Archived]:
        """What it says of many, by name."""
        found: dict[str, Archived] = {
            lfn: Archived(reason="nobody could ask the archive", may_be_there=True) for lfn in lfns
        }
        async with aclosing(self._questions.examine(list(found))) as pieces:
            async for files in pieces:
                found.update((file.lfn, _archived(file)) for file in files)
        return found


def _archived(file: pb.ArchiveFile) -> Archived:
    checksum = None
    is_known = file.presence in (THERE, NOT_THERE)
    if file.checksum.algorithm:
        checksum = (file.checksum.algorithm, file.checksum.value)
    return Archived(
        is_there=file.presence == THERE and not file.is_directory,
        is_directory=file.is_directory,
        size_bytes=file.size_bytes,
        mtime_s=int(file.mtime_unix_s),
        checksum=checksum,
        reason="" if is_known else file.reason,
        may_be_there=not is_known and not file.is_beyond_asking,
    )
