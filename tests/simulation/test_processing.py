"""Processing under faults: every entry is counted exactly once, or named as missing."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from tests.simulation.cluster.desk_node import DeskNode
from tests.simulation.cluster.sim_worker import SimWorker
from tests.simulation.cluster.site import Site
from tests.simulation.cluster.world import START_S, World

if TYPE_CHECKING:
    from collections.abc import Callable

TROUBLE_S = 60.0
PATIENCE_S = 3600.0


class Laboratory:
    """A site, a packetizer, and four workers on three hosts."""

    def __init__(self, world: World, *, poison: int = 0) -> None:
        self.world = world
        self.site = Site(world, nodes=3, files=20)
        self.desk = DeskNode(world, self.site.head, self.site.archive)
        self.desk.start()
        disks = {node.name: node for node in self.site.nodes}
        streams = itertools.count(1)
        tapes = [tape for tape in self.site.archive.tapes.values() if tape.entries]
        poisoned = {
            (tape.lfn, world.rng.randrange(tape.entries))
            for tape in world.rng.sample(tapes, poison)
        }
        self.workers = [
            SimWorker(
                world,
                number,
                f"disk{number % 3}",
                speed=world.rng.uniform(20, 400),
                desk=self.desk,
                disks=disks,
                new_stream=lambda: next(streams),
                poison=poisoned,
            )
            for number in range(4)
        ]
        self.desk.open_session(sorted(self.site.archive.tapes))
        for worker in self.workers:
            worker.start()

    def break_things(self, until_s: float) -> None:
        """Everything that can go wrong with a site, and with workers and the packetizer too."""
        self.site.break_things(until_s, mean_s=8.0)
        at_s = self.world.delay_s(4.0)
        while at_s < until_s:
            self.world.after(at_s, self._break_something)
            at_s += self.world.delay_s(4.0)

    def _break_something(self) -> None:
        worker = self.world.rng.choice(self.workers)
        faults: list[Callable[[], None]] = [
            worker.kill,
            lambda: worker.stall(self.world.delay_s(10.0)),
            self._kill_desk,
        ]
        self.world.rng.choice(faults)()

    def _kill_desk(self) -> None:
        if self.desk.alive:
            self.desk.kill()
            self.world.after(self.world.delay_s(3.0), self.desk.start)


def run(seed: int, *, trouble: bool, poison: int = 0) -> Laboratory:
    """One seed: a session over the whole archive, to its end."""
    world = World(seed)
    try:
        laboratory = Laboratory(world, poison=poison)
        if trouble:
            laboratory.break_things(TROUBLE_S)
        world.run(until_s=TROUBLE_S)
        disk = laboratory.desk.disk
        world.run(until_s=PATIENCE_S, enough=lambda: disk.end is not None)
        laboratory.desk.check_every_entry()
        world.run(until_s=world.now_s - START_S + 120.0)
        laboratory.site.check_at_peace()
    except Exception as error:
        raise AssertionError(f"{error}\n{world.story()}") from error
    return laboratory


@pytest.mark.parametrize("seed", range(3))
def test_without_trouble_only_what_is_not_in_the_archive_is_missing(seed: int) -> None:
    laboratory = run(seed, trouble=False)
    end = laboratory.desk.disk.end
    assert end is not None
    tapes = laboratory.site.archive.tapes.values()
    assert {one.lfn for one in end.missing} == {one.lfn for one in tapes if not one.in_archive}


@pytest.mark.parametrize("seed", range(200, 230))
def test_every_entry_counts_once_in_trouble(seed: int) -> None:
    run(seed, trouble=True)


@pytest.mark.parametrize("seed", range(3))
def test_a_function_that_raises_on_an_entry_loses_no_other_packet(seed: int) -> None:
    laboratory = run(seed, trouble=False, poison=2)
    end = laboratory.desk.disk.end
    assert end is not None
    poisoned = [one for one in end.missing if "poison" in one.reason]
    assert len(poisoned) == 2
