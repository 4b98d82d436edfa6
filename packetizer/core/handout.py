"""Packets go out, and some come back: leases and failures of one session.

A packet that fails is leased again in the same range, to another worker or from
another replica if there is one. What was in the hands of a worker that died is
suspect: each such packet is leased alone, to a worker that holds nothing else, so
that a packet that kills its workers is found out and takes no other down with it.
After `attempts` failures a packet is named as bad.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from packetizer.core.events import FailureKind
from packetizer.core.files import FileState
from packetizer.core.leases import Lease, Returned, Returns, Verdict
from packetizer.core.ranges import Ranges

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from packetizer.core.books import Books
    from packetizer.core.events import PacketFailed
    from packetizer.core.how_much import HowMuch
    from packetizer.core.leases import LeaseIds
    from packetizer.core.nodes import Node
    from packetizer.core.shelves import Shelf, Shelves
    from packetizer.core.where import Where
    from packetizer.core.workers import Crew, Seat, Worker

#: Before a replica that did not open is tried again: this, then four times as long,
#: and so on. Long enough that a data server that died is known to have died.
_OPEN_AGAIN_S = 2.0
#: How long a packet waits for another worker, or for one on the host of its data.
_CHOOSY_S = 3.0


class Handout:
    """The packets of one session."""

    def __init__(
        self,
        books: Books,
        shelves: Shelves,
        crew: Crew,
        where: Where,
        how_much: HowMuch,
        lease_ids: LeaseIds,
        attempts: int,
    ) -> None:
        self.returns = Returns()
        self._books = books
        self._shelves = shelves
        self._crew = crew
        self._where = where
        self._how_much = how_much
        self._lease_ids = lease_ids
        self._attempts = attempts
        self._session_id = books.session_id
        self._emptying: set[str] = set()

    # --- leasing -------------------------------------------------------------------

    @property
    def has_work(self) -> bool:
        """Whether there is anything to lease, to the right worker at least."""
        return bool(self._shelves.free_entries or self.returns.ready)

    def shelf_of(self, node: Node) -> Shelf | None:
        """The shelf of a data server, if it ever had one."""
        return self._shelves.get(node)

    def is_emptying(self, worker: Worker) -> bool:
        """Whether the worker gets nothing until it holds nothing, to then get a suspect."""
        return worker.name in self._emptying

    def lease(self, seat: Seat, now_s: float) -> Lease | None:
        """The next packet for a worker; None if it must wait."""
        if not self.returns.alone:
            self._emptying.clear()
        if self.returns.ready:
            again = self._lease_again(seat, now_s)
            if again is not None or self.is_emptying(seat.worker):
                return again
        place = self._where.choose(
            seat, self._shelves, self._crew, to_come=self._books.files_to_come, now_s=now_s
        )
        if place is None:
            seat.sit(None, None)
            return None
        file, shelf, is_local = place
        seat.sit(file, shelf)
        ledger, cuts = file.ledger, file.cuts
        assert ledger is not None
        assert cuts is not None
        how_much = self._how_much
        start, limit = ledger.free.first()
        wanted = how_much.entries(seat, file, self._crew, self._books.entries_unassigned)
        stop = cuts.stop_for(start, limit, wanted, take_tail=how_much.takes_tail)
        lease = Lease(
            self._lease_ids.new(),
            self._session_id,
            file,
            start,
            stop,
            shelf.node,
            seat.worker,
            is_local=is_local,
        )
        ledger.lease(lease.lease_id, start, stop)
        self._shelves.took(file, stop - start)
        self._hand_over(lease, now_s)
        return lease

    def _lease_again(self, seat: Seat, now_s: float) -> Lease | None:
        worker = seat.worker
        node: Node | None = None
        must_be_empty = False

        def judge(returned: Returned) -> Verdict:
            nonlocal node, must_be_empty
            file = returned.file
            if file.given_up:
                return Verdict.DROP
            if file.state is not FileState.READY:
                return Verdict.LEAVE
            node = _replica(file.nodes, worker, returned.avoid_node, now_s)
            if node is None:
                return Verdict.LEAVE
            if now_s < returned.choosy_until_s and (
                (returned.avoid_worker == worker.name and len(self._crew) > 1)
                or (
                    node.host != worker.host
                    and self._books.files_to_come
                    and self._crew.workers_at(node.host)
                )
            ):
                return Verdict.LEAVE
            if returned.is_alone and worker.hand:
                must_be_empty = True
                return Verdict.LEAVE
            return Verdict.TAKE

        returned = self.returns.take(judge)
        if returned is None:
            if must_be_empty and len(self._emptying) < self.returns.alone:
                self._emptying.add(worker.name)
            elif not must_be_empty:
                self._emptying.discard(worker.name)
            return None
        self._emptying.discard(worker.name)
        assert node is not None
        file = returned.file
        assert file.ledger is not None
        lease = Lease(
            self._lease_ids.new(),
            self._session_id,
            file,
            returned.start,
            returned.stop,
            node,
            worker,
            is_local=bool(node.host) and node.host == worker.host,
            tried=returned.tried,
            is_alone=returned.is_alone,
        )
        file.ledger.lease_again(lease.lease_id, returned.start, returned.stop)
        worker.is_alone = returned.is_alone
        self._hand_over(lease, now_s)
        return lease

    def _hand_over(self, lease: Lease, now_s: float) -> None:
        lease.leased_s = now_s
        lease.worker.hand[lease.lease_id] = lease
        self._books.leased(lease, now_s)

    # --- failing -------------------------------------------------------------------

    def failed(self, lease: Lease, failure: PacketFailed, now_s: float) -> None:
        """A worker could not do a packet, and says why."""
        kind = failure.kind
        if kind is FailureKind.UNDONE:
            self.give_back(lease)
            return
        reason = f"{failure.reason} (worker {lease.worker.name}, data server {lease.node.name})"
        tried = lease.tried + 1
        delay_s = 0.0
        if kind is FailureKind.OPEN:
            if not lease.node.did_not_open(lease.file.lfn, now_s):
                tried = lease.tried
            delay_s = _OPEN_AGAIN_S * 4 ** max(tried - 1, 0)
        self._books.packets_retried += 1
        if tried < self._attempts:
            of_replica = kind in {FailureKind.OPEN, FailureKind.CORRUPT}
            self._set_aside(
                lease,
                tried,
                now_s,
                delay_s,
                avoid_node=lease.node.name if of_replica else "",
                avoid_worker="" if of_replica else lease.worker.name,
            )
            return
        file = lease.file
        self.drop(lease)
        self._books.packet_is_bad(lease, reason, failure.traceback)
        untouched = file.ledger is not None and not file.ledger.committed
        if kind is FailureKind.OPEN and untouched and not file.given_up:
            self._books.file_is_bad(file, reason)

    def lost(self, leases: Iterable[Lease], reason: str, now_s: float) -> None:
        """A worker died with these in its hands, none of them being committed."""
        for lease in leases:
            self._books.packets_retried += 1
            tried = lease.tried + 1
            if lease.is_alone and tried >= self._attempts:
                self.drop(lease)
                self._books.packet_is_bad(
                    lease, f"{tried} workers died of it, the last one {reason}", ""
                )
            else:
                self._set_aside(lease, tried, now_s, is_alone=True)

    def give_back(self, lease: Lease) -> None:
        """A lease ends, and nobody is to blame: what it holds can be leased at once."""
        file = lease.file
        if lease.tried:
            self._set_aside(lease, lease.tried, 0.0, is_alone=lease.is_alone)
            return
        self.drop(lease)
        self._books.unleased(lease)
        assert file.ledger is not None
        file.ledger.give_back(lease.lease_id)
        if file.given_up:
            self._books.file_is_bad(file, file.given_up)
        elif file.state is FileState.READY:
            self._shelves.gave_back(file, lease.entries)

    def leave(self, worker: Worker) -> None:
        """A worker has gone; what it held was dealt with."""
        self._emptying.discard(worker.name)

    def _set_aside(
        self,
        lease: Lease,
        tried: int,
        now_s: float,
        delay_s: float = 0.0,
        *,
        is_alone: bool = False,
        avoid_worker: str = "",
        avoid_node: str = "",
    ) -> None:
        file = lease.file
        self.drop(lease)
        self._books.unleased(lease)
        assert file.ledger is not None
        file.ledger.set_aside(lease.lease_id)
        if file.given_up:
            self._books.file_is_bad(file, file.given_up)
            return
        self.returns.put(
            Returned(
                file,
                lease.start,
                lease.stop,
                tried,
                is_alone or lease.is_alone,
                not_before_s=now_s + delay_s,
                choosy_until_s=now_s + delay_s + _CHOOSY_S,
                avoid_worker=avoid_worker,
                avoid_node=avoid_node,
            ),
            now_s,
        )

    def drop(self, lease: Lease) -> None:
        """The lease has left its worker's hand."""
        worker = lease.worker
        worker.hand.pop(lease.lease_id, None)
        if lease.is_alone:
            worker.is_alone = False

    def check(self) -> None:
        """Asserts that what is set aside is what the ledgers hold aside, once."""
        aside: dict[object, Ranges] = {}
        for returned in self.returns:
            if not returned.file.given_up:
                aside.setdefault(returned.file, Ranges()).add(returned.start, returned.stop)
        for file in self._books.files.values():
            held = aside.get(file, Ranges())
            in_ledger = file.ledger.aside if file.ledger is not None else Ranges()
            assert list(held) == list(in_ledger), (file, held, in_ledger)


def _replica(nodes: Sequence[Node], worker: Worker, avoid: str, now_s: float) -> Node | None:
    """The replica to try: not the one that failed if there is another, the nearest first."""
    usable = [node for node in nodes if node.serves(now_s)]
    others = [node for node in usable if node.name != avoid] or usable
    for node in others:
        if node.host and node.host == worker.host:
            return node
    return others[0] if others else None
