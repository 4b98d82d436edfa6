"""The request about extended attributes, which has a payload of its own kind.

A path and a NUL (the NUL alone for an open file); then each name between two zero bytes and
a NUL; then, to set them, each value behind its length.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from xroot.errors import Misuse, ProtocolError
from xroot.protocol import (
    MAX_ATTRIBUTE_NAME_BYTES,
    MAX_ATTRIBUTE_VALUE_BYTES,
    MAX_ATTRIBUTES,
    AttributeAction,
    Code,
    Request,
)
from xroot.requests.layout import LENGTH, named, pack, path_and_cgi, request

_FATTR: Final = struct.Struct(">4sBBB9x")
_BEFORE_NAME: Final = b"\0\0"


class FAttr(NamedTuple):
    """Extended attributes of a name, or of an open file if `path` is empty.

    `action` is an `AttributeAction`; there are `values` if it is to set them. `options` may
    be `ATTRIBUTE_NEW` or `ATTRIBUTE_DATA`.
    """

    action: int
    path: str
    cgi: str = ""
    names: tuple[bytes, ...] = ()
    values: tuple[bytes, ...] = ()
    options: int = 0
    handle: bytes = bytes(4)

    def encode(self, stream_id: bytes) -> bytes:
        """The request's bytes."""
        self._check()
        body = pack(_FATTR, self.handle, self.action, len(self.names), self.options)
        names = b"".join(_BEFORE_NAME + name + b"\0" for name in self.names)
        values = b"".join(LENGTH.pack(len(value)) + value for value in self.values)
        path = named(self.path, self.cgi)
        return request(stream_id, Request.FATTR, body, path + b"\0" + names + values)

    @classmethod
    def parse(cls, body: bytes, payload: bytes) -> FAttr:
        """Reads one. Raises ProtocolError."""
        handle, action, count, options = _FATTR.unpack(body)
        if action not in _ACTIONS:
            raise ProtocolError(Code.ARG_INVALID, f"fattr: there is no action {action}")
        if count > MAX_ATTRIBUTES or (count == 0) != (action == AttributeAction.LIST):
            raise ProtocolError(Code.ARG_INVALID, f"fattr: {count} names cannot be")
        raw_path, _, rest = payload.partition(b"\0")
        path, cgi = path_and_cgi(raw_path)
        names, rest = _names(rest, count)
        values: tuple[bytes, ...] = ()
        if action == AttributeAction.SET:
            values, rest = _values(rest, count)
        if rest:
            raise ProtocolError(Code.BAD_PAYLOAD, "fattr: there is more than was announced")
        return cls(action, path, cgi, names, values, options, handle)

    def _check(self) -> None:
        is_list = self.action == AttributeAction.LIST
        if self.action not in _ACTIONS or is_list == bool(self.names):
            raise Misuse(f"action {self.action} on {len(self.names)} attributes")
        if len(self.names) > MAX_ATTRIBUTES:
            raise Misuse(f"{len(self.names)} attributes; {MAX_ATTRIBUTES} can be named at once")
        if len(self.values) != (len(self.names) if self.action == AttributeAction.SET else 0):
            raise Misuse(f"{len(self.values)} values for {len(self.names)} attributes")
        for name in self.names:
            if not 0 < len(name) <= MAX_ATTRIBUTE_NAME_BYTES or b"\0" in name:
                raise Misuse(f"an attribute cannot have the name {name!r}")
        for value in self.values:
            if len(value) > MAX_ATTRIBUTE_VALUE_BYTES:
                raise Misuse(f"an attribute's value of {len(value)} bytes")


_ACTIONS: Final = frozenset(AttributeAction)


def _names(rest: bytes, count: int) -> tuple[tuple[bytes, ...], bytes]:
    names = []
    for _ in range(count):
        if not rest.startswith(_BEFORE_NAME):
            raise ProtocolError(Code.ARG_INVALID, "fattr: a name is not laid out as it must be")
        name, end, rest = rest[len(_BEFORE_NAME) :].partition(b"\0")
        if not name or not end:
            raise ProtocolError(Code.ARG_MISSING, "fattr: a name is missing")
        if len(name) > MAX_ATTRIBUTE_NAME_BYTES:
            raise ProtocolError(Code.ARG_TOO_LONG, "fattr: a name is too long")
        names.append(name)
    return tuple(names), rest


def _values(rest: bytes, count: int) -> tuple[tuple[bytes, ...], bytes]:
    values = []
    position = 0
    for _ in range(count):
        if len(rest) - position < LENGTH.size:
            raise ProtocolError(Code.ARG_INVALID, "fattr: a value is missing")
        (length,) = LENGTH.unpack_from(rest, position)
        if not 0 <= length <= MAX_ATTRIBUTE_VALUE_BYTES:
            raise ProtocolError(Code.ARG_TOO_LONG, "fattr: a value is too long")
        start = position + LENGTH.size
        position = start + length
        if position > len(rest):
            raise ProtocolError(Code.ARG_INVALID, "fattr: a value is cut off")
        values.append(rest[start:position])
    return tuple(values), rest[position:]
