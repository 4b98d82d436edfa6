"""The sessions of one listener: how clients find them again by their ids."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xroot import responses
from xroot.protocol import MAX_PATHS, Code
from xroot.session import Stage

if TYPE_CHECKING:
    from common.root_server.connection import Connection


class Sessions:
    """The first connection of every session, by the session's id."""

    def __init__(self) -> None:
        self._connections: dict[bytes, Connection] = {}

    def add(self, connection: Connection) -> None:
        """A connection has come, with a session of its own."""
        self._connections[connection.session.session_id] = connection

    def forget(self, connection: Connection) -> None:
        """Nothing is left of a connection."""
        self._connections.pop(connection.session.session_id, None)

    def bind(self, connection: Connection, stream_id: bytes, session_id: bytes) -> None:
        """Makes a connection one more of a session, and answers its client."""
        session = self._connections.get(session_id)
        if session is None or session.is_closed or session.session.stage is not Stage.LOGGED_IN:
            connection.fail(stream_id, Code.NOT_FOUND, "there is no such session")
            return
        free = next((one for one in range(1, MAX_PATHS + 1) if one not in session.paths), None)
        if free is None:
            connection.fail(stream_id, Code.OVERLOADED, "this session has too many connections")
            return
        session.add_path(free, connection)
        connection.session.bind()
        connection.send(responses.ok(stream_id, bytes([free])))

    def end(self, connection: Connection, stream_id: bytes, session_id: bytes) -> None:
        """Forgets a session its client has lost; there may be none any more.

        Whoever knows the session's id is its client, even if it comes by another network now.
        """
        lost = self._connections.get(session_id)
        if lost is not None and lost is not connection:
            lost.abort()
        connection.send(responses.ok(stream_id))
