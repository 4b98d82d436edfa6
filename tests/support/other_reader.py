"""Another program that has a file open, as a stock XRootD server has one for its clients."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from pathlib import Path

_OPEN = "file = open(sys.argv[1], 'rb')"
_MAP = f"{_OPEN}; mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ); file.close()"


class OtherReader:
    """A process that opens a file; enter it to wait until it has, leave it to have it closed.

    With `maps` it maps the file into its memory, and closes it.
    """

    def __init__(self, path: Path, *, maps: bool = False) -> None:
        how = _MAP if maps else _OPEN
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                f"import mmap, sys; {how}; print('opened', flush=True); sys.stdin.read()",
                str(path),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    @property
    def has_opened(self) -> bool:
        """Waits until it has; False if it could not."""
        assert self._process.stdout is not None
        return self._process.stdout.readline() == "opened\n"

    def close(self) -> None:
        """Has it close the file and end."""
        self._process.communicate()

    def __enter__(self) -> Self:
        assert self.has_opened
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
