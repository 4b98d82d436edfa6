"""Requests about the connection itself: who speaks, and whether anybody is there."""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from xroot.errors import Misuse
from xroot.protocol import PROTOCOL_VERSION, Request
from xroot.requests.layout import encoded, pack, request, shown_of, text_of

_PROTOCOL: Final = struct.Struct(">iBB10x")
_LOGIN: Final = struct.Struct(">i8sBBBx")
_AUTH: Final = struct.Struct(">12x4s")
_USER_BYTES: Final = 8


class Protocol(NamedTuple):
    """Which protocol does the server speak, and what is it?"""

    client_version: int = PROTOCOL_VERSION
    flags: int = 0
    expect: int = 0

    def encode(self, stream_id: bytes) -> bytes:
        """The request's bytes."""
        body = pack(_PROTOCOL, self.client_version, self.flags, self.expect)
        return request(stream_id, Request.PROTOCOL, body)

    @classmethod
    def parse(cls, body: bytes, _payload: bytes) -> Protocol:
        """Reads one."""
        return cls(*_PROTOCOL.unpack(body))


class Login(NamedTuple):
    """Who the client is, without any proof: `info` is more about it, `a=1&b=2`.

    `ability`, `ability2` and `capability` say what it understands (`ASYNC_ABLE`).
    """

    pid: int
    user: str
    ability: int = 0
    capability: int = 0
    info: str = ""
    ability2: int = 0

    def encode(self, stream_id: bytes) -> bytes:
        """The request's bytes."""
        user = encoded(self.user)
        if len(user) > _USER_BYTES:
            raise Misuse(f"user name {self.user!r} has more than {_USER_BYTES} bytes")
        user = user.ljust(_USER_BYTES, b"\0")
        body = pack(_LOGIN, self.pid, user, self.ability2, self.ability, self.capability)
        return request(stream_id, Request.LOGIN, body, encoded(self.info))

    @classmethod
    def parse(cls, body: bytes, payload: bytes) -> Login:
        """Reads one."""
        pid, user, ability2, ability, capability = _LOGIN.unpack(body)
        return cls(pid, shown_of(user), ability, capability, shown_of(payload), ability2)


class Auth(NamedTuple):
    """A proof of who the client is; `kind` has four bytes."""

    kind: bytes
    credentials: bytes

    def encode(self, stream_id: bytes) -> bytes:
        """The request's bytes."""
        return request(stream_id, Request.AUTH, pack(_AUTH, self.kind), self.credentials)

    @classmethod
    def parse(cls, body: bytes, payload: bytes) -> Auth:
        """Reads one."""
        return cls(body[12:], payload)


class Ping(NamedTuple):
    """Is anybody there?"""

    def encode(self, stream_id: bytes) -> bytes:
        """The request's bytes."""
        return request(stream_id, Request.PING)

    @classmethod
    def parse(cls, _body: bytes, _payload: bytes) -> Ping:
        """Reads one."""
        return cls()


class EndSession(NamedTuple):
    """Forget a session, if there still is one of this id."""

    session_id: bytes

    def encode(self, stream_id: bytes) -> bytes:
        """The request's bytes."""
        return request(stream_id, Request.ENDSESS, self.session_id)

    @classmethod
    def parse(cls, body: bytes, _payload: bytes) -> EndSession:
        """Reads one."""
        return cls(body)


class Bind(NamedTuple):
    """This connection is one more of that session."""

    session_id: bytes

    def encode(self, stream_id: bytes) -> bytes:
        """The request's bytes."""
        return request(stream_id, Request.BIND, self.session_id)

    @classmethod
    def parse(cls, body: bytes, _payload: bytes) -> Bind:
        """Reads one."""
        return cls(body)


class Set(NamedTuple):
    """Something the client would like the server to note, such as its application's name."""

    text: str

    def encode(self, stream_id: bytes) -> bytes:
        """The request's bytes."""
        return request(stream_id, Request.SET, payload=encoded(self.text))

    @classmethod
    def parse(cls, _body: bytes, payload: bytes) -> Set:
        """Reads one."""
        return cls(text_of(payload))
