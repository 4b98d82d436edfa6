"""Files removed, renamed and described anew, where the site lets clients do so."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from common.errors import AlreadyExists, NotFound
from common.root_server import RootError
from dataserver.doors.root.notes import NotesOfFile
from xroot import responses
from xroot.protocol import ATTRIBUTE_DATA, ATTRIBUTE_NEW, AttributeAction, Code

if TYPE_CHECKING:
    from common.root_server import Connection
    from dataserver.changing import Changing as Changes
    from dataserver.doors.root.notes import Notes
    from xroot.requests import FAttr


class Changing:
    """Answers what changes a file by its name."""

    def __init__(self, changes: Changes) -> None:
        self._changes = changes

    async def rm(self, connection: Connection, stream_id: bytes, lfn: str) -> None:
        """Removes a file. Raises PackhorseError."""
        await self._changes.remove(lfn)
        connection.send(responses.ok(stream_id))

    async def mv(self, connection: Connection, stream_id: bytes, lfn: str, target: str) -> None:
        """Renames a file. Raises PackhorseError."""
        await self._changes.rename(lfn, target)
        connection.send(responses.ok(stream_id))

    async def chmod(self, connection: Connection, stream_id: bytes, lfn: str, mode: int) -> None:
        """Gives a file other permissions. Raises PackhorseError."""
        await self._changes.set_mode(lfn, mode)
        connection.send(responses.ok(stream_id))

    def notes(self, lfn: str) -> NotesOfFile:
        """The extended attributes of a file."""
        return NotesOfFile(self._changes, lfn)

    async def fattr(
        self, connection: Connection, stream_id: bytes, notes: Notes, asked: FAttr
    ) -> None:
        """Reads or changes extended attributes. Raises PackhorseError, RootError."""
        match asked.action:
            case AttributeAction.LIST:
                found = await notes.all()
                body = _listed(found, with_values=bool(asked.options & ATTRIBUTE_DATA))
            case AttributeAction.GET:
                found = await notes.all()
                codes = [0 if _text(name) in found else Code.ATTR_NOT_FOUND for name in asked.names]
                values = [found.get(_text(name), b"") for name in asked.names]
                body = _told(asked, codes) + b"".join(_value(value) for value in values)
            case AttributeAction.SET:
                body = _told(asked, [await _set(notes, asked, one) for one in _numbers(asked)])
            case _:
                body = _told(asked, [await _delete(notes, name) for name in asked.names])
        connection.send(responses.ok(stream_id, body))


async def _set(notes: Notes, asked: FAttr, number: int) -> int:
    new_only = bool(asked.options & ATTRIBUTE_NEW)
    try:
        await notes.set(_text(asked.names[number]), asked.values[number], new_only=new_only)
    except AlreadyExists:
        return Code.ITEM_EXISTS
    return 0


async def _delete(notes: Notes, name: bytes) -> int:
    if _text(name) not in await notes.all():
        return Code.ATTR_NOT_FOUND
    try:
        await notes.remove(_text(name))
    except NotFound:
        return Code.ATTR_NOT_FOUND
    return 0


def _numbers(asked: FAttr) -> range:
    return range(len(asked.names))


def _text(name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError:
        raise RootError(Code.ARG_INVALID, "fattr: a name that is not UTF-8") from None


def _value(value: bytes) -> bytes:
    return struct.pack(">i", len(value)) + value


def _told(asked: FAttr, codes: list[int]) -> bytes:
    """How many went wrong and how many there are, then each name with what came of it."""
    wrong = sum(1 for code in codes if code)
    names = (
        struct.pack(">H", code) + name + b"\0"
        for code, name in zip(codes, asked.names, strict=True)
    )
    return bytes([wrong, len(codes)]) + b"".join(names)


def _listed(found: dict[str, bytes], *, with_values: bool) -> bytes:
    """Names; with their values, if these are wanted."""
    parts = []
    for name, value in sorted(found.items()):
        parts.append(name.encode() + b"\0")
        if with_values:
            parts.append(_value(value))
    return b"".join(parts)
