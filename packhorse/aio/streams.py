"""Reading streams of answers, across restarts of the server that gives them."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, TypeVar

from common.errors import PackhorseError
from common.grpc_client import answers_from

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence

    from grpc import aio

Request = TypeVar("Request")
Reply = TypeVar("Reply")
T = TypeVar("T")

NAMES_PER_CALL = 10_000
# Of names, with room for the rest of a message; what a server takes is a bit more.
NAME_BYTES_PER_CALL = 12 << 20
# No character takes more in UTF-8.
_BYTES_PER_CHARACTER = 4
# A server that is restarted is back within seconds; a machine within minutes.
PATIENCE_S = 300.0
_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 5.0


def batches(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """The items in pieces of at most `size`."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def name_batches(lfns: Sequence[str]) -> Iterator[Sequence[str]]:
    """The names in pieces that one call can take."""
    return batches(lfns, names_per_call(lfns))


def names_per_call(lfns: Iterable[str]) -> int:
    """How many of these names one call can take, however they are dealt out."""
    longest_bytes = _BYTES_PER_CHARACTER * max(map(len, lfns), default=1)
    return min(NAMES_PER_CALL, NAME_BYTES_PER_CALL // longest_bytes)


async def replies(
    call: aio.UnaryStreamCall[Request, Reply], peer: str
) -> AsyncGenerator[Reply, None]:
    """The answers of a call, which is cancelled when the reader stops early."""
    try:
        with answers_from(peer):
            async for reply in call:
                yield reply
    finally:
        call.cancel()


async def reconnecting(
    open_stream: Callable[[], AsyncGenerator[T, None]], patience_s: float = PATIENCE_S
) -> AsyncGenerator[T, None]:
    """The items of a stream that is opened again whenever its server went away.

    The stream must begin with the current state, so that nothing is missed. Raises
    the last error once the server has been away for `patience_s`.
    """
    loop = asyncio.get_running_loop()
    pause_s = _FIRST_PAUSE_S
    heard_s = loop.time()
    while True:
        try:
            async with contextlib.aclosing(open_stream()) as stream:
                async for item in stream:
                    heard_s, pause_s = loop.time(), _FIRST_PAUSE_S
                    yield item
                    heard_s = loop.time()
        except PackhorseError as error:
            if not error.retryable or loop.time() - heard_s > patience_s:
                raise
        else:
            return
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
