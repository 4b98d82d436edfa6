"""2,000 files on 20 tapes, asked for in no order: the redirector's own order, beside others.

The redirector's core is the real one, and decides as at a site; data servers and library
are simulated, and so is the time. The same is done without hints, which is first come,
first served; the best order known is calculated.
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from typing import TYPE_CHECKING

from benchmarks.figures import Figure
from benchmarks.library import Library, OnTape, best_s
from redirector.core import events
from redirector.core.head import Head
from redirector.core.instructions import AskHints, SendToNode, StartRecall
from redirector.core.model import FileFacts, Hint, NodeAddress, NodeLoad, ReplicaChange
from redirector.core.queue import Limits
from redirector.core.settings import HeadSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redirector.core.instructions import Instruction

FILES, TAPES = 2_000, 20
SIZE_BYTES = 2_000_000_000
DRIVES = 4
NODES, SLOTS = 4, 4
OWNERS = 5
#: The site's command is asked, and answers, in this time.
HINT_S = 2.0
HEARTBEAT_S = 10.0
#: One owner wants a tape of their own, this long after all others.
LATE_FILES, LATE_S = 20, 600.0


def measure() -> list[Figure]:
    """Recalls the same files in the redirector's order, and as they come."""
    files = _files()
    ours = _Site(files, hint_wait_s=30.0)
    ours_s = ours.recall_all()
    fifo = _Site(files, hint_wait_s=0.0)
    fifo_s = fifo.recall_all()
    best = best_s(files, DRIVES)
    return [
        Figure("ours_s", "in the redirector's order", ours_s, "s"),
        Figure("best_s", "in the best order known", best, "s"),
        Figure("fifo_s", "first come, first served", fifo_s, "s"),
        Figure("over_best", "ours over the best", ours_s / best, "", at_most=1.1),
        Figure(
            "fifo_over_ours", "first come, first served over ours", fifo_s / ours_s, "", at_least=10
        ),
        Figure("mounts", "mounts, ours", ours.library.mounts, ""),
        Figure("fifo_mounts", "mounts, first come, first served", fifo.library.mounts, ""),
        *_latecomer(files),
    ]


def _latecomer(files: Sequence[OnTape]) -> list[Figure]:
    """How long somebody waits who comes late and wants little."""
    late = [
        OnTape(f"/store/late/f{at:02}.root", "late", at / LATE_FILES, SIZE_BYTES)
        for at in range(LATE_FILES)
    ]
    site = _Site([*files, *late], hint_wait_s=30.0)
    site.recall_all(late, LATE_S)
    waited_s = max(site.online_s[file.lfn] for file in late) - LATE_S
    alone_s = best_s(late, 1)
    return [
        Figure("late_s", "20 files on a tape of their own, asked for late", waited_s, "s"),
        Figure("late_alone_s", "those, if nobody else wanted anything", alone_s, "s"),
    ]


def _files() -> list[OnTape]:
    rng = random.Random(1)
    return [
        OnTape(f"/store/f{number:04}.root", f"V{number % TAPES:02}", rng.random(), SIZE_BYTES)
        for number in range(FILES)
    ]


@dataclass
class _Node:
    """A data server: what it runs, what waits there, what it has published."""

    connection: int
    waiting: deque[StartRecall] = field(default_factory=deque)
    running: dict[str, StartRecall] = field(default_factory=dict)
    changes: int = 0


