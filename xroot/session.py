"""What a server accepts when: a handshake, then who the client is, then requests.

One `Session` stands at one connection's gate. It deals with what is about the connection
itself and lets all other requests through, once the client has logged in.
"""

from __future__ import annotations

import struct
from enum import Enum
from typing import TYPE_CHECKING, Final

from xroot import responses
from xroot.decoder import Handshake
from xroot.errors import Misuse
from xroot.protocol import (
    ASYNC_ABLE,
    DATA_SERVER,
    LOAD_BALANCER,
    PROTOCOL_VERSION,
    SESSION_ID_BYTES,
    Code,
    ServerFlag,
)
from xroot.requests import Auth, Bind, EndSession, Login, Ping, Protocol, Set

if TYPE_CHECKING:
    from xroot.requests import Message

_PROTOCOL_ANSWER: Final = struct.Struct(">iI")
#: All else is for the server behind the gate.
_ABOUT_CONNECTION: Final = frozenset(
    {Handshake, Protocol, Login, Auth, Ping, EndSession, Bind, Set}
)


class Stage(Enum):
    """How far a connection has come."""

    NEW = "new"
    SHAKEN = "handshake done"
    LOGGED_IN = "logged in"
    BOUND = "bound to another session"


class Session:
    """One connection: what it may ask, and what is known of its client."""

    def __init__(self, session_id: bytes, flags: int) -> None:
        """`flags` say what this server is (`ServerFlag`). Raises Misuse for a wrong length."""
        if len(session_id) != SESSION_ID_BYTES:
            raise Misuse(f"a session id of {len(session_id)} bytes")
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
        if type(message) not in _ABOUT_CONNECTION:
            return None if self.stage is Stage.LOGGED_IN else self._not_now(stream_id)
        match message:
            case Handshake():
                return self._shake()
            case Protocol():
                said = _PROTOCOL_ANSWER.pack(PROTOCOL_VERSION, self._flags)
                return responses.ok(stream_id, said)
            case Login() if self.stage is Stage.SHAKEN:
                return self._log_in(stream_id, message)
            case Bind() if self.stage is Stage.SHAKEN:
                return None
            case Login() | Bind():
                reason = "this connection has a session already"
                return responses.error(stream_id, Code.INVALID_REQUEST, reason)
            case EndSession() if self.stage is not Stage.BOUND:
                # A client that comes back takes leave of the session it lost, even before login.
                return None
            case Auth():
                reason = "this server asks nobody for credentials"
                return responses.error(stream_id, Code.UNSUPPORTED, reason)
            case Ping() | Set() if self.stage is Stage.LOGGED_IN:
                return responses.ok(stream_id)
        return self._not_now(stream_id)

    def bind(self) -> None:
        """The connection is one of another session's from now on."""
        self.stage = Stage.BOUND

    def _shake(self) -> bytes:
        self.stage = Stage.SHAKEN
        kind = DATA_SERVER if self._flags & ServerFlag.IS_SERVER else LOAD_BALANCER
        return responses.handshake_answer(kind, PROTOCOL_VERSION)

    def _log_in(self, stream_id: bytes, message: Login) -> bytes:
        self.login = message
        self.stage = Stage.LOGGED_IN
        return responses.ok(stream_id, self.session_id)

    def _not_now(self, stream_id: bytes) -> bytes:
        if self.stage is Stage.BOUND:
            reason = "requests go by the session's first connection"
        else:
            reason = "log in first"
        return responses.error(stream_id, Code.INVALID_REQUEST, reason)
