"""The node's one outbound stream to the redirector, kept up for as long as it lives.

* What is said, and in which order, is the stream's affair (`stream`). How a recall ended
  outlives it (`ends`).
* Who has changed something and must not be ahead of the redirector's knowledge waits with
  `until_heard`. Ends of claims need no more than to be behind the changes they let others
  see: what a lost one was about is not in the next hello.
* Away from the redirector the node goes on serving and staging, and tries again,
  more and more patiently. How long it may go on staging is the core's affair.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from typing import TYPE_CHECKING, Final

import grpc

from common.grpc_client import error_from_rpc, open_channel
from dataserver import wire, wire_stores
from dataserver.core import instructions
from dataserver.ends import Ends
from dataserver.epochs import Epochs
from dataserver.stream import Stream
from protos.packhorse.v1 import redirector_pb2 as pb
from protos.packhorse.v1 import redirector_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Callable

    from common.errors import PackhorseError
    from dataserver.engine import Engine
    from dataserver.heartbeat import Pulse
    from dataserver.orders import Orders

log = logging.getLogger(__name__)

FIRST_RETRY_S: Final = 0.2
LAST_RETRY_S: Final = 2.0
#: How long somebody waits for the redirector to hear of a change.
HEARD_LIMIT_S: Final = 5.0


class Link:
    """Keeps the node joined to its redirector. `make_hello` gives the hello of the moment."""

    def __init__(
        self,
        engine: Engine,
        redirector: str,
        make_hello: Callable[[], pb.Hello],
        pulse: Pulse,
        orders: Orders,
    ) -> None:
        self._engine = engine
        self._redirector = redirector
        self._make_hello = make_hello
        self._pulse = pulse
        self._orders = orders
        self._ends = Ends()
        self._epochs = Epochs()
        self._stream: Stream | None = None
        self._complaint = ""
        self._root_address = ""
        engine.on_change = self.wake
        engine.carry_with(
            {
                instructions.TellEnded: self._tell_ended,
                instructions.TellEvicted: self._tell_evicted,
                instructions.TellStores: self._tell_stores,
                instructions.TellClaimEnded: self._tell_claim_ended,
                instructions.JoinAnew: lambda _: self.join_anew(),
            }
        )

    @property
    def is_joined(self) -> bool:
        """Whether the redirector has taken the node in, and the stream is up."""
        return self._stream is not None and self._stream.is_welcome

    async def until_heard(self, timeout_s: float = HEARD_LIMIT_S) -> None:
        """Waits until the redirector has heard all that there is to tell it now.

        Returns at once, or as soon as that is so, if it is out of touch, and at the latest
        after `timeout_s`.
        """
        if self._stream is not None and self._stream.is_welcome:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self._stream.heard()

    @property
    def root_address(self) -> str:
        """HOST:PORT of the redirector's root:// door, as it said last; "" if it has none."""
        stream = self._stream
        if stream is None or not stream.is_welcome:
            return self._root_address
        return stream.root_address

    async def until_told(self) -> None:
        """Waits until the redirector was told how every recall ended, if it is in touch."""
        if self._stream is not None:
            await self._ends.told.wait()

    async def run(self) -> None:
        """Joins, and joins again whenever the stream has ended, for ever."""
        rng = random.Random()
        retry_s = FIRST_RETRY_S
        while True:
            was_welcome = False
            try:
                async with open_channel(self._redirector) as channel:
                    call = redirector_pb2_grpc.ClusterStub(channel).Join()
                    self._stream = Stream(
                        call, self._engine, self._pulse, self._orders, self._ends, self._epochs
                    )
                    await self._stream.run(self._make_hello())
            except grpc.RpcError as error:
                self._complain(error_from_rpc(error, f"redirector {self._redirector}"))
            finally:
                if self._stream is not None:
                    self._root_address = self.root_address
                    was_welcome = self._stream.is_welcome
                    self._stream = None
                self._engine.node.changes.abandon()
            if was_welcome:
                self._complaint = ""
            retry_s = FIRST_RETRY_S if was_welcome else min(LAST_RETRY_S, retry_s * 2)
            await asyncio.sleep(retry_s * (0.5 + rng.random()))

    def wake(self) -> None:
        """There is something to tell."""
        if self._stream is not None:
            self._stream.wake.set()

    def join_anew(self) -> None:
        """Says hello again, for what that says has changed."""
        # Whoever is not joined says all there is with its next hello anyway.
        if self._stream is not None:
            self._stream.leave()

    def _complain(self, error: PackhorseError) -> None:
        """Logs why the node is not joined, once for each reason."""
        if str(error) != self._complaint:
            self._complaint = str(error)
            log.warning("%s: not joined: %s", self._engine.name, error)

    def _tell_ended(self, told: instructions.TellEnded) -> None:
        if told.failure is not None:
            kind, reason = told.failure.kind.value, told.failure.reason
            log.info("%s: recall of %s failed (%s): %s", self._engine.name, told.lfn, kind, reason)
        self._ends.add(wire.recall_ended(told))
        self.wake()

    def _tell_evicted(self, told: instructions.TellEvicted) -> None:
        # A question of an earlier stream is not waited for any more.
        if self._stream is not None:
            self._stream.answer(wire.evicted(told))

    def _tell_stores(self, told: instructions.TellStores) -> None:
        if self._stream is not None:
            self._stream.answer(wire_stores.taken(told))

    def _tell_claim_ended(self, told: instructions.TellClaimEnded) -> None:
        # Without a stream, the next hello says nothing of it.
        if self._stream is not None:
            ended = pb.ClaimEnded(lfn=told.lfn, claim_id=told.claimant_id)
            self._stream.answer(pb.NodeMessage(claim_ended=ended))
