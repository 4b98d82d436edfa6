"""One data server as the head sees it: its state, its load, its recalls.

    JOINING   its inventory is on the way
    UP        in touch, all its replicas known; the only state that gets recalls
    SUSPECT   out of touch, or silent; its recalls are still its own
    DROPPED   out of touch for the length of the recall lease: its recalls are
              given to others, its replicas are gone

The legal moves are the table `MOVES` and nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.story import IllegalMove, Story
from redirector.core.choice import Candidate
from redirector.core.model import NodeAddress, NodeLoad, NodeRecord
from redirector.core.states import NodeState

if TYPE_CHECKING:
    from redirector.core.events import NodeHello
    from redirector.core.model import ReplicaChange
    from redirector.core.recall import Recall

MOVES: dict[tuple[NodeState, str], NodeState] = {
    (NodeState.JOINING, "hello"): NodeState.JOINING,
    (NodeState.JOINING, "inventory complete"): NodeState.UP,
    (NodeState.JOINING, "disconnected"): NodeState.SUSPECT,
    (NodeState.JOINING, "lease over"): NodeState.DROPPED,
    (NodeState.UP, "hello"): NodeState.JOINING,
    (NodeState.UP, "inventory complete"): NodeState.UP,
    (NodeState.UP, "silent"): NodeState.SUSPECT,
    (NodeState.UP, "disconnected"): NodeState.SUSPECT,
    (NodeState.SUSPECT, "hello"): NodeState.JOINING,
    (NodeState.SUSPECT, "heard again"): NodeState.UP,
    (NodeState.SUSPECT, "disconnected"): NodeState.SUSPECT,
    (NodeState.SUSPECT, "lease over"): NodeState.DROPPED,
    (NodeState.DROPPED, "hello"): NodeState.JOINING,
}


#: Of so many different files used, a node is told between two heartbeats.
_MOST_USES = 10_000


class Node:
    """The mutable figures of one data server."""

    __slots__ = (
        "address",
        "boot_epoch",
        "change_number",
        "claims",
        "connection",
        "drain_configured",
        "draining",
        "early_changes",
        "early_claim_ends",
        "failures_in_row",
        "filling",
        "fresh_bytes",
        "fresh_pinned_bytes",
        "fresh_writes_bytes",
        "full_for_bytes",
        "full_until_s",
        "heartbeat_s",
        "kept_for",
        "last_choice",
        "last_heard_s",
        "left_bytes",
        "load",
        "load_known",
        "max_files",
        "number",
        "pool_id",
        "promised_bytes",
        "quota_bytes",
        "recall_slots",
        "recalls",
        "resting_until_s",
        "served_by_others",
        "slots",
        "state",
        "story",
        "uses",
        "version",
        "written_bytes",
    )

    def __init__(self, number: int, record: NodeRecord, now_s: float) -> None:
        self.number = number
        self.address = NodeAddress(record.node, "", "")
        self.pool_id = record.pool_id
        self.boot_epoch = ""
        self.version = ""
        self.state = NodeState.DROPPED if record.gone else NodeState.SUSPECT
        self.story = Story()
        self.connection: int | None = None
        self.last_heard_s = now_s
        self.heartbeat_s = now_s
        self.draining = record.draining  # by an admin; durable
        self.drain_configured = False  # by the node's own configuration
        self.quota_bytes = 0
        self.max_files = 0
        self.recall_slots = 1
        self.load = NodeLoad()
        self.load_known = False  # a heartbeat has come since its hello
        # Its root:// door is another program's, which tells of no use; the names of the files
        # that readers were sent to it for since it was last told of them.
        self.served_by_others = False
        self.uses: dict[str, None] = {}
        self.last_choice = 0  # the higher, the later it was last chosen of several holders
        # Its slots in the index, the one being filled last.
        self.slots: list[int] = []
        self.filling = False
        self.change_number = 0
        self.early_changes: list[ReplicaChange] = []
        # The names that clients write under there, with the ids of the claims; those of them
        # that will have ended when its inventory is complete.
        self.claims: dict[str, str] = {}
        self.early_claim_ends: dict[str, None] = {}
        # Every recall it may be running, by LFN, and what is reserved for them.
        self.recalls: dict[str, Recall] = {}
        self.promised_bytes = 0
        self.left_bytes = 0  # of that, what is still to come
        # Published since the last heartbeat, so not in its figures yet.
        self.fresh_bytes = 0
        self.fresh_pinned_bytes = 0
        # What clients are writing, as it said with its last heartbeat, and what they were sent
        # to it with since.
        self.written_bytes = 0
        self.fresh_writes_bytes = 0
        # It had no room for as much as this, lately.
        self.full_for_bytes = 0
        self.full_until_s = 0.0
        self.failures_in_row = 0
        self.resting_until_s = 0.0
        # A recall often overtaken, for which this node is kept free.
        self.kept_for: Recall | None = None

    @property
    def name(self) -> str:
        """The data server's name, unique in the site."""
        return self.address.node

    def move(self, event: str, now_s: float) -> None:
        """Makes a move of the table; raises IllegalMove if it is not there."""
        state = MOVES.get((self.state, event))
        if state is None:
            raise IllegalMove(f"node {self.name}", self.state.name, event, self.story)
        if state is not self.state:
            self.story.tell(now_s, f"{event}: {self.state.name} -> {state.name}")
        self.state = state

    def greet(self, hello: NodeHello, now_s: float) -> None:
        """Takes over what a hello says; all of the node's figures are its own again."""
        self.address = hello.address
        self.pool_id = hello.pool_id
        self.boot_epoch = hello.boot_epoch
        self.version = hello.version
        self.connection = hello.connection
        self.last_heard_s = now_s
        self.drain_configured = hello.drain
        self.served_by_others = hello.served_by_others
        self.uses = {}
        self.quota_bytes = hello.quota_bytes
        self.max_files = hello.max_files
        self.recall_slots = max(1, hello.recall_slots)
        self.load_known = False
        self.early_changes = []
        self.full_until_s = 0.0
        self.failures_in_row = 0
        self.resting_until_s = 0.0
        self.move("hello", now_s)

    def beat(self, load: NodeLoad, quota_bytes: int, now_s: float) -> None:
        """Takes over a heartbeat's figures."""
        self.load = load
        self.load_known = True
        self.heartbeat_s = now_s
        self.quota_bytes = quota_bytes
        self.fresh_bytes = 0
        self.fresh_pinned_bytes = 0
        self.written_bytes = max(0, load.reserved_bytes - self.promised_bytes)
        self.fresh_writes_bytes = 0

    def record(self) -> NodeRecord:
        """What is kept of it on disk."""
        return NodeRecord(
            self.name, self.pool_id, self.draining, gone=self.state is NodeState.DROPPED
        )

    def note_use(self, lfn: str) -> None:
        """Somebody was sent to it for a file; of very many it is not told."""
        if len(self.uses) < _MOST_USES:
            self.uses[lfn] = None

    # --- recalls and room ---

    def take(self, recall: Recall) -> None:
        """Reserves room for a recall that is given to this node."""
        assert recall.lfn not in self.recalls
        self.recalls[recall.lfn] = recall
        self.promised_bytes += recall.reserved_bytes
        self.left_bytes += recall.bytes_left

    def release(self, recall: Recall) -> None:
        """Gives back what was reserved for a recall that has ended here."""
        del self.recalls[recall.lfn]
        self.promised_bytes -= recall.reserved_bytes
        self.left_bytes -= recall.bytes_left

    def resize(self, recall: Recall, reserved_bytes: int) -> None:
        """Changes what is reserved for a recall: its size has become known."""
        self.promised_bytes += reserved_bytes - recall.reserved_bytes
        self.left_bytes -= recall.bytes_left
        recall.reserved_bytes = reserved_bytes
        self.left_bytes += recall.bytes_left

    def advance(self, recall: Recall, bytes_done: int) -> None:
        """A recall has come so far here."""
        self.left_bytes -= recall.bytes_left
        recall.bytes_done = max(recall.bytes_done, bytes_done)
        self.left_bytes += recall.bytes_left

    def need_bytes(self, recall: Recall, assumed_bytes: int) -> int:
        """What to reserve here for a file; one of unknown size gets an assumed one.

        If that proved too little before, it may take all that is not pinned, but waits for
        no pin to go, unless more than that has come already.
        """
        if recall.size_bytes:
            return recall.size_bytes
        likely_bytes = min(recall.least_bytes, self.unpinned_bytes)
        return max(self.usual_bytes(assumed_bytes), likely_bytes, recall.arrived_bytes)

    def usual_bytes(self, assumed_bytes: int) -> int:
        """What a file of unknown size is taken to need here: at most an even share of the
        quota, or nothing would ever come into pools smaller than the assumption."""
        return min(assumed_bytes, self.quota_bytes // (2 * self.recall_slots))

    @property
    def writes_bytes(self) -> int:
        """What clients are writing here, or about to."""
        return self.written_bytes + self.fresh_writes_bytes

    @property
    def unpinned_bytes(self) -> int:
        """What could hold recalls, if everything that can be purged were."""
        return self.quota_bytes - self.load.pinned_bytes - self.fresh_pinned_bytes

    @property
    def room_bytes(self) -> int:
        """Of that, what is not promised to recalls."""
        return self.unpinned_bytes - self.promised_bytes

    @property
    def usable(self) -> bool:
        """Whether it may get recalls at all, leaving aside how busy it is."""
        return (
            self.state is NodeState.UP
            and self.load_known
            and not self.draining
            and not self.drain_configured
            and not self.load.trouble
        )

    @property
    def recall_places(self) -> int:
        """How many recalls it is given at a time: one ahead of each that it runs."""
        return 2 * self.recall_slots

    def open(self, now_s: float) -> bool:
        """Whether it may get another recall now, if there is room for it."""
        return (
            len(self.recalls) < self.recall_places
            and self.usable
            and now_s >= self.resting_until_s
            and (not self.max_files or len(self.recalls) < self.max_files)
        )

    def candidate(self, site_rate: float) -> Candidate:
        """Its figures for the choice."""
        load = self.load
        return Candidate(
            self.name,
            self.left_bytes,
            load.staging_rate or site_rate,
            load.cpu_percent,
            load.io_wait_percent,
            load.used_bytes + self.fresh_bytes,
            self.promised_bytes,
            self.quota_bytes,
            self.recall_slots - len(self.recalls),
        )

    def check(self) -> None:
        """Asserts what must hold of one node."""
        assert self.promised_bytes == sum(r.reserved_bytes for r in self.recalls.values())
        assert self.left_bytes == sum(r.bytes_left for r in self.recalls.values())
        assert all(recall.node is self for recall in self.recalls.values())
        assert self.state not in (NodeState.JOINING, NodeState.UP) or self.connection is not None
        if self.state is NodeState.DROPPED:
            assert self.connection is None
            assert not self.recalls
            assert not self.slots
            assert not self.claims
        assert not self.filling or self.slots
        assert self.early_claim_ends.keys() <= self.claims.keys()
        assert self.filling or not self.early_claim_ends
        if self.kept_for is not None:
            assert self.kept_for.kept_on is self
