"""Telling files apart by their first and last bytes, in the server's own process.

Most files that are neither ROOT nor Parquet never need the child. A ROOT file is
known by more than its magic, as a text may well begin with "root": the version
and the place of the first record that follow must make sense too.
"""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING, Final

from dataserver.inspection.content import Content, Format, plain_bytes

if TYPE_CHECKING:
    from pathlib import Path

_ROOT_HEADER: Final = struct.Struct(">4sII")
_ROOT_MAGIC: Final = b"root"
_PARQUET_MAGIC: Final = b"PAR1"
# ROOT adds a million to the version where files may exceed 2 GiB.
_MAX_ROOT_VERSION: Final = 2_000_000
_MAX_ROOT_BEGIN: Final = 0xFFFF
_PROMISES: Final = {".root": "ROOT", ".parquet": "Parquet"}


def look(path: Path, size_bytes: int) -> Format | Content:
    """The format of a file that must be opened to know more, or else its content.

    Blocks for two small reads. A file that cannot be read at all is content with
    a problem.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            return look_at(fd, path.name, size_bytes)
        finally:
            os.close(fd)
    except OSError as error:
        return plain_bytes(size_bytes, f"could not be read: {error.strerror}")


def look_at(fd: int, name: str, size_bytes: int) -> Format | Content:
    """As `look`, for a file that is open already. Raises OSError."""
    found = _format_of(fd, size_bytes)
    if found is not Format.BYTES:
        return found
    for suffix, promised in _PROMISES.items():
        if name.lower().endswith(suffix):
            if size_bytes == 0:
                return plain_bytes(0, f"named {suffix} but is empty")
            return plain_bytes(size_bytes, f"named {suffix} but is not a {promised} file")
    return plain_bytes(size_bytes)


def _format_of(fd: int, size_bytes: int) -> Format:
    head = os.pread(fd, _ROOT_HEADER.size, 0)
    if head.startswith(_PARQUET_MAGIC) and size_bytes > 2 * len(_PARQUET_MAGIC):
        tail = os.pread(fd, len(_PARQUET_MAGIC), size_bytes - len(_PARQUET_MAGIC))
        return Format.PARQUET if tail == _PARQUET_MAGIC else Format.BYTES
    return Format.ROOT if _is_root_header(head) else Format.BYTES


def _is_root_header(head: bytes) -> bool:
    if len(head) < _ROOT_HEADER.size:
        # A file cut within its header is still taken for what it was.
        return head.startswith(_ROOT_MAGIC) and not head[len(_ROOT_MAGIC) :].strip(b"\0")
    magic, version, begin = _ROOT_HEADER.unpack(head)
    return bool(
        magic == _ROOT_MAGIC
        and 0 < version < _MAX_ROOT_VERSION
        and _ROOT_HEADER.size < begin <= _MAX_ROOT_BEGIN
    )
