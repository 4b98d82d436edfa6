"""The files of one session and what became of them: every count, and what is missing.

All moves of files between states go through here, so every figure is kept up to
date where it changes and nothing ever walks over all files to find out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.story import IllegalMove, Story
from packetizer.core.events import MissingRange, Progress
from packetizer.core.files import MOVES, TO_COME, UNKNOWN_ENTRIES, FileState, WorkFile
from packetizer.core.instructions import BadRange, KeepBad, UnpinFiles
from packetizer.core.ledger import Ledger
from packetizer.core.rates import RecentRate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from packetizer.core.events import SessionOpened
    from packetizer.core.files import FileSpec
    from packetizer.core.instructions import Outbox
    from packetizer.core.leases import Lease
    from packetizer.core.ranges import Range
    from packetizer.core.shelves import Shelves
    from packetizer.core.window import Ahead

_RATE_WINDOW_S = 10.0


class Books:
    """Files, figures and missing ranges of one session."""

    def __init__(
        self, opened: SessionOpened, shelves: Shelves, ahead: Ahead, outbox: Outbox
    ) -> None:
        self.session_id = opened.session_id
        self.story = Story()
        self.rate = RecentRate(_RATE_WINDOW_S)
        self.missing: list[MissingRange] = list(opened.missing)
        self.files: dict[str, WorkFile] = {}
        self.files_staging = 0
        self.files_settled = 0
        #: Files that may still bring work, but that nobody can lease from now.
        self.files_to_come = 0
        self.files_online = 0
        self.files_bad = 0
        self.files_of_unknown_entries = 0
        #: Of those, the ones that were given up: their entries will never be known.
        self.files_lost = 0
        self.entries_total = 0
        self.entries_done = 0
        self.entries_bad = 0
        self.entries_leased = 0
        self.bad_packets = 0
        progress = opened.progress
        self.packets_done = progress.packets_done
        self.packets_retried = progress.packets_retried
        self.entries_local = progress.entries_local
        self.bytes_read = progress.bytes_read
        self.files_recalled = progress.files_recalled
        self.files_online_at_first_lease = progress.files_online_at_first_lease
        self.first_lease_s = progress.first_lease_s
        self.first_packet_s = progress.first_packet_s
        self._created_s = opened.spec.created_s
        self._shelves = shelves
        self._ahead = ahead
        self._outbox = outbox
        for spec in opened.files:
            self._enter(spec)

    def _enter(self, spec: FileSpec) -> None:
        file = WorkFile(len(self.files), spec)
        self.files[spec.lfn] = file
        self.files_to_come += 1
        if file.size_bytes:
            self._ahead.size_known(file.size_bytes)
        if file.entries == UNKNOWN_ENTRIES:
            self.files_of_unknown_entries += 1
        else:
            self.entries_total += file.entries
        if spec.bad or spec.is_lost:
            self._mark_bad(file)
        if spec.committed or spec.bad:
            ledger = file.ledger = Ledger(file.entries, spec.committed, spec.bad)
            file.is_started = True
            self.entries_done += ledger.committed.size
            self.entries_bad += ledger.bad.size
        if spec.is_lost or (file.ledger is not None and file.ledger.settled):
            self._settle(file)

    # --- moves of files --------------------------------------------------------

    @property
    def is_settled(self) -> bool:
        """Whether every file is."""
        return self.files_settled == len(self.files)

    def move(self, file: WorkFile, event: str) -> None:
        """Moves a file; raises IllegalMove with the session's story."""
        state = MOVES.get((file.state, event))
        if state is None:
            raise IllegalMove(file.lfn, file.state.value, event, self.story)
        before, file.state = file.state, state
        self.files_to_come += (state in TO_COME) - (before in TO_COME)
        self.files_staging += (state is FileState.ASKED) - (before is FileState.ASKED)
        self.files_settled += state is FileState.SETTLED

    def stands_online(self, file: WorkFile, *, is_online: bool) -> None:
        """Whether the file has a replica, needed or not."""
        self.files_online += is_online - file.is_online
        file.is_online = is_online

    def size_is(self, file: WorkFile, size_bytes: int) -> None:
        """The size of a file was learnt."""
        if not size_bytes or size_bytes == file.size_bytes:
            return
        if not file.size_bytes:
            self._ahead.size_known(size_bytes)
        file.size_bytes = size_bytes
        self._ahead.corrected(file)

    def entries_are(self, file: WorkFile, entries: int) -> None:
        """The entries of a file were learnt."""
        if file.entries == UNKNOWN_ENTRIES:
            self.files_of_unknown_entries -= 1
        else:
            self.entries_total -= file.entries
        self.entries_total += entries
        file.entries = entries

    # --- what becomes of entries -------------------------------------------------

    def leased(self, lease: Lease, now_s: float) -> None:
        """A packet has gone into a worker's hands."""
        self.entries_leased += lease.entries
        if self.first_lease_s < 0:
            self.first_lease_s = now_s - self._created_s
            self.files_online_at_first_lease = self.files_online

    def unleased(self, lease: Lease) -> None:
        """A lease has ended, one way or another."""
        self.entries_leased -= lease.entries

    def committed(self, leases: Sequence[Lease], bytes_read: int, now_s: float) -> None:
        """The result of these leases is kept, and so are they in the ledgers."""
        entries = 0
        for lease in leases:
            size = lease.stop - lease.start
            entries += size
            if lease.is_local:
                self.entries_local += size
        self.entries_leased -= entries
        self.entries_done += entries
        self.packets_done += len(leases)
        self.bytes_read += bytes_read
        if self.first_packet_s < 0 and leases:
            self.first_packet_s = now_s - self._created_s
        self.rate.count(entries, now_s)

    def packet_is_bad(self, lease: Lease, reason: str, traceback: str) -> None:
        """A leased packet is given up."""
        file = lease.file
        ledger = file.ledger
        assert ledger is not None
        self.unleased(lease)
        given_up = ledger.condemn(lease.lease_id)
        assert given_up is not None, lease
        self._name(file, [given_up], reason, traceback)
        self.settle_if_done(file)

    def file_is_bad(self, file: WorkFile, reason: str) -> None:
        """All of a file is given up, except what is being worked on and may still succeed."""
        file.given_up = reason
        self._shelves.withdraw(file)
        if file.ledger is not None:
            given_up = file.ledger.condemn_rest()
        else:
            given_up = [(0, max(file.entries, 0))]
        if given_up:
            self._name(file, given_up, reason, "")
        self.settle_if_done(file)

    def settle_if_done(self, file: WorkFile) -> None:
        """Lets go of the file if every entry of it is committed or bad."""
        if file.state is FileState.SETTLED:
            return
        if file.ledger is None:
            if not file.is_bad:
                return
        elif not file.ledger.settled:
            return
        self._settle(file)

    def _settle(self, file: WorkFile) -> None:
        self.move(file, "settled")
        self._shelves.withdraw(file)
        self._ahead.release(file)
        file.cuts = None
        if file.is_pinned:
            file.is_pinned = False
            self._ahead.freed(file)
            self._outbox.add(UnpinFiles(self.session_id, (file.lfn,)))

    def _name(self, file: WorkFile, ranges: list[Range], reason: str, traceback: str) -> None:
        named = [MissingRange(file.lfn, start, stop, reason, traceback) for start, stop in ranges]
        self.missing += named
        self.entries_bad += sum(stop - start for start, stop in ranges)
        self.bad_packets += 1
        self._mark_bad(file)
        self._outbox.add(
            KeepBad(
                self.session_id,
                tuple(BadRange(file.index, file.entries, missing) for missing in named),
            )
        )

    def _mark_bad(self, file: WorkFile) -> None:
        if not file.is_bad:
            file.is_bad = True
            self.files_bad += 1
            self.files_lost += file.entries == UNKNOWN_ENTRIES

    # --- figures -------------------------------------------------------------------

    @property
    def entries_left(self) -> float:
        """Neither committed nor bad; those of files not described yet are estimated."""
        known_files = len(self.files) - self.files_of_unknown_entries
        left: float = self.entries_total - self.entries_done - self.entries_bad
        unknown = self.files_of_unknown_entries - self.files_lost
        if unknown and known_files:
            left += unknown * self.entries_total / known_files
        return left

    @property
    def entries_unassigned(self) -> float:
        """Of those left, the ones that nobody works on."""
        return self.entries_left - self.entries_leased

    def progress(self) -> Progress:
        """What must outlive a restart besides the ranges."""
        return Progress(
            packets_done=self.packets_done,
            packets_retried=self.packets_retried,
            entries_local=self.entries_local,
            bytes_read=self.bytes_read,
            files_recalled=self.files_recalled,
            files_online_at_first_lease=self.files_online_at_first_lease,
            first_lease_s=self.first_lease_s,
            first_packet_s=self.first_packet_s,
        )

    def check(self) -> None:
        """Asserts that every figure is what counting would give."""
        files = self.files.values()
        assert self.files_to_come == sum(1 for file in files if file.state in TO_COME)
        assert self.files_staging == sum(1 for file in files if file.state is FileState.ASKED)
        assert self.files_settled == sum(1 for file in files if file.state is FileState.SETTLED)
        assert self.files_online == sum(1 for file in files if file.is_online)
        assert self.files_bad == sum(1 for file in files if file.is_bad)
        known = [file.entries for file in files if file.entries != UNKNOWN_ENTRIES]
        assert self.entries_total == sum(known)
        assert self.files_of_unknown_entries == len(self.files) - len(known)
        done = leased = bad = 0
        for file in files:
            if file.ledger is None:
                bad += max(file.entries, 0) if file.is_bad else 0
                assert file.state is not FileState.READY, file
                continue
            file.ledger.check()
            assert file.ledger.entries == file.entries, file
            done += file.ledger.committed.size
            bad += file.ledger.bad.size
            leased += sum(stop - start for start, stop in file.ledger.leased.values())
            assert file.ledger.settled == (file.state is FileState.SETTLED), file
            on_shelf = file.state is FileState.READY and bool(file.ledger.free)
            assert bool(file.offered_by) == on_shelf, file
        assert (done, bad, leased) == (self.entries_done, self.entries_bad, self.entries_leased)
        named = {(m.lfn, m.start, m.stop) for m in self.missing}
        assert len(named) == len(self.missing), "something is named as missing twice"
        assert sum(m.stop - m.start for m in self.missing) == bad
        held = [file for file in files if file.is_ahead]
        self._ahead.check(held)
        self._shelves.check()
