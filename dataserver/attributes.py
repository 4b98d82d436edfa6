"""Attributes: what clients note about replicas that are not in the archive.

They are kept in the catalogue and are as much a part of the file as its bytes: they follow
it to another name, stay when its content is replaced, and go with it. A file that is in the
archive can have no new ones, for they would be lost as soon as its copy here is purged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from common.errors import NotFound, TooLarge, UsageError
from common.names import normalise, shorten

if TYPE_CHECKING:
    from common.writable import Writable
    from dataserver.catalogue import Catalogue
    from dataserver.engine import Engine

#: What XRootD's clients can send and take; and a bound on what one file may cost us.
NAME_BYTES: Final = 248
VALUE_BYTES: Final = 64 << 10
ATTRIBUTES_OF_A_FILE: Final = 256


class Attributes:
    """The attributes of one pool's replicas."""

    def __init__(self, engine: Engine, catalogue: Catalogue, writable: Writable) -> None:
        self._engine = engine
        self._catalogue = catalogue
        self._writable = writable

    async def of(self, lfn: str) -> dict[str, bytes]:
        """Those of a replica, by name. Raises NotFound, NameRefused."""
        lfn = normalise(lfn)
        if not self._engine.node.is_visible(lfn):
            raise NotFound(f"{lfn} is not on this node")
        return await self._catalogue.attributes(lfn)

    async def set(self, lfn: str, name: str, value: bytes, *, new_only: bool) -> None:
        """Notes one. Raises NotFound, NameRefused, Refused, UsageError; TooLarge for its value,
        AlreadyExists if it may only be new, QuotaExceeded if there are too many others.
        """
        check_name(name)
        if len(value) > VALUE_BYTES:
            raise TooLarge(f"attribute {shorten(name)} has {len(value)} of {VALUE_BYTES} bytes")
        lfn = self._changeable(lfn)
        await self._catalogue.set_attribute(
            lfn, name, value, new_only=new_only, most=ATTRIBUTES_OF_A_FILE
        )

    async def remove(self, lfn: str, name: str) -> None:
        """Forgets one. Raises NotFound, NameRefused, Refused, UsageError."""
        check_name(name)
        await self._catalogue.remove_attribute(self._changeable(lfn), name)

    def _changeable(self, lfn: str) -> str:
        lfn = self._writable.check(lfn)
        if (refusal := self._engine.node.unchangeable(lfn)) is not None:
            raise refusal
        return lfn


def check_name(name: str) -> None:
    """Raises UsageError for what will not do as the name of an attribute."""
    try:
        size_bytes = len(name.encode())
    except UnicodeEncodeError:
        raise UsageError(f"attribute name {shorten(name)} is not UTF-8") from None
    if not name or "\0" in name or size_bytes > NAME_BYTES:
        raise UsageError(
            f"{shorten(name)} will not do as the name of an attribute: it has 1 to {NAME_BYTES} "
            "bytes, none of them zero"
        )