class _Site:
    """A redirector's core, with simulated data servers and a simulated library."""

    def __init__(self, files: Sequence[OnTape], hint_wait_s: float) -> None:
        settings = HeadSettings(
            suspect_after_s=10 * HEARTBEAT_S,
            lost_after_s=20 * HEARTBEAT_S,
            limits=Limits(drives=DRIVES),
            hint_wait_s=hint_wait_s,
        )
        self.now_s = 0.0
        self.library = Library(DRIVES)
        self.online_s: dict[str, float] = {}
        self._head = Head(settings, "epoch", random.Random(1), self.now_s)
        self._files = {file.lfn: file for file in files}
        self._nodes = {number: _Node(number) for number in range(1, NODES + 1)}
        self._node_of: dict[str, _Node] = {}
        self._later: list[tuple[float, int, events.Event]] = []
        self._numbers = count()
        self._give(events.Restored())
        for node in self._nodes.values():
            self._join(node)

    def recall_all(self, late: Sequence[OnTape] = (), late_s: float = 0.0) -> float:
        """Asks for all files, in no order and by several owners; how long that takes.

        Those that are late are asked for so much later, by somebody else.
        """
        names = [file.lfn for file in self._files.values() if file not in late]
        random.Random(2).shuffle(names)
        for owner in range(OWNERS):
            self._give(_wish(f"r{owner}", names[owner::OWNERS], f"user{owner}"))
        if late:
            self._at(late_s, _wish("late", [file.lfn for file in late], "late"))
        while len(self.online_s) < len(self._files):
            self._step()
        return max(self.online_s.values())

    def _step(self) -> None:
        """The next thing happens: a file is read, or something that was to come."""
        done_s = self.library.next_done_s()
        if done_s is not None and done_s <= self._later[0][0]:
            self.now_s, file = self.library.done()
            self._arrived(file)
            return
        self.now_s, _number, event = heappop(self._later)
        if isinstance(event, events.NodeHeartbeat):
            self._at(self.now_s + HEARTBEAT_S, event)
        self._give(event)
        if self._head.next_wakeup_s() <= self.now_s:
            self._give(events.Tick())

    def _arrived(self, file: OnTape) -> None:
        node = self._node_of.pop(file.lfn)
        start = node.running.pop(file.lfn)
        self.online_s[file.lfn] = self.now_s
        node.changes += 1
        change = ReplicaChange(node.changes, file.lfn, file.size_bytes, recall_id=start.recall_id)
        self._run_more(node)
        self._give(events.ReplicaChanges(node.connection, [change]))

    def _give(self, event: events.Event) -> None:
        for instruction in self._head.handle(event, self.now_s):
            self._obey(instruction)

    def _obey(self, instruction: Instruction) -> None:
        match instruction:
            case SendToNode(connection=connection, command=StartRecall() as start):
                node = self._nodes[connection]
                node.waiting.append(start)
                self._run_more(node)
            case AskHints(lfns=lfns):
                hints = {lfn: _hint(self._files[lfn]) for lfn in lfns}
                self._at(self.now_s + HINT_S, events.HintsTold(lfns, hints))

    def _run_more(self, node: _Node) -> None:
        while node.waiting and len(node.running) < SLOTS:
            start = node.waiting.popleft()
            node.running[start.lfn] = start
            self._node_of[start.lfn] = node
            self.library.ask(self._files[start.lfn], self.now_s)

    def _join(self, node: _Node) -> None:
        name = f"disk{node.connection}"
        address = NodeAddress(name, f"{name}:1", name)
        quota_bytes = 10 * FILES * SIZE_BYTES
        self._give(
            events.NodeHello(
                node.connection, address, "boot", f"pool-{name}", quota_bytes, recall_slots=SLOTS
            )
        )
        heartbeat = events.NodeHeartbeat(node.connection, NodeLoad())
        self._give(heartbeat)
        self._give(events.InventoryPiece(node.connection, (), (), last=True))
        self._at(HEARTBEAT_S, heartbeat)

    def _at(self, at_s: float, event: events.Event) -> None:
        heappush(self._later, (at_s, next(self._numbers), event))


def _wish(request_id: str, lfns: Sequence[str], owner: str) -> events.StageAsked:
    facts = {lfn: FileFacts(SIZE_BYTES) for lfn in lfns}
    return events.StageAsked(request_id, lfns, owner=owner, facts=facts)


def _hint(file: OnTape) -> Hint:
    return Hint(file.tape, int(file.place * 1e9), file.size_bytes)
