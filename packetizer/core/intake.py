"""Files come and go: what one session does about where its files are.

Whoever tells where a file stands tells all of it (every replica, or that there is
none), so hearing the same thing twice, or late, does no harm.

Under the policy `wait`, files that are not online are asked for as the window
allows. A file whose last replica went is given some time to come back, because
servers restart; then it is asked for again. Under `skip` it is then named as
missing, and under `abort` the session fails.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from packetizer.core.events import Missing, Offline
from packetizer.core.files import FileState, WorkFile
from packetizer.core.instructions import DescribeFiles, LocateFiles, PinFiles, StageFiles
from packetizer.core.ledger import Ledger
from packetizer.core.plan import Unplannable, cuts_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from packetizer.core.books import Books
    from packetizer.core.events import FileDescribed
    from packetizer.core.instructions import Outbox
    from packetizer.core.nodes import Nodes
    from packetizer.core.shelves import Shelves
    from packetizer.core.window import Ahead

#: How long a file that went offline may take to come back. A data server that is
#: restarted takes some seconds; staging again costs a recall, giving up costs data.
_AWAY_S = {Missing.WAIT: 5.0, Missing.SKIP: 60.0, Missing.ABORT: 60.0}
#: A file asked for longer ago than this, and still only in the archive, was forgotten.
_FORGOTTEN_S = 10.0
_MOST_ASKS = 3
#: Files that went away may be back at any moment; files asked for take their time.
_LOOK_EVERY_S = 2.0
_LOOKS_UNTIL_ASKED = 5
_FILES_PER_REQUEST = 1000
_NAMES_SHOWN = 3


class Intake:
    """Where the files of one session are, and which to ask for."""

    def __init__(
        self,
        books: Books,
        shelves: Shelves,
        ahead: Ahead,
        nodes: Nodes,
        outbox: Outbox,
        missing: Missing,
    ) -> None:
        self._books = books
        self._shelves = shelves
        self._ahead = ahead
        self._nodes = nodes
        self._outbox = outbox
        self._missing = missing
        self._session_id = books.session_id
        # Files may be settled meanwhile by what workers still had in their hands: whoever
        # looks here looks at their state too.
        self._away: OrderedDict[WorkFile, None] = OrderedDict()
        self._asked: dict[WorkFile, None] = {}
        self._is_surveyed = False
        self._looked_s = 0.0
        self._looks = 0

    def surveyed(self) -> str:
        """Every file's standing was told once. Returns why the session cannot go on, or ""."""
        self._is_surveyed = True
        offline = [f for f in self._books.files.values() if f.state is FileState.WANTED]
        if self._missing is Missing.WAIT:
            for file in offline:
                self._ahead.want(file)
        elif self._missing is Missing.SKIP:
            for file in offline:
                self._books.file_is_bad(file, "it is not online, and such files are skipped")
        elif offline:
            return abort_reason([file.lfn for file in offline], len(self._books.files))
        return ""

    def online(self, lfn: str, nodes: tuple[str, ...], size_bytes: int) -> WorkFile | None:
        """A file has these replicas. Returns it if it has free work by that."""
        file = self._books.files.get(lfn)
        if file is None:
            return None
        books = self._books
        books.stands_online(file, is_online=True)
        if file.state is FileState.SETTLED:
            return None
        books.size_is(file, size_bytes)
        replicas = tuple(self._nodes.node(name) for name in nodes)
        if file.state is FileState.READY:
            if replicas != file.nodes:
                file.nodes = replicas
                self._shelves.offer(file)
                return file
            return None
        file.nodes = replicas
        if file.state is not FileState.ONLINE:
            self._came_online(file)
        return None

    def _came_online(self, file: WorkFile) -> None:
        if file.state is FileState.AWAY:
            self._away.pop(file, None)
        elif self._is_surveyed:
            self._books.files_recalled += 1
        self._asked.pop(file, None)
        self._books.move(file, "came online")
        self._ahead.arrived(file)
        if not file.is_pinned:
            file.is_pinned = True
            self._outbox.add(PinFiles(self._session_id, (file.lfn,)))
        self._outbox.add(DescribeFiles(self._session_id, (file.lfn,)))

    def offline(self, lfn: str, state: Offline, reason: str, now_s: float) -> None:
        """A file has no replica."""
        file = self._books.files.get(lfn)
        if file is None:
            return
        self._books.stands_online(file, is_online=False)
        match file.state:
            case FileState.ONLINE | FileState.READY:
                self._went_offline(file, reason, now_s)
            case FileState.ASKED if file.is_accepted and state is Offline.LOST:
                self._asked.pop(file, None)
                self._books.file_is_bad(file, reason or "it could not be staged")
            case FileState.ASKED if (
                file.is_accepted
                and state is Offline.NEARLINE
                and now_s >= file.changed_s + _FORGOTTEN_S
            ):
                self._ask_again(file, reason or "its stage request was cancelled", now_s)

    def _went_offline(self, file: WorkFile, reason: str, now_s: float) -> None:
        books = self._books
        books.story.tell(now_s, f"{file.lfn} went offline{f': {reason}' if reason else ''}")
        self._shelves.withdraw(file)
        file.nodes = ()
        file.changed_s = now_s
        books.move(file, "went offline")
        self._away[file] = None

    def described(self, event: FileDescribed) -> WorkFile | None:
        """The content of a file is known. Returns the file if it has free work by that."""
        file = self._books.files.get(event.lfn)
        if file is None or file.state is not FileState.ONLINE:
            return None
        books = self._books
        books.size_is(file, event.size_bytes)
        try:
            cuts = cuts_of(file.tree, event.tables, event.problem)
        except Unplannable as problem:
            books.file_is_bad(file, str(problem))
            return None
        if file.ledger is None:
            books.entries_are(file, cuts.entries)
            file.ledger = Ledger(cuts.entries)
        elif file.ledger.entries != cuts.entries:
            # Its ranges mean nothing any more; what was committed was right then.
            books.file_is_bad(
                file,
                f"the file has changed: it had {file.ledger.entries} entries, "
                f"and has {cuts.entries} now",
            )
            return None
        file.cuts = cuts
        file.tree = cuts.table
        file.format = event.format
        books.move(file, "described")
        self._shelves.offer(file)
        books.settle_if_done(file)
        return file if file.offered_by else None

    # --- asking --------------------------------------------------------------------

    def ask(self, now_s: float) -> None:
        """Asks for what the window allows."""
        if not self._is_surveyed or self._missing is not Missing.WAIT:
            return
        files = self._ahead.next_files(_FILES_PER_REQUEST)
        for file in files:
            self._books.move(file, "asked")
            self._asked[file] = None
            file.changed_s = now_s
            file.asks += 1
            file.is_accepted = False
            file.is_pinned = True
        if files:
            lfns = tuple(file.lfn for file in files)
            self._books.story.tell(now_s, f"asked for {len(lfns)} files, from {lfns[0]} on")
            self._outbox.add(StageFiles(self._session_id, lfns))

    def accepted(self, lfns: Iterable[str], now_s: float) -> None:
        """The redirector will stage these."""
        asked = self._asked_of(lfns)
        for file in asked:
            file.is_accepted = True
            file.changed_s = now_s
        # Of what was online by then, or has failed since, no event will tell.
        self._locate([file.lfn for file in asked])

    def refused(self, lfns: Iterable[str], reason: str) -> None:
        """The redirector will not stage these."""
        for file in self._asked_of(lfns):
            self._asked.pop(file, None)
            self._books.file_is_bad(file, f"it cannot be staged: {reason}")

    def wait_no_longer(self, now_s: float) -> str:
        """Decides about files that are away too long. Returns why the session fails, or ""."""
        patience_s = _AWAY_S[self._missing]
        while self._away:
            file = next(iter(self._away))
            if now_s < file.changed_s + patience_s:
                break
            del self._away[file]
            if file.state is not FileState.AWAY or file.given_up:
                continue  # only what is being worked on is left of it
            if self._missing is Missing.WAIT:
                self._books.move(file, "given up waiting")
                self._ahead.release(file)
                self._ahead.want(file, first=True)
            elif self._missing is Missing.SKIP:
                self._books.file_is_bad(file, "it went offline, and such files are skipped")
            else:
                return f"{file.lfn} went offline, and the session is to abort then"
        return ""

    def look_again(self, now_s: float) -> None:
        """Has files looked at that may have changed although no event told of it."""
        if now_s < self._looked_s + _LOOK_EVERY_S:
            return
        self._looked_s = now_s
        self._looks += 1
        lfns = [file.lfn for file in self._away if file.state is FileState.AWAY]
        if self._looks % _LOOKS_UNTIL_ASKED == 0:
            lfns += [file.lfn for file in self._asked if file.state is FileState.ASKED]
        self._locate(lfns)

    def _locate(self, lfns: Sequence[str]) -> None:
        if lfns:
            self._outbox.add(LocateFiles(self._session_id, tuple(lfns)))

    def _asked_of(self, lfns: Iterable[str]) -> list[WorkFile]:
        files = (self._books.files.get(lfn) for lfn in lfns)
        return [f for f in files if f is not None and f.state is FileState.ASKED]

    def _ask_again(self, file: WorkFile, reason: str, now_s: float) -> None:
        self._asked.pop(file, None)
        if file.asks >= _MOST_ASKS:
            self._books.file_is_bad(file, f"it was asked for {file.asks} times: {reason}")
            return
        self._books.story.tell(now_s, f"{file.lfn} was asked for in vain: {reason}")
        self._books.move(file, "request lost")
        self._ahead.release(file)
        self._ahead.want(file, first=True)

    def check(self) -> None:
        """Asserts that the files asked for, and those that went away, are the ones known here."""
        files = self._books.files.values()
        asked = {file for file in files if file.state is FileState.ASKED}
        away = {file for file in files if file.state is FileState.AWAY and not file.given_up}
        assert asked <= set(self._asked)
        assert away <= set(self._away)
        assert all(file.is_ahead for file in asked)


def abort_reason(offline: Sequence[str], files: int) -> str:
    """What is said when a session wants all of its files online and they are not."""
    names = ", ".join(offline[:_NAMES_SHOWN])
    more = f" and {len(offline) - _NAMES_SHOWN} more" if len(offline) > _NAMES_SHOWN else ""
    return (
        f"{len(offline)} of {files} files are not online ({names}{more}); "
        "stage them first, or choose to wait or to skip"
    )
