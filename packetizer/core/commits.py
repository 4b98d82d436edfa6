"""Commits of one session: a result and its packets, counted once or not at all.

Exactly once rests on three rules:

- A lease is in one worker's hand. A commit counts only if every lease it names is
  in the hand of the worker that offers it, and if every earlier commit it replaces
  is kept and not replaced yet. Otherwise none of it counts, the worker drops the
  result, and what it held of the commit, of any session, can be leased again.
- From the moment a commit is accepted until the disk has it, nobody can take its
  leases back; only then are they committed, and the worker answered.
- A commit id that was kept once is answered again, and does nothing more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from packetizer.core.instructions import AnswerCommit, KeepCommit
from packetizer.core.leases import epoch_of
from packetizer.core.ranges import Ranges

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from packetizer.core.books import Books
    from packetizer.core.events import CommitOffered
    from packetizer.core.handout import Handout
    from packetizer.core.instructions import Outbox
    from packetizer.core.leases import Lease
    from packetizer.core.workers import Crew, Worker


class Commits:
    """The commits of one session, offered and kept."""

    def __init__(
        self,
        books: Books,
        crew: Crew,
        handout: Handout,
        outbox: Outbox,
        commits: Mapping[str, Sequence[int]],
    ) -> None:
        """`commits` are those an earlier life has kept and not replaced, by worker."""
        self._books = books
        self._crew = crew
        self._handout = handout
        self._outbox = outbox
        self._session_id = books.session_id
        #: Worker and commit id -> a commit that is on its way to disk.
        self._writing: dict[tuple[str, int], KeepCommit] = {}
        #: Worker -> commits that were kept, whether replaced since or not.
        self._kept: dict[str, Ranges] = {}
        #: Worker -> those of them that no later one replaces, on disk or on its way there.
        self._standing: dict[str, set[int]] = {}
        for worker, commit_ids in commits.items():
            self._kept[worker] = Ranges((number, number + 1) for number in commit_ids)
            self._standing[worker] = set(commit_ids)

    @property
    def is_writing(self) -> bool:
        """Whether commits are on their way to disk."""
        return bool(self._writing)

    def offer(self, worker: Worker, commit: CommitOffered, refusal: str = "") -> bool:
        """A worker offers a commit; `refusal` says why the session takes none now.

        Returns whether it was taken. If not, the worker drops the result, and what it
        still holds of the commit is to be given back.
        """
        commit_id = commit.commit_id
        kept = self._kept.get(worker.name)
        if kept is not None and kept.holds(commit_id, commit_id + 1):
            self._outbox.add(AnswerCommit(worker.name, commit_id, accepted=True))
            return True
        if (worker.name, commit_id) in self._writing:
            return True  # said twice: the answer to the first is on its way
        mine = [
            lease
            for lease in map(worker.hand.get, commit.lease_ids)
            if lease is not None
            and lease.session_id == self._session_id
            and not lease.is_committing
        ]
        refusal = refusal or self._why_not(worker, commit, mine)
        if refusal:
            self._outbox.add(AnswerCommit(worker.name, commit_id, accepted=False, reason=refusal))
            return False
        crew = self._crew
        seat = crew.seat(worker)
        for lease, busy_s in zip(mine, commit.busy_s, strict=True):
            lease.is_committing = True
            lease.node.was_read(lease.leased_s)
            shelf = self._handout.shelf_of(lease.node)
            crew.measured(seat, lease.stop - lease.start, busy_s, shelf)
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
        return True

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
            self._handout.drop(lease)
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
            self._handout.give_back(lease)
        self._outbox.add(AnswerCommit(worker, commit_id, accepted=False, reason=problem))

    def leases_being_committed(self) -> set[int]:
        """The ids of leases whose commits are on their way to disk."""
        return {lease.lease_id for keep in self._writing.values() for lease in keep.leases}

    def check(self) -> None:
        """Asserts that what stands was kept, and that what is written is in no danger."""
        for worker, standing in self._standing.items():
            for number in standing:
                assert self._kept[worker].holds(number, number + 1), (worker, number)
        for keep in self._writing.values():
            assert all(lease.is_committing for lease in keep.leases), keep
