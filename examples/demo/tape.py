#!/usr/bin/env python3
"""A stage command that behaves like a tape library.

    tape.py LIBRARY SOURCE TARGET

LIBRARY is a folder with one empty file per drive, and `library.json`:

    {"mount_s": 0.3, "bytes_per_s": 1500000}

A run waits for a free drive, mounts the tape (a delay), then copies at the drive's
bandwidth. It uses nothing but the standard library, as a site's own script might.
"""

from __future__ import annotations

import fcntl
import json
import random
import sys
import time
from pathlib import Path
from typing import IO

NOT_FOUND = 66  # EX_NOINPUT: "the archive has no such file", in Packhorse's table
CHUNK_BYTES = 64 * 1024


def take_drive(library: Path) -> IO[str]:
    """Waits for a free drive; it is ours until the file is closed."""
    drives = sorted(library.glob("drive*"))
    random.shuffle(drives)
    for path in drives:
        drive = path.open("w")
        try:
            fcntl.flock(drive, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            drive.close()
        else:
            return drive
    drive = drives[0].open("w")
    fcntl.flock(drive, fcntl.LOCK_EX)
    return drive


def copy_at(source: Path, target: Path, bytes_per_s: float) -> None:
    """Copies no faster than the drive reads."""
    began = time.monotonic()
    copied = 0
    with source.open("rb") as reading, target.open("wb") as writing:
        while chunk := reading.read(CHUNK_BYTES):
            writing.write(chunk)
            copied += len(chunk)
            time.sleep(max(0.0, began + copied / bytes_per_s - time.monotonic()))


def main(library: Path, source: Path, target: Path) -> int:
    """Stages one file; returns the exit code."""
    if not source.is_file():
        print(f"no such file on tape: {source}", file=sys.stderr)
        return NOT_FOUND
    figures = json.loads((library / "library.json").read_text())
    with take_drive(library):
        time.sleep(figures["mount_s"])
        copy_at(source, target, figures["bytes_per_s"])
    return 0


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:])))
