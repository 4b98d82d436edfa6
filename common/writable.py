"""Where clients may change files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.errors import Refused
from common.names import normalise_prefix

if TYPE_CHECKING:
    from collections.abc import Iterable

    from common.names import NameMap


class Writable:
    """The directories of `[root] writable`, among what the site exports."""

    def __init__(self, names: NameMap, directories: Iterable[str]) -> None:
        self._names = names
        #: Each ends with a slash.
        self.directories = tuple(map(normalise_prefix, directories))

    def is_writable(self, name: str) -> bool:
        """Whether clients may make and change what has this name, which is normalised."""
        return name.startswith(self.directories)

    def is_open(self, directory: str) -> bool:
        """Whether clients may make anything in a directory: one of these, or any below."""
        return f"{directory}/".startswith(self.directories)

    def check(self, lfn: str) -> str:
        """The name normalised. Raises NameRefused; Refused if it is not for clients to change."""
        name = self._names.check(lfn)
        if not self.is_writable(name):
            raise Refused(f"{name} is not in a directory where clients may write ([root] writable)")
        return name
