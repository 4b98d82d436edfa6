"""What clients change about files that are here: names, permissions, attributes, their being.

What is in the archive can only be removed or replaced, and only where the site has a
`removecmd`; anything else can be changed where the site lets clients write.
Everybody else may look. When a removal or a rename returns, the redirector has heard of
it, so whoever asks next is not sent to what is no longer there.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import stat
from typing import TYPE_CHECKING

from common.errors import AlreadyExists, Damaged, PackhorseError, Refused
from dataserver.core import events, instructions
from dataserver.disk import NotSyncedError
from dataserver.disk_errors import explained
from dataserver.threads import finished

if TYPE_CHECKING:
    from collections.abc import Callable

    from common.writable import Writable
    from dataserver.attributes import Attributes
    from dataserver.catalogue import Catalogue
    from dataserver.checksum import Checksum
    from dataserver.core.events import Event
    from dataserver.disk import PoolDisk
    from dataserver.engine import Engine
    from dataserver.link import Link
    from dataserver.replicas import Replicas
    from dataserver.summing import Summing

log = logging.getLogger(__name__)


class Changing:
    """Removes, renames and describes replicas for clients."""

    def __init__(
        self,
        engine: Engine,
        disk: PoolDisk,
        catalogue: Catalogue,
        replicas: Replicas,
        link: Link,
        writable: Writable,
        attributes: Attributes,
        summing: Summing,
    ) -> None:
        self._engine = engine
        self._disk = disk
        self._catalogue = catalogue
        self._replicas = replicas
        self._link = link
        self._writable = writable
        self._attributes = attributes
        self._summing = summing
        self._numbers = itertools.count(1)
        self._answers: dict[str, asyncio.Future[None]] = {}
        self._unsure: dict[str, PackhorseError] = {}
        self._moves: set[asyncio.Task[None]] = set()
        engine.carry_with(
            {
                instructions.MoveFile: self._start_move,
                instructions.TellChanged: self._tell,
            }
        )

    async def stop(self) -> None:
        """Finishes what is being moved on the disk, and what is being summed up."""
        while self._moves:
            await asyncio.wait(self._moves)
        await self._summing.stop()

    # --- names ----------------------------------------------------------------

    async def remove(self, lfn: str) -> None:
        """Removes a file for good, from the archive too where the site lets clients do that.

        Who reads it may go on. Raises NotFound, NameRefused; Refused if it is in the archive
        for good, being written or cannot be removed; Unreachable if the archive cannot be had.
        """
        lfn = self._writable.check(lfn)
        await self._change(
            lambda change_id: events.RemovalOrdered(change_id, lfn, also_archived=True)
        )

    async def rename(self, lfn: str, new_lfn: str) -> None:
        """Gives a replica another name, which must be free in the whole site; its own one
        changes nothing.

        Raises as `remove` does; AlreadyExists, Unreachable; Damaged if the disk fails.
        """
        lfn, new_lfn = self._writable.check(lfn), self._writable.check(new_lfn)
        if lfn == new_lfn:
            if (refusal := self._engine.node.unchangeable(lfn)) is not None:
                raise refusal
            return
        await self._look(new_lfn)
        await self._change(lambda change_id: events.RenameOrdered(change_id, lfn, new_lfn))

    async def _look(self, new_lfn: str) -> None:
        """Refuses to rename a file to what is none."""
        if self._engine.node.pool.get(new_lfn) is not None:
            return
        try:
            found = await self._disk.threads.call(lambda: self._disk.stat(new_lfn))
        except OSError as error:
            raise explained(new_lfn, "made", error) from error
        if found is not None and stat.S_ISDIR(found.st_mode):
            raise Refused(f"{new_lfn} is a directory on this node")
        if found is not None and self._engine.node.pool.get(new_lfn) is None:
            raise AlreadyExists(f"something lies at {new_lfn} on this node that is no replica")

    async def _change(self, order: Callable[[str], Event]) -> None:
        """Has the core make a change, and waits until it is made and told."""
        change_id = f"change.{next(self._numbers)}"
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._answers[change_id] = answer
        self._engine.post(order(change_id))
        await asyncio.wait([answer])
        await self._link.until_heard()
        answer.result()

    # --- carrying out -----------------------------------------------------------

    def _tell(self, told: instructions.TellChanged) -> None:
        answer = self._answers.pop(told.change_id)
        error = self._unsure.pop(told.change_id, told.error)
        if answer.done():
            return
        if error is None:
            answer.set_result(None)
        else:
            answer.set_exception(error)
            # Whoever asked may have gone away.
            answer.exception()

    def _start_move(self, order: instructions.MoveFile) -> None:
        task = asyncio.create_task(self._move(order), name=f"rename {order.lfn}")
        self._moves.add(task)
        task.add_done_callback(self._moves.discard)

    async def _move(self, order: instructions.MoveFile) -> None:
        """Rows of both names, then the file, then one row: no crash leaves it without."""
        lfn, new_lfn = order.lfn, order.new_lfn
        event: Event = events.Renamed(order.change_id)
        try:
            await self._catalogue.copy(lfn, new_lfn)
            await self._disk.threads.call(lambda: self._disk.rename(lfn, new_lfn))
            await self._forget(lfn)
        except NotSyncedError as error:
            # Both rows stay: after a crash the file may have the one name or the other.
            self._unsure[order.change_id] = Damaged(
                f"{lfn} is {new_lfn} now, but this node's disk does not say that it will stay "
                f"({error.strerror})"
            )
        except Exception as error:  # noqa: BLE001 - every error becomes the client's
            await self._forget(new_lfn)
            event = events.RenameFailed(order.change_id, explained(lfn, "renamed", error))
        self._engine.post(event)

    async def _forget(self, lfn: str) -> None:
        try:
            await self._catalogue.remove([lfn])
        except PackhorseError as error:
            # The next start finds a row without a file, and deletes it.
            log.warning("the row of %s stays for now: %s", lfn, error)

    # --- what belongs to a file -------------------------------------------------

    async def set_mode(self, lfn: str, mode: int) -> None:
        """Gives a replica's file other permissions: its owner may always read and write it, and
        not everybody may write it.

        Raises as `remove` does.
        """
        lfn = self._writable.check(lfn)
        if (refusal := self._engine.node.unchangeable(lfn)) is not None:
            raise refusal
        kept = mode & 0o775 | stat.S_IRUSR | stat.S_IWUSR
        replica, fd = await self._replicas.open(lfn, is_use=False)
        try:
            await finished(self._disk.threads.call(lambda: os.fchmod(fd, kept)))
        except OSError as error:
            raise explained(lfn, "given other permissions", error) from error
        finally:
            os.close(fd)
            self._replicas.give_back(replica, is_use=False)

    async def attributes(self, lfn: str) -> dict[str, bytes]:
        """What clients have noted about a replica, by name. Raises NotFound, NameRefused."""
        return await self._attributes.of(lfn)

    async def set_attribute(
        self, lfn: str, name: str, value: bytes, *, new_only: bool = False
    ) -> None:
        """Notes something about a replica; only if it is not noted already with `new_only`.

        Raises as `remove` does; AlreadyExists, QuotaExceeded, TooLarge, UsageError.
        """
        await self._attributes.set(lfn, name, value, new_only=new_only)

    async def remove_attribute(self, lfn: str, name: str) -> None:
        """Forgets something noted about a replica. Raises as `remove` does; NotFound."""
        await self._attributes.remove(lfn, name)

    async def checksum(self, lfn: str, algorithm: str) -> Checksum:
        """A replica's checksum, computed if it has to be.

        `algorithm` is one of `checksum.ALGORITHMS`. Raises NotFound, NameRefused, UsageError,
        Damaged.
        """
        return await self._summing.checksum(lfn, algorithm)
