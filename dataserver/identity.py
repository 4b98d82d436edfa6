"""Who a pool is, whoever serves it and wherever it is mounted."""

from __future__ import annotations

import errno
import os
import re
import secrets
from enum import Enum
from typing import TYPE_CHECKING, Final

from common.errors import ConfigError, Damaged

if TYPE_CHECKING:
    from pathlib import Path

    from dataserver.disk import PoolDisk

_NAME: Final = "pool_id"
_ID: Final = re.compile(r"[0-9a-f]{32}")


def pool_id(private: Path) -> str:
    """The pool's own identity, made at its first start and kept on its disk.

    Raises ConfigError if it cannot be kept, Damaged if it is not what it should be.
    """
    path = private / _NAME
    try:
        if not path.exists():
            _write(path, secrets.token_hex(16))
        found = path.read_text(errors="replace").strip()
    except OSError as error:
        raise ConfigError(f"cannot keep the pool's identity in {path}: {error.strerror}") from error
    if not _ID.fullmatch(found):
        raise Damaged(f"{path} does not hold a pool's identity; remove it to make a new one")
    return found


def has_pool(private: Path) -> bool:
    """Whether there is a pool whose private directory this is; blocks."""
    return bool(_id_at(private))


class Whereabouts(Enum):
    """Where a pool is that was opened a while ago."""

    HERE = "here"
    AWAY = "away"  # there is no pool at its path
    ANOTHER = "another"  # a pool is at its path, but not the directory that was opened


def find(disk: PoolDisk, identity: str) -> Whereabouts:
    """Where the pool is now; blocks, for as long as its disk does. Raises OSError if that fails.

    Both ways to it are tried: the descriptors it was opened by, and its path, by which stage
    commands write and local readers read. A disk that was unmounted is still there by the
    one, and one that was mounted again only by the other.
    """
    try:
        is_here = _is_id(disk.read_private(_NAME), identity) and disk.is_at_its_path()
    except OSError as error:
        if _id_at(disk.private):
            return Whereabouts.ANOTHER
        if error.errno not in {errno.ENOENT, errno.ENOTDIR}:
            raise
        return Whereabouts.AWAY
    if is_here:
        return Whereabouts.HERE
    return Whereabouts.ANOTHER if _id_at(disk.private) else Whereabouts.AWAY


def _is_id(found: bytes, identity: str) -> bool:
    return found.strip() == identity.encode()


def _id_at(private: Path) -> str:
    """The identity of the pool at a path, "" if there is none."""
    try:
        found = (private / _NAME).read_text(errors="replace").strip()
    except OSError:
        return ""
    return found if _ID.fullmatch(found) else ""


def _write(path: Path, text: str) -> None:
    """Writes a file that is there as a whole, or not at all."""
    draft = path.with_name(path.name + ".new")
    with draft.open("w") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
