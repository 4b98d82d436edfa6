"""A small site around the head node's core: fake data servers, an archive, a disk.

Nothing here knows how the head works inside. The fake data servers keep the
contract: one stream each way, in order; a publish is a numbered change; recalls
and writing stop when 0.8 of the lease has passed since the node *sent* the last message
that it knows the head to have got. The disk keeps what the durable instructions say,
and a restarted head gets only that back.
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from common.errors import PackhorseError
from redirector.core import events, instructions
from redirector.core.head import Head
from redirector.core.model import (
    Failure,
    NodeAddress,
    NodeLoad,
    NodeRecord,
    PinRecord,
    ReplicaChange,
    RequestFile,
    RequestRecord,
    RunningRecall,
)
from redirector.core.states import ErrorClass, FileState, NodeState, RequestFileState, RequestState

if TYPE_CHECKING:
    from redirector.core.events import Event
    from redirector.core.instructions import Instruction, NodeCommand
    from redirector.core.settings import HeadSettings


@dataclass
class Run:
    """A recall that a fake node is running."""

    recall_id: str
    lfn: str
    reserved_bytes: int


@dataclass
class FakeNode:
    """A data server: a pool, its runs, and the two directions of its stream."""

    name: str
    quota_bytes: int
    slots: int
    boot: int = 1
    connection: int | None = None
    cut: bool = False  # nothing gets through, and nobody has noticed yet
    lost_change: bool = False  # the head has not heard of all its changes
    files: dict[str, int] = field(default_factory=dict)
    pins: dict[str, float] = field(default_factory=dict)  # lfn -> when its last pin ends
    runs: dict[str, Run] = field(default_factory=dict)  # by recall id
    writes: dict[str, str] = field(default_factory=dict)  # names written under: claim ids
    change_number: int = 0
    heartbeats_sent: dict[int, float] = field(default_factory=dict)
    hello_sent_s: float = 0.0
    lease_from_s: float = 0.0
    to_head: deque[Event] = field(default_factory=deque)
    to_node: deque[NodeCommand] = field(default_factory=deque)

    @property
    def reserved_bytes(self) -> int:
        return sum(run.reserved_bytes for run in self.runs.values())

    def pinned_bytes(self, now_s: float) -> int:
        return sum(size for lfn, size in self.files.items() if self.pins.get(lfn, 0.0) > now_s)

    def say(self, event: Event) -> None:
        if self.connection is not None:
            self.to_head.append(event)


@dataclass
class KeptRequest:
    """A stage request on the disk."""

    record: RequestRecord
    files: dict[str, RequestFile]
    state: RequestState = RequestState.ACTIVE
    times_ended: int = 0


class World:
    """The head and everything around it."""

    def __init__(self, settings: HeadSettings, seed: int) -> None:
        self.settings = settings
        self.rng = random.Random(seed)
        self.now_s = 1_000_000.0
        self.archive: dict[str, int] = {}
        self.nodes: dict[str, FakeNode] = {}
        self.next_connection = 1
        self.guessed = False  # whether any file of unknown size was asked for
        self.life = 0
        # The disk.
        self.requests: dict[str, KeptRequest] = {}
        self.pins: dict[tuple[str, str], PinRecord] = {}
        self.known_nodes: dict[str, NodeRecord] = {}
        self.directories: dict[str, None] = {}
        self.claims_asked = 0
        # What those who watch have been told last.
        self.watched: dict[str, FileState] = {}
        self.answers: list[Instruction] = []
        # What the head wants to know of tapes, and was not told yet.
        self.hints_asked: list[instructions.AskHints] = []
        self.past_events: list[Event] = []
        self.boot_head()

    # --- the head ---

    def boot_head(self) -> None:
        """Starts a head on what the disk has; every stream of an earlier one is broken."""
        for node in self.nodes.values():
            self.break_stream(node)
        self.life += 1
        self.head_started_s = self.now_s
        self.watched.clear()
        self.hints_asked.clear()
        self.head = Head(self.settings, f"life{self.life}", self.rng, self.now_s)
        active = tuple(
            events.RestoredRequest(kept.record, tuple(kept.files.values()))
            for kept in self.requests.values()
            if kept.state is RequestState.ACTIVE
        )
        self.give(
            events.Restored(
                tuple(self.known_nodes.values()),
                active,
                tuple(self.pins.values()),
                tuple(self.directories),
            )
        )

    def give(self, event: Event) -> list[Instruction]:
        """Gives the head an event, and carries out what it says."""
        done = self.head.handle(event, self.now_s)
        self.head.check()
        self.past_events.append(event)
        for instruction in done:
            self._carry_out(instruction)
        return done

    def ask(self, event: Event) -> list[Instruction] | None:
        """Gives the head an event that it may refuse: then nothing has changed."""
        try:
            return self.give(event)
        except PackhorseError:
            self.head.check()
            return None

    def _carry_out(self, instruction: Instruction) -> None:
        match instruction:
            case instructions.SendToNode(connection, command):
                node = self._by_connection(connection)
                if node is not None:
                    node.to_node.append(command)
            case instructions.RefuseNode(connection) | instructions.CloseConnection(connection):
                node = self._by_connection(connection)
                if node is not None:
                    self.break_stream(node)
            case instructions.SaveRequest(record, files):
                kept = self.requests.setdefault(record.request_id, KeptRequest(record, {}))
                kept.files |= {file.lfn: file for file in files}
            case instructions.SaveRequestFiles(request_id, files):
                kept = self.requests[request_id]
                for file in files:
                    known = kept.files[file.lfn]
                    assert known.state is RequestFileState.WAITING, "a file ended twice"
                    assert file.state is not RequestFileState.WAITING
                    kept.files[file.lfn] = replace_state(known, file)
            case instructions.EndRequest(request_id, state):
                kept = self.requests[request_id]
                kept.state = state
                kept.times_ended += 1
            case instructions.SavePins(pins):
                self.pins |= {(pin.lfn, pin.owner): pin for pin in pins}
            case instructions.RemovePins(keys):
                for key in keys:
                    del self.pins[key]
            case instructions.SaveDirectories(lfns):
                self.directories |= dict.fromkeys(lfns)
            case instructions.RemoveDirectory(lfn):
                del self.directories[lfn]
            case instructions.SaveNode(record):
                self.known_nodes[record.node] = record
            case instructions.RemoveNode(name):
                del self.known_nodes[name]
            case instructions.PublishFiles(file_events):
                self.watched |= {one.lfn: one.state for one in file_events}
            case instructions.SaveRecall():
                pass
            case instructions.AskHints():
                self.hints_asked.append(instruction)
            case _:
                self.answers.append(instruction)

    def _by_connection(self, connection: int) -> FakeNode | None:
        for node in self.nodes.values():
            if node.connection == connection:
                return node
        return None

    # --- streams ---

    def connect(self, node: FakeNode) -> None:
        """A node opens its stream and says hello."""
        assert node.connection is None
        node.connection = self.next_connection
        self.next_connection += 1
        node.cut = False
        node.hello_sent_s = self.now_s
        node.heartbeats_sent.clear()
        running = tuple(
            RunningRecall(run.recall_id, run.lfn, run.reserved_bytes) for run in node.runs.values()
        )
        node.say(
            events.NodeHello(
                node.connection,
                NodeAddress(node.name, f"{node.name}:1", node.name, root_address=f"{node.name}:2"),
                f"{node.name}-boot{node.boot}",
                f"pool-{node.name}",
                node.quota_bytes,
                recall_slots=node.slots,
                running=running,
                claims=tuple(node.writes),
            )
        )
        self.heartbeat(node)

    def break_stream(self, node: FakeNode) -> None:
        """A node's stream is gone, with all that was under way in it."""
        node.connection = None
        node.cut = node.lost_change = False
        node.to_head.clear()
        node.to_node.clear()

    def disconnect(self, node: FakeNode) -> None:
        """A stream breaks, and both ends notice."""
        connection = node.connection
        assert connection is not None
        self.break_stream(node)
        self.give(events.NodeLost(connection))

    def crash(self, node: FakeNode) -> None:
        """kill -9 of a data server: its files stay, its runs do not."""
        node.runs.clear()
        node.writes.clear()
        node.pins.clear()
        node.boot += 1
        node.change_number = 0
        if node.connection is not None:
            self.disconnect(node)

    def deliver(self, node: FakeNode, limit: int = 1_000) -> None:
        """Lets messages through, in order, one way and then the other."""
        for _ in range(limit):
            if node.cut or node.connection is None or not (node.to_head or node.to_node):
                return
            if node.to_head:
                event = node.to_head.popleft()
                self.give(event)
                if isinstance(event, events.ReplicaChanges):
                    node.lost_change = False  # the gap before this one tells of what was lost
            if node.to_node:
                self._obey(node, node.to_node.popleft())

    def heartbeat(self, node: FakeNode) -> None:
        """A node says how it is."""
        if node.connection is None:
            return
        number = len(node.heartbeats_sent) + 1
        node.heartbeats_sent[number] = self.now_s
        load = NodeLoad(
            used_bytes=sum(node.files.values()),
            reserved_bytes=node.reserved_bytes,
            pinned_bytes=node.pinned_bytes(self.now_s),
            files=len(node.files),
            staging_rate=50.0,
        )
        node.say(events.NodeHeartbeat(node.connection, load, number=number))

    def _obey(self, node: FakeNode, command: NodeCommand) -> None:
        match command:
            case instructions.ConfirmHeartbeat(number):
                node.lease_from_s = max(node.lease_from_s, node.heartbeats_sent[number])
            case instructions.SendInventory():
                self._send_inventory(node)
            case instructions.StartRecall(recall_id, lfn, size_bytes, _sum, reserve_bytes):
                self._start(node, Run(recall_id, lfn, reserve_bytes), size_bytes)
            case instructions.CancelRecall(recall_id):
                run = node.runs.pop(recall_id, None)
                lfn = run.lfn if run else ""
                self._say_ended(node, recall_id, lfn, ErrorClass.CANCELLED, "cancelled")
            case instructions.SetPins(files, complete):
                if complete:
                    node.pins.clear()
                for file in files:
                    ends = [self.now_s + pin.lifetime_s for pin in file.pins]
                    node.pins[file.lfn] = max(ends, default=0.0)
            case instructions.Welcome():
                node.lease_from_s = max(node.lease_from_s, node.hello_sent_s)

    def _send_inventory(self, node: FakeNode) -> None:
        assert node.connection is not None
        node.lost_change = False
        lfns = list(node.files)
        half = len(lfns) // 2
        sizes = list(node.files.values())
        node.say(events.InventoryPiece(node.connection, lfns[:half], sizes[:half]))
        last = events.InventoryPiece(
            node.connection, lfns[half:], sizes[half:], last=True, change_number=node.change_number
        )
        node.say(last)

    def _start(self, node: FakeNode, run: Run, size_bytes: int) -> None:
        assert not (size_bytes and size_bytes != self.archive.get(run.lfn, size_bytes))
        needed = self.archive.get(run.lfn, run.reserved_bytes)
        run.reserved_bytes = needed
        if node.pinned_bytes(self.now_s) + node.reserved_bytes + needed > node.quota_bytes:
            self._say_ended(node, run.recall_id, run.lfn, ErrorClass.NO_SPACE, "no room", needed)
            return
        node.runs[run.recall_id] = run
        if node.connection is not None:
            node.say(events.RecallProgressed(node.connection, run.recall_id, 0, needed, "running"))

    def _say_ended(
        self,
        node: FakeNode,
        recall_id: str,
        lfn: str,
        error_class: ErrorClass,
        reason: str,
        size_bytes: int = 0,
    ) -> None:
        if node.connection is not None:
            failure = Failure(error_class, reason)
            node.say(
                events.RecallEnded(node.connection, recall_id, lfn, failure, size_bytes=size_bytes)
            )

    def lose_changes(self, node: FakeNode) -> None:
        """Changes that are under way get lost; their numbers will tell."""
        kept = [one for one in node.to_head if not isinstance(one, events.ReplicaChanges)]
        node.lost_change = node.lost_change or len(kept) < len(node.to_head)
        node.to_head = deque(kept)

    # --- what data servers do of their own accord ---

    def finish(self, node: FakeNode, run: Run) -> None:
        """A run brings its file, making room by dropping unpinned ones; or the archive has none."""
        del node.runs[run.recall_id]
        size_bytes = self.archive.get(run.lfn)
        if size_bytes is None:
            self._say_ended(
                node, run.recall_id, run.lfn, ErrorClass.NOT_FOUND, "the archive has no such file"
            )
            return
        for lfn in list(node.files):
            if sum(node.files.values()) + node.reserved_bytes + size_bytes <= node.quota_bytes:
                break
            if node.pins.get(lfn, 0.0) <= self.now_s:
                self.drop(node, lfn)
        node.files[run.lfn] = size_bytes
        self._say_change(node, ReplicaChange(0, run.lfn, size_bytes, recall_id=run.recall_id))
        if node.connection is not None:
            node.say(events.RecallEnded(node.connection, run.recall_id, run.lfn))

    def fail(self, node: FakeNode, run: Run, error_class: ErrorClass) -> None:
        """A run fails."""
        del node.runs[run.recall_id]
        self._say_ended(node, run.recall_id, run.lfn, error_class, "tape trouble")

    def adopt_file(self, node: FakeNode, lfn: str) -> None:
        """A node finds a file in its pool that no recall brought."""
        node.files[lfn] = self.archive[lfn]
        self._say_change(node, ReplicaChange(0, lfn, self.archive[lfn]))

    def begin_write(self, node: FakeNode, lfn: str) -> bool:
        """A client wants to write under a name; whether the node was given the claim."""
        runs_it = any(run.lfn == lfn for run in node.runs.values())
        if node.connection is None or node.cut or runs_it or lfn in node.writes:
            return False
        self.claims_asked += 1
        claim_id = f"claim{self.claims_asked}"
        boot_epoch = f"{node.name}-boot{node.boot}"
        asked = events.ClaimAsked(node.name, boot_epoch, lfn, claim_id, lfn in node.files)
        if self.ask(asked) is None:
            # A claim that was refused ends as any other does.
            node.say(events.ClaimEnded(node.connection, lfn, claim_id))
            return False
        node.writes[lfn] = claim_id
        return True

    def end_write(self, node: FakeNode, lfn: str, size_bytes: int | None) -> None:
        """A client has written a file of this size; or, with None, gives it up."""
        claim_id = node.writes.pop(lfn)
        if size_bytes is not None:
            node.files[lfn] = size_bytes
            self._say_change(node, ReplicaChange(0, lfn, size_bytes))
        if node.connection is not None:
            node.say(events.ClaimEnded(node.connection, lfn, claim_id))

    def drop(self, node: FakeNode, lfn: str) -> None:
        """A node drops a replica."""
        size_bytes = node.files.pop(lfn)
        self._say_change(node, ReplicaChange(0, lfn, size_bytes, dropped=True, reason="purged"))

    def _say_change(self, node: FakeNode, change: ReplicaChange) -> None:
        node.change_number += 1
        if node.connection is not None:
            numbered = change._replace(number=node.change_number)
            node.say(events.ReplicaChanges(node.connection, [numbered]))

    # --- time ---

    def pass_time(self, duration_s: float, *, quiet: bool = False, finishing: float = 0.0) -> None:
        """Time passes, second by second: heartbeats, leases, the head's timers.

        Each second a run finishes with probability `finishing`.
        """
        end_s = self.now_s + duration_s
        while self.now_s < end_s:
            self.now_s = min(end_s, self.now_s + 1.0)
            for node in self.nodes.values():
                if not quiet:
                    self.heartbeat(node)
                    self.deliver(node)
                for run in list(node.runs.values()):
                    if self.rng.random() < finishing:
                        self.finish(node, run)
                self._mind_lease(node)
            self.tick()

    def tick(self) -> None:
        """Lets the head do whatever is due."""
        while self.head.next_wakeup_s() <= self.now_s:
            self.give(events.Tick())

    def _mind_lease(self, node: FakeNode) -> None:
        if self.now_s - node.lease_from_s >= 0.8 * self.settings.lost_after_s:
            for run in list(node.runs.values()):
                self.fail(node, run, ErrorClass.CANCELLED)
            for lfn in list(node.writes):
                self.end_write(node, lfn, None)

    # --- what must hold ---

    def check(self) -> None:
        """Asserts the promises that can be seen from outside."""
        running = [run.lfn for node in self.nodes.values() for run in node.runs.values()]
        assert len(running) == len(set(running)), f"two runs of one recall: {sorted(running)}"
        written = [lfn for node in self.nodes.values() for lfn in node.writes]
        assert len(written) == len(set(written)), f"two writers of one name: {sorted(written)}"
        assert not set(running) & set(written), "a file is staged while it is written"
        assert all(map(self.head.is_directory, self.directories))
        self._check_requests()
        self._check_reservations()
        self._check_quiet_nodes()
        self._check_nothing_phantom()
        self._check_watched()

    def _check_requests(self) -> None:
        active = {figures.record.request_id for figures in self.head.requests(active_only=True)}
        for request_id, kept in self.requests.items():
            states = [file.state for file in kept.files.values()]
            waits = RequestFileState.WAITING in states
            assert (kept.state is RequestState.ACTIVE) == waits == (request_id in active)
            assert kept.times_ended == (not waits), "a request ends once"
        self._check_pins_kept()

    def _check_pins_kept(self) -> None:
        """The disk has the pins the head has, and none whose time is long over."""
        for (lfn, owner), pin in self.pins.items():
            in_force = any(one.owner == owner for one in self.head.explain(lfn, self.now_s).pins)
            assert in_force == (pin.expires_unix_s > self.now_s)
            assert in_force or self.head.next_wakeup_s() <= self.now_s

    def _check_reservations(self) -> None:
        """No pool is promised more than its quota; files of unknown size are guesses."""
        if self.guessed:
            return
        for figures in self.head.nodes(self.now_s):
            assert figures.promised_bytes <= figures.quota_bytes

    def _quiet_nodes(self) -> list[FakeNode]:
        """The nodes with which the head has nothing more to talk about."""
        up = {one.address.node for one in self.head.nodes(self.now_s) if one.state is NodeState.UP}
        return [
            node
            for node in self.nodes.values()
            if node.name in up
            and node.connection is not None
            and not (node.to_head or node.to_node or node.cut or node.lost_change)
        ]

    def _check_quiet_nodes(self) -> None:
        """What quiet nodes hold is found and pinned; what they run is wanted."""
        wanted = {
            lfn
            for kept in self.requests.values()
            for lfn, file in kept.files.items()
            if file.state is RequestFileState.WAITING
        }
        for node in self._quiet_nodes():
            lfns = list(node.files)
            for lfn, holder in zip(lfns, self.head.locate(lfns, self.now_s).holders, strict=True):
                assert holder, f"{lfn} is held and not found"
                pinned = self.head.explain(lfn, self.now_s).pins
                assert not pinned or node.pins.get(lfn, 0.0) >= self.now_s, f"{lfn} is not pinned"
            for lfn in node.writes:
                assert self.head.explain(lfn, self.now_s).next.endswith(f" on {node.name}")
            for run in node.runs.values():
                assert run.lfn in wanted, f"{run.lfn} is recalled for nobody"

    def _check_nothing_phantom(self) -> None:
        """If all nodes are quiet, what nobody holds is not found."""
        if len(self._quiet_nodes()) < len(self.nodes):
            return
        held = {lfn for node in self.nodes.values() for lfn in node.files}
        absent = sorted(self.archive.keys() - held)
        assert not any(self.head.locate(absent, self.now_s).holders)

    def _check_watched(self) -> None:
        """Those who watch know how every file stands, but for failures that were forgotten."""
        if self.head.next_wakeup_s() <= self.now_s:
            return
        for standing in self.head.standing(list(self.watched), self.now_s):
            told = self.watched[standing.lfn]
            failed = told in (FileState.FAILED, FileState.MISSING)
            forgotten = failed and standing.state is FileState.NEARLINE
            assert told is standing.state or forgotten, f"{standing.lfn}: told {told.name}"


def replace_state(known: RequestFile, new: RequestFile) -> RequestFile:
    """The file on disk with the state and reason of a newer one, and its own facts."""
    return known._replace(state=new.state, reason=new.reason)


def settled(world: World, patience_s: float) -> bool:
    """Heals everything and lets the site run; whether every request has ended by then."""
    for node in world.nodes.values():
        if node.cut or node.lost_change:
            world.disconnect(node)
    until_s = world.now_s + patience_s
    while world.now_s < until_s:
        for node in world.nodes.values():
            if node.connection is None:
                world.connect(node)
            world.deliver(node)
            for run in list(node.runs.values()):
                world.finish(node, run)
            for lfn in list(node.writes):
                world.end_write(node, lfn, None)
            world.deliver(node)
        world.pass_time(1.0)
        world.check()
        if all(kept.state is not RequestState.ACTIVE for kept in world.requests.values()):
            return True
    return False
