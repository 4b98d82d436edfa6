"""Calling a server, and getting errors that people can read.

Every call goes through `call` (one answer) or inside `with answers_from(peer)`
(streams), the one place where gRPC's errors become ours. An error raised by a
handler of ours arrives as the same class with the same message; errors of the
connection itself name the peer that does not answer.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, TypeVar

import grpc
from grpc import aio

from common.errors import (
    Damaged,
    NotFound,
    PackhorseError,
    Refused,
    TimedOut,
    TooLarge,
    Unreachable,
    UsageError,
    all_errors,
)
from common.grpc_options import (
    CODE_KEY,
    DEFAULT_MAX_MESSAGE_BYTES,
    KEEPALIVE_S,
    channel_options,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterator

T = TypeVar("T")


def open_channel(
    address: str,
    max_message_bytes: int = DEFAULT_MAX_MESSAGE_BYTES,
    keepalive_s: float = KEEPALIVE_S,
) -> aio.Channel:
    """A channel to HOST:PORT. It connects by itself when first used; close it when done."""
    return aio.insecure_channel(address, options=channel_options(max_message_bytes, keepalive_s))


async def call(rpc: Awaitable[T], peer: str = "the server") -> T:
    """The answer to a call with one answer; `peer` names the server in errors.

    Raises `PackhorseError`: what the handler raised, or `Unreachable`,
    `TimedOut`, `TooLarge` if the call did not come through.
    """
    with answers_from(peer):
        return await rpc


@contextlib.contextmanager
def answers_from(peer: str = "the server") -> Iterator[None]:
    """Turns gRPC errors raised inside the block into ours; for reading streams."""
    try:
        yield
    except grpc.RpcError as error:
        raise error_from_rpc(error, peer) from error


def error_from_rpc(error: grpc.RpcError, peer: str = "the server") -> PackhorseError:
    """The error that a failed call stands for; `peer` names the server in it."""
    details = error.details() or ""
    code = _packhorse_code(error)
    if code is not None:
        return all_errors().get(code, PackhorseError)(details)
    match error.code():
        case grpc.StatusCode.UNAVAILABLE:
            return Unreachable(f"{peer} does not answer ({_last_reason(details)})")
        case grpc.StatusCode.CANCELLED:
            return Unreachable(f"{peer} ended the call")
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return TimedOut(f"{peer} did not answer in time")
        case grpc.StatusCode.RESOURCE_EXHAUSTED if "larger than max" in details:
            return TooLarge(f"a message to or from {peer} is too large: {details}")
        case grpc.StatusCode.UNIMPLEMENTED:
            return UsageError(f"{peer} does not know this call; is it of another version?")
        case grpc.StatusCode.INVALID_ARGUMENT:
            return UsageError(details)
        case grpc.StatusCode.NOT_FOUND:
            return NotFound(details)
        case grpc.StatusCode.DATA_LOSS:
            return Damaged(details)
        case grpc.StatusCode.FAILED_PRECONDITION | grpc.StatusCode.RESOURCE_EXHAUSTED:
            return Refused(f"{peer}: {details}")
        case _:
            return PackhorseError(f"{peer}: {details or error.code().name.lower()}")


def _packhorse_code(error: grpc.RpcError) -> str | None:
    # The types of the synchronous and of the asynchronous errors disagree here.
    metadata: Any = error.trailing_metadata()
    code = dict(metadata or ()).get(CODE_KEY)
    return code if isinstance(code, str) else None


def _last_reason(details: str) -> str:
    """The end of a chain like "failed to connect to all addresses; …: Connection refused"."""
    return details.rpartition(": ")[2].removesuffix("])") or "no reason given"
