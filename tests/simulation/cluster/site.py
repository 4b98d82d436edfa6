"""The whole site under its faults, and the design's promises as checks after every step."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import TYPE_CHECKING

from common.errors import PackhorseError
from redirector.core import events as head_ev
from redirector.core.settings import HeadSettings
from tests.simulation.cluster.archive import Archive, Tape
from tests.simulation.cluster.disk_node import DiskNode
from tests.simulation.cluster.head_node import HeadNode
from tests.simulation.cluster.wire import MEAN_DELAY_S, Wire

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.simulation.cluster.uploads import Answered, Refused
    from tests.simulation.cluster.world import World

MB = 1_000_000
SETTINGS = HeadSettings(
    suspect_after_s=3.0,
    lost_after_s=30.0,
    backoff_s=1.0,
    backoff_max_s=20.0,
    request_deadline_s=3600.0,
    assumed_size_bytes=20 * MB,
)


class Site:
    """One head, some data servers, one archive; `break_things` until a time, then peace."""

    def __init__(self, world: World, *, nodes: int = 3, files: int = 30) -> None:
        self.world = world
        rng = world.rng
        tapes = [
            Tape(
                f"/store/f{number}",
                size_bytes=rng.randint(1, 20) * MB,
                entries=rng.randint(0, 50) * 10,
                in_archive=rng.random() > 0.05,
                flaky_runs=rng.choice([0, 0, 0, 1, 2]),
            )
            for number in range(files)
        ]
        self.archive = Archive(world, tapes)
        self.head = HeadNode(world, SETTINGS)
        quota = sum(tape.size_bytes for tape in tapes) // (2 * nodes) + 40 * MB
        self.nodes = [
            DiskNode(world, f"disk{number}", quota, self.archive, self._dial, self._ask_head)
            for number in range(nodes)
        ]
        self._wire_numbers = itertools.count(1)
        self._request_numbers = itertools.count(1)
        self._unreachable: set[str] = set()
        self.directories: set[str] = set()
        world.after_each.append(self.check)
        self.head.start()
        for node in self.nodes:
            node.start()

    def _dial(self, node: DiskNode) -> Wire | None:
        """Opens a wire to the head, if it is up and the network lets it."""
        if not self.head.alive or node.name in self._unreachable:
            return None
        wire = Wire(self.world, next(self._wire_numbers))
        self.head.accept(wire)
        return wire

    def _ask_head(
        self, node: DiskNode, event: head_ev.Event, answered: Answered, refused: Refused
    ) -> None:
        """A call of a data server's. What the network loses is answered by nobody."""

        def pass_on(action: Callable[[], object]) -> None:
            if node.name not in self._unreachable:
                self.world.after(self.world.delay_s(MEAN_DELAY_S), action)

        pass_on(
            lambda: self.head.ask(
                event,
                lambda _: pass_on(answered),
                lambda error: pass_on(lambda: refused(error)),
            )
        )

    # --- what clients do -------------------------------------------------------

    def stage(self, lfns: list[str], *, pin_s: float = 0.0, deadline_s: float = 0.0) -> None:
        """A client asks until it is told that its request was accepted."""
        key = f"request-{next(self._request_numbers)}"
        attempts = itertools.count(1)
        answered = False

        def accepted(_: object) -> None:
            nonlocal answered
            answered = True

        def ask() -> None:
            if answered:
                return
            event = head_ev.StageAsked(
                f"{key}.{next(attempts)}", lfns, "client", 0, pin_s, deadline_s, key
            )
            self.head.ask(event, accepted)
            self.world.after(2.0, ask)

        ask()

    def write(self, lfn: str, size_bytes: int) -> None:
        """A client asks where to write a file, again and again, until it is sent somewhere."""
        host = self.world.rng.choice(self.nodes).name

        def ask() -> None:
            if self.head.alive:
                try:
                    address = self.head.head.choose_writer(
                        lfn, size_bytes, host, (), self.world.now_s
                    )
                except PackhorseError as error:
                    self.world.tell(f"client: {error}")
                else:
                    node = next(one for one in self.nodes if one.name == address.node)
                    self.world.after(self.world.delay_s(0.01), lambda: node.write(lfn, size_bytes))
                    return
            self.world.after(2.0, ask)

        ask()

    def make_directory(self, lfn: str) -> None:
        """A client makes a directory; what it is told is there must stay."""

        def made(_: object) -> None:
            self.directories.add(lfn)

        self.head.ask(head_ev.MakeDirectoryAsked(lfn, parents=True), made)

    def cancel_something(self) -> None:
        """Somebody changes their mind about an accepted request."""
        waiting = self.head.unfinished()
        if waiting:
            self.head.ask(head_ev.CancelAsked(self.world.rng.choice(waiting)))

    # --- what goes wrong -------------------------------------------------------

    def break_things(self, until_s: float, mean_s: float) -> None:
        """Plans faults at random moments, of random kinds, until a time from now."""
        self.world.after(until_s, self._unreachable.clear)
        at_s = self.world.delay_s(mean_s)
        while at_s < until_s:
            self.world.after(at_s, self._break_something)
            at_s += self.world.delay_s(mean_s)

    def _break_something(self) -> None:
        rng = self.world.rng
        node = rng.choice(self.nodes)
        match rng.choice(["kill node", "kill head", "cut", "silence", "cancel", "evict", "drain"]):
            case "kill node" if node.alive:
                node.kill()
                self.world.after(self.world.delay_s(8.0), node.start)
            case "kill head" if self.head.alive:
                self.head.kill()
                self.world.after(self.world.delay_s(3.0), self.head.start)
            case "cut" if self.head.wires():
                rng.choice(self.head.wires()).cut()
            case "silence" if self.head.wires():
                self._silence(node)
            case "cancel":
                self.cancel_something()
            case "evict" if node.files:
                node.evict(rng.choice(sorted(node.files)))
            case "drain":
                self.head.ask(head_ev.DrainAsked(node.name))
                undo = head_ev.DrainAsked(node.name, undo=True)
                self.world.after(10.0, lambda: self._until_done(undo))

    def _until_done(self, event: head_ev.Event) -> None:
        """Asks again while the head is down."""
        if self.head.alive:
            self.head.ask(event)
        else:
            self.world.after(1.0, lambda: self._until_done(event))

    def _silence(self, node: DiskNode) -> None:
        """A partition: nothing passes between a node and the head for a while."""
        self.world.tell(f"{node.name}: cut off from the head")
        self._unreachable.add(node.name)
        node.fall_silent()
        lasts_s = self.world.delay_s(20.0)
        self.world.after(lasts_s, lambda: self._unreachable.discard(node.name))

    # --- promises --------------------------------------------------------------

    def check(self) -> None:
        """The promises that hold at every moment."""
        running = Counter(lfn for node in self.nodes for lfn in set(node.commands.values()))
        double = [lfn for lfn, count in running.items() if count > 1]
        assert not double, f"more than one recall is live of {double}"
        written = Counter(lfn for node in self.nodes for lfn in node.written())
        double = [lfn for lfn, count in written.items() if count > 1]
        assert not double, f"more than one client writes {double}"
        both = running.keys() & written.keys()
        assert not both, f"staged while they are written: {both}"
        for node in self.nodes:
            on_disk = node.bytes_on_disk()
            assert on_disk <= node.quota_bytes, f"{node.name} holds {on_disk} over its quota"
            if node.alive:
                visible = {replica.lfn for replica in node.node.pool.held()}
                assert visible <= node.files.keys(), f"{node.name} shows what it does not hold"

    def check_at_peace(self) -> None:
        """The promises that hold once faults have stopped and time has passed."""
        assert not self.head.unfinished(), f"never ended: {self.head.unfinished()}"
        self.head.check_ended()
        now_s = self.world.now_s
        held = {lfn for node in self.nodes for lfn in node.files}
        lfns = sorted({*self.archive.tapes, *held})
        columns = self.head.head.locate(lfns, now_s)
        for lfn, holder in zip(lfns, columns.holders, strict=True):
            assert bool(holder) == (lfn in held), f"the index is wrong about {lfn}"
        for node in self.nodes:
            assert not node.commands, f"{node.name} still runs {node.commands}"
            assert not node.incoming, f"{node.name} keeps {node.incoming}"
            assert not node.node.claims(), f"{node.name} still claims {node.node.claims()}"
            assert node.unarchived <= node.files.keys(), "what a client wrote is lost"
            assert not self.head.head.node(node.name, now_s).claims
            assert node.node.pool.reserved_bytes == 0
        assert all(map(self.head.head.is_directory, self.directories))
