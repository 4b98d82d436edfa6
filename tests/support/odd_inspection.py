"""An inspection child that does with a file what the file's name says.

Run as a script in place of `python -m dataserver.inspection.child`: the pipes, the
limits and the alarm are the real ones, only the reading is replaced.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from dataserver.inspection import child
from dataserver.inspection.content import Content, Format, Table


def read(path: str, size_bytes: int) -> Content:
    """Behaves as told by the file's name; else one table, named as this process's id."""
    match Path(path).stem:
        case "hang":
            signal.pause()
        case "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "exit":
            os._exit(3)
        case "print":
            print("a library's idle talk")
            os.write(1, b"and more of it\n")
        case "swell":
            bytearray(1 << 46)
        case "many":
            names = (f"table {i:0100}" for i in range(200_000))
            return Content(Format.ROOT, tuple(Table(name, 1) for name in names))
    return Content(Format.ROOT, (Table(str(os.getpid()), size_bytes),))


def main() -> None:
    """Serves as the real child does."""
    child._reader_of = lambda _kind: read
    child.main()


if __name__ == "__main__":
    sys.exit(main())
