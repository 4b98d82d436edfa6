"""Asking the redirector for names: one name has one writer in the whole site.

A claim is asked for by a call of its own and not over the stream, for its answer is what
the client waits for. It is given back over the stream, behind the changes that came of it.
Without a stream there is no asking: a claim that the redirector hears of before the hello
of a new stream would not be in that hello, and so be taken back at once.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from common.errors import PackhorseError, Unreachable
from common.grpc_client import call, open_channel
from dataserver.core import events, instructions
from protos.packhorse.v1 import redirector_pb2 as pb
from protos.packhorse.v1 import redirector_pb2_grpc

if TYPE_CHECKING:
    from dataserver.engine import Engine
    from dataserver.link import Link

log = logging.getLogger(__name__)

#: A redirector answers in milliseconds, or is in trouble.
ANSWER_LIMIT_S: Final = 10.0


class Claims:
    """Asks for names whenever the core wants it to, over one connection."""

    def __init__(self, engine: Engine, link: Link, redirector: str, boot_epoch: str) -> None:
        self._engine = engine
        self._link = link
        self._redirector = redirector
        self._boot_epoch = boot_epoch
        self._channel = open_channel(redirector)
        self._stub = redirector_pb2_grpc.ClusterStub(self._channel)
        self._asking: dict[str, asyncio.Task[None]] = {}
        engine.carry_with({instructions.ClaimName: self._start})

    async def stop(self) -> None:
        """Ends what is being asked, and the connection."""
        asking = list(self._asking.values())
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        await self._channel.close()

    async def until_answered(self, claimant_id: str) -> None:
        """Waits until nothing is being asked for this upload or rename any more.

        Only then may its claim be given back: the redirector must not hear that first.
        """
        if (task := self._asking.get(claimant_id)) is not None:
            await asyncio.wait([task])

    def _start(self, order: instructions.ClaimName) -> None:
        task = asyncio.create_task(self._claim(order), name=f"claim {order.lfn}")
        self._asking[order.claimant_id] = task
        task.add_done_callback(lambda _: self._asking.pop(order.claimant_id))

    async def _claim(self, order: instructions.ClaimName) -> None:
        event: events.Event
        try:
            await self._ask(order)
        except PackhorseError as error:
            event = events.ClaimRefused(order.claimant_id, error)
        except Exception as error:
            log.exception("%s: %s was not claimed", self._engine.name, order.lfn)
            event = events.ClaimRefused(order.claimant_id, PackhorseError(str(error)))
        else:
            event = events.Claimed(order.claimant_id)
        self._engine.post(event)

    async def _ask(self, order: instructions.ClaimName) -> None:
        if not self._link.is_joined:
            raise Unreachable(
                f"{order.lfn} cannot be written: this data server is out of touch with "
                f"redirector {self._redirector}; try again in a moment"
            )
        request = pb.ClaimNameRequest(
            node=self._engine.name,
            boot_epoch=self._boot_epoch,
            lfn=order.lfn,
            replaces=order.replaces,
            claim_id=order.claimant_id,
        )
        answer = self._stub.ClaimName(request, timeout=ANSWER_LIMIT_S)
        await call(answer, f"redirector {self._redirector}")
