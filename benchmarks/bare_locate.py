"""The peer of Locate: a gRPC server that looks names up in one dict, and nothing else.

Run as a process: prints its address once its dict is filled.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import grpc
from grpc import aio

from benchmarks.locate import NAMES, SIZE_BYTES, name_of
from protos.packhorse.v1.redirector_pb2 import LocateReply, LocateRequest


async def main() -> None:
    """Serves until killed."""
    sizes = {name_of(i): SIZE_BYTES for i in range(NAMES)}

    async def locate(request: LocateRequest, _context: Any) -> LocateReply:
        found = [sizes[lfn] for lfn in request.lfns]
        return LocateReply(holder=[1] * len(found), size_bytes=found)

    handler = grpc.unary_unary_rpc_method_handler(
        locate, LocateRequest.FromString, LocateReply.SerializeToString
    )
    server = aio.server(options=[("grpc.max_receive_message_length", 64 << 20)])
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler("packhorse.v1.Files", {"Locate": handler})]
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"127.0.0.1:{port}", flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
