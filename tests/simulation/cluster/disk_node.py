"""A data server: the real `Node` core, on a machine whose disk survives its crashes."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, ParamSpec

from dataserver.core import events as ev
from dataserver.core import instructions as do
from dataserver.core.node import Node
from dataserver.core.policies import POLICIES
from dataserver.core.pool import Pool
from tests.simulation.cluster.adopting import Adopting
from tests.simulation.cluster.commands import Commands
from tests.simulation.cluster.disk import DiskError, Mood, Row, SimDisk
from tests.simulation.cluster.node_link import HEARTBEAT_S, NodeLink
from tests.simulation.cluster.reading import Reading
from tests.simulation.cluster.recall_steps import RecallSteps
from tests.simulation.cluster.store_steps import StoreSteps, store_rules, stores_found
from tests.simulation.cluster.uploads import Uploads

if TYPE_CHECKING:
    from collections.abc import Callable

    from dataserver.core.replica import Limits
    from redirector.core import events as head_ev
    from tests.simulation.cluster.archive import Archive
    from tests.simulation.cluster.clock import HostClock
    from tests.simulation.cluster.uploads import Answered, Refused
    from tests.simulation.cluster.wire import Wire
    from tests.simulation.cluster.world import Planned, World

P = ParamSpec("P")

#: How long the commands of a killed data server live on, until its janitor ends them.
JANITOR_S = 0.5
#: How long it takes until somebody who starts a server in vain tries again.
START_AGAIN_S = 3.0
SLOTS = 2
POLICIES_IN_TURN = tuple(POLICIES.values())


class DiskNode:
    """One data server's machine: its disk, its processes, and its clock.

    `dial` opens a wire to the head, or gives None while the head cannot be reached;
    `ask_head` asks it something by a call of its own.
    """

    def __init__(
        self,
        world: World,
        name: str,
        limits: Limits,
        archive: Archive,
        clock: HostClock,
        dial: Callable[[DiskNode], Wire | None],
        ask_head: Callable[[DiskNode, head_ev.Event, Answered, Refused], None],
        *,
        store_looks: bool | None,
    ) -> None:
        """`store_looks`: see `Site`."""
        self.name = name
        self.alive = False
        self.limits = limits
        self.archive = archive
        self.clock = clock
        self.disk = SimDisk()
        self.commands = Commands(world, archive, self.disk)
        self.node: Node
        self.link: NodeLink
        self.uploads: Uploads
        self.reading: Reading
        #: Told of every instruction of the core, before it is carried out.
        self.observers: list[Callable[[DiskNode, do.Instruction], None]] = []
        #: What could not be removed from the incoming directory; the next start sweeps it.
        self.left_over: set[str] = set()
        #: Names whose files somebody deleted, or that could not be read: true losses.
        self.spoilt: set[str] = set()
        #: Files at their places that nobody knows: they could neither be entered nor removed.
        self.strays: set[str] = set()
        #: Names that were written anew, though the disk does not say that it will stay so.
        self.unsure: set[str] = set()
        #: What this life has found on the disk.
        self.found_bytes = self.found_files = 0
        self._world = world
        self._dial = dial
        self._ask_head = ask_head
        self._life = 0
        self._frozen_until_s = 0.0
        self._kept_until_s = 0.0
        #: It was stopped, and its core has heard of nothing since.
        self._is_dazed = False
        self._thawing: list[Callable[[], None]] = []
        self._steps: RecallSteps
        self._stores: StoreSteps | None = None
        self._store_looks = store_looks

    # --- living and dying ------------------------------------------------------

    @property
    def boot_epoch(self) -> str:
        """Names this life of the process."""
        return f"{self.name}-{self._life}"

    @property
    def quota_bytes(self) -> int:
        """What the pool may hold."""
        return self.limits.quota_bytes

    @property
    def is_frozen(self) -> bool:
        """Whether the process is stopped (SIGSTOP), its commands going on."""
        return self._world.now_s < self._frozen_until_s

    def start(self) -> None:
        """A new process: ends what a killed one left, and takes stock of the disk."""
        self._life += 1
        if self.disk.mood not in {Mood.WELL, Mood.FULL}:
            self.tell(f"cannot start: the disk is {self.disk.mood.value}")
            self.later(START_AGAIN_S, self.start)
            return
        self.alive = True
        self._frozen_until_s = self._kept_until_s = 0.0
        self._is_dazed = False
        self._thawing.clear()
        self._end_all_commands()
        self.disk.incoming.clear()
        # What an earlier life has moved to its place may not be synced yet.
        self.disk.sync_all()
        self.left_over.clear()
        self.strays.clear()
        self.clock.start_process()
        adopting = Adopting(self)
        self.found_bytes = sum(one.size_bytes for one in adopting.found)
        self.found_files = len(adopting.found)
        pool = Pool(self.limits)
        pool.load(adopting.found)
        # Nodes differ in who goes first; whatever they prefer, no promise may break.
        policy = POLICIES_IN_TURN[sum(self.name.encode()) % len(POLICIES_IN_TURN)]
        looks = self._store_looks
        rules = None if looks is None else store_rules(looks)
        self.node = Node(pool, slots=SLOTS, examines=True, policy=policy, store_rules=rules)
        self.node.stores.load(stores_found(self), self.now_s())
        self.link = NodeLink(self, self._world, self._dial)
        self.uploads = Uploads(self, self.boot_epoch, partial(self._ask_head, self))
        self.reading = Reading(self)
        self._steps = RecallSteps(self)
        self._stores = StoreSteps(self, self._world, looks is True)
        self.tell(f"starts, life {self._life}, {len(self.disk.files)} files")
        adopting.begin()
        self.later(0.0, self.link.connect)
        self.later(HEARTBEAT_S, self._beat)

    def kill(self, *, power: bool = False) -> None:
        """kill -9: a janitor ends the commands a moment later. `power`: the machine is off."""
        self.tell("loses its power" if power else "killed")
        was_alive, self.alive = self.alive, False
        self._life += 1
        self._frozen_until_s = 0.0
        if power:
            self._end_all_commands()
            self.disk.cut_power(self._world.rng)
        else:
            life = self._life
            self._world.after(JANITOR_S, lambda: self._clean_behind(life))
        if was_alive:
            self.link.cut(late=not power and self._world.rng.random() < 0.5)

    def _clean_behind(self, life: int) -> None:
        """The janitor ends the commands of a life that has ended."""
        if life == self._life:
            self._end_all_commands()

    def _end_all_commands(self) -> None:
        self.commands.end_all()
        if self._stores is not None:
            self._stores.kill_all()

    def _keep_commands(self, until_s: float) -> None:
        """The janitor ends what runs then, unless it is told a later time, or stopped itself."""
        self._kept_until_s = max(self._kept_until_s, until_s)
        life = self._life

        def end() -> None:
            if life == self._life and self.now_s() >= self._kept_until_s:
                self.commands.end_all()

        self._world.after(self.clock.delay_s(until_s), end)

    def freeze(self, lasts_s: float) -> None:
        """SIGSTOP, and SIGCONT after a while: gone for everybody, and back without knowing."""
        self.tell(f"is stopped for {lasts_s:.1f} s")
        self._is_dazed = True
        self._frozen_until_s = self._world.now_s + lasts_s
        self.link.freeze(lasts_s)
        life = self._life

        def thaw() -> None:
            if life == self._life:
                self.tell("goes on")
                waiting, self._thawing = self._thawing, []
                for action in waiting:
                    self.later(0.0, action)

        self._world.after(lasts_s, thaw)

    def delay_s(self, mean_s: float) -> float:
        """A random delay."""
        return self._world.delay_s(mean_s)

    def later(self, delay_s: float, action: Callable[[], None]) -> Planned:
        """Plans something this life of the process does, as soon as it is not stopped."""
        life = self._life

        def act() -> None:
            if life != self._life:
                planned.call_off()
            elif planned.called_off:
                pass
            elif self.is_frozen:
                self._thawing.append(act)
            else:
                self._world.touched.add(self.name)
                action()

        planned = self._world.after(delay_s, act)
        return planned

    def of_this_life(self, action: Callable[P, object]) -> Callable[P, None]:
        """An action that only this life of the process takes: a later one was not told of it."""
        life = self._life

        def act(*args: P.args, **kwargs: P.kwargs) -> None:
            if life == self._life:
                action(*args, **kwargs)

        return act

    def effect(self, what: str) -> None:
        """Something has been done that outlives the process, or that others see."""
        self._world.touched.add(self.name)
        self._world.effect(self.name, what)

    def tell(self, text: str) -> None:
        """Adds to the story."""
        self._world.tell(f"{self.name}: {text}")

    def _beat(self) -> None:
        self.later(HEARTBEAT_S, self._beat)
        self.handle(ev.Tick())
        self.link.beat()

    # --- carrying out ----------------------------------------------------------

    def now_s(self) -> float:
        """The time, as this process counts it."""
        return self.clock.now_s()

    def handle(self, event: ev.Event) -> None:
        """Gives the core an event, and carries out what it says."""
        self._world.touched.add(self.name)
        self._is_dazed = False
        instructions = self.node.handle(event, self.now_s())
        self.link.tell_changes()
        for instruction in instructions:
            for observe in self.observers:
                observe(self, instruction)
            self._do(instruction)

    def _do(self, instruction: do.Instruction) -> None:
        assert self._stores is not None
        if (
            self._steps.carry_out(instruction)
            or self.uploads.carry_out(instruction)
            or self._stores.carry_out(instruction)
        ):
            return
        match instruction:
            case do.TellEnded():
                self.link.tell_ended(instruction)
            case do.TellClaimEnded(lfn=lfn, claimant_id=claimant_id):
                self.link.tell_claim_ended(lfn, claimant_id)
            case do.RemoveFiles(lfns=lfns):
                self.later(self.delay_s(0.01), lambda: self._remove(lfns))
            case do.TellEvicted():
                self.tell(f"evicted {instruction.evicted}, kept {instruction.refused}")
            case do.TellChanged(error=error):
                self.tell(f"a client's change is done: {error or 'well'}")
            case do.KeepCommands(until_s=until_s):
                self._keep_commands(until_s)
            case do.Inspect():
                pass  # What is inside a file is known to `Archive.tapes` here.
            case do.Tell():
                self.tell(instruction.text)
            case _:
                raise AssertionError(f"unknown instruction {instruction}")

    def _remove(self, lfns: tuple[str, ...]) -> None:
        gone, failed = [], []
        for lfn in lfns:
            try:
                self.disk.unlink(lfn)
                self.effect("a file was removed")
            except DiskError as error:
                failed.append((lfn, str(error)))
            else:
                gone.append(lfn)
        for lfn in gone:
            try:
                self.disk.uncommit(lfn)
            except DiskError as error:
                self.tell(f"a row stays for now: {error}")
        self.effect("rows were deleted")
        self.tell(f"removed {', '.join(gone)}{f', not {failed}' if failed else ''}")
        self.handle(ev.Removed(tuple(gone), tuple(failed)))

    def unlink(self, lfn: str) -> None:
        """Takes back what was moved to its place, if the disk lets it."""
        try:
            self.disk.unlink(lfn)
        except DiskError as error:
            self.strays.add(lfn)
            self.tell(f"{lfn} stays, though nobody knows it: {error}")

    def clean_up(self, holder: str) -> None:
        """Removes what a recall or an upload has left, if the disk lets it."""
        try:
            self.disk.remove_incoming(holder)
        except DiskError as error:
            if holder in self.disk.incoming:
                self.left_over.add(holder)
                self.tell(f"what {holder} left cannot be removed: {error}")
        self.effect("the incoming directory was cleaned")

    # --- what clients do ---------------------------------------------------------

    def write(self, lfn: str, size_bytes: int, told: Callable[[bool], None]) -> None:
        """A client that was sent here writes a file; `told` how it went, if ever."""
        if self.alive:
            self.later(0.0, lambda: self.uploads.begin(lfn, size_bytes, told))

    def written(self) -> list[str]:
        """The names that clients write under now.

        To a stopped server nobody can write; and when it goes on, nothing that comes of it
        is published before the core has looked at its lease.
        """
        if not self.alive or self.is_frozen or self._is_dazed:
            return []
        return list(self.uploads.written.values())

    def read(self, lfn: str, lasts_s: float, done: Callable[[str | None], None]) -> None:
        """A client reads a file; see `Reading`."""
        if self.alive:
            self.later(0.0, lambda: self.reading.open(lfn, lasts_s, done))

    def evict(self, lfn: str) -> None:
        """Somebody wants a replica gone."""
        if self.alive:
            self.later(0.0, lambda: self.handle(ev.EvictionOrdered(0, (lfn,))))

    def remove(self, lfn: str) -> None:
        """A client removes a file that the archive does not have."""
        if self.alive:
            self.later(0.0, lambda: self.handle(ev.RemovalOrdered(f"change {lfn}", lfn)))

    # --- what happens to it ------------------------------------------------------

    def set_mood(self, mood: Mood) -> None:
        """The disk turns bad, or well again."""
        if mood is not self.disk.mood:
            self.tell(f"the disk is {mood.value} now")
            self.disk.mood = mood

    def lose_a_file(self, lfn: str) -> None:
        """Somebody deletes a file in the pool."""
        self.tell(f"somebody deletes {lfn} from the disk")
        self.spoilt.add(lfn)
        self.disk.vanish(lfn)

    def is_unsure(self, lfn: str) -> bool:
        """Whether a client was told that what it wrote may not stay."""
        return lfn in self.unsure

    @property
    def has_to_store(self) -> bool:
        """Whether any file is still to be stored, and not given up."""
        table = self.node.stores.table
        return len(table) > table.failed_files

    def row_of(self, lfn: str) -> Row | None:
        """The committed row of a replica."""
        return self.disk.rows.get(lfn)
