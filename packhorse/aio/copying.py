"""Copying a replica to a file of the user's own: whole and checked, or not at all."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from common.errors import AlreadyExists, Damaged, NotFound, Refused
from dataserver.checksum import ALGORITHMS, Digest, new_digest

if TYPE_CHECKING:
    from collections.abc import Callable
    from io import BufferedWriter

    from packhorse.aio.replica import AsyncReplica


def target_of(lfn: str, destination: str | os.PathLike[str], *, overwrite: bool) -> Path:
    """Where a file goes: into a directory under its own name, else to the path given.

    Raises AlreadyExists unless `overwrite`, NotFound if there is no such directory.
    """
    target = Path(destination)
    if target.is_dir() or os.fspath(destination).endswith(os.sep):
        target /= lfn.rpartition("/")[2]
    if not target.parent.is_dir():
        raise NotFound(f"cannot copy to {target}: there is no directory {target.parent}")
    if target.exists() and not overwrite:
        raise AlreadyExists(f"{target} exists already, and overwriting was not asked for")
    return target


async def copy_replica(
    replica: AsyncReplica, target: Path, on_progress: Callable[[int, int], object] | None = None
) -> int:
    """Copies all bytes to `target`, which appears only once size and checksum are right.

    `on_progress` gets bytes done and bytes in all. Returns the size. Raises Damaged if
    what arrived is not the file, Refused if it cannot be written here.
    """
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        await _write(replica, part, on_progress)
        part.replace(target)
    except OSError as error:
        raise Refused(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
    return replica.info.size_bytes


async def _write(
    replica: AsyncReplica, part: Path, on_progress: Callable[[int, int], object] | None
) -> None:
    info = replica.info
    known = info.checksum.algorithm in ALGORITHMS
    digest = new_digest(info.checksum.algorithm) if known else None
    done_bytes = 0
    with part.open("xb") as file:
        async with contextlib.aclosing(replica.chunks()) as chunks:
            async for chunk in chunks:
                await asyncio.to_thread(_take, chunk, file, digest)
                done_bytes += len(chunk)
                if on_progress is not None:
                    on_progress(done_bytes, info.size_bytes)
    if done_bytes != info.size_bytes:
        raise Damaged(
            f"{info.lfn}: {done_bytes} bytes arrived from {replica.node.node} "
            f"instead of {info.size_bytes}"
        )
    if digest is not None and digest.hexdigest() != info.checksum.value:
        raise Damaged(
            f"{info.lfn}: what arrived from {replica.node.node} has {info.checksum.algorithm} "
            f"{digest.hexdigest()} instead of {info.checksum.value}"
        )


def _take(chunk: bytes, file: BufferedWriter, digest: Digest | None) -> None:
    file.write(chunk)
    if digest is not None:
        digest.update(chunk)
