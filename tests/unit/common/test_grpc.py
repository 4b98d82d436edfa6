"""Doors and channels: errors cross the wire unharmed, ports are never shared, dead peers noticed."""

# ruff: noqa: N802 - gRPC names its methods in capitals
from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from typing import TYPE_CHECKING

import grpc
import pytest

from common.address import split_address
from common.errors import (
    ConfigError,
    NotFound,
    PackhorseError,
    QuotaExceeded,
    TimedOut,
    TooLarge,
    Unreachable,
    UsageError,
    all_errors,
)
from common.grpc_client import answers_from, call, open_channel
from common.grpc_server import INTERNAL_ERROR, make_server
from protos.packhorse.v1 import redirector_pb2 as pb
from protos.packhorse.v1 import redirector_pb2_grpc as rpc

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from grpc import aio


class Doors(rpc.FilesServicer, rpc.DatasetsServicer, rpc.ClusterServicer):
    """One method of each of gRPC's four kinds; every one raises what it is told to."""

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self.closed = asyncio.Event()
        self.started = asyncio.Event()

    async def Locate(self, request, context):
        self.started.set()
        if request.lfns and request.lfns[0] == "wait":
            try:
                await asyncio.Event().wait()
            finally:
                self.closed.set()
        if self.error:
            raise self.error
        return pb.LocateReply(holder=[len(request.lfns)])

    async def Watch(self, request, context):
        try:
            yield pb.WatchReply(snapshot_complete=True)
            if self.error:
                raise self.error
            while request.all:
                yield pb.WatchReply()
                await asyncio.sleep(0)
        finally:
            self.closed.set()

    async def Register(self, request_iterator, context):
        count = 0
        async for _ in request_iterator:
            count += 1
        if self.error:
            raise self.error
        return pb.RegisterReply(files=count)

    async def Join(self, request_iterator, context):
        async for _ in request_iterator:
            yield pb.NodeCommand()
        if self.error:
            raise self.error


@contextlib.asynccontextmanager
async def serving(max_message_bytes: int = 1 << 20) -> AsyncIterator[tuple[Doors, aio.Channel]]:
    server, address = make_server("127.0.0.1:0", max_message_bytes)
    doors = Doors()
    rpc.add_FilesServicer_to_server(doors, server)
    rpc.add_DatasetsServicer_to_server(doors, server)
    rpc.add_ClusterServicer_to_server(doors, server)
    await server.start()
    channel = open_channel(address)
    try:
        yield doors, channel
    finally:
        await channel.close()
        await server.stop(None)


async def unary_unary(channel: aio.Channel) -> object:
    return await call(rpc.FilesStub(channel).Locate(pb.LocateRequest(lfns=["/a"]), timeout=10))


async def unary_stream(channel: aio.Channel) -> object:
    with answers_from():
        stream = rpc.FilesStub(channel).Watch(pb.WatchRequest(), timeout=10)
        return [reply async for reply in stream]


async def stream_unary(channel: aio.Channel) -> object:
    parts = [pb.RegisterRequest(), pb.RegisterRequest()]
    return await call(rpc.DatasetsStub(channel).Register(iter(parts), timeout=10))


async def stream_stream(channel: aio.Channel) -> object:
    with answers_from():
        stream = rpc.ClusterStub(channel).Join(iter([pb.NodeMessage()]), timeout=10)
        return [reply async for reply in stream]


KINDS = [unary_unary, unary_stream, stream_unary, stream_stream]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_handler_that_raises_nothing_is_left_alone(kind: Callable) -> None:
    async with serving() as (_, channel):
        expected = {
            unary_unary: pb.LocateReply(holder=[1]),
            unary_stream: [pb.WatchReply(snapshot_complete=True)],
            stream_unary: pb.RegisterReply(files=2),
            stream_stream: [pb.NodeCommand()],
        }
        assert await kind(channel) == expected[kind]


@pytest.mark.parametrize("kind", KINDS)
async def test_an_error_of_ours_arrives_as_the_same_error(kind: Callable) -> None:
    async with serving() as (doors, channel):
        doors.error = QuotaExceeded("pool disk1: 2 TB do not fit, 1 TB is the quota, Z→µµ 100 %41")
        with pytest.raises(QuotaExceeded) as caught:
            await kind(channel)
        assert caught.value.message == doors.error.message


