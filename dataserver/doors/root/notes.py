"""Attributes, as clients of root:// reach them: of a file by its name, or of one being written.

What a client notes about a file that it is writing is noted about the file once that is
whole and in its place. Copies that take attributes along are made so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from common.errors import AlreadyExists, NotFound, QuotaExceeded
from dataserver.attributes import ATTRIBUTES_OF_A_FILE, check_name

if TYPE_CHECKING:
    from dataserver.changing import Changing as Changes


class Notes(Protocol):
    """Where attributes are kept. All raise PackhorseError."""

    async def all(self) -> dict[str, bytes]:
        """All of them, by name."""

    async def set(self, name: str, value: bytes, *, new_only: bool) -> None:
        """Notes one. Raises AlreadyExists if there is one and it may only be new."""

    async def remove(self, name: str) -> None:
        """Forgets one. Raises NotFound."""


class NotesOfFile:
    """Those of a file that is there."""

    def __init__(self, changes: Changes, lfn: str) -> None:
        self._changes = changes
        self._lfn = lfn

    async def all(self) -> dict[str, bytes]:
        """All of them, by name."""
        return await self._changes.attributes(self._lfn)

    async def set(self, name: str, value: bytes, *, new_only: bool) -> None:
        """Notes one."""
        await self._changes.set_attribute(self._lfn, name, value, new_only=new_only)

    async def remove(self, name: str) -> None:
        """Forgets one."""
        await self._changes.remove_attribute(self._lfn, name)


class NotesOfUpload:
    """Those of a file that is being written; what it replaces may have some already."""

    def __init__(self, changes: Changes, lfn: str) -> None:
        self._changes = changes
        self._lfn = lfn
        self._changed: dict[str, bytes | None] = {}  # None: to be forgotten

    async def all(self) -> dict[str, bytes]:
        """All that it will have, by name."""
        found: dict[str, bytes | None] = {}
        try:
            found.update(await self._changes.attributes(self._lfn))
        except NotFound:
            # It replaces nothing.
            found = {}
        found.update(self._changed)
        return {name: value for name, value in found.items() if value is not None}

    async def set(self, name: str, value: bytes, *, new_only: bool) -> None:
        """Notes one."""
        check_name(name)
        others = await self.all()
        if others.pop(name, None) is not None and new_only:
            raise AlreadyExists(f"{self._lfn} has an attribute {name} already")
        if len(others) >= ATTRIBUTES_OF_A_FILE:
            raise QuotaExceeded(f"{self._lfn} has {len(others)} attributes, the most there can be")
        self._changed[name] = value

    async def remove(self, name: str) -> None:
        """Forgets one."""
        if name not in await self.all():
            raise NotFound(f"{self._lfn} has no attribute {name}")
        self._changed[name] = None

    async def keep(self) -> None:
        """The file is there now."""
        before = await self._changes.attributes(self._lfn) if self._changed else {}
        for name, value in self._changed.items():
            if value is not None:
                await self._changes.set_attribute(self._lfn, name, value)
            elif name in before:
                await self._changes.remove_attribute(self._lfn, name)
