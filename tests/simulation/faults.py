"""What goes wrong with a site: everything that can, at random moments, until a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.simulation.cluster.disk import Mood

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.simulation.clients import Clients
    from tests.simulation.cluster.disk_node import DiskNode
    from tests.simulation.cluster.site import Site

#: How often a call or its answer is lost while there is trouble.
LOSS = 0.05


class Faults:
    """Breaks things, and has all of them well again at the end."""

    def __init__(self, site: Site, clients: Clients) -> None:
        self._site = site
        self._clients = clients
        self._world = site.world
        self._over = False
        self._kinds: list[Callable[[DiskNode], None]] = [
            self._kill_node,
            self._cut_power,
            self._freeze_node,
            self._kill_head,
            self._freeze_head,
            self._cut_head_power,
            self._cut_wire,
            self._read_late,
            self._part_from_head,
            self._spoil_disk,
            self._close_archive,
            self._delete_behind,
            self._evict,
            self._set_clock,
            lambda node: clients.cancel_something(),
            lambda node: clients.remove_something(),
            lambda node: clients.drain(node.name, 10.0),
        ]

    def plan(self, until_s: float, mean_s: float) -> None:
        """Plans faults until a time from now."""
        self._site.loss = LOSS
        self._world.after(until_s, self._end)
        at_s = self._world.delay_s(mean_s)
        while at_s < until_s:
            self._world.after(at_s, self._break_something)
            at_s += self._world.delay_s(mean_s)

    def _break_something(self) -> None:
        rng = self._world.rng
        rng.choice(self._kinds)(rng.choice(self._site.nodes))

    def _end(self) -> None:
        self._over = True
        self._site.loss = 0.0
        self._site.unreachable.clear()
        self._open_archive()
        for node in self._site.nodes:
            node.set_mood(Mood.WELL)

    # --- processes and machines --------------------------------------------------------

    def _kill_node(self, node: DiskNode) -> None:
        if node.alive:
            node.kill()
            self._world.after(self._world.delay_s(8.0), node.start)

    def _cut_power(self, node: DiskNode) -> None:
        if node.alive:
            node.kill(power=True)
            self._world.after(self._world.delay_s(15.0), node.start)

    def _freeze_node(self, node: DiskNode) -> None:
        node = self._busiest(node)
        if node.alive and not node.is_frozen:
            node.freeze(self._world.delay_s(40.0))

    def _busiest(self, node: DiskNode) -> DiskNode:
        """The data server with most commands running, where trouble matters most; or this one."""
        return max(
            (node, *self._site.nodes),
            key=lambda one: len(one.commands.running()) if one.alive else -1,
        )

    def _kill_head(self, _node: DiskNode) -> None:
        if self._site.head.alive:
            self._site.head.kill()
            self._world.after(self._world.delay_s(3.0), self._site.head.start)

    def _freeze_head(self, _node: DiskNode) -> None:
        if self._site.head.answers:
            self._site.head.freeze(self._world.delay_s(20.0))

    def _cut_head_power(self, _node: DiskNode) -> None:
        if self._site.head.alive:
            self._site.head.kill(power=True)
            self._world.after(self._world.delay_s(15.0), self._site.head.start)

    def _set_clock(self, node: DiskNode) -> None:
        clock = self._world.rng.choice([node.clock, self._site.head.clock])
        by_s = self._world.rng.choice([-3600, -60, -1, 1, 60, 600])
        self._world.tell(f"a clock is set by {by_s} s")
        clock.jump(by_s)

    # --- the network -------------------------------------------------------------------

    def _cut_wire(self, _node: DiskNode) -> None:
        wires = self._site.head.wires()
        if wires:
            late = self._world.rng.random() < 0.5
            self._world.rng.choice(wires).cut(late=late)

    def _read_late(self, _node: DiskNode) -> None:
        """The head falls behind with a stream, which ends meanwhile, and is opened anew."""
        wires = self._site.head.wires()
        if wires:
            wire = self._world.rng.choice(wires)
            wire.lag(3.0)
            self._world.after(1.5, lambda: wire.cut(late=True))

    def _part_from_head(self, node: DiskNode) -> None:
        """A partition: nothing passes between a node and the head, or nothing one way."""
        node = self._busiest(node)
        if not node.alive:
            return
        ends = self._world.rng.choice([(), ("client",), ("server",)])
        node.tell(f"is cut off from the head; nothing gets to the {ends or 'two'}")
        self._site.unreachable.add(node.name)
        node.link.fall_silent(*ends)
        lasts_s = self._world.delay_s(30.0)
        self._world.after(lasts_s, lambda: self._site.unreachable.discard(node.name))

    # --- disks -------------------------------------------------------------------------

    def _spoil_disk(self, node: DiskNode) -> None:
        node.set_mood(self._world.rng.choice([one for one in Mood if one is not Mood.WELL]))
        self._world.after(self._world.delay_s(10.0), lambda: node.set_mood(Mood.WELL))

    def _close_archive(self, _node: DiskNode) -> None:
        """The archive takes nothing, and answers nobody who asks what it has of new files."""
        archive = self._site.archive
        if not archive.is_down:
            self._world.tell("the archive is down")
            archive.is_down = True
            self._world.after(self._world.delay_s(10.0), self._open_archive)

    def _open_archive(self) -> None:
        self._site.archive.is_down = False

    def _delete_behind(self, node: DiskNode) -> None:
        """Somebody deletes a file in the pool: one that the archive has."""
        lfns = [lfn for lfn in sorted(node.disk.files) if self._is_archived(node, lfn)]
        if node.alive and lfns:
            node.lose_a_file(self._world.rng.choice(lfns))

    def _is_archived(self, node: DiskNode, lfn: str) -> bool:
        row = node.row_of(lfn)
        return row is not None and row.archived

    def _evict(self, node: DiskNode) -> None:
        if node.disk.files:
            node.evict(self._world.rng.choice(sorted(node.disk.files)))
