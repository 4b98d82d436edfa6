"""Which files are stored in the archive when clients have written them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.names import normalise_prefix

if TYPE_CHECKING:
    from collections.abc import Iterable


class Migratable:
    """The directories of `[mss] migratable` (none: all) without those of `notmigratable`."""

    def __init__(self, directories: Iterable[str], exceptions: Iterable[str]) -> None:
        said = dict.fromkeys(map(normalise_prefix, directories), True)
        if not said:
            said["/"] = True
        said |= dict.fromkeys(map(normalise_prefix, exceptions), False)
        self._inner_first = sorted(said.items(), key=lambda one: len(one[0]), reverse=True)

    def covers(self, lfn: str) -> bool:
        """Whether a file of this name, which is normalised, is to be stored."""
        return next((goes for where, goes in self._inner_first if lfn.startswith(where)), False)
