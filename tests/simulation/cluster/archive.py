"""The mass storage system: volumes, drives, and a command that has bad days."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from common.names import normalise

if TYPE_CHECKING:
    import random

    from tests.simulation.cluster.disk import SimFile
    from tests.simulation.cluster.world import World

MOUNT_S = 0.6
LOCATE_S = 0.4  # from one end of a volume to the other
BYTES_PER_S = 100e6


class Run(Enum):
    """How one run of the site's stage command behaves."""

    GOOD = "good"
    BROKEN = "drive broke"  # says so, and exits with 75
    SIGNAL = "killed by signal 9"  # the OOM killer, say
    FLOOD = "good, and prints a gigabyte"
    HANG = "hangs"
    DEAF = "hangs, and ignores SIGTERM"
    NOTHING = "exits 0 without a file"
    SHORT = "exits 0 with half a file"
    LONG = "writes thrice as much"
    WRONG = "exits 0 with other bytes of the right size"


#: What nobody could tell from a good run without the archive's checksum; without its size.
NEEDS_CHECKSUM = {Run.WRONG}
NEEDS_EITHER = {Run.SHORT, Run.LONG}


@dataclass(frozen=True, slots=True)
class Tape:
    """One file of the archive, and how the first runs that bring it behave."""

    lfn: str
    size_bytes: int
    entries: int = 0
    in_archive: bool = True
    volume: int = 0
    position: float = 0.0  # 0 to 1
    tells_size: bool = True
    tells_checksum: bool = True
    runs: tuple[Run, ...] = ()
    #: What a store command has left of what a client wrote; "": it was there from the first.
    stored: str = ""

    @property
    def content(self) -> str:
        """Stands for its bytes."""
        return self.stored or f"{self.lfn} as archived"


class Archive:
    """Files on volumes, drives that bring them, and the truth about what is in them."""

    def __init__(self, world: World, tapes: list[Tape], drives: int = 3) -> None:
        self.tapes = {tape.lfn: tape for tape in tapes}
        #: Runs of the command, by file.
        self.runs: Counter[str] = Counter()
        #: Whether it answers nobody, and takes nothing.
        self.is_down = False
        #: What it was left with by store commands that stopped half-way: it tells size and
        #: checksum of that, so whoever recalls it meanwhile cannot know.
        self.halves: set[str] = set()
        self._world = world
        self._free_at_s = [0.0] * drives
        self._mounted = [(-1, 0.0)] * drives

    def find(self, lfn: str) -> Tape | None:
        """The file of a name, however that is spelt: the archive's file system knows."""
        tape = self.tapes.get(lfn) or self.tapes.get(normalise(lfn))
        return tape if tape is not None and tape.in_archive else None

    def store(self, file: SimFile, *, whole: bool) -> None:
        """A store command writes a file, or half of it, over what there is."""
        size_bytes = file.size_bytes if whole else file.size_bytes // 2
        content = file.content if whole else f"half of {file.content}"
        if not whole:
            self.halves.add(content)
        self.tapes[file.lfn] = Tape(file.lfn, size_bytes, stored=content)

    def begin_run(self, lfn: str) -> tuple[Run, float]:
        """How the run that begins now behaves, and how long it takes if it does well."""
        number = self.runs[lfn]
        self.runs[lfn] += 1
        tape = self.find(lfn)
        if tape is None:
            return Run.GOOD, 0.1
        run = tape.runs[number] if number < len(tape.runs) else Run.GOOD
        return run, self._bring_s(tape)

    def _bring_s(self, tape: Tape) -> float:
        """Waits for a drive, mounts, locates and reads."""
        now_s = self._world.now_s
        drive = min(
            range(len(self._free_at_s)),
            key=lambda one: (self._mounted[one][0] != tape.volume, self._free_at_s[one]),
        )
        if self._mounted[drive][0] == tape.volume and self._free_at_s[drive] > now_s + MOUNT_S:
            drive = min(range(len(self._free_at_s)), key=self._free_at_s.__getitem__)
        volume, position = self._mounted[drive]
        takes_s = tape.size_bytes / BYTES_PER_S
        if volume != tape.volume:
            takes_s += MOUNT_S
            position = 0.0
        takes_s += LOCATE_S * abs(tape.position - position)
        until_s = max(now_s, self._free_at_s[drive]) + takes_s
        self._free_at_s[drive] = until_s
        self._mounted[drive] = (tape.volume, tape.position)
        return until_s - now_s


def random_tape(rng: random.Random, lfn: str, max_bytes: int, *, bad_days: bool = True) -> Tape:
    """A file such as archives have: most are well, some are not there.

    `bad_days`: some runs of the command that brings it go wrong.
    """
    tells_size, tells_checksum = rng.random() < 0.8, rng.random() < 0.8
    unseen = set() if tells_checksum else NEEDS_CHECKSUM
    if not tells_size and not tells_checksum:
        unseen = NEEDS_CHECKSUM | NEEDS_EITHER
    bad = [run for run in Run if run not in unseen]
    runs = tuple(rng.choice(bad) for _ in range(rng.choice([0, 0, 0, 1, 1, 2, 3])))
    if not bad_days:
        runs = ()
    return Tape(
        lfn,
        rng.randint(1, max_bytes),
        entries=rng.randint(0, 50) * 10,
        in_archive=rng.random() > 0.05,
        volume=rng.randrange(4),
        position=rng.random(),
        tells_size=tells_size,
        tells_checksum=tells_checksum,
        runs=runs,
    )
