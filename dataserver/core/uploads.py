"""The uploads of this node: names claimed, room for each, and what becomes of the files.

An upload takes its name here, claims it at the redirector, and waits for room in one line
with the recalls. Its reservation is what the client said it will write, or grows with what
it writes: extended a step ahead while there is room that nobody waits for, and by standing
in the line once it is full. No byte is written for which there is no room.

What is written is invisible until it is published. If it replaces a replica, that one stays
until then, and the bytes of both count. What is in the archive is replaced only after the
archive's copy was removed, for it would bring the old content back; and what was written here
is not purged before it is stored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from common import wording
from common.errors import BeingWritten, PackhorseError, Refused
from dataserver.core import reasons, refusals
from dataserver.core.instructions import (
    ClaimName,
    EndUpload,
    GrantRoom,
    Inspect,
    PublishUpload,
    RefuseRoom,
    RefuseUpload,
    TellClaimEnded,
)
from dataserver.core.room import Want
from dataserver.core.upload import RESERVED, Upload, UploadState

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dataserver.core.busy import BusyNames
    from dataserver.core.changes import ChangeLog
    from dataserver.core.events import (
        Claimed,
        ClaimRefused,
        RoomWanted,
        UploadBegun,
        UploadFailed,
        UploadGone,
        UploadPublished,
        UploadWritten,
    )
    from dataserver.core.instructions import Instruction
    from dataserver.core.pool import Pool
    from dataserver.core.removals import Removals
    from dataserver.core.room import Room
    from dataserver.core.withdrawals import Withdrawals

#: Reserved at first if the client does not say how much it will write; at most this share
#: of the quota, or a few such clients would fill a small pool with nothing.
FIRST_BYTES: Final = 16 << 20
FIRST_SHARE: Final = 64
#: A reservation is extended by as much as it is, and by no more than this.
STEP_BYTES: Final = 1 << 30


class Uploads:
    """Every upload that has begun and not ended yet."""

    def __init__(
        self,
        pool: Pool,
        changes: ChangeLog,
        removals: Removals,
        room: Room,
        busy: BusyNames,
        withdrawals: Withdrawals,
        out: list[Instruction],
    ) -> None:
        self._pool = pool
        self._changes = changes
        self._removals = removals
        self._room = room
        self._busy = busy
        self._withdrawals = withdrawals
        self._out = out
        self._uploads: dict[str, Upload] = {}
        self._publishing: set[str] = set()  # names
        self._closed = False

    # --- looking ------------------------------------------------------------

    def live(self) -> Iterable[Upload]:
        """Every upload that has not ended."""
        return self._uploads.values()

    @property
    def is_empty(self) -> bool:
        """Whether no upload is live."""
        return not self._uploads

    def get(self, upload_id: str) -> Upload | None:
        """An upload that has not ended, or None."""
        return self._uploads.get(upload_id)

    def is_publishing(self, lfn: str) -> bool:
        """Whether a file is just being moved to this name's place."""
        return lfn in self._publishing

    def growing(self) -> set[str]:
        """The uploads whose reservations may have to grow."""
        return {
            upload_id
            for upload_id, upload in self._uploads.items()
            if upload.state is UploadState.WRITING
        }

    # --- steps --------------------------------------------------------------

    def begin(self, event: UploadBegun, now_s: float) -> None:
        """Takes an upload on, or says why not."""
        refusal = self._refusal(event)
        if refusal is not None:
            self._out.append(RefuseUpload(event.upload_id, refusal))
            return
        old = self._pool.get(event.lfn) if event.copies else None
        promised_bytes = max(event.size_bytes, old.size_bytes if old is not None else 0)
        upload = Upload(event, promised_bytes, now_s)
        self._uploads[upload.upload_id] = upload
        why_not = BeingWritten(f"{upload.lfn} is being written by a client on this node")
        self._busy.take(upload.lfn, why_not)
        self._out.append(ClaimName(upload.upload_id, upload.lfn, upload.replaces))

    def _refusal(self, event: UploadBegun) -> PackhorseError | None:
        if self._closed:
            return refusals.closing()
        if self._pool.away:
            return Refused(self._pool.away)
        if event.replaces:
            withdraws = self._withdrawals.is_enabled
            return refusals.unchangeable(self._pool, self._busy, event.lfn, withdraws=withdraws)
        return refusals.taken(self._pool, self._busy, event.lfn)

    def claimed(self, event: Claimed, now_s: float) -> None:
        """The name is this node's to write: asks for room."""
        upload = self._uploads.get(event.claimant_id)
        if upload is None or upload.state is not UploadState.CLAIMING:
            return
        upload.move("claimed", now_s)
        want_bytes = upload.promised_bytes or self._first_bytes()

        def granted(now_s: float) -> None:
            upload.move("reserved", now_s, wording.size(want_bytes))
            self._tell_room(upload)

        def refused(now_s: float) -> None:
            self._end(upload, self._no_room(upload, want_bytes), now_s)

        self._room.ask(Want(upload.upload_id, want_bytes, True, granted, refused), now_s)

    def claim_refused(self, event: ClaimRefused, now_s: float) -> None:
        """The redirector does not let the name be written here."""
        upload = self._uploads.get(event.claimant_id)
        if upload is not None and upload.state is UploadState.CLAIMING:
            self._end(upload, event.error, now_s)

    def want(self, event: RoomWanted, now_s: float) -> None:
        """Finds room for an upload to grow to a size, or wishes for some if it has that much."""
        upload = self._uploads.get(event.upload_id)
        if upload is None or upload.state is not UploadState.WRITING:
            return
        upload_id = upload.upload_id
        more_bytes = event.size_bytes - self._pool.reserved_for(upload_id)

        def granted(_now_s: float) -> None:
            if self._room.is_idle:
                self._pool.extend(upload_id, self._step_bytes(upload_id))
            self._tell_room(upload)

        def refused(_now_s: float) -> None:
            self._out.append(RefuseRoom(upload_id, self._no_room(upload, more_bytes)))

        if more_bytes > 0:
            self._room.forget(upload_id)
            self._room.ask(Want(upload_id, more_bytes, False, granted, refused), now_s)
        elif upload_id not in self._room.waiting():
            ahead = Want(
                upload_id,
                self._step_bytes(upload_id),
                False,
                lambda _: self._tell_room(upload),
                lambda _: None,
            )
            self._room.wish(ahead, now_s)

    def written(self, event: UploadWritten, now_s: float) -> None:
        """Has a file that is whole, verified and synced moved to its place."""
        upload = self._uploads.get(event.upload_id)
        if upload is None or upload.state is not UploadState.WRITING:
            return
        reserved_bytes = self._pool.reserved_for(upload.upload_id)
        assert event.size_bytes <= reserved_bytes, (event.size_bytes, reserved_bytes, upload.story)
        refusal = self._cannot_replace(upload)
        if refusal is not None:
            self._end(upload, refusal, now_s)
            return
        self._room.forget(upload.upload_id)
        upload.size_bytes = event.size_bytes
        if not self._withdrawals.is_needed(upload.lfn):
            self._publish(upload, now_s)
            return
        upload.move("clear", now_s)
        self._withdrawals.begin(
            upload.upload_id,
            upload.lfn,
            lambda error, now_s: self._cleared(upload, error, now_s),
            now_s,
        )

    def _cleared(self, upload: Upload, error: PackhorseError | None, now_s: float) -> None:
        """The archive has the old content no longer, unless there is an error."""
        error = error or upload.lost_claim or self._cannot_replace(upload)
        if error is None:
            self._publish(upload, now_s)
        else:
            self._end(upload, error, now_s)

    def _publish(self, upload: Upload, now_s: float) -> None:
        assert upload.size_bytes is not None, upload.story
        upload.move("written", now_s, wording.size(upload.size_bytes))
        self._publishing.add(upload.lfn)
        replaces = self._pool.get(upload.lfn) is not None
        self._out.append(PublishUpload(upload.upload_id, upload.lfn, upload.size_bytes, replaces))

    def _cannot_replace(self, upload: Upload) -> PackhorseError | None:
        """What has become of the old replica while the new one was written."""
        replica = self._pool.get(upload.lfn)
        if replica is None:
            return None
        assert upload.replaces, upload.story
        if self._removals.cannot_remove(upload.lfn):
            return Refused(reasons.old_one_stays(upload.lfn).reason)
        return refusals.bound(replica, withdraws=self._withdrawals.is_enabled)

    def published(self, event: UploadPublished, now_s: float) -> None:
        """Makes the file visible, in place of the one it replaces."""
        upload = self._uploads[event.upload_id]
        assert upload.size_bytes is not None, upload.story
        upload.move("published", now_s)
        self._publishing.remove(upload.lfn)
        self._pool.publish(upload.upload_id, upload.lfn, upload.size_bytes, now_s, archived=False)
        self._changes.enter(upload.lfn, upload.size_bytes)
        self._out.append(Inspect(upload.lfn))
        self._forget(upload)

    def failed(self, event: UploadFailed, now_s: float) -> None:
        """An upload has come to nothing: its client went away, or its disk failed."""
        upload = self._uploads.get(event.upload_id)
        if upload is not None and upload.state not in {UploadState.CLEARING, UploadState.ENDING}:
            self._end(upload, event.error, now_s)

    def gone(self, event: UploadGone, now_s: float) -> None:
        """Nothing is left of an upload that came to nothing: gives back what it held."""
        upload = self._uploads[event.upload_id]
        upload.move("gone", now_s)
        self._pool.release(upload.upload_id)
        self._forget(upload)

    def close(self, now_s: float) -> None:
        """Ends every upload, and takes on no more."""
        self._closed = True
        self.end_all(refusals.closing(), now_s)

    def end_all(self, error: PackhorseError, now_s: float) -> None:
        """Ends every upload but those that are being published; what is cleared ends after it."""
        for upload in list(self._uploads.values()):
            if upload.state is UploadState.CLEARING:
                upload.lost_claim = error
            elif upload.state not in {UploadState.PUBLISHING, UploadState.ENDING}:
                self._end(upload, error, now_s)

    # --- inside -------------------------------------------------------------

    def _first_bytes(self) -> int:
        return max(1, min(FIRST_BYTES, self._pool.limits.quota_bytes // FIRST_SHARE))

    def _step_bytes(self, upload_id: str) -> int:
        return max(1, min(STEP_BYTES, self._pool.reserved_for(upload_id)))

    def _tell_room(self, upload: Upload) -> None:
        """Says how much may be written, and from where on the next step is to be asked for."""
        reserved_bytes = self._pool.reserved_for(upload.upload_id)
        ask_from_bytes = reserved_bytes
        if reserved_bytes > upload.promised_bytes:
            ask_from_bytes -= min(STEP_BYTES, reserved_bytes // 2) // 2
        self._out.append(GrantRoom(upload.upload_id, reserved_bytes, ask_from_bytes))

    def _no_room(self, upload: Upload, want_bytes: int) -> PackhorseError:
        known = self._removals.pins_known
        failure = reasons.no_room(self._pool, upload.lfn, want_bytes, pins_known=known)
        return refusals.no_room(failure.reason)

    def _end(self, upload: Upload, error: PackhorseError, now_s: float) -> None:
        self._room.forget(upload.upload_id)
        self._publishing.discard(upload.lfn)
        upload.move("end", now_s, error.message)
        self._out.append(EndUpload(upload.upload_id, error))

    def _forget(self, upload: Upload) -> None:
        del self._uploads[upload.upload_id]
        self._busy.free(upload.lfn)
        self._out.append(TellClaimEnded(upload.lfn, upload.upload_id))

    def check(self) -> None:
        """Asserts that names and reservations agree with the uploads' states."""
        publishing = set()
        waiting = self._room.waiting()
        for upload_id, upload in self._uploads.items():
            upload.check()
            assert upload.upload_id == upload_id
            assert self._busy.get(upload.lfn) is not None, upload.story
            reserved_bytes = self._pool.reserved_for(upload_id)
            if upload.state in RESERVED:
                assert reserved_bytes >= (upload.size_bytes or 0), upload.story
            else:
                assert upload.state is UploadState.ENDING or not reserved_bytes, upload.story
            assert upload_id not in waiting or upload.state in {
                UploadState.RESERVING,
                UploadState.WRITING,
            }
            assert upload.state is not UploadState.RESERVING or upload_id in waiting
            if upload.state is UploadState.PUBLISHING:
                publishing.add(upload.lfn)
                replica = self._pool.get(upload.lfn)
                assert replica is None or refusals.bound(replica) is None, upload.story
        assert publishing == self._publishing
