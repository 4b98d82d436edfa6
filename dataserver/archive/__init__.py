"""The archive as a data server sees it: asking about files, listing, fetching, storing
and removing them.

`Archive` is the whole door of this package. It turns logical names into archive
names, runs the site's `statcmd`, `listcmd` and `stagecmd`, or does all of it itself
where the archive is a mounted file system (`stagecmd = "builtin"`).
"""

from __future__ import annotations

from dataserver.archive.archive import Archive
from dataserver.archive.model import (
    ArchiveEntry,
    ArchiveFile,
    Fetched,
    Listing,
    Presence,
    ToStore,
)

__all__ = ["Archive", "ArchiveEntry", "ArchiveFile", "Fetched", "Listing", "Presence", "ToStore"]
