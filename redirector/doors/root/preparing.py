"""Bulk staging: prepare, how it goes, and taking it back.

A prepare is an ordinary stage request: accepted means durable, so its id is good after a
restart of the redirector as well. How it goes is told in the JSON that gfal and FTS expect
(EOS and CTA tell it so), file by file.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from common.errors import NameRefused, NotFound, Refused, UsageError
from redirector.core.events import CancelAsked, StageAsked, UnpinAsked
from redirector.core.instructions import AnswerStage
from redirector.core.states import RequestFileState
from redirector.ids import new_request_id
from xroot import responses
from xroot.protocol import PrepareFlag

if TYPE_CHECKING:
    from collections.abc import Sequence

    from common.root_server import Connection
    from redirector.core.model import RequestFile
    from redirector.doors.root.archive import Archived, ArchiveView
    from redirector.doors.root.naming import Names
    from redirector.questions import Questions
    from redirector.requests_kept import KeptRequests
    from redirector.runner import Runner
    from xroot.requests import Prepare

#: What the archive need not be asked about.
_SURELY_THERE = (RequestFileState.WAITING, RequestFileState.DONE)


class Preparing:
    """Answers kXR_prepare, and queries about it."""

    def __init__(
        self,
        runner: Runner,
        names: Names,
        archive: ArchiveView,
        questions: Questions,
        requests: KeptRequests,
        pin_s: float,
    ) -> None:
        """`pin_s` is how long what is staged is kept from being purged."""
        self._runner = runner
        self._names = names
        self._archive = archive
        self._questions = questions
        self._requests = requests
        self._pin_s = pin_s

    def prepare(self, connection: Connection, stream_id: bytes, asked: Prepare) -> None:
        """Stages, cancels or evicts. Raises PackhorseError."""
        if not asked.lines:
            raise UsageError("prepare names no file")
        if asked.options & PrepareFlag.CANCEL:
            work = self._cancel(connection, stream_id, asked.lines)
        elif asked.option_x & PrepareFlag.EVICT:
            work = self._evict(connection, stream_id, self._lfns(asked.lines))
        else:
            # To stage is what is prepared, also where a client does not say so.
            work = self._stage(connection, stream_id, self._lfns(asked.lines), asked.priority)
        connection.spawn(stream_id, work)

    async def tell(self, connection: Connection, stream_id: bytes, text: str) -> None:
        """How files of a request stand: `text` is its id and names, a line each."""
        request_id, *paths = [line for line in text.split("\n") if line] or [""]
        files: dict[str, RequestFile] = {}
        created_s = 0.0
        known = True
        try:
            figures, kept = await self._requests.find(request_id)
            files = {file.lfn: file for file in kept}
            created_s = figures.record.created_unix_s
        except NotFound:
            known = False
        names = {path: self._lfn_or_none(path) for path in paths or files}
        # A whole request may be large: nobody is asked about files that were not named.
        told_of = {lfn for lfn, file in files.items() if not paths or file.state in _SURELY_THERE}
        unknown = [
            lfn for lfn in names.values() if lfn and lfn not in told_of and not self._is_online(lfn)
        ]
        archived = await self._archive.look_up_all(unknown) if unknown else {}
        told = [
            self._told(path, lfn, files.get(lfn or ""), archived.get(lfn or ""), created_s, known)
            for path, lfn in names.items()
        ]
        said = json.dumps({"request_id": request_id, "responses": told})
        connection.send(responses.text(stream_id, said))

    # --- doing ----------------------------------------------------------------------------

    async def _stage(
        self, connection: Connection, stream_id: bytes, lfns: Sequence[str], priority: int
    ) -> None:
        answer = await self._runner.ask(
            StageAsked(
                new_request_id(),
                lfns,
                owner=connection.owner,
                priority=priority,
                pin_s=self._pin_s,
            )
        )
        assert isinstance(answer, AnswerStage)
        connection.send(responses.ok(stream_id, answer.request_id.encode()))

    async def _cancel(self, connection: Connection, stream_id: bytes, lines: Sequence[str]) -> None:
        """Of a request that has ended, nothing is left to cancel, which is fine."""
        request_id, *paths = lines
        lfns = self._lfns(paths)
        try:
            await self._runner.ask(CancelAsked(request_id, lfns, reason="cancelled by its client"))
        except NotFound:
            # Raises it again for one that never was.
            await self._requests.find(request_id)
        connection.send(responses.ok(stream_id))

    async def _evict(self, connection: Connection, stream_id: bytes, lfns: Sequence[str]) -> None:
        """Drops files from the disks; what is not there anyway is no reason to complain."""
        await self._unpin(lfns)
        evicted = await self._questions.evict(lfns, owner=connection.owner)
        refused = [(lfn, reason) for lfn, reason in evicted.refused if self._is_online(lfn)]
        if refused:
            lfn, reason = refused[0]
            more = f", and {len(refused) - 1} more" if len(refused) > 1 else ""
            raise Refused(f"{lfn} stays on disk: {reason}{more}")
        connection.send(responses.ok(stream_id))

    async def _unpin(self, lfns: Sequence[str]) -> None:
        """Takes off the pins that prepare has put on: whoever evicts is done with the files."""
        owners = {
            pin.owner
            for lfn in lfns
            for pin in self._runner.head.explain(lfn, self._runner.now_s()).pins
            if pin.owner.startswith("req-")
        }
        for owner in owners:
            await self._runner.ask(UnpinAsked(owner, list(lfns)))

    # --- telling --------------------------------------------------------------------------

    def _told(
        self,
        path: str,
        lfn: str | None,
        file: RequestFile | None,
        archived: Archived | None,
        created_s: float,
        known: bool,
    ) -> dict[str, Any]:
        online = lfn is not None and self._is_online(lfn)
        waits = file is not None and file.state is RequestFileState.WAITING
        error = "" if online else self._error_of(lfn, file, archived, known=known)
        there = online or waits or (archived is not None and archived.is_there)
        if file is not None and file.state is RequestFileState.DONE:
            there = True
        return {
            "path": path,
            "path_exists": there,
            "on_tape": there,
            "online": online,
            "requested": waits,
            "has_reqid": file is not None,
            "req_time": f"{created_s:.0f}" if file is not None else "",
            "error_text": error,
        }

    def _error_of(
        self, lfn: str | None, file: RequestFile | None, archived: Archived | None, *, known: bool
    ) -> str:
        if lfn is None:
            return "USER ERROR: not a name of this site"
        if file is not None and file.state is RequestFileState.FAILED:
            return file.reason or "staging failed"
        if file is not None and file.state is RequestFileState.CANCELLED:
            return "cancelled"
        if archived is not None and not archived.is_there:
            return archived.reason or "USER ERROR: file does not exist"
        if not known:
            return "USER ERROR: there is no such request"
        return ""

    # --- names ----------------------------------------------------------------------------

    def _lfns(self, paths: Sequence[str]) -> list[str]:
        return list(dict.fromkeys(self._names.file(path.partition("?")[0]) for path in paths))

    def _lfn_or_none(self, path: str) -> str | None:
        try:
            return self._names.file(path.partition("?")[0])
        except NameRefused:
            return None

    def _is_online(self, lfn: str) -> bool:
        return self._runner.head.is_online(lfn)
