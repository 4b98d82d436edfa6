"""Two kinds of wrong: what the other side sent, and what our own code asked for."""

from __future__ import annotations


class ProtocolError(Exception):
    """The other side sent what the protocol does not allow.

    `code` is the error a server answers with, before it closes the connection if
    `fatal`: what follows cannot be understood then. `stream_id` is the request's.
    """

    def __init__(
        self, code: int, message: str, *, stream_id: bytes = b"\0\0", fatal: bool = False
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.stream_id = stream_id
        self.fatal = fatal


class Misuse(ValueError):
    """Our own code asked for what cannot be said in this protocol: a bug, never a peer's fault."""
