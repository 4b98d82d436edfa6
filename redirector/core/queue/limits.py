"""How many recalls may run at a time: in all, from each part of the archive, from tape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class ArchiveLimit:
    """One part of the archive, as a rule of the configuration names it."""

    name: str
    recalls: int = 0  # that may run at a time; 0: any number


@dataclass(frozen=True, slots=True)
class Limits:
    """The site's limits. `archive_of` says which of the `archives` a file is brought from."""

    recalls: int = 0  # that may run at a time in all; 0: any number
    drives: int = 4  # volumes that are read at a time
    archives: tuple[ArchiveLimit, ...] = (ArchiveLimit("the archive"),)
    archive_of: Callable[[str], int] | None = None  # None: there is but one
    #: A volume is read for this long while others wait that had less, in seconds.
    volume_s: float = 3600.0
