"""Names as clients of root:// write them, and what stands behind them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.errors import NameRefused
from common.root_server import RootError
from xroot.protocol import Code

if TYPE_CHECKING:
    from common.names import NameMap
    from common.writable import Writable


class Names:
    """Understands names: spelling, exports, the archive's own URLs, where clients may write."""

    def __init__(self, names: NameMap, writable: Writable) -> None:
        self._names = names
        self._writable = writable

    def file(self, path: str) -> str:
        """The LFN of a file. Raises NameRefused."""
        return self._names.check_written(path)

    def directory(self, path: str) -> str:
        """The name of a directory, or of whatever it is. Raises NameRefused."""
        try:
            return self._names.check_directory(path)
        except NameRefused:
            lfn = self._names.lfn_of(path)
            if lfn is None:
                raise
            return self._names.check_directory(lfn)

    def is_given(self, directory: str) -> bool:
        """Whether a directory is there because of the site's configuration: it is, or leads to,
        what is exported or where clients may write."""
        inside = directory.removesuffix("/") + "/"
        return self._names.leads_to_exports(directory) or any(
            writable.startswith(inside) for writable in self._writable.directories
        )

    def given_in(self, directory: str) -> set[str]:
        """The names in a directory of those that are given."""
        inside = directory.removesuffix("/") + "/"
        given = (*self._names.exports, *self._writable.directories)
        below = (one[len(inside) :].partition("/")[0] for one in given if one.startswith(inside))
        return {name for name in below if name}

    def is_writable(self, lfn: str) -> bool:
        """Whether clients may change a file, or make something in a directory, of this name."""
        return self._writable.is_open(lfn)

    def check_writable(self, lfn: str) -> None:
        """Raises Refused where clients may change no file."""
        self._writable.check(lfn)


def is_directory(lfn: str) -> RootError:
    """What is answered to those who want a file of what is a directory."""
    return RootError(Code.IS_DIRECTORY, f"{lfn} is a directory")
