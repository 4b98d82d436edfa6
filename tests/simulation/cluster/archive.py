"""The mass storage system: what it holds, and how its command behaves today."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dataserver.core.failure import Failure, FailureKind

if TYPE_CHECKING:
    from tests.simulation.cluster.world import World


@dataclass(frozen=True, slots=True)
class Tape:
    """One file of the archive."""

    lfn: str
    size_bytes: int
    entries: int
    in_archive: bool = True
    #: How many runs fail before one succeeds.
    flaky_runs: int = 0


class Archive:
    """Files, and the time that bringing one takes."""

    def __init__(self, world: World, tapes: list[Tape]) -> None:
        self.tapes = {tape.lfn: tape for tape in tapes}
        self._world = world
        self._failed_runs: dict[str, int] = {}
        self.runs: dict[str, int] = {}

    def copy_s(self, lfn: str) -> float:
        """How long one run takes: a mount, then bandwidth."""
        return 0.2 + self._world.delay_s(1.0) + self.tapes[lfn].size_bytes / 100e6

    def outcome(self, lfn: str) -> Failure | None:
        """How the run that now ends went."""
        self.runs[lfn] = self.runs.get(lfn, 0) + 1
        tape = self.tapes[lfn]
        if not tape.in_archive:
            return Failure(FailureKind.NOT_FOUND, "no such file on tape")
        failed = self._failed_runs.get(lfn, 0)
        if failed < tape.flaky_runs:
            self._failed_runs[lfn] = failed + 1
            return Failure(FailureKind.TRANSIENT, "drive broke")
        return None
