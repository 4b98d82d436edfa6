"""Where doors are: HOST:PORT, and what becomes of it on another machine."""

from __future__ import annotations

import socket
from typing import Final

from common.errors import ConfigError

# Who listens at all addresses of a machine, by the one that neighbours may use.
_LOOPBACK: Final = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104 - read, not listened at


def split_address(address: str) -> tuple[str, int]:
    """HOST:PORT in two; an IPv6 host keeps its brackets. Raises `ConfigError`."""
    host, colon, port = address.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ConfigError(f"{address!r} is not an address: HOST:PORT is needed, as in head:1213")
    if ":" in host and not bracketed:
        raise ConfigError(f"{address!r} is not an address: write an IPv6 host as [{host}]")
    return host, int(port)


def callable_address(listen: str) -> str:
    """Where a neighbour on the same machine finds the door that listens there."""
    host, _, port = listen.rpartition(":")
    return f"{_LOOPBACK.get(host, host)}:{port}"


def public_address(address: str) -> str:
    """Where other machines find it: a wildcard address becomes this machine's name."""
    host, port = split_address(address)
    return f"{socket.gethostname()}:{port}" if host in _LOOPBACK else address
