"""Uploads: what a client writes, from its claim to its publication.

A file is written into the incoming directory and is nobody's business until `finish`:
then its size and checksum are verified, it is synced, its row is written, and it is moved
to its place, over the one it replaces. Whatever else ends an upload leaves nothing of it.

The row comes first, marked as not archived: a crash behind it leaves a row without a file,
or a replica that nobody may purge, and never a file that would be taken for a copy of one
in the archive.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import stat
from typing import TYPE_CHECKING, Any

from common.errors import AlreadyExists, Damaged, PackhorseError, Refused
from dataserver.catalogue import Entry, Version
from dataserver.core import events, instructions
from dataserver.disk import NotSyncedError, Publication
from dataserver.disk_errors import explained
from dataserver.threads import Batcher
from dataserver.upload import Upload

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from common.writable import Writable
    from dataserver.catalogue import Catalogue
    from dataserver.claims import Claims
    from dataserver.disk import PoolDisk
    from dataserver.engine import Engine
    from dataserver.link import Link
    from dataserver.replicas import Replicas

__all__ = ["Upload", "Uploads"]

log = logging.getLogger(__name__)

#: Files moved to their places with one sync of each directory.
MOVED_AT_A_TIME = 256


class Uploads:
    """The uploads of one pool. `algorithm` is what is computed of each; None for nothing."""

    def __init__(
        self,
        engine: Engine,
        disk: PoolDisk,
        catalogue: Catalogue,
        replicas: Replicas,
        claims: Claims,
        link: Link,
        writable: Writable,
        algorithm: str | None,
    ) -> None:
        self._engine = engine
        self._disk = disk
        self._catalogue = catalogue
        self._replicas = replicas
        self._claims = claims
        self._link = link
        self._writable = writable
        self._algorithm = algorithm
        self._live: dict[str, Upload] = {}
        self._numbers = itertools.count(1)
        self._tasks: set[asyncio.Task[None]] = set()
        self._moves = Batcher(self._move_all, MOVED_AT_A_TIME, parallel=2)
        engine.carry_with(
            {
                instructions.RefuseUpload: self._refused,
                instructions.GrantRoom: lambda order: self._live[order.upload_id].grant(order),
                instructions.RefuseRoom: lambda order: self._live[order.upload_id].deny(
                    order.error
                ),
                instructions.PublishUpload: lambda order: self._start(self._publish(order)),
                instructions.EndUpload: lambda order: self._start(self._end(order)),
            }
        )

    async def begin(
        self,
        lfn: str,
        *,
        size_bytes: int = 0,
        replaces: bool = False,
        copy_old: bool = False,
        owner: str = "",
        mode: int = 0o644,
    ) -> Upload:
        """An upload that can be written to, once its name is claimed and there is room.

        `size_bytes` is what the client says it will write, 0 if it does not say. `replaces`:
        a replica held here is to be replaced; with `copy_old` by one that begins as its copy.
        Raises AlreadyExists, NotFound, Refused, NameRefused, QuotaExceeded, Unreachable,
        Damaged.
        """
        lfn = self._writable.check(lfn)
        await self._look(lfn)
        upload_id = f"upload.{next(self._numbers)}"
        upload = Upload(upload_id, lfn, self._engine, self._disk, self._link, self._algorithm)
        self._live[upload_id] = upload
        copies = replaces and copy_old
        self._engine.post(events.UploadBegun(upload_id, lfn, size_bytes, replaces, copies, owner))
        try:
            await upload.until_begun()
            await upload.open(mode & 0o777 | stat.S_IRUSR | stat.S_IWUSR)
            if copies:
                await self._copy_old(upload)
        except Exception as error:
            told = explained(lfn, "written", error)
            upload.give_up(told)
            await upload.until_over()
            if told is error:
                raise
            raise told from error
        except BaseException:
            upload.give_up(Refused(f"{lfn}: its client gave it up"))
            raise
        return upload

    async def stop(self) -> None:
        """Waits until every upload has ended; the core has been told to end them."""
        while self._tasks:
            await asyncio.wait(self._tasks)
        await self._moves.finish()

    # --- beginning ------------------------------------------------------------

    async def _look(self, lfn: str) -> None:
        """Refuses what the disk could only refuse at the end."""
        pool = self._engine.node.pool
        if pool.get(lfn) is not None:
            return
        try:
            found = await self._disk.threads.call(lambda: self._disk.stat(lfn))
        except OSError as error:
            raise explained(lfn, "written", error) from error
        # It may have been published while the disk was looked at.
        if found is None or pool.get(lfn) is not None:
            return
        if stat.S_ISDIR(found.st_mode):
            raise Refused(f"{lfn} is a directory on this node")
        raise AlreadyExists(f"something lies at {lfn} on this node that is no replica")

    async def _copy_old(self, upload: Upload) -> None:
        replica, fd = await self._replicas.open(upload.lfn, is_use=False)
        try:
            await upload.copy_from(fd, replica.size_bytes)
        finally:
            os.close(fd)
            self._replicas.give_back(replica, is_use=False)

    def _refused(self, order: instructions.RefuseUpload) -> None:
        upload = self._live.pop(order.upload_id)
        upload.fail(order.error)
        upload.end()

    # --- publishing -----------------------------------------------------------

    async def _publish(self, order: instructions.PublishUpload) -> None:
        upload = self._live[order.upload_id]
        try:
            unsure = await self._put_in_place(upload, order.replaces)
        except Exception as error:  # noqa: BLE001 - every error becomes the upload's end
            told = explained(upload.lfn, "published", error)
            self._engine.post(events.UploadFailed(upload.upload_id, told))
            return
        await upload.close()
        del self._live[upload.upload_id]
        self._engine.post(events.UploadPublished(upload.upload_id))
        upload.end(unsure)

    async def _put_in_place(self, upload: Upload, replaces: bool) -> PackhorseError | None:
        """The row first, the file next; what its client must hear though it is published."""
        lfn = upload.lfn
        sums = upload.checksums
        version = Version(lfn, upload.size_bytes, upload.mtime_ns)
        entry = Entry(*version, sums[0] if sums else None, self._engine.now_s(), archived=False)
        old = await self._catalogue.replace(entry)
        try:
            for checksum in sums[1:]:
                await self._catalogue.add_checksum(version, checksum)
            await self._moves.do(Publication(upload.upload_id, lfn, replaces))
        except NotSyncedError as error:
            return Damaged(
                f"{lfn} is written, but this node's disk does not say that it will stay "
                f"({error.strerror})"
            )
        except Exception:
            with contextlib.suppress(PackhorseError):
                if old is not None:
                    await self._catalogue.replace(old)
                else:
                    await self._catalogue.remove([lfn])
            raise
        return None

    async def _move_all(self, batch: list[Publication]) -> list[Any]:
        errors = await self._disk.threads.call(lambda: self._disk.publish(batch))
        return [errors.get(one.recall_id) for one in batch]

    # --- ending ---------------------------------------------------------------

    async def _end(self, order: instructions.EndUpload) -> None:
        upload = self._live[order.upload_id]
        upload.fail(order.error)
        await self._claims.until_answered(upload.upload_id)
        await upload.close()
        try:
            await self._disk.threads.call(lambda: self._disk.remove_incoming(upload.upload_id))
        except OSError as error:
            log.warning("what was written of %s cannot be removed: %s", upload.lfn, error)
        del self._live[upload.upload_id]
        self._engine.post(events.UploadGone(upload.upload_id))
        upload.end()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name="upload")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
