"""Looking into files once, when they are staged, so that nobody must later.

`Inspector` is the door of this package; what it finds is a `Content`. Files that
are neither ROOT nor Parquet are told by their first and last bytes, which `look_at`
does for a file that is open anyway. The others are opened in a child process (`dataserver.inspection.child`), so that
no file, however garbled, can hang, bloat or crash the server.
"""

from __future__ import annotations

from dataserver.inspection.content import Content, Format, Table
from dataserver.inspection.inspector import Inspector, InspectorStoppedError
from dataserver.inspection.magic import look_at

__all__ = ["Content", "Format", "Inspector", "InspectorStoppedError", "Table", "look_at"]
