"""What a server accepts when: a handshake, then who the client is, then requests.

One `Session` stands at one connection's gate. It deals with what is about the connection
itself and lets all other requests through, once the client has logged in.
"""

from __future__ import annotations

import struct
from enum import Enum
from typing import TYPE_CHECKING

from xroot import responses
from xroot.decoder import Handshake
from xroot.protocol import ASYNC_ABLE, DATA_SERVER, PROTOCOL_VERSION, Code, ServerFlag
from xroot.requests import Auth, Bind, EndSession, Login, Ping, Protocol, Set

if TYPE_CHECKING:
    from xroot.requests import Message


class Stage(Enum):
    """How far a connection has come."""

    NEW = "new"
    SHAKEN = "handshake done"
    LOGGED_IN = "logged in"
    BOUND = "bound to another session"


class Session:
    """One connection: what it may ask, and what is known of its client."""

    def __init__(self, session_id: bytes, flags: int) -> None:
        """`flags` say what this server is (`ServerFlag`)."""
        self.session_id = session_id
        self.stage = Stage.NEW
        self.login: Login | None = None
        self._flags = flags

    @property
    def takes_async(self) -> bool:
        """Whether the client said that it understands a response that comes later."""
        return self.login is not None and bool(self.login.capability & ASYNC_ABLE)

    def answer(self, stream_id: bytes, message: Message | Handshake) -> bytes | None:
        """The answer to what is about the connection itself, or to what must not be asked yet.

        None: it is for the server behind the gate.
        """
        match message:
            case Handshake():
                return self._shake()
            case Protocol():
                said = struct.pack(">ii", PROTOCOL_VERSION, self._flags)
                return responses.ok(stream_id, said)
            case Ping() | Set() if self.stage is Stage.LOGGED_IN:
                return responses.ok(stream_id)
            case Login():
                return self._log_in(stream_id, message)
            case Auth():
                return responses.error(
                    stream_id, Code.UNSUPPORTED, "this server asks nobody for credentials"
                )
            case Bind() if self.stage is Stage.SHAKEN:
                return None
            case Bind():
                return responses.error(
                    stream_id, Code.INVALID_REQUEST, "this connection has a session already"
                )
            case EndSession() if self.stage is Stage.SHAKEN:
                # A client that comes back says farewell to the session it lost, even before login.
                return None
        if self.stage is Stage.LOGGED_IN:
            return None
        reason = (
            "log in first" if self.stage is Stage.SHAKEN else "requests go by the first connection"
        )
        return responses.error(stream_id, Code.INVALID_REQUEST, reason)

    def bind(self) -> None:
        """The connection is one of another session's from now on."""
        self.stage = Stage.BOUND

    def _shake(self) -> bytes:
        self.stage = Stage.SHAKEN
        kind = DATA_SERVER if self._flags & ServerFlag.IS_SERVER else 0
        return responses.handshake_answer(kind, PROTOCOL_VERSION)

    def _log_in(self, stream_id: bytes, message: Login) -> bytes:
        if self.stage is not Stage.SHAKEN:
            return responses.error(
                stream_id, Code.INVALID_REQUEST, "this connection has logged in already"
            )
        self.login = message
        self.stage = Stage.LOGGED_IN
        return responses.ok(stream_id, self.session_id)
