"""Packets go out and come back: leases, commits and failures of one session.

Exactly once rests on three rules:

- A lease is in one worker's hand. A commit counts only if every lease it names is
  in the hand of the worker that offers it, and if every earlier commit it replaces
  is kept and not replaced yet. Otherwise none of it counts, the worker drops the
  result, and what it held of the commit can be leased again.
- From the moment a commit is accepted until the disk has it, nobody can take its
  leases back; only then are they committed, and the worker answered.
- A commit id that was kept once is answered again, and does nothing more.

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
from packetizer.core.instructions import AnswerCommit, KeepCommit
from packetizer.core.leases import Lease, Returned, Returns, Verdict, epoch_of
from packetizer.core.ranges import Ranges

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from packetizer.core.books import Books
    from packetizer.core.events import CommitOffered, PacketFailed
    from packetizer.core.how_much import HowMuch
    from packetizer.core.instructions import Outbox
    from packetizer.core.leases import LeaseIds
    from packetizer.core.nodes import Node
    from packetizer.core.shelves import Shelves
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
        outbox: Outbox,
        attempts: int,
        commits: Mapping[str, Sequence[int]],
    ) -> None:
        self.returns = Returns()
        self._books = books
        self._shelves = shelves
        self._crew = crew
        self._where = where
        self._how_much = how_much
        self._lease_ids = lease_ids
        self._outbox = outbox
        self._attempts = attempts
        self._session_id = books.session_id
        self._emptying: set[str] = set()
        #: Worker and commit id -> a commit that is on its way to disk.
        self._writing: dict[tuple[str, int], KeepCommit] = {}
        #: Worker -> commits that were kept, whether replaced since or not.
        self._kept: dict[str, Ranges] = {}
        #: Worker -> those of them that no later one replaces, on disk or on its way there.
        self._standing: dict[str, set[int]] = {}
        for worker, commit_ids in commits.items():
            self._kept[worker] = Ranges((number, number + 1) for number in commit_ids)
            self._standing[worker] = set(commit_ids)

    # --- leasing -------------------------------------------------------------------

    @property
    def has_work(self) -> bool:
        """Whether there is anything to lease, to the right worker at least."""
        return bool(self._shelves.free_entries or self.returns.ready)

    @property
    def is_writing(self) -> bool:
        """Whether commits are on their way to disk."""
        return bool(self._writing)

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

    # --- committing ----------------------------------------------------------------

    def offer(self, worker: Worker, commit: CommitOffered, refusal: str = "") -> None:
        """A worker offers a commit; `refusal` says why the session takes none now."""
        commit_id = commit.commit_id
        kept = self._kept.get(worker.name)
        if kept is not None and kept.holds(commit_id, commit_id + 1):
            self._outbox.add(AnswerCommit(worker.name, commit_id, accepted=True))
            return
        if (worker.name, commit_id) in self._writing:
            return  # said twice: the answer to the first is on its way
        mine = [
            lease
            for lease in map(worker.hand.get, commit.lease_ids)
            if lease is not None
            and lease.session_id == self._session_id
            and not lease.is_committing
        ]
        refusal = refusal or self._why_not(worker, commit, mine)
        if refusal:
            for lease in dict.fromkeys(mine):
                self.give_back(lease)
            self._outbox.add(AnswerCommit(worker.name, commit_id, accepted=False, reason=refusal))
            return
        crew = self._crew
        seat = crew.seat(worker)
        for lease, busy_s in zip(mine, commit.busy_s, strict=True):
            lease.is_committing = True
            lease.node.was_read(lease.leased_s)
            crew.measured(seat, lease.stop - lease.start, busy_s)
        keep = KeepCommit(
            self._session_id,
            worker.name,
            worker.host,
            commit_id,
            mine,
            commit.bytes_read,
            tuple(commit.supersedes),
            commit.payload,
            self._books.progress(),
        )
        self._writing[worker.name, commit_id] = keep
        # Spoken for from here on, so that no other commit replaces them too.
        self._standing.get(worker.name, set()).difference_update(keep.supersedes)
        self._outbox.add(keep)

    def _why_not(self, worker: Worker, commit: CommitOffered, mine: Sequence[Lease]) -> str:
        if len(mine) != len(commit.lease_ids):
            held = {lease.lease_id for lease in mine}
            strange = next(each for each in commit.lease_ids if each not in held)
            epoch = epoch_of(strange)
            return (
                f"lease {strange & 0xFFFFFFFF} of epoch {epoch} is not (or no longer) "
                f"this worker's: its packet may be somebody else's by now"
            )
        if len({lease.lease_id for lease in mine}) != len(mine):
            return "the commit names a lease twice"
        standing = self._standing.get(worker.name, ())
        for number in commit.supersedes:
            if number not in standing:
                return f"it replaces commit {number}, which does not count (any more)"
        if len(set(commit.supersedes)) != len(commit.supersedes):
            return "it replaces a commit twice"
        return ""

    def kept(self, worker: str, commit_id: int, now_s: float) -> None:
        """A commit is on disk."""
        keep = self._writing.pop((worker, commit_id), None)
        if keep is None:
            return
        for lease in keep.leases:
            assert lease.file.ledger is not None
            committed = lease.file.ledger.commit(lease.lease_id)
            assert committed == (lease.start, lease.stop), lease
            self._drop(lease)
        self._books.committed(keep.leases, keep.bytes_read, now_s)
        for file in dict.fromkeys(lease.file for lease in keep.leases):
            self._books.settle_if_done(file)
        self._kept.setdefault(worker, Ranges()).add(commit_id, commit_id + 1)
        self._standing.setdefault(worker, set()).add(commit_id)
        self._outbox.add(AnswerCommit(worker, commit_id, accepted=True))

    def not_kept(self, worker: str, commit_id: int, problem: str) -> None:
        """A commit could not be written: it does not count, and the session is about to fail."""
        keep = self._writing.pop((worker, commit_id), None)
        if keep is None:
            return
        for lease in keep.leases:
            lease.is_committing = False
            self.give_back(lease)
        self._outbox.add(AnswerCommit(worker, commit_id, accepted=False, reason=problem))

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
        self._drop(lease)
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
                self._drop(lease)
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
        self._drop(lease)
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
        self._drop(lease)
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

    def _drop(self, lease: Lease) -> None:
        worker = lease.worker
        worker.hand.pop(lease.lease_id, None)
        if lease.is_alone:
            worker.is_alone = False

    def leases_being_committed(self) -> set[int]:
        """The ids of leases whose commits are on their way to disk."""
        return {lease.lease_id for keep in self._writing.values() for lease in keep.leases}

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
        for worker, standing in self._standing.items():
            for number in standing:
                assert self._kept[worker].holds(number, number + 1), (worker, number)


def _replica(nodes: Sequence[Node], worker: Worker, avoid: str, now_s: float) -> Node | None:
    """The replica to try: not the one that failed if there is another, the nearest first."""
    usable = [node for node in nodes if node.serves(now_s)]
    others = [node for node in usable if node.name != avoid] or usable
    for node in others:
        if node.host and node.host == worker.host:
            return node
    return others[0] if others else None
