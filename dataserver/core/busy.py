"""Names that something is under way with: a recall, an upload or a rename.

At most one thing is under way with a name, whatever it is. Who finds a name taken is told
by what, in words.
"""

from __future__ import annotations


class BusyNames:
    """What is under way with each name, as a sentence for whoever comes second."""

    __slots__ = ("_what",)

    def __init__(self) -> None:
        self._what: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._what)

    def get(self, lfn: str) -> str | None:
        """What is under way with a name; None if nothing is."""
        return self._what.get(lfn)

    def take(self, lfn: str, what: str) -> None:
        """Something begins with a name that is free."""
        assert lfn not in self._what, (what, self._what[lfn])
        self._what[lfn] = what

    def free(self, lfn: str) -> None:
        """What was under way with a name is over."""
        del self._what[lfn]
