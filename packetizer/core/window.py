"""Which files to have staged next, and how many: the policy of the *window*.

A session may stage ahead into a share of the space its pools have to give. That
space is what the redirector calls available (neither reserved nor pinned), and
what this session pins there of what it had staged. Files on their way are left out
of it: whether space is reserved for them already, nobody can tell from here, and
counting it twice would let the window creep until it is all of the pool. What the
session has just unpinned is counted as available, before the redirector, which
hears of it from heartbeats, can say so: else small pools would run dry in between.

Files are asked for in their order in the dataset, which is the order they were
written to tape. One file is always asked for, however little space there is: then
the session moves on whenever anything is released.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from packetizer.core.files import FileState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from packetizer.core.files import WorkFile

#: As long as no size of any file is known, the window is taken to hold this many files,
#: of at most this size. Too many at first do no harm: they wait in the redirector.
ASSUMED_FILES = 8
ASSUMED_SIZE_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class Space:
    """What the pools of usable data servers hold, and of that, have to give."""

    available_bytes: int = 0
    quota_bytes: int = 0  # 0: unknown


class Window(Protocol):
    """The policy: how many bytes a session may have asked for and not be done with."""

    def bytes_ahead(self, space_bytes: int) -> int:
        """`space_bytes` is what the pools have to give to this session, as said above."""
        ...


class ShareOfSpace:
    """The policy described above."""

    def __init__(self, share: float) -> None:
        self._share = share

    def bytes_ahead(self, space_bytes: int) -> int:
        """See `Window`."""
        return int(self._share * space_bytes)


class Ahead:
    """The files a session wants staged, and what it has asked for ahead of need."""

    def __init__(self, window: Window, space: Space) -> None:
        self._window = window
        self._space = space
        #: Of files unpinned since the last news of space, and since those before.
        self._freed_bytes = 0
        self._freed_before_bytes = 0
        self._wanted: deque[WorkFile] = deque()
        self._known_bytes = 0
        self._known_files = 0
        self._assumed_bytes = ASSUMED_SIZE_BYTES
        #: Of files that are asked for, or came because they were, and are not settled.
        self.held_bytes = 0
        self.held_files = 0
        #: Of these, the ones that have come.
        self.pinned_bytes = 0

    def want(self, file: WorkFile, *, first: bool = False) -> None:
        """Puts a file on the list; `first` if others have worked on it already."""
        if first:
            self._wanted.appendleft(file)
        else:
            self._wanted.append(file)

    def size_known(self, size_bytes: int) -> None:
        """One more size was learnt, which tells about the unknown ones."""
        self._known_bytes += size_bytes
        self._known_files += 1

    def space_is(self, space: Space) -> None:
        """The redirector tells how much space there is."""
        self._space = space
        self._freed_before_bytes, self._freed_bytes = self._freed_bytes, 0

    def freed(self, file: WorkFile) -> None:
        """A file that was pinned is not needed any more."""
        self._freed_bytes += self.size_of(file)

    def _space_bytes(self) -> int:
        space_bytes = self._space.available_bytes + self.pinned_bytes
        space_bytes += self._freed_before_bytes + self._freed_bytes
        return min(space_bytes, self._space.quota_bytes or space_bytes)

    def next_files(self, limit: int) -> list[WorkFile]:
        """The files to ask for now, at most `limit`; they count as held from here on."""
        chosen: list[WorkFile] = []
        window_bytes = self._window.bytes_ahead(self._space_bytes())
        self._assumed_bytes = max(1, min(ASSUMED_SIZE_BYTES, window_bytes // ASSUMED_FILES))
        room_bytes = window_bytes - self.held_bytes
        while self._wanted and len(chosen) < limit:
            file = self._wanted[0]
            if file.state is not FileState.WANTED or file.is_ahead:
                self._wanted.popleft()  # it came online by somebody else's wish, or is settled
                continue
            size_bytes = self.size_of(file)
            if size_bytes > room_bytes and self.held_files:
                break
            self._wanted.popleft()
            self.hold(file)
            room_bytes -= size_bytes
            chosen.append(file)
        return chosen

    def hold(self, file: WorkFile) -> None:
        """Counts a file as held."""
        file.is_ahead = True
        file.held_bytes = self.size_of(file)
        self.held_bytes += file.held_bytes
        self.held_files += 1

    def corrected(self, file: WorkFile) -> None:
        """The size of a file was learnt, for which a likely one was held."""
        if file.is_ahead:
            more_bytes = file.size_bytes - file.held_bytes
            file.held_bytes += more_bytes
            self.held_bytes += more_bytes
            if file.has_arrived:
                self.pinned_bytes += more_bytes

    def arrived(self, file: WorkFile) -> None:
        """A file came online, by our asking or another's."""
        if file.is_ahead and not file.has_arrived:
            file.has_arrived = True
            self.pinned_bytes += file.held_bytes

    def release(self, file: WorkFile) -> None:
        """The file is settled, or is no longer asked for."""
        if file.is_ahead:
            file.is_ahead = False
            self.held_bytes -= file.held_bytes
            self.held_files -= 1
            if file.has_arrived:
                file.has_arrived = False
                self.pinned_bytes -= file.held_bytes

    def size_of(self, file: WorkFile) -> int:
        """The size of a file, or what is likely."""
        if file.size_bytes:
            return file.size_bytes
        if self._known_files:
            return max(1, self._known_bytes // self._known_files)
        return self._assumed_bytes

    def check(self, held: Sequence[WorkFile]) -> None:
        """Asserts that the sums are those of the files held."""
        assert self.held_files == len(held)
        assert self.held_bytes == sum(file.held_bytes for file in held)
        assert self.pinned_bytes == sum(file.held_bytes for file in held if file.has_arrived)
