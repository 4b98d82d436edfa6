"""An open replica that is read synchronously: by workers, and by `Site.open`.

A replica is open for as long as its `Open` call lasts, and an open replica is never
purged. It is read where it lies if its data server says that both share a host and
the path can indeed be opened here, else over gRPC. Reading raises `ReplicaError`, an
OSError as every file does.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Self

import grpc

from common.errors import Damaged, PackhorseError
from common.grpc_client import answers_from
from common.grpc_options import DEFAULT_MAX_MESSAGE_BYTES, channel_options
from packhorse.replica_file import ReplicaFile
from packhorse.values import FileInfo
from protos.packhorse.v1.dataserver_pb2 import OpenRequest, ReadRequest
from protos.packhorse.v1.dataserver_pb2_grpc import DataServerStub

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from packhorse.values import NodeAddress
    from protos.packhorse.v1.dataserver_pb2 import OpenReply


class ReplicaError(OSError):
    """The bytes of a replica cannot be had from where they are.

    `damaged`: its data server gave bytes, and they are not the file's.
    """

    def __init__(self, message: str, *, damaged: bool = False) -> None:
        super().__init__(message)
        self.damaged = damaged


class Channels:
    """Channels to data servers, one each, for one thread to use."""

    def __init__(self) -> None:
        self._channels: dict[str, grpc.Channel] = {}

    def dataserver(self, address: str) -> DataServerStub:
        """A data server's door."""
        channel = self._channels.get(address)
        if channel is None:
            channel = open_sync_channel(address)
            self._channels[address] = channel
        return DataServerStub(channel)

    def close(self) -> None:
        """Closes every channel, and so every replica that is open through one."""
        channels, self._channels = self._channels, {}
        for channel in channels.values():
            channel.close()


def open_sync_channel(
    address: str, max_message_bytes: int = DEFAULT_MAX_MESSAGE_BYTES
) -> grpc.Channel:
    """A channel for synchronous calls; it connects by itself when first used."""
    return grpc.insecure_channel(address, options=channel_options(max_message_bytes))


class Replica:
    """One open replica; close it, or use it in `with`."""

    def __init__(self, channels: Channels, node: NodeAddress, lfn: str, host: str) -> None:
        """Opens the replica at a node; `host` is this client's host label.

        Raises NotFound if the node does not hold it, Unreachable if it does not answer.
        """
        self._stub = channels.dataserver(node.address)
        self._peer = f"data server {node.node!r}"
        self._held_open = self._stub.Open(OpenRequest(lfn=lfn, host=host))
        self._fd: int | None = None
        try:
            with answers_from(self._peer):
                reply: OpenReply | None = next(self._held_open, None)
            if reply is None:
                raise Damaged(f"{self._peer} ended an open file at once")
            self.info = FileInfo.of(reply.info)
            self.local_path: Path | None = None
            if reply.local_path:
                with contextlib.suppress(OSError):
                    self._fd = os.open(reply.local_path, os.O_RDONLY | os.O_CLOEXEC)
                    self.local_path = Path(reply.local_path)
        except BaseException:
            self._held_open.cancel()
            raise

    @property
    def size_bytes(self) -> int:
        """The file's size."""
        return self.info.size_bytes

    def read(self, offset: int, length: int) -> bytes:
        """The bytes of a range, fewer only at the end of the file. Raises ReplicaError."""
        length = min(length, self.size_bytes - offset)
        if length <= 0:
            return b""
        content = b"".join(self._chunks(offset, length))
        if len(content) != length:
            raise ReplicaError(
                f"{self.info.lfn}: {len(content)} bytes came from {self._peer} "
                f"at {offset} instead of {length}",
                damaged=True,
            )
        return content

    def file(self, on_close: Callable[[], object] | None = None) -> ReplicaFile:
        """A seekable file over the replica; any number may be had, each with its position."""
        return ReplicaFile(
            self.read,
            self.size_bytes,
            name=self.info.lfn,
            is_local=self._fd is not None,
            on_close=on_close,
        )

    def close(self) -> None:
        """Lets go of the replica: it may be purged from now on."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
        self._held_open.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _chunks(self, offset: int, length: int) -> Iterator[bytes]:
        """The bytes of a range, from the disk or over gRPC."""
        if self._fd is not None:
            try:
                while length and (chunk := os.pread(self._fd, length, offset)):
                    offset, length = offset + len(chunk), length - len(chunk)
                    yield chunk
            except OSError as error:
                raise ReplicaError(f"{self.local_path}: {error.strerror}") from error
            return
        try:
            with answers_from(self._peer):
                request = ReadRequest(lfn=self.info.lfn, offset=offset, length=length)
                for reply in self._stub.Read(request):
                    yield reply.data
        except PackhorseError as error:
            raise ReplicaError(error.message, damaged=isinstance(error, Damaged)) from error
