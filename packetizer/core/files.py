"""A file of a session: where it stands, and the legal moves between the states.

WANTED ──► ASKED          asked: a stage request was made for it
   │         │
   ▼         ▼
 ONLINE ──► READY         described: its content is known, its entries can be leased
   ▲         │
   └─ AWAY ◄─┘            its last replica went; it may come back at any moment

and from everywhere ──► SETTLED: every entry is committed, or named as missing
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from packetizer.core.ledger import Ledger
    from packetizer.core.nodes import Node
    from packetizer.core.plan import Cuts
    from packetizer.core.ranges import Range
    from packetizer.core.shelves import Shelf

UNKNOWN_ENTRIES = -1


class FileState(Enum):
    """How a file stands with its session."""

    WANTED = "wanted"
    ASKED = "asked"
    ONLINE = "online"
    READY = "ready"
    AWAY = "away"
    SETTLED = "settled"


_W, _A, _O = FileState.WANTED, FileState.ASKED, FileState.ONLINE
_R, _Y, _S = FileState.READY, FileState.AWAY, FileState.SETTLED

#: Every legal move.
MOVES: dict[tuple[FileState, str], FileState] = {
    (_W, "asked"): _A,
    (_A, "request lost"): _W,
    (_W, "came online"): _O,
    (_A, "came online"): _O,
    (_Y, "came online"): _O,
    (_O, "described"): _R,
    (_O, "went offline"): _Y,
    (_R, "went offline"): _Y,
    (_Y, "given up waiting"): _W,
    (_W, "settled"): _S,
    (_A, "settled"): _S,
    (_O, "settled"): _S,
    (_R, "settled"): _S,
    (_Y, "settled"): _S,
}

#: States in which the file may still bring work that nobody can lease yet.
TO_COME = frozenset({_W, _A, _O, _Y})


@dataclass(frozen=True, slots=True)
class FileSpec:
    """A file of the dataset, as its session begins, or goes on, with it."""

    lfn: str
    tree: str = ""
    size_bytes: int = 0  # 0: unknown
    entries: int = UNKNOWN_ENTRIES
    #: What an earlier life of the session has committed and given up; with these
    #: the entries are known.
    committed: tuple[Range, ...] = ()
    bad: tuple[Range, ...] = ()
    #: An earlier life has given up the whole file without knowing its entries.
    is_lost: bool = False


class WorkFile:
    """One file of one session."""

    __slots__ = (
        "asks",
        "changed_s",
        "cuts",
        "entries",
        "format",
        "given_up",
        "has_arrived",
        "held_bytes",
        "index",
        "is_accepted",
        "is_ahead",
        "is_bad",
        "is_online",
        "is_pinned",
        "is_started",
        "ledger",
        "lfn",
        "nodes",
        "offered_by",
        "size_bytes",
        "state",
        "tree",
    )

    def __init__(self, index: int, spec: FileSpec) -> None:
        self.index = index
        self.lfn = spec.lfn
        self.tree = spec.tree
        self.size_bytes = spec.size_bytes
        self.entries = spec.entries
        self.state = FileState.WANTED
        #: When it was asked for or went away, whichever was last.
        self.changed_s = 0.0
        self.ledger: Ledger | None = None
        self.cuts: Cuts | None = None
        #: The format's number on the wire; passed on to workers, never looked at.
        self.format = 0
        #: The data servers that hold a replica.
        self.nodes: tuple[Node, ...] = ()
        #: The shelves it stands on: none unless it is ready and has free entries.
        self.offered_by: tuple[Shelf, ...] = ()
        self.is_started = False
        #: A replica is online, whether it is still needed or not.
        self.is_online = False
        self.is_pinned = False
        #: Some of its entries, or all, were given up.
        self.is_bad = False
        #: Why nothing of it is to be leased any more; "" as long as it is.
        self.given_up = ""
        #: It was asked for ahead of need, and counts in the window until it is settled.
        self.is_ahead = False
        self.has_arrived = False
        self.held_bytes = 0
        #: The redirector has accepted the stage request.
        self.is_accepted = False
        #: How often it was asked for.
        self.asks = 0

    def __repr__(self) -> str:
        return f"<{self.state.value} {self.lfn}>"
