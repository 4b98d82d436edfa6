"""The connections of one client: to the redirector, the packetizer, the data servers.

A channel connects when it is first used and reconnects by itself. Only the
redirector's address has to be known: the packetizer announces itself there, and
data servers are named in its answers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.errors import Unreachable
from common.grpc_client import call, open_channel
from protos.packhorse.v1.dataserver_pb2_grpc import DataServerStub
from protos.packhorse.v1.packetizer_pb2_grpc import PacketizerStub
from protos.packhorse.v1.redirector_pb2 import StatusRequest
from protos.packhorse.v1.redirector_pb2_grpc import ClusterStub, DatasetsStub, FilesStub

if TYPE_CHECKING:
    from grpc import aio

    from packhorse.values import NodeAddress
    from protos.packhorse.v1.dataserver_pb2_grpc import DataServerAsyncStub
    from protos.packhorse.v1.packetizer_pb2_grpc import PacketizerAsyncStub
    from protos.packhorse.v1.redirector_pb2_grpc import (
        ClusterAsyncStub,
        DatasetsAsyncStub,
        FilesAsyncStub,
    )

# A result may be as large as the packetizer's `max_result` lets it be, and the
# packetizer is the one who refuses: gRPC's own limit must not come before.
RESULT_MESSAGE_BYTES = (1 << 31) - 1


class Connection:
    """Stubs by role. `packetizer` is where to look before it has announced itself."""

    def __init__(self, redirector: str, packetizer: str = "") -> None:
        self.redirector = redirector
        self._last_packetizer = packetizer
        self._channels: dict[str, aio.Channel] = {}
        channel = self._channel(redirector)
        self.files: FilesAsyncStub = FilesStub(channel)
        self.datasets: DatasetsAsyncStub = DatasetsStub(channel)
        self.cluster: ClusterAsyncStub = ClusterStub(channel)

    @property
    def redirector_name(self) -> str:
        """The redirector, as errors name it."""
        return f"the redirector at {self.redirector}"

    async def packetizer(self) -> tuple[PacketizerAsyncStub, str]:
        """The packetizer, and its name in errors; raises Unreachable if there is none."""
        address = await self.packetizer_address()
        channel = self._channel(address, RESULT_MESSAGE_BYTES)
        return PacketizerStub(channel), f"the packetizer at {address}"

    async def packetizer_address(self) -> str:
        """Where the packetizer is now; what was known before, if the redirector cannot tell.

        Raises Unreachable if nobody knows.
        """
        try:
            status = await call(self.cluster.Status(StatusRequest()), self.redirector_name)
        except Unreachable:
            if not self._last_packetizer:
                raise
            return self._last_packetizer
        if status.packetizers:
            self._last_packetizer = status.packetizers[0]
        if not self._last_packetizer:
            raise Unreachable(
                f"no packetizer has announced itself to {self.redirector_name}: "
                "is one running? (packhorse packetizer)"
            )
        return self._last_packetizer

    def dataserver(self, node: NodeAddress) -> tuple[DataServerAsyncStub, str]:
        """A data server, and its name in errors."""
        return DataServerStub(self._channel(node.address)), f"data server {node.node!r}"

    async def close(self) -> None:
        """Closes every channel; calls that still run end as cancelled."""
        channels, self._channels = list(self._channels.values()), {}
        for channel in channels:
            await channel.close()

    def _channel(self, address: str, max_message_bytes: int | None = None) -> aio.Channel:
        channel = self._channels.get(address)
        if channel is None:
            channel = (
                open_channel(address)
                if max_message_bytes is None
                else open_channel(address, max_message_bytes)
            )
            self._channels[address] = channel
        return channel
