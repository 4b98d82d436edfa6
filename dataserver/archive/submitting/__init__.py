"""The submit-and-poll contract: files are ordered from the archive, asked about, and then copied.

`Submitter` is the door: a `Fetcher` that has the archive make a file ready, and then has
another fetcher copy it.
"""

from __future__ import annotations

from dataserver.archive.submitting.submitter import SubmitSettings, Submitter

__all__ = ["SubmitSettings", "Submitter"]
