"""Opening a gRPC door, and telling clients in one clear line what went wrong.

A handler of ours raises a `PackhorseError` and is done: `ErrorInterceptor` turns
it into the class's gRPC status, the message as the status's text, and the
class's stable code in the trailing metadata, from which
`common.grpc_client.error_from_rpc` makes the same error again on the client's
side. Anything else that escapes a handler is a bug of ours: it is logged here
with its traceback, and the client learns only that it happened.
"""

from __future__ import annotations

import contextlib
import errno
import inspect
import logging
import os
import socket
from typing import TYPE_CHECKING, Any, NoReturn, Self

import grpc
from grpc import aio

from common.address import split_address
from common.errors import ConfigError, PackhorseError, UsageError
from common.grpc_options import CODE_KEY, DEFAULT_MAX_MESSAGE_BYTES, fit_message, server_options
from common.text import one_line

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

log = logging.getLogger(__name__)

INTERNAL_ERROR = "internal error, see the server's log"


def make_server(
    listen: str, max_message_bytes: int = DEFAULT_MAX_MESSAGE_BYTES
) -> tuple[aio.Server, str]:
    """A server whose door is bound, not yet started, and where it is bound (HOST:PORT).

    `listen` is HOST:PORT; port 0 takes a free one. Raises `ConfigError` if the
    address makes no sense, is not this machine's, or is taken.
    """
    host, port = split_address(listen)
    _ask_whether_free(listen, host, port)
    server = aio.server(
        interceptors=[ErrorInterceptor()], options=server_options(max_message_bytes)
    )
    try:
        bound_port = server.add_insecure_port(listen)
    except RuntimeError as error:
        raise ConfigError(f"cannot listen on {listen}: {error}") from error
    return server, f"{host}:{bound_port}"


def _ask_whether_free(listen: str, host: str, port: int) -> None:
    """Raises `ConfigError` if the address cannot be bound, with the system's own reason.

    gRPC is content when one of a name's several addresses is free, lets port
    numbers wrap around, and tells its reasons to its own log only.
    """
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise ConfigError(f"cannot listen on {listen}: no such host ({error.strerror})") from error
    refusals = []
    for family, kind, protocol, _, address in found:
        try:
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise ConfigError(f"cannot listen on {listen}: the port is taken") from error
            refusals.append(error)
    if len(refusals) == len(found):
        reason = os.strerror(refusals[0].errno or 0)
        raise ConfigError(f"cannot listen on {listen}: {reason}") from refusals[0]


class ErrorInterceptor(aio.ServerInterceptor):
    """Stands around every handler, and turns what it raises into a status."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """The method's handler with its errors translated; None for an unknown method."""
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        method = handler_call_details.method
        check: Callable[[Any], Any] = _check_message
        if handler.request_streaming:
            check = _CheckedMessages
            inner = handler.stream_stream or handler.stream_unary
            make = (
                grpc.stream_stream_rpc_method_handler
                if handler.response_streaming
                else grpc.stream_unary_rpc_method_handler
            )
        else:
            inner = handler.unary_stream or handler.unary_unary
            make = (
                grpc.unary_stream_rpc_method_handler
                if handler.response_streaming
                else grpc.unary_unary_rpc_method_handler
            )
        guarded = (
            _guard_stream(method, inner, check)
            if inspect.isasyncgenfunction(inner)
            else _guard_call(method, inner, check)
        )
        return make(
            guarded,
            request_deserializer=_lenient(handler.request_deserializer),
            response_serializer=handler.response_serializer,
        )


#: Stands for a message that could not be read.
_MALFORMED = object()


def _lenient(deserialize: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """Reads messages; one that cannot be read becomes the handler's error, not gRPC's."""

    def read(data: bytes) -> Any:
        try:
            return deserialize(data)
        except Exception:  # noqa: BLE001 - protobuf's own error is only one of them
            return _MALFORMED

    return read


def _check_message(message: Any) -> Any:
    """The message; raises UsageError if it could not be read."""
    if message is _MALFORMED:
        raise UsageError("the message is malformed; is its sender of another version?")
    return message


class _CheckedMessages:
    """A client's stream of messages; iterating raises UsageError at one that is malformed."""

    def __init__(self, messages: AsyncIterator[Any]) -> None:
        self._messages = aiter(messages)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        return _check_message(await anext(self._messages))


def _guard_call(
    method: str,
    handler: Callable[[Any, Any], Awaitable[Any]],
    check: Callable[[Any], Any],
) -> Callable[[Any, Any], Awaitable[Any]]:
    async def guarded(request: Any, context: Any) -> Any:
        try:
            return await handler(check(request), context)
        except Exception as error:  # noqa: BLE001 - every error is answered, none escapes
            await _answer(method, context, error)

    return guarded


def _guard_stream(
    method: str,
    handler: Callable[[Any, Any], AsyncIterator[Any]],
    check: Callable[[Any], Any],
) -> Callable[[Any, Any], Awaitable[None]]:
    # The replies are written here, rather than yielded on, so that a cancelled
    # call closes the handler's generator at once and its `finally` blocks run.
    async def guarded(request: Any, context: Any) -> None:
        try:
            async with contextlib.aclosing(handler(check(request), context)) as replies:  # type: ignore[type-var]
                async for reply in replies:
                    await context.write(reply)
        except Exception as error:  # noqa: BLE001 - every error is answered, none escapes
            await _answer(method, context, error)

    return guarded


async def _answer(method: str, context: Any, error: Exception) -> NoReturn:
    """Ends the call with the error's status. Cancellation is none, and never comes here."""
    if isinstance(error, aio.AbortError):
        raise error
    if isinstance(error, PackhorseError):
        status, code = grpc.StatusCode[error.grpc_status], error.code
        # It may quote the client, who may have sent anything.
        text = one_line(error.message)
        metadata: tuple[tuple[str, str], ...] = ((CODE_KEY, code),)
    else:
        status, text, metadata = grpc.StatusCode.INTERNAL, INTERNAL_ERROR, ()
        if not (isinstance(error, aio.BaseError) and context.done()):
            log.error("%s failed", method, exc_info=error)
    if context.done():
        # The client went away meanwhile: nobody is left to tell.
        raise aio.AbortError from error
    await context.abort(status, fit_message(text), trailing_metadata=metadata)
    raise AssertionError("abort() always raises")
