"""Listing a directory of the name space: what the rules give, and what the archive adds."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from common.directories import directory_of
from common.errors import NameRefused
from dataserver.archive.model import ArchiveEntry, Listing, Presence

if TYPE_CHECKING:
    from common.directories import Directory
    from common.names import NameMap


class ArchiveLister(Protocol):
    """Lists directories of the archive."""

    async def list_directory(self, directory: Directory) -> Listing:
        """What is in the directory of the archive that this one's rule names."""
        ...


class Lister:
    """Lists directories of the name space; `archive` None means nobody can ask it."""

    def __init__(self, names: NameMap, archive: ArchiveLister | None) -> None:
        self._names = names
        self._archive = archive

    async def list_directory(self, lfn: str) -> Listing:
        """What is in a directory. Whatever is wrong with it is told as the reason."""
        try:
            directory = directory_of(self._names, lfn)
        except NameRefused as error:
            return Listing(Presence.NOT_THERE, reason=str(error))
        given = [ArchiveEntry(name, is_directory=True) for name in sorted(directory.children)]
        if directory.is_complete:
            return Listing(Presence.THERE, given)
        if directory.rule is None:
            reason = f"only regex rules are about {directory.lfn}, and those cannot be listed"
            return Listing(Presence.UNKNOWN, given, reason)
        if self._archive is None:
            reason = "the site has no listcmd, so its archive cannot be listed"
            return Listing(Presence.UNKNOWN, given, reason)
        found = await self._archive.list_directory(directory)
        if found.presence is Presence.NOT_THERE:
            return Listing(Presence.THERE, given) if directory.is_given else found
        # A look at a million names would hold up the loop.
        entries = await asyncio.to_thread(_exported, directory, found)
        return Listing(found.presence, [*given, *entries], found.reason)


def _exported(directory: Directory, found: Listing) -> list[ArchiveEntry]:
    """The entries that are this directory's, each name once."""
    by_name = {
        entry.name: entry
        for entry in found.entries
        if directory.has(entry.name, is_directory=entry.is_directory)
    }
    return list(by_name.values())
