"""One seed: a site, people who use it, what goes wrong with it, and the promises watched.

A seed chooses one of the plots. Each has a time of trouble, then peace, and a last look.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final

from tests.simulation.clients import Clients
from tests.simulation.cluster.desk_node import DeskNode
from tests.simulation.cluster.sim_worker import SimWorker
from tests.simulation.cluster.site import (
    MB,
    SETTINGS,
    Site,
    random_limits,
    random_tapes,
    wrong_clock,
)
from tests.simulation.cluster.world import STORY_LINES, World
from tests.simulation.faults import Faults
from tests.simulation.promises import Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dataserver.core.replica import Limits
    from tests.simulation.cluster.archive import Tape
    from tests.simulation.cluster.clock import HostClock

STAGING_TROUBLE_S: Final = 90.0
PROCESSING_TROUBLE_S: Final = 45.0
PATIENCE_S: Final = 3600.0
SETTLING_S: Final = 30.0
#: Of the story of a failed seed: lines about what has failed, and about everything.
ABOUT_LINES: Final = 40
LAST_LINES: Final = 40


class Laboratory:
    """A site with its clients, and the promises kept an eye on."""

    stuck_after_s = SETTINGS.stuck_after_s

    def __init__(
        self,
        world: World,
        tapes: Sequence[Tape],
        limits: Sequence[Limits],
        clocks: Callable[[], HostClock] | None = None,
        *,
        store_looks: bool | None = None,
    ) -> None:
        self.world = world
        self.clocks = clocks or (lambda: wrong_clock(world))
        self.site = Site(world, tapes, limits, self.clocks, store_looks=store_looks)
        self.clients = Clients(self.site)
        self.faults = Faults(self.site, self.clients)
        self.desk: DeskNode | None = None
        self.workers: list[SimWorker] = []
        self.watch = Watch(self)
        self.site.start()

    # --- staging -----------------------------------------------------------------

    def stage_and_write(self, until_s: float) -> None:
        """Plans what clients do: they stage, read, pin, and write, some names twice."""
        rng, world, clients = self.world.rng, self.world, self.clients
        lfns = sorted(self.site.archive.tapes)

        def plan(times: int, make: Callable[[int], Callable[[], object]]) -> None:
            for number in range(times):
                action = make(number)
                world.after(rng.uniform(0, until_s), lambda action=action: action() and None)  # type: ignore[misc]

        def stage(_: int) -> Callable[[], object]:
            wanted = rng.sample([*lfns, "/store/new/w0", "/store/new/w1"], rng.randint(1, 6))
            pin_s, deadline_s = rng.choice([0.0, 0.0, 5.0]), rng.choice([0.0, 0.0, 0.0, 40.0])
            return lambda: clients.stage(wanted, pin_s=pin_s, deadline_s=deadline_s)

        def write(number: int) -> Callable[[], object]:
            # Some of the names are being staged, some are written twice.
            lfn = rng.choice([f"/store/new/w{number % 6}", rng.choice(lfns)])
            size_bytes = rng.randint(1, 3 * MB)
            return lambda: clients.write(lfn, size_bytes)

        def read(_: int) -> Callable[[], object]:
            lfn = rng.choice([*lfns, f"/store/new/w{rng.randrange(6)}"])
            lasts_s = world.delay_s(15.0)
            return lambda: clients.read(lfn, lasts_s)

        def pin(_: int) -> Callable[[], object]:
            lfn, lifetime_s = rng.choice(lfns), world.delay_s(20.0)
            return lambda: clients.pin(lfn, lifetime_s)

        def make_directory(number: int) -> Callable[[], object]:
            return lambda: clients.make_directory(f"/store/made/{number % 2}/d{number}")

        plan(16, stage)
        plan(40, read)
        plan(10, write)
        plan(5, pin)
        plan(4, make_directory)

    # --- processing --------------------------------------------------------------

    def open_session(self, workers: int, poison: int = 0) -> DeskNode:
        """Opens a session over the whole archive; `poison` entries make the function raise."""
        world, site = self.world, self.site
        desk = self.desk = DeskNode(world, site.head, site.archive, self.clocks())
        desk.start()
        disks = {node.name: node for node in site.nodes}
        streams = itertools.count(1)
        tapes = [tape for tape in site.archive.tapes.values() if tape.entries]
        poisoned = {
            (tape.lfn, world.rng.randrange(tape.entries))
            for tape in world.rng.sample(tapes, poison)
        }
        self.workers = [
            SimWorker(
                world,
                number,
                f"disk{number % len(site.nodes)}",
                speed=world.rng.uniform(20, 400),
                desk=desk,
                disks=disks,
                new_stream=lambda: next(streams),
                poison=poisoned,
            )
            for number in range(workers)
        ]
        desk.open_session(sorted(site.archive.tapes))
        for worker in self.workers:
            worker.start()
        return desk

    def break_processing(self, until_s: float, mean_s: float) -> None:
        """Plans what can go wrong with workers and the packetizer."""
        at_s = self.world.delay_s(mean_s)
        while at_s < until_s:
            self.world.after(at_s, self._break_processing)
            at_s += self.world.delay_s(mean_s)

    def _break_processing(self) -> None:
        rng, desk = self.world.rng, self.desk
        assert desk is not None
        worker = rng.choice(self.workers)
        match rng.choice(["kill worker", "stall worker", "kill desk", "set its clock"]):
            case "kill worker":
                worker.kill()
            case "stall worker":
                worker.stall(self.world.delay_s(10.0))
            case "kill desk" if desk.alive:
                desk.kill()
                self.world.after(self.world.delay_s(3.0), desk.start)
            case "set its clock":
                desk.clock.jump(rng.choice([-3600, -1, 1, 600]))

    @property
    def all_is_over(self) -> bool:
        """Whether all that clients have asked for was accepted, and has ended, and all is up."""
        head = self.site.head
        if not head.answers:
            return False
        for node in self.site.nodes:
            if not node.alive or node.is_frozen or not node.link.is_quiet or node.has_to_store:
                return False
        # The head has damaged files brought again of its own accord.
        status = head.head.status(head.now_s())
        if status.recalls_queued or status.recalls_running:
            return False
        keys = {one.idempotency_key for one in head.database.requests.values()}
        return self.clients.keys <= keys and not head.unfinished()

    @property
    def is_busy(self) -> bool:
        """Whether any data server is down, or has something under way."""
        return not all(
            node.alive and node.node.is_idle and not node.node.pool.leaving_files
            for node in self.site.nodes
        )

    # --- the end -----------------------------------------------------------------

    def come_to_peace(self, enough: Callable[[], bool], settling_s: float = SETTLING_S) -> None:
        """Lets all that is under way end, and looks at the promises once more."""
        world = self.world
        world.run(until_s=world.elapsed_s + PATIENCE_S, enough=enough)
        world.run(until_s=world.elapsed_s + settling_s)
        # Readers find out what was deleted behind a server's back.
        for lfn in sorted({*self.site.archive.tapes, *(lfn for _, lfn in self.clients.kept)}):
            for _ in self.site.nodes:
                self.clients.read(lfn, 0.1)
        world.run(until_s=world.elapsed_s + settling_s)
        world.run(until_s=world.elapsed_s + PATIENCE_S, enough=enough)
        self.watch.check_at_peace()


def play(seed: int, story_lines: int | None = STORY_LINES) -> Laboratory:
    """The plot that a seed chooses, with trouble; raises `Failed`."""
    plot = processing if seed % 4 == 0 else staging
    return plot(seed, story_lines=story_lines)


def play_quietly(seed: int) -> tuple[int, int, str]:
    """The seed, how many steps it took, and its story if it failed."""
    try:
        return seed, play(seed).world.steps, ""
    except Failed as failed:
        return seed, failed.steps, str(failed)


def staging(
    seed: int,
    *,
    trouble: bool = True,
    story_lines: int | None = STORY_LINES,
    clocks: Callable[[World], HostClock] = wrong_clock,
) -> Laboratory:
    """People stage, read, pin and write while things break."""
    world = World(seed, story_lines=story_lines)
    tapes = random_tapes(world, 24, bad_days=trouble)
    laboratory = Laboratory(
        world,
        tapes,
        random_limits(world, tapes, 3),
        clocks=lambda: clocks(world),
        store_looks=world.rng.choice([None, True, True, False]),
    )
    return told(laboratory, lambda: _stage(laboratory, trouble))


def _stage(laboratory: Laboratory, trouble: bool) -> None:
    laboratory.stage_and_write(STAGING_TROUBLE_S)
    if trouble:
        laboratory.faults.plan(STAGING_TROUBLE_S, mean_s=4.0)
    laboratory.world.run(until_s=STAGING_TROUBLE_S + 10.0)
    laboratory.come_to_peace(lambda: laboratory.all_is_over)


def processing(
    seed: int, *, trouble: bool = True, poison: int = 0, story_lines: int | None = STORY_LINES
) -> Laboratory:
    """A session over the whole archive, to its end."""
    world = World(seed, story_lines=story_lines)
    tapes = random_tapes(world, 16, bad_days=trouble)
    laboratory = Laboratory(world, tapes, random_limits(world, tapes, 3))
    return told(laboratory, lambda: _process(laboratory, trouble, poison))


def _process(laboratory: Laboratory, trouble: bool, poison: int) -> None:
    desk = laboratory.open_session(workers=4, poison=poison)
    if trouble:
        laboratory.faults.plan(PROCESSING_TROUBLE_S, mean_s=6.0)
        laboratory.break_processing(PROCESSING_TROUBLE_S, mean_s=3.0)
    laboratory.world.run(until_s=PROCESSING_TROUBLE_S)
    laboratory.come_to_peace(lambda: desk.disk.end is not None and laboratory.all_is_over)


def told(laboratory: Laboratory, plot: Callable[[], None]) -> Laboratory:
    """Plays a plot; whatever ends it is raised as `Failed`, with the story."""
    try:
        plot()
    except Exception as error:
        raise Failed(laboratory, error) from error
    return laboratory


class Failed(AssertionError):
    """A seed has failed: why, the story of what it is about, and the last that happened."""

    def __init__(self, laboratory: Laboratory, error: Exception) -> None:
        world, head = laboratory.world, laboratory.site.head
        about = getattr(error, "about", "")
        lines = [f"seed {world.seed} after {world.elapsed_s:.3f} s: {error!r}"]
        if about:
            lines += [f"what happened to {about}:", *world.story(about)[-ABOUT_LINES:]]
        if about.startswith("/"):
            lines += ["what the head has told of it, by its own clock:"]
            told = head.head.explain(about, head.now_s())
            lines += [f"{line.unix_s:.3f}  {line.text}" for line in told.story]
        lines += ["what happened last:", *world.story()[-LAST_LINES:]]
        super().__init__("\n".join(lines))
        self.error = error
        self.steps = world.steps
        self.whole_story = world.story()
