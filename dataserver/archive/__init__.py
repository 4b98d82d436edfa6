"""The archive as a data server sees it: asking about files, and fetching them.

`Archive` is the whole door of this package. It turns logical names into archive
names, runs the site's `statcmd` and `stagecmd`, or does both itself where the
archive is a mounted file system (`stagecmd = "builtin"`).
"""

from __future__ import annotations

from dataserver.archive.archive import Archive
from dataserver.archive.model import ArchiveFile, Fetched, Presence

__all__ = ["Archive", "ArchiveFile", "Fetched", "Presence"]
