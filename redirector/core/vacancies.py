"""Names that the archive did not have when it was asked a moment ago.

The redirector's root:// door asks the archive before it sends a client to write a new file.
The data server that claims the name a moment later need not ask again, which may take a
command and seconds; one whose client came straight to it must.

A note is for the next claim of the name, and not for long: what is written under that claim
may be in the archive by the time of the one after it.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

#: Clients go on to where they were sent within milliseconds, slow ones within a second.
VALID_S: Final = 10.0
#: More notes than this are for clients that never arrived.
MOST_NOTES: Final = 100_000


class Vacancies:
    """What was found free, and when."""

    def __init__(self) -> None:
        self._found_s: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._found_s)

    def note(self, lfn: str, now_s: float) -> None:
        """The archive does not have this name, and nobody writes it."""
        self._found_s.pop(lfn, None)
        self._found_s[lfn] = now_s
        while len(self._found_s) > MOST_NOTES or self._is_over(now_s):
            self._found_s.popitem(last=False)

    def take(self, lfn: str, now_s: float) -> bool:
        """Whether a name was found free a moment ago; it is not known any more afterwards."""
        found_s = self._found_s.pop(lfn, None)
        return found_s is not None and now_s - found_s <= VALID_S

    def _is_over(self, now_s: float) -> bool:
        """Whether the oldest note is."""
        return bool(self._found_s) and now_s - next(iter(self._found_s.values())) > VALID_S
