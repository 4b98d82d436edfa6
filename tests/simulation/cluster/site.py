"""The whole site: one head, some data servers, one archive, and the network between them."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from dataserver.core.replica import Limits
from redirector.core.settings import HeadSettings
from tests.simulation.cluster.archive import Archive, random_tape
from tests.simulation.cluster.clock import HostClock
from tests.simulation.cluster.disk_node import DiskNode
from tests.simulation.cluster.head_node import HeadNode
from tests.simulation.cluster.wire import MEAN_DELAY_S, Wire

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from redirector.core import events as head_ev
    from tests.simulation.cluster.archive import Tape
    from tests.simulation.cluster.uploads import Answered, Refused
    from tests.simulation.cluster.world import World

MB = 1_000_000
LARGEST_BYTES = 20 * MB
SETTINGS = HeadSettings(
    suspect_after_s=3.0,
    lost_after_s=30.0,
    backoff_s=1.0,
    backoff_max_s=20.0,
    request_deadline_s=3600.0,
    assumed_size_bytes=20 * MB,
    stuck_after_s=20.0,
)


class Site:
    """One head, some data servers, one archive."""

    def __init__(
        self,
        world: World,
        tapes: Sequence[Tape],
        limits: Sequence[Limits],
        clocks: Callable[[], HostClock],
        *,
        store_looks: bool | None = None,
    ) -> None:
        """`limits`: of each data server's pool; `clocks` makes each host's clock;
        `store_looks`: whether the archive is asked before and after what clients write is
        stored; None: it is not stored.
        """
        self.world = world
        self.archive = Archive(world, list(tapes))
        self.head = HeadNode(world, SETTINGS, clocks())
        self.nodes = [
            DiskNode(
                world,
                f"disk{number}",
                one,
                self.archive,
                clocks(),
                self._dial,
                self._ask_head,
                store_looks=store_looks,
            )
            for number, one in enumerate(limits)
        ]
        #: Nodes that cannot reach the head now.
        self.unreachable: set[str] = set()
        #: How often a call of its own, or the answer to it, is lost.
        self.loss = 0.0
        self._wire_numbers = itertools.count(1)

    def start(self) -> None:
        """Starts every process."""
        self.head.start()
        for node in self.nodes:
            node.start()

    def named(self, name: str) -> DiskNode:
        """A data server."""
        return next(one for one in self.nodes if one.name == name)

    # --- the network -------------------------------------------------------------

    def _dial(self, node: DiskNode) -> Wire | None:
        """Opens a wire to the head, if it is up and the network lets it."""
        if not self.head.alive or node.name in self.unreachable:
            return None
        wire = Wire(self.world, next(self._wire_numbers), node.name, self.head.name)
        self.head.accept(wire)
        return wire

    def _ask_head(
        self, node: DiskNode, event: head_ev.Event, answered: Answered, refused: Refused
    ) -> None:
        """A call of a data server's. What the network loses is answered by nobody."""

        def pass_on(action: Callable[[], object]) -> None:
            if node.name not in self.unreachable and not self._is_lost():
                self.world.after(self.world.delay_s(MEAN_DELAY_S), lambda: action() and None)

        pass_on(
            lambda: self.head.ask(
                event,
                lambda _: pass_on(answered),
                lambda error: pass_on(lambda: refused(error)),
            )
        )

    def _is_lost(self) -> bool:
        return self.loss > 0 and self.world.rng.random() < self.loss


def random_tapes(world: World, files: int, *, bad_days: bool) -> list[Tape]:
    """An archive's files; see `random_tape`."""
    return [
        random_tape(world.rng, f"/store/f{number}", LARGEST_BYTES, bad_days=bad_days)
        for number in range(files)
    ]


def random_limits(world: World, tapes: Sequence[Tape], nodes: int) -> list[Limits]:
    """Pools that hold about half of the archive; some count files as well."""
    quota_bytes = sum(tape.size_bytes for tape in tapes) // (2 * nodes) + 2 * LARGEST_BYTES
    most_files = [0, len(tapes) // nodes + 4]
    return [
        Limits.of(quota_bytes, world.rng.choice(most_files), high=0.95, low=0.9)
        for _ in range(nodes)
    ]


def wrong_clock(world: World) -> HostClock:
    """A clock that is up to an hour off, and counts up to a thousandth too fast or too slowly."""
    return HostClock(world, world.rng.randint(-3600, 3600), world.rng.uniform(-1e-3, 1e-3))
