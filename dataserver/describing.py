"""Telling what replicas are: size, checksum, and what an inspection found inside.

A file is inspected once, after it was published; until then it is served all the same.
What takes its place is another file, and inspected again. Files that somebody waits for go first, then the newest recalls in their order. What was
adopted at a start and never inspected is looked into when somebody asks.
"""

from __future__ import annotations

import asyncio
import errno
import logging
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from common.errors import NotFound
from dataserver import wire
from dataserver.catalogue import Version
from dataserver.core import instructions
from dataserver.inspection.inspector import InspectorStoppedError
from dataserver.threads import Batcher

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence

    from dataserver.catalogue import Catalogue
    from dataserver.disk import PoolDisk
    from dataserver.engine import Engine
    from dataserver.inspection import Inspector
    from protos.packhorse.v1 import types_pb2

log = logging.getLogger(__name__)

#: Inspections under way: one in the child, the next one being looked at.
AT_A_TIME: Final = 2
#: Contents kept with one commit.
KEPT_AT_A_TIME: Final = 256
#: Files described in one piece of an answer.
PIECE_FILES: Final = 500


class Describer:
    """Inspects files and tells about them; `inspector` None means nothing is inspected."""

    def __init__(
        self, engine: Engine, disk: PoolDisk, catalogue: Catalogue, inspector: Inspector | None
    ) -> None:
        self._engine = engine
        self._disk = disk
        self._catalogue = catalogue
        self._inspector = inspector
        self._waiting: OrderedDict[str, asyncio.Future[None]] = OrderedDict()
        self._under_way: dict[str, asyncio.Future[None]] = {}
        self._work = asyncio.Event()
        self._again: set[str] = set()  # published anew while they are looked into
        self._kept: Batcher[tuple[Version, bytes], None] = Batcher(self._keep, KEPT_AT_A_TIME)
        engine.carry_with({instructions.Inspect: self._note_published})

    def _note_published(self, order: instructions.Inspect) -> None:
        if order.lfn in self._under_way:
            self._again.add(order.lfn)
        else:
            self.look_into(order.lfn)

    def look_into(self, lfn: str, *, soon: bool = False) -> asyncio.Future[None] | None:
        """Has a file inspected; a future of its being done with, None if nothing ever is."""
        if self._inspector is None:
            return None
        if lfn in self._under_way:
            return self._under_way[lfn]
        future = self._waiting.get(lfn)
        if future is None:
            future = self._waiting[lfn] = asyncio.get_running_loop().create_future()
        if soon:
            self._waiting.move_to_end(lfn, last=False)
        self._work.set()
        return future

    async def work(self) -> None:
        """Inspects what waits, for ever."""
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_A_TIME):
                group.create_task(self._work_in_turn())

    async def describe(
        self, lfns: Sequence[str], *, wait_for_content: bool
    ) -> AsyncIterator[tuple[list[types_pb2.FileInfo], list[str]]]:
        """Pieces of the answer: files held, and names that are not online here.

        With `wait_for_content`, a file is told once it was looked into, as each is done.
        """
        held, not_online = self._split(lfns)
        waiting: dict[asyncio.Future[None], str] = {}
        for start in range(0, len(held), PIECE_FILES):
            infos = []
            for known in await self._catalogue.known(held[start : start + PIECE_FILES]):
                future = None
                if wait_for_content and known.content is None:
                    future = self.look_into(known.lfn, soon=True)
                if future is None:
                    infos.append(wire.file_info(known))
                else:
                    waiting[future] = known.lfn
            if infos:
                yield infos, []
        while waiting:
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            names = [waiting.pop(future) for future in done]
            found = await self._catalogue.known(names)
            yield [wire.file_info(one) for one in found], []
            not_online += set(names) - {one.lfn for one in found}
        if not_online:
            yield [], not_online

    # --- inside -------------------------------------------------------------

    def _split(self, lfns: Iterable[str]) -> tuple[list[str], list[str]]:
        node = self._engine.node
        held: list[str] = []
        not_online: list[str] = []
        for lfn in dict.fromkeys(lfns):
            (held if node.is_visible(lfn) else not_online).append(lfn)
        return held, not_online

    async def _work_in_turn(self) -> None:
        while True:
            while not self._waiting:
                self._work.clear()
                await self._work.wait()
            lfn, future = self._waiting.popitem(last=False)
            self._under_way[lfn] = future
            try:
                found = await self._inspect(lfn)
            except BaseException:
                self._done_with(lfn)
                raise
            if found is None:
                self._done_with(lfn)
            else:
                # The next file need not wait until this one's content is on the disk.
                kept = self._kept.do(found)
                kept.add_done_callback(lambda kept, lfn=lfn: self._note_kept(lfn, kept))  # type: ignore[misc]

    async def _inspect(self, lfn: str) -> tuple[Version, bytes] | None:
        """Looks into one file: which it was, and what it holds; None if nothing was found out.

        It is open meanwhile, and no purge takes it; but nobody has used it.
        """
        assert self._inspector is not None
        try:
            replica = self._engine.node.pool.open(lfn, self._engine.now_s(), is_use=False)
        except NotFound:
            return None
        try:
            # Looked at before: should another one take its place now, nothing is kept.
            version = await self._version(lfn)
            found = await self._inspector.inspect(self._disk.path(lfn), replica.size_bytes)
        except (InspectorStoppedError, OSError) as error:
            log.info("%s was not looked into: %s", lfn, error)
            return None
        finally:
            self._engine.node.pool.close(replica, self._engine.now_s(), is_use=False)
        return version, wire.content_bytes(found)

    async def _version(self, lfn: str) -> Version:
        """Which file lies at a name's place. Raises OSError."""
        found = await self._disk.threads.call(lambda: self._disk.stat(lfn))
        if found is None:
            raise FileNotFoundError(errno.ENOENT, "it is gone", lfn)
        return Version(lfn, found.st_size, found.st_mtime_ns)

    async def _keep(self, batch: list[tuple[Version, bytes]]) -> list[Exception | None]:
        await self._catalogue.set_contents(batch)
        return [None] * len(batch)

    def _note_kept(self, lfn: str, kept: asyncio.Future[None]) -> None:
        if not kept.cancelled() and (error := kept.exception()) is not None:
            log.warning("what was found in %s cannot be kept: %s", lfn, error)
        self._done_with(lfn)

    def _done_with(self, lfn: str) -> None:
        future = self._under_way.pop(lfn)
        if not future.done():
            future.set_result(None)
        if lfn in self._again:
            self._again.remove(lfn)
            self.look_into(lfn)
