"""The design's promises as checks: every one a class whose docstring quotes it.

`check` runs after every step and looks at what the step has touched; `check_at_peace` runs
once faults have stopped and time has passed, for what holds only then. They look at the
world from outside (processes, disks, committed rows, what clients were told) and compare
that with what the cores say, never one core's books with themselves: each core's own
invariants are its `check()`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from tests.simulation.promises.counting import CountedOnce
from tests.simulation.promises.names import OneName
from tests.simulation.promises.pool import PurgeSparesWhatIsNeeded, QuotaHolds
from tests.simulation.promises.progress import StuckIsReported
from tests.simulation.promises.promise import Promise
from tests.simulation.promises.recalls import CancelLeavesNothing, OneRecallPerFile
from tests.simulation.promises.replicas import ReadableWhateverElse, VisibleOnlyWhenSafe
from tests.simulation.promises.requests import EveryRequestEnds, RestartLosesNothing
from tests.simulation.promises.time import OldMessagesAreIgnored

if TYPE_CHECKING:
    from tests.simulation.laboratory import Laboratory

P = TypeVar("P", bound=Promise)

#: The cores check their books themselves in every N-th step.
CORES_EVERY = 25

PROMISES: tuple[type[Promise], ...] = (
    OneRecallPerFile,
    ReadableWhateverElse,
    CancelLeavesNothing,
    EveryRequestEnds,
    RestartLosesNothing,
    PurgeSparesWhatIsNeeded,
    QuotaHolds,
    VisibleOnlyWhenSafe,
    StuckIsReported,
    CountedOnce,
    OldMessagesAreIgnored,
    OneName,
)


class Watch:
    """All promises, kept an eye on in one simulation."""

    def __init__(self, laboratory: Laboratory) -> None:
        self._promises = [promise(laboratory) for promise in PROMISES]
        self._world = laboratory.world
        self._site = laboratory.site
        self._world.after_each.append(self._check)

    def get(self, kind: type[P]) -> P:
        """One promise's check."""
        return next(one for one in self._promises if isinstance(one, kind))

    def _check(self) -> None:
        if not self._world.touched:
            return
        for promise in self._promises:
            promise.check()
        if self._world.steps % CORES_EVERY == 0:
            self._check_cores()

    def _check_cores(self) -> None:
        """The cores' own invariants: they go through all that there is."""
        if self._site.head.alive:
            self._site.head.head.check()
        for node in self._site.nodes:
            if node.alive:
                node.node.check()

    def check_at_peace(self) -> None:
        """To be called when nothing goes wrong any more, and all that was under way has ended."""
        for promise in self._promises:
            promise.check_at_peace()
