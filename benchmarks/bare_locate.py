"""The peer of Locate: a gRPC server that looks names up in one dict, and nothing else.

Run as a process: prints its address once its dict is filled.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

from grpc import aio

from benchmarks.locate import NAMES, SIZE_BYTES, name_of
from protos.packhorse.v1 import redirector_pb2, redirector_pb2_grpc

if TYPE_CHECKING:
    from grpc.aio import ServicerContext


class BareFiles(redirector_pb2_grpc.FilesServicer):
    """Locate as fast as gRPC and Python allow."""

    def __init__(self) -> None:
        self._sizes = {name_of(i): SIZE_BYTES for i in range(NAMES)}

    async def Locate(  # noqa: N802 -- the name in the contract
        self,
        request: redirector_pb2.LocateRequest,
        _context: ServicerContext[redirector_pb2.LocateRequest, redirector_pb2.LocateReply],
    ) -> redirector_pb2.LocateReply:
        """Every name on one node."""
        sizes = self._sizes
        return redirector_pb2.LocateReply(
            holder=[1] * len(request.lfns), size_bytes=[sizes[lfn] for lfn in request.lfns]
        )


async def main() -> None:
    """Serves until killed."""
    server = aio.server(options=[("grpc.max_receive_message_length", 64 << 20)])
    redirector_pb2_grpc.add_FilesServicer_to_server(BareFiles(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"127.0.0.1:{port}", flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
