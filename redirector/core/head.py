"""The head node's one door: `Head.handle` takes an event, returns instructions.

The work is done by parts that share the tables of `Books`:

    Membership   nodes join, fall silent, are dropped
    Holdings     what they hold
    Staging      recalls in the hands of nodes; with Wishes, Endings, Settling
    Claiming     names that clients write under on nodes
    Placing      the queue, and the choice of a node
    Hinting      where files lie on tape
    Asking       what clients want: requests, pins
    Pinning      pins, and telling the nodes of them
    Lookup       where files are
    Reading      which holder a client is sent to
    Writing      which node a client is sent to with a new file
    Browsing     directories
    Explaining   all of it in words
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.errors import NotFound
from redirector.core import events
from redirector.core.asking import Asking
from redirector.core.books import Books
from redirector.core.browsing import Browsing
from redirector.core.choice import Weights, cost_of
from redirector.core.claiming import Claiming
from redirector.core.endings import Endings
from redirector.core.explaining import Explaining
from redirector.core.figures import (
    NodeFigures,
    StatusFigures,
)
from redirector.core.hinting import Hinting
from redirector.core.holdings import Holdings
from redirector.core.lookup import Lookup
from redirector.core.membership import Membership
from redirector.core.model import NodeAddress, RequestFile
from redirector.core.pinning import Pinning
from redirector.core.placing import Placing
from redirector.core.reading import Reading
from redirector.core.settling import Settling
from redirector.core.staging import Staging
from redirector.core.standing import standing_of
from redirector.core.wishes import Wishes
from redirector.core.writing import Writing

if TYPE_CHECKING:
    import random
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from redirector.core.directories import DirectoryListing
    from redirector.core.events import Event
    from redirector.core.figures import (
        EvictPlan,
        Explanation,
        FileStanding,
        HolderGroups,
        LocateColumns,
        RequestFigures,
    )
    from redirector.core.instructions import Instruction
    from redirector.core.node import Node
    from redirector.core.settings import HeadSettings


class Head:
    """Where every file is, who stages the next one, and why.

    One thread calls it. `now_s` is Unix seconds that never jump and never go back.
    The first event is `Restored`. Queries change nothing and may be called at any time.
    """

    def __init__(
        self, settings: HeadSettings, epoch: str, rng: random.Random, now_s: float
    ) -> None:
        """`epoch` is new at every start of the head; `rng` makes the jitter of retries."""
        books = Books(settings, epoch, rng, now_s)
        self._books = books
        pinning = Pinning(books)
        settling = Settling(books, pinning)
        wishes = Wishes(books)
        endings = Endings(books, wishes, settling)
        self._staging = Staging(books, wishes, endings, settling, pinning)
        self._browsing = Browsing(books)
        self._claiming = Claiming(books, self._browsing)
        self._holdings = Holdings(books, self._staging, self._claiming, pinning)
        self._membership = Membership(books, self._staging, self._claiming, self._holdings)
        self._placing = Placing(books, self._staging, endings)
        self._hinting = Hinting(books)
        self._pinning = pinning
        self._explaining = Explaining(books)
        self._asking = Asking(books, wishes, endings, settling, pinning, self._explaining)
        self._lookup = Lookup(books)
        self._reading = Reading(books)
        self._writing = Writing(books, self._claiming)
        self._latest_s = now_s

    def handle(self, event: Event, now_s: float) -> list[Instruction]:
        """Takes in what happened, returns what is to be done about it, in order.

        Raises UsageError, NotFound, AlreadyExists or Refused, having changed nothing, for
        what is asked in vain; IllegalMove for a bug of ours. What nodes send never raises.
        """
        assert now_s >= self._latest_s, "time went back"
        self._latest_s = now_s
        self._take_in(event, now_s)
        self._asking.replace_damaged(now_s)
        self._hinting.ask_more(now_s)
        self._placing.place_changed(now_s)
        return self._books.out.empty()

    def reconfigure(self, settings: HeadSettings) -> None:
        """Other settings hold from here on, for what is under way too.

        What nodes were told when they joined stays as it is: the heartbeat, and the lease.
        """
        self._books.reconfigure(settings)

    def tick(self, now_s: float) -> list[Instruction]:
        """The same as handling `Tick`: whatever is due by now."""
        return self.handle(events.Tick(), now_s)

    def next_wakeup_s(self) -> float:
        """When `tick` has something to do next; may lie in the past, is never infinite."""
        books = self._books
        if books.index.sweeping:
            return self._latest_s
        times = [
            books.nodes.next_check_s,
            books.nodes.await_until_s,
            books.recalls.next_due_s(),
            books.pins.next_expiry_s(),
            books.requests.next_deadline_s(),
            self._hinting.next_due_s(self._latest_s),
        ]
        return min(time_s for time_s in times if time_s is not None)

    def set_root_address(self, address: str) -> None:
        """HOST:PORT of the redirector's own root:// door, for the nodes that join from now on."""
        self._books.root_address = address

    # --- choices: they count as made, so that the next ones are spread ---

    def choose_reader(
        self, lfn: str, host: str = "", avoid: Collection[str] = ()
    ) -> NodeAddress | None:
        """Where a client on `host` is sent to read a file; well below 1 µs for one replica.

        None if no node in touch that has a root:// door, but for those named in `avoid`,
        holds it. Counts as a use of the replica: a node whose door is another program's is
        told of it with its next heartbeat, so the caller need not see to that.
        """
        return self._reading.choose(lfn, host, avoid)

    def choose_writer(
        self,
        lfn: str,
        size_bytes: int,
        host: str,
        avoid: Collection[str],
        now_s: float,
    ) -> NodeAddress:
        """Where a client on `host` is sent to write a file of this size (0: unknown).

        That is the node that has the name already, claimed or online, or else the best one
        that has room. Raises QuotaExceeded if there is no room for it anywhere; Refused if
        it is being staged, no node takes new files, or too little is known after a restart.
        """
        return self._writing.choose(lfn, size_bytes, host, avoid, now_s)

    def found_vacant(self, lfn: str, now_s: float) -> None:
        """The archive was just asked about a name, which is to be written, and has it not."""
        self._claiming.found_vacant(lfn, now_s)

    # --- queries ---

    def locate(self, lfns: Sequence[str], now_s: float, host: str = "") -> LocateColumns:
        """Where files are, about 1 µs a name; a replica on `host` is the best one there is."""
        return self._lookup.locate(lfns, now_s, host)

    def standing(self, lfns: Sequence[str], now_s: float) -> list[FileStanding]:
        """How files stand, a row each (for snapshots; slower than `locate`)."""
        return [standing_of(self._books, lfn, now_s) for lfn in lfns]

    def is_online(self, lfn: str) -> bool:
        """Whether any node that was not given up holds a file, in touch or not."""
        return self._books.index.online(lfn)

    def holders(self, lfn: str) -> list[NodeAddress]:
        """All nodes in touch that a file can be read from by root://, the least loaded first."""
        return self._reading.holders(lfn)

    def staging_node(self, lfn: str) -> NodeAddress | None:
        """The node that runs a file's recall now; None if there is no such run."""
        return self._reading.staging_node(lfn)

    def list_directory(self, directory: str) -> DirectoryListing:
        """The files and the directories that lie in one, "/" being the top.

        That is quick, for which of the files are online is told by `sizes_of`. Empty also if
        there is no such directory: `is_directory` tells.
        """
        return self._browsing.list(directory)

    def has_entries(self, directory: str) -> bool:
        """Whether any online file or directory lies in a directory."""
        return self._browsing.has_entries(directory)

    def sizes_of(self, lfns: Iterable[str]) -> Iterator[tuple[str, int]]:
        """(LFN, size in bytes) of those that are online, in their order; 0.3 µs a file."""
        return self._books.index.sizes_of(lfns)

    def is_directory(self, lfn: str) -> bool:
        """Whether a client made this directory, or any online file lies below it."""
        return self._browsing.is_directory(lfn)

    def group_by_holder(self, lfns: Sequence[str]) -> HolderGroups:
        """Whom to ask about these files (Describe): the best holder that is in touch."""
        return self._lookup.group_by_holder(lfns)

    def plan_evict(self, lfns: Sequence[str], now_s: float, *, soft: bool = False) -> EvictPlan:
        """Whom to ask to evict these files; every holder of an unpinned file, or `soft` of any."""
        return self._lookup.plan_evict(lfns, now_s, soft=soft)

    def explain(self, lfn: str, now_s: float) -> Explanation:
        """The story of a file."""
        return self._explaining.explain(lfn, now_s)

    def status(self, now_s: float) -> StatusFigures:
        """The site at a glance."""
        books = self._books
        usable = books.nodes.usable()
        return StatusFigures(
            uptime_s=now_s - books.started_s,
            replicas=books.index.total,
            recalls_queued=len(books.recalls.live) - books.recalls.running,
            recalls_running=books.recalls.running,
            requests_active=books.requests.active_count,
            recalls_done=books.recalls.done,
            recalls_failed=books.recalls.failed,
            quota_bytes=sum(node.quota_bytes for node in usable),
            available_bytes=sum(max(0, node.room_bytes) for node in usable),
            largest_room_bytes=max((max(0, node.room_bytes) for node in usable), default=0),
            largest_file_bytes=max((node.quota_bytes for node in usable), default=0),
        )

    def stuck(self, now_s: float) -> list[str]:
        """What makes no progress, a line each; empty if all is well."""
        return self._explaining.stuck(now_s)

    def nodes(self, now_s: float) -> list[NodeFigures]:
        """Every data server heard of, by name."""
        known = sorted(self._books.nodes, key=lambda node: node.name)
        return [self._figures(node, now_s) for node in known]

    def node(self, name: str, now_s: float) -> NodeFigures:
        """One data server. Raises NotFound."""
        node = self._books.nodes.get(name)
        if node is None:
            raise NotFound(f"no data server named {name} was ever heard of")
        return self._figures(node, now_s)

    def requests(self, *, active_only: bool = False) -> list[RequestFigures]:
        """Stage requests in memory, newest first: all active ones, and the latest ended."""
        known = self._books.requests.newest_first(active_only=active_only)
        return [request.figures() for request in known]

    def request(self, request_id: str) -> RequestFigures:
        """One stage request. Raises NotFound if it is not in memory (it may be on disk)."""
        request = self._books.requests.get(request_id)
        if request is None:
            raise NotFound(f"no stage request {request_id} is known")
        return request.figures()

    def request_files(self, request_id: str) -> list[RequestFile]:
        """The files of an active request. Raises NotFound if it has ended or never was."""
        request = self._books.requests.get(request_id)
        if request is None or not request.files:
            raise NotFound(f"no stage request {request_id} is active")
        return [
            RequestFile(lfn, state, request.reasons.get(lfn, ""))
            for lfn, state in request.files.items()
        ]

    def check(self) -> None:
        """Asserts every invariant; for tests, after every step."""
        self._books.check()

    # --- inside ---

    def _take_in(self, event: Event, now_s: float) -> None:
        match event:
            case events.Tick():
                self._pass_time(now_s)
            case events.NodeHello():
                self._membership.hello(event, now_s)
            case events.NodeLost():
                self._membership.lost(event, now_s)
            case events.ClaimAsked():
                self._claiming.claim(event, now_s)
            case events.StageAsked():
                self._asking.stage(event, now_s)
            case events.CancelAsked():
                self._asking.cancel(event, now_s)
            case events.PinAsked():
                self._asking.pin(event, now_s)
            case events.UnpinAsked():
                self._asking.unpin(event, now_s)
            case events.DrainAsked():
                self._membership.drain(event)
            case events.ForgetAsked():
                self._membership.forget(event, now_s)
            case events.MakeDirectoryAsked():
                self._browsing.make(event)
            case events.RemoveDirectoryAsked():
                self._browsing.remove(event)
            case events.HintsTold():
                self._hinting.told(event, now_s)
            case events.Restored():
                self._asking.restore(event, now_s)
            case events.RequestsRestored():
                self._asking.restore_requests(event.requests, now_s)
            case _:
                node = self._books.nodes.connected_by(event.connection)
                if node is not None:
                    self._membership.heard(node, now_s)
                    self._take_in_from(node, event, now_s)

    def _take_in_from(self, node: Node, event: events.NodeReport, now_s: float) -> None:
        """What comes by a node's present connection; all else was ignored."""
        match event:
            case events.NodeHeartbeat():
                self._membership.heartbeat(node, event, now_s)
            case events.InventoryPiece():
                self._holdings.inventory(node, event, now_s)
            case events.ReplicaChanges():
                self._holdings.changes(node, event, now_s)
            case events.RecallProgressed():
                self._staging.progressed(node, event, now_s)
            case events.RecallEnded():
                self._staging.ended(node, event, now_s)
            case events.ClaimEnded():
                self._claiming.ended(node, event, now_s)

    def _pass_time(self, now_s: float) -> None:
        self._membership.check_silence(now_s)
        self._holdings.sweep(now_s)
        self._staging.wake_due(now_s)
        self._pinning.expire(now_s)
        self._asking.end_overdue(now_s)
        self._hinting.pass_time(now_s)

    def _figures(self, node: Node, now_s: float) -> NodeFigures:
        books = self._books
        settings = books.settings
        weights = Weights(settings.recall_start_s, settings.full_pool_cost_s)
        return NodeFigures(
            address=node.address,
            state=node.state,
            draining=node.draining or node.drain_configured,
            connection=node.connection,
            load=node.load,
            quota_bytes=node.quota_bytes,
            heartbeat_age_s=now_s - node.heartbeat_s,
            cost_s=cost_of(node.candidate(books.nodes.site_rate), weights).cost_s,
            version=node.version,
            replicas=sum(map(books.index.count, node.slots)),
            recalls=len(node.recalls),
            claims=len(node.claims),
            promised_bytes=node.promised_bytes,
            served_by_others=node.served_by_others,
        )
