"""Who is who in one run of a batch command, and how each file stands.

A file that is dropped stays on the roll until the command says that it is through with it,
so that one knows whether it may still be written. What a command says out of turn changes
nothing: it is told as a complaint, for whoever wants to know what is wrong with a script.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable


class FileState(Enum):
    """How a file of a batch stands."""

    GIVEN = "given"  # the command has its name
    STARTED = "started"  # the command is at work on it
    DONE = "done"
    FAILED = "failed"
    DROPPED = "dropped"  # nobody wants it, and the command may not know yet
    GONE = "gone"  # dropped, and the command is through with it


_S = FileState

MOVES: Final[dict[tuple[FileState, str], FileState]] = {
    (_S.GIVEN, "started"): _S.STARTED,
    (_S.GIVEN, "progress"): _S.STARTED,
    (_S.GIVEN, "done"): _S.DONE,
    (_S.GIVEN, "failed"): _S.FAILED,
    (_S.GIVEN, "drop"): _S.DROPPED,
    (_S.STARTED, "progress"): _S.STARTED,
    (_S.STARTED, "done"): _S.DONE,
    (_S.STARTED, "failed"): _S.FAILED,
    (_S.STARTED, "drop"): _S.DROPPED,
    (_S.DROPPED, "started"): _S.DROPPED,
    (_S.DROPPED, "progress"): _S.DROPPED,
    (_S.DROPPED, "done"): _S.GONE,
    (_S.DROPPED, "failed"): _S.GONE,
}

#: The command has still to bring it.
WANTED: Final = frozenset({_S.GIVEN, _S.STARTED})
#: Nothing more is expected of the command.
OVER: Final = frozenset({_S.DONE, _S.FAILED, _S.GONE})


class Roll:
    """The files of one run, by the ids that the command knows them by."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._states = dict.fromkeys(keys, FileState.GIVEN)
        self._wanted = len(self._states)
        self._over = 0

    def __getitem__(self, key: str) -> FileState:
        return self._states[key]

    @property
    def wanted(self) -> list[str]:
        """The files that the command has still to bring."""
        return [key for key, state in self._states.items() if state in WANTED]

    @property
    def is_wanted(self) -> bool:
        """Whether there is any such file."""
        return self._wanted > 0

    @property
    def is_over(self) -> bool:
        """Whether the command is through with all files."""
        return self._over == len(self._states)

    def hear(self, key: str, said: str) -> str:
        """What the command said of a file; a complaint if that was out of turn, else ""."""
        before = self._states.get(key)
        if before is None:
            return f'"{said}" is said of {key!r}, which is no id of this run'
        after = MOVES.get((before, said))
        if after is None:
            return f'"{said}" is said of {key} when it is {before.value}'
        self._enter(key, before, after)
        return ""

    def drop(self, key: str) -> None:
        """Nobody wants the file any more; nothing changes if it is over."""
        before = self._states[key]
        if before in WANTED:
            self._enter(key, before, MOVES[before, "drop"])

    def _enter(self, key: str, before: FileState, after: FileState) -> None:
        self._states[key] = after
        self._wanted += (after in WANTED) - (before in WANTED)
        self._over += (after in OVER) - (before in OVER)

    def check(self) -> None:
        """Asserts that the counts are those of the states."""
        states = list(self._states.values())
        assert self._wanted == sum(state in WANTED for state in states) == len(self.wanted)
        assert self._over == sum(state in OVER for state in states)