async def test_an_error_is_one_printable_line_whatever_it_quotes() -> None:
    async with serving() as (doors, channel):
        doors.error = NotFound("no dataset \x1b[31mred\r\nrows\x07 is known")
        with pytest.raises(NotFound) as caught:
            await unary_unary(channel)
        assert caught.value.message == "no dataset red\\nrows is known"


@pytest.mark.parametrize("kind", KINDS)
async def test_a_bug_in_a_handler_is_logged_and_not_leaked(
    kind: Callable, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving() as (doors, channel):
        doors.error = ZeroDivisionError("secret")
        with pytest.raises(PackhorseError) as caught:
            await kind(channel)
        assert INTERNAL_ERROR in caught.value.message
        assert "secret" not in caught.value.message
        assert "ZeroDivisionError: secret" in caplog.text


@pytest.mark.parametrize("code", sorted(all_errors()))
async def test_every_class_of_error_round_trips(code: str) -> None:
    async with serving() as (doors, channel):
        doors.error = all_errors()[code]("why")
        with pytest.raises(PackhorseError, match=r"^why$") as caught:
            await unary_unary(channel)
        assert type(caught.value) is all_errors()[code]


async def test_a_very_long_message_is_cut_instead_of_lost() -> None:
    async with serving() as (doors, channel):
        doors.error = NotFound("µ" * 100_000)
        with pytest.raises(NotFound) as caught:
            await unary_unary(channel)
        assert caught.value.message.startswith("µ" * 2000)
        assert caught.value.message.endswith("[…]")


async def test_a_cancelled_call_cancels_its_handler_and_logs_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with serving() as (doors, channel):
        waiting = rpc.FilesStub(channel).Locate(pb.LocateRequest(lfns=["wait"]))
        await asyncio.wait_for(doors.started.wait(), 10)
        waiting.cancel()
        await asyncio.wait_for(doors.closed.wait(), 10)
        assert await unary_unary(channel), "the server lives on"
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_a_stream_left_by_its_reader_closes_the_handlers_generator() -> None:
    async with serving() as (doors, channel):
        stream = rpc.FilesStub(channel).Watch(pb.WatchRequest(all=True))
        assert await stream.read() == pb.WatchReply(snapshot_complete=True)
        stream.cancel()
        await asyncio.wait_for(doors.closed.wait(), 10)


async def test_messages_beyond_the_limit_are_refused_both_ways() -> None:
    async with serving(max_message_bytes=1000) as (_, channel):
        with pytest.raises(TooLarge, match="too large"):
            await call(rpc.FilesStub(channel).Locate(pb.LocateRequest(lfns=["/x" * 1000])))
        assert await unary_unary(channel), "the connection survives"


@pytest.mark.parametrize("nonsense", [b"\x0a\x02\xff\xfe", b"\xff" * 20])
async def test_bytes_that_are_no_message_are_called_so_and_the_server_lives_on(
    nonsense: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving() as (_, channel):
        calls = [
            channel.unary_unary("/packhorse.v1.Files/Locate")(nonsense, timeout=10),
            channel.stream_unary("/packhorse.v1.Datasets/Register")(iter([nonsense]), timeout=10),
        ]
        for one in calls:
            with pytest.raises(UsageError, match="the message is malformed"):
                await call(one)
        streams = [
            channel.unary_stream("/packhorse.v1.Files/Watch")(nonsense, timeout=10),
            channel.stream_stream("/packhorse.v1.Cluster/Join")(iter([b"", nonsense]), timeout=10),
        ]
        for stream in streams:
            with pytest.raises(UsageError, match="the message is malformed"), answers_from():
                async for _ in stream:
                    pass
        assert await unary_unary(channel)
    assert "Traceback" not in caplog.text


async def test_an_unknown_method_is_called_so() -> None:
    async with serving() as (_, channel):
        with pytest.raises(UsageError, match="another version"):
            await call(channel.unary_unary("/packhorse.v1.Files/Nope")(b"", timeout=10))


async def test_a_deadline_is_a_timeout_that_names_the_peer() -> None:
    async with serving() as (_, channel):
        slow = rpc.FilesStub(channel).Locate(pb.LocateRequest(lfns=["wait"]), timeout=0.05)
        with pytest.raises(TimedOut, match=r"^the redirector did not answer in time$"):
            await call(slow, "the redirector")


async def test_a_server_that_is_not_there_is_unreachable_with_the_reason() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: connections are refused
        channel = open_channel(f"127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(Unreachable) as caught:
            await call(
                rpc.FilesStub(channel).Locate(pb.LocateRequest()), "the redirector at head:1"
            )
        await channel.close()
    assert caught.value.message == "the redirector at head:1 does not answer (Connection refused)"
    assert caught.value.retryable


async def test_calls_on_one_channel_work_again_soon_after_the_server_restarted() -> None:
    server, address = make_server("127.0.0.1:0")
    doors = Doors()
    rpc.add_FilesServicer_to_server(doors, server)
    await server.start()
    channel = open_channel(address)
    await unary_unary(channel)
    await server.stop(None)
    with pytest.raises(Unreachable):
        await unary_unary(channel)

    server, _ = make_server(address)
    rpc.add_FilesServicer_to_server(doors, server)
    await server.start()
    locate = rpc.FilesStub(channel).Locate(pb.LocateRequest(), wait_for_ready=True, timeout=5)
    assert await call(locate)
    await channel.close()
    await server.stop(None)


async def test_pinging_a_silent_stream_does_not_end_it() -> None:
    server, address = make_server("127.0.0.1:0")
    doors = Doors()
    rpc.add_FilesServicer_to_server(doors, server)
    await server.start()
    channel = open_channel(address, keepalive_s=0.05)
    waiting = rpc.FilesStub(channel).Locate(pb.LocateRequest(lfns=["wait"]))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(call(waiting), 6)  # by default it ends after 4 s
    assert await unary_unary(channel)
    await channel.close()
    await server.stop(None)


class BlackHole:
    """A TCP proxy that, when told so, swallows all that comes and closes nothing."""

    def __init__(self, host: str, port: int) -> None:
        self._target = host, port
        self._pumps: set[asyncio.Task[None]] = set()
        self.swallowing = False

    async def open(self) -> str:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(*self._target)
        for pump in (self._pump(reader, far_writer), self._pump(far_reader, writer)):
            self._pumps.add(asyncio.create_task(pump))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                if not self.swallowing:
                    writer.write(data)

    async def close(self) -> None:
        self._server.close()
        await self._server.wait_closed()
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)


async def test_a_peer_that_falls_silent_is_noticed_by_keepalive() -> None:
    server, address = make_server("127.0.0.1:0")
    doors = Doors()
    rpc.add_FilesServicer_to_server(doors, server)
    await server.start()
    hole = BlackHole(*split_address(address))
    channel = open_channel(await hole.open(), keepalive_s=0.2)
    waiting = rpc.FilesStub(channel).Locate(pb.LocateRequest(lfns=["wait"]))
    await asyncio.wait_for(doors.started.wait(), 10)
    hole.swallowing = True
    with pytest.raises(Unreachable, match="ping timeout"):
        await asyncio.wait_for(call(waiting), 10)
    await channel.close()
    await hole.close()
    await server.stop(None)


async def test_a_taken_port_is_a_configuration_error() -> None:
    server, address = make_server("127.0.0.1:0")
    with pytest.raises(ConfigError, match=f"^cannot listen on {address}: the port is taken$"):
        make_server(address)
    await server.stop(None)


@pytest.mark.parametrize(
    ("listen", "message"),
    [
        ("1213", "is not an address"),
        ("head", "is not an address"),
        (":1213", "is not an address"),
        ("head:", "is not an address"),
        ("head:port", "is not an address"),
        ("head:99999", "is not an address"),
        ("head:²", "is not an address"),
        ("::1:1213", r"write an IPv6 host as \[::1\]"),
        ("no-such-host.invalid:1213", "no such host"),
        ("192.0.2.1:1213", "cannot listen on 192.0.2.1:1213: Cannot assign requested address"),
    ],
)
async def test_a_bad_address_is_a_configuration_error(listen: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_server(listen)


def test_grpc_errors_that_come_from_the_outside_keep_their_meaning() -> None:
    from common.grpc_client import error_from_rpc

    def rpc_error(status: grpc.StatusCode, details: str) -> PackhorseError:
        return error_from_rpc(grpc.aio.AioRpcError(status, details=details), "head:1")

    assert isinstance(rpc_error(grpc.StatusCode.CANCELLED, ""), Unreachable)
    assert isinstance(rpc_error(grpc.StatusCode.NOT_FOUND, "x"), NotFound)
    assert str(rpc_error(grpc.StatusCode.UNKNOWN, "")) == "head:1: unknown"
    assert str(rpc_error(grpc.StatusCode.RESOURCE_EXHAUSTED, "busy")) == "head:1: busy"
