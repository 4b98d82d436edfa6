"""Names that something is under way with: a recall, an upload or a rename.

At most one thing is under way with a name, whatever it is. Who finds a name taken is told
by what, in words.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from common.errors import Refused


class BusyNames:
    """What is under way with each name, as a sentence for whoever comes second."""

    __slots__ = ("_why_not",)

    def __init__(self) -> None:
        self._why_not: dict[str, Refused] = {}

    def __len__(self) -> int:
        return len(self._why_not)

    def get(self, lfn: str) -> str | None:
        """What is under way with a name; None if nothing is."""
        refusal = self._why_not.get(lfn)
        return None if refusal is None else refusal.message

    def refusal(self, lfn: str) -> Refused | None:
        """The same as an error, to be raised; None if nothing is."""
        refusal = self._why_not.get(lfn)
        return None if refusal is None else type(refusal)(refusal.message)

    def take(self, lfn: str, why_not: Refused) -> None:
        """Something begins with a name that is free; `why_not` is for whoever comes second."""
        assert lfn not in self._why_not, (why_not, self._why_not[lfn])
        self._why_not[lfn] = why_not

    def free(self, lfn: str) -> None:
        """What was under way with a name is over."""
        del self._why_not[lfn]
