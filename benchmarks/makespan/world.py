"""One scenario with its numbers drawn: hosts, files, and what goes wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

#: Before the first byte of a file that a worker has not open, from its own host or another.
OPEN_LOCAL_S: Final = 0.05
OPEN_REMOTE_S: Final = 0.3
#: A message to the scheduler and its answer.
ROUND_TRIP_S: Final = 0.003


@dataclass(frozen=True, slots=True)
class Host:
    """A machine with workers, a disk full of files and one network interface.

    `speeds` are its workers' speeds; 1 does an entry in the time that is told of its file.
    """

    speeds: tuple[float, ...]
    disk_bytes_per_s: float
    network_bytes_per_s: float


@dataclass(frozen=True, slots=True)
class File:
    """A file on some hosts, from `online_s` on."""

    number: int
    entries: int
    entry_s: float
    entry_bytes: float
    hosts: tuple[int, ...]
    online_s: float = 0.0
    is_corrupt: bool = False

    @property
    def work_s(self) -> float:
        """The time that a worker of speed 1 takes for all of it."""
        return self.entries * self.entry_s

    @property
    def size_bytes(self) -> float:
        """All of it."""
        return self.entries * self.entry_bytes


@dataclass(frozen=True, slots=True)
class Slowdown:
    """From `at_s` on, the workers of a host have `factor` of their speed."""

    at_s: float
    host: int
    factor: float


@dataclass(frozen=True, slots=True)
class Death:
    """A worker dies, with what it has not handed in."""

    at_s: float
    host: int
    place: int  # among the workers of its host


@dataclass(frozen=True, slots=True)
class World:
    """Everything that a run needs to know."""

    hosts: tuple[Host, ...]
    files: tuple[File, ...]
    slowdowns: tuple[Slowdown, ...] = ()
    deaths: tuple[Death, ...] = ()

    @property
    def workers(self) -> int:
        """How many there are."""
        return sum(len(host.speeds) for host in self.hosts)

    @property
    def good_files(self) -> list[File]:
        """Those that can be read."""
        return [file for file in self.files if not file.is_corrupt]
