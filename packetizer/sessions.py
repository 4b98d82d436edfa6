"""Beginning, resuming and ending sessions: what a client's wish takes besides the core.

A session is on disk before its client hears of it, and begins to run from what is on
disk, whether for the first time, after a restart, or when it is resumed.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from typing import TYPE_CHECKING

from common.errors import PackhorseError, Refused, Unreachable, UsageError
from packetizer import wire
from packetizer.core import events as ev
from packetizer.core.files import UNKNOWN_ENTRIES, FileSpec
from packetizer.core.intake import abort_reason
from packetizer.core.plan import MOST_ENTRIES
from packetizer.feed import SessionFeed, release
from packetizer.link import MAX_NAMES
from packetizer.writing import NewSession
from protos.packhorse.v1 import packetizer_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from common.service import NamedTasks
    from packetizer.link import RedirectorLink
    from packetizer.runner import Runner
    from packetizer.store import Store
    from protos.packhorse.v1 import redirector_pb2

log = logging.getLogger(__name__)

_LARGEST = (1 << 63) - 1
_MOST_CHARACTERS = 1_000
#: How long resuming a session waits until its earlier end is cleared up.
RELEASE_TIMEOUT_S = 10.0
RETRY_RELEASED_S = 1.0


class Sessions:
    """All sessions, as far as they are more than the core's."""

    def __init__(
        self, store: Store, link: RedirectorLink, runner: Runner, tasks: NamedTasks, epoch: int
    ) -> None:
        self._store = store
        self._link = link
        self._runner = runner
        self._tasks = tasks
        self._epoch = epoch
        self._running: dict[str, asyncio.Task[None]] = {}

    async def restore(self) -> None:
        """Takes up what was at work when the last packetizer ended, however it ended."""
        for opened in await self._store.unended():
            self._begin(opened)
        for session_id in await self._store.unreleased():
            self._spawn(session_id, self._release(session_id))

    async def pause(self) -> None:
        """Stops dealing with the redirector, for the packetizer stops; `restore` takes it up."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def open(self, request: pb.OpenSessionRequest) -> tuple[str, int]:
        """A new session, and of how many files; the earlier one if the key was used before.

        Raises UsageError, NotFound, Refused (`abort`, and files are not online).
        """
        for name in ("dataset", "tree", "function_name", "owner", "idempotency_key"):
            if len(getattr(request, name)) > _MOST_CHARACTERS:
                raise UsageError(f"OpenSession: {name} is too long")
        if not request.dataset:
            raise UsageError("OpenSession: dataset is missing")
        if not request.function:
            raise UsageError("OpenSession: function is missing")
        if request.idempotency_key:
            earlier = await self._store.by_key(request.idempotency_key)
            if earlier is not None:
                return earlier, await self._store.number_of_files(earlier)
        summary, listed = await self._link.dataset(request.dataset)
        if not listed:
            raise UsageError(f"dataset {request.dataset} has no files")
        files = _file_specs(listed, request.tree, summary.tree)
        spec = ev.SessionSpec(
            request.dataset,
            wire.missing_policy(request.missing),
            request.owner,
            request.function_name,
            _in_bounds("max_bad_packets", request.max_bad_packets),
            _in_bounds("packet_entries", request.packet_entries),
            self._runner.now_s(),
        )
        if spec.missing is ev.Missing.ABORT:
            await self._refuse_unless_online([file.lfn for file in files])
        new = NewSession(
            f"s-{secrets.token_hex(5)}", request.idempotency_key, spec, files, request.function
        )
        # A client that hangs up now must not leave a session that is kept, but not at work.
        session_id = await asyncio.shield(self._keep_and_begin(new))
        return session_id, len(files)

    async def resume(self, session_id: str) -> None:
        """Takes up a session that failed or was cancelled. Raises NotFound, Refused, Unreachable."""
        await self._store.last_status(session_id)
        ending = self._running.get(session_id)
        if ending is not None and self._runner.over(session_id) is None:
            try:
                async with asyncio.timeout(RELEASE_TIMEOUT_S):
                    await asyncio.shield(ending)
            except TimeoutError as error:
                raise Unreachable(
                    f"session {session_id} is still letting go of its files: "
                    "the redirector does not answer"
                ) from error

        async def resume() -> None:
            self._begin(await self._store.resume(session_id))

        await asyncio.shield(resume())

    async def cancel(self, session_id: str, reason: str) -> None:
        """Ends a session, and waits until that is on disk. Raises NotFound, Refused."""
        over = self._runner.over(session_id)
        if over is None:
            status = await self._store.last_status(session_id)
            if status is None or status.state != pb.SESSION_STATE_CANCELLED:
                raise Refused(f"session {session_id} has ended already")
            return
        self._runner.tell(ev.SessionCancelled(session_id, reason[:_MOST_CHARACTERS]))
        await over.wait()

    async def _keep_and_begin(self, new: NewSession) -> str:
        session_id = await self._store.add(new)
        if session_id == new.session_id:
            self._begin(ev.SessionOpened(session_id, new.spec, new.files))
        return session_id

    def _begin(self, opened: ev.SessionOpened) -> None:
        lfns = [file.lfn for file in opened.files]
        feed = SessionFeed(opened.session_id, lfns, self._link, self._runner, self._epoch)
        self._runner.begin(opened, feed)
        self._spawn(opened.session_id, self._feed_and_release(opened.session_id, feed))
        log.info("session %s: %d files of %s", opened.session_id, len(lfns), opened.spec.dataset)

    async def _feed_and_release(self, session_id: str, feed: SessionFeed) -> None:
        await feed.run()
        # What is done with is told to be so, before the rest is merely let go of.
        await feed.let_go()
        await self._release(session_id)

    async def _release(self, session_id: str) -> None:
        """Lets go of all that a session has pinned or asked for, and notes that it is done."""
        await release(self._link, session_id)
        over = self._runner.over(session_id)
        if over is not None:
            await over.wait()
        while True:
            try:
                await self._store.released(session_id)
            except PackhorseError as error:
                log.warning("session %s: %s", session_id, error)
                await asyncio.sleep(RETRY_RELEASED_S)
            else:
                return

    def _spawn(self, session_id: str, work: Coroutine[object, object, None]) -> None:
        task = self._tasks.spawn(f"packetizer: session {session_id}", work)
        self._running[session_id] = task
        task.add_done_callback(lambda _: self._forget(session_id, task))

    def _forget(self, session_id: str, task: asyncio.Task[None]) -> None:
        if self._running.get(session_id) is task:
            del self._running[session_id]

    async def _refuse_unless_online(self, lfns: Sequence[str]) -> None:
        offline: list[str] = []
        for start in range(0, len(lfns), MAX_NAMES):
            piece = lfns[start : start + MAX_NAMES]
            reply = await self._link.locate(piece)
            offline += [lfn for lfn, holder in zip(piece, reply.holder, strict=True) if not holder]
        if offline:
            raise Refused(abort_reason(offline, len(lfns)))


def _file_specs(
    listed: Sequence[redirector_pb2.DatasetFile], tree: str, dataset_tree: str
) -> list[FileSpec]:
    """The files of a dataset, each once. The tree asked for goes before the file's own."""
    specs = {
        file.lfn: FileSpec(
            file.lfn,
            tree or file.tree or dataset_tree,
            file.size_bytes,
            file.entries
            if file.entries_known and file.entries <= MOST_ENTRIES
            else UNKNOWN_ENTRIES,
        )
        for file in listed
    }
    return list(specs.values())


def _in_bounds(name: str, number: int) -> int:
    if number > _LARGEST:
        raise UsageError(f"OpenSession: {name} is too large")
    return number
