"""Opening files: a client is sent to a holder, or called back as soon as there is one.

Most opens are for a file on a disk and are answered at once, in a few microseconds: the
name is looked up as it was written, for the index has clean names only, and only a name
that is not there is looked at more closely.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from common.address import split_address
from common.errors import AlreadyExists, NotFound, PackhorseError, Refused
from common.root_server import error_code
from common.root_server.hints import announced_bytes, sent_to, tried
from redirector.doors.root.naming import is_directory
from xroot import responses
from xroot.protocol import OpenFlag, Status

if TYPE_CHECKING:
    from collections.abc import Collection

    from common.root_server import Connection
    from redirector.core.model import NodeAddress
    from redirector.doors.root.archive import ArchiveView
    from redirector.doors.root.naming import Names
    from redirector.doors.root.nearness import Nearness
    from redirector.doors.root.staging import Bringing
    from redirector.runner import Runner

#: Clients wait no longer than this for any answer, so no more is promised (XrdCl's
#: RequestTimeout).
PROMISE_S: Final = 1800
#: A client that cannot be called back is held for so long before it is told to ask again:
#: less than after what it thinks that nobody is there any more (XrdCl's StreamTimeout, 60 s).
HOLD_S: Final = 10.0
ASK_AGAIN_S: Final = 1


class Opening:
    """Answers opens, and sends clients to nodes for whatever else concerns one file."""

    def __init__(
        self,
        runner: Runner,
        names: Names,
        nearness: Nearness,
        bringing: Bringing,
        archive: ArchiveView,
    ) -> None:
        self._runner = runner
        self._names = names
        self._nearness = nearness
        self._bringing = bringing
        self._archive = archive
        self._bodies: dict[NodeAddress, bytes] = {}

    def open(
        self, connection: Connection, stream_id: bytes, path: str, cgi: str, options: int
    ) -> None:
        """Answers one open, now or later. Raises PackhorseError."""
        if options & OpenFlag.WRITING:
            connection.spawn(
                stream_id, self._open_to_write(connection, stream_id, path, cgi, options)
            )
            return
        avoid = tried(cgi) if cgi else ()
        host = self._nearness.host_of(connection.peer)
        node = self._runner.head.choose_reader(path, host, avoid)
        if node is None:
            lfn = self._names.file(path)
            node = self._runner.head.choose_reader(lfn, host, avoid)
        if node is not None:
            connection.send(self.redirect(stream_id, node, avoid))
            return
        if self._names.is_given(lfn) or self._runner.head.is_directory(lfn):
            raise is_directory(lfn)
        work = self._call_back if connection.session.takes_async else self._hold
        connection.spawn(stream_id, work(connection, stream_id, lfn, host, avoid))

    def redirect(self, stream_id: bytes, node: NodeAddress, avoid: Collection[str] = ()) -> bytes:
        """The response that sends a client to a node; `avoid` are those it came back from."""
        if avoid:
            host, port = split_address(node.root_address)
            via = ",".join(dict.fromkeys([*avoid, node.node]))
            return responses.redirect(stream_id, host, port, sent_to(via))
        body = self._bodies.get(node)
        if body is None:
            body = self._bodies[node] = self._body_for(node)
        return responses.header(stream_id, len(body), Status.REDIRECT) + body

    def holder(self, connection: Connection, lfn: str, cgi: str) -> NodeAddress | None:
        """The node a client is sent to for a file that is online and in touch."""
        host = self._nearness.host_of(connection.peer)
        return self._runner.head.choose_reader(lfn, host, tried(cgi))

    # --- reading ------------------------------------------------------------------------

    async def _call_back(
        self,
        connection: Connection,
        stream_id: bytes,
        lfn: str,
        host: str,
        avoid: Collection[str],
    ) -> None:
        """Promises an answer, and gives it when the file is there."""
        connection.send(responses.wait_for_response(stream_id, PROMISE_S))
        try:
            node = await self._bringing.bring(lfn, connection.owner, host, avoid)
            answer = self.redirect(stream_id, node, avoid)
        except PackhorseError as error:
            answer = responses.error(stream_id, error_code(error), str(error))
        connection.send(responses.asynchronous(answer))

    async def _hold(
        self,
        connection: Connection,
        stream_id: bytes,
        lfn: str,
        host: str,
        avoid: Collection[str],
    ) -> None:
        """Answers if the file comes soon; else has the client ask again.

        What was begun for it goes on meanwhile: its next question joins in.
        """
        bringing = asyncio.create_task(
            self._bringing.bring(lfn, connection.owner, host, avoid), name=f"bring {lfn}"
        )
        try:
            done, _ = await asyncio.wait([bringing], timeout=HOLD_S)
            if done:
                connection.send(self.redirect(stream_id, bringing.result(), avoid))
                return
            connection.send(responses.wait(stream_id, ASK_AGAIN_S, "the file is being staged"))
            await asyncio.wait([bringing], timeout=2 * ASK_AGAIN_S)
        finally:
            bringing.cancel()
            await asyncio.gather(bringing, return_exceptions=True)

    # --- writing ------------------------------------------------------------------------

    async def _open_to_write(
        self, connection: Connection, stream_id: bytes, path: str, cgi: str, options: int
    ) -> None:
        lfn = self._names.file(path)
        self._names.check_writable(lfn)
        avoid = tried(cgi)
        node = self._holder_to_write(lfn, options)
        if node is None:
            await self._check_new(lfn, options)
            host = self._nearness.host_of(connection.peer)
            node = self._runner.head.choose_writer(
                lfn, announced_bytes(cgi), host, avoid, self._runner.now_s()
            )
        connection.send(self.redirect(stream_id, node, avoid))

    def _holder_to_write(self, lfn: str, options: int) -> NodeAddress | None:
        """The node that has the file already, on which it can be changed."""
        if not self._runner.head.is_online(lfn):
            return None
        if options & OpenFlag.NEW:
            raise AlreadyExists(f"{lfn} exists already")
        node = self._runner.head.choose_reader(lfn, "", ())
        if node is None:
            raise Refused(f"{lfn} is on a data server that cannot be written to now")
        return node

    async def _check_new(self, lfn: str, options: int) -> None:
        """Raises what speaks against making a file of this name."""
        if self._runner.head.is_directory(lfn):
            raise AlreadyExists(f"{lfn} is a directory")
        await self._archive.check_free(lfn)
        self._runner.head.found_vacant(lfn, self._runner.now_s())
        if not options & (OpenFlag.NEW | OpenFlag.DELETE):
            raise NotFound(f"{lfn} does not exist")

    def _body_for(self, node: NodeAddress) -> bytes:
        self._nearness.learn(node)
        host, port = split_address(node.root_address)
        return responses.redirect(b"\0\0", host, port, sent_to(node.node))[8:]
