"""Asking the redirector for names: one name has one writer in the whole site.

A claim is asked for by a call of its own and not over the stream, for its answer is what
the client waits for. It is given back over the stream, behind the changes that came of it.
Without a stream there is no asking: a claim that the redirector hears of before the hello
of a new stream would not be in that hello, and so be taken back at once.

What the archive has must never get a second content. The redirector asks it before it
sends a client to write something new; about a client that came here by itself it is asked
here, once nobody else can claim the name.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from common.errors import AlreadyExists, PackhorseError, Refused, Unreachable
from common.grpc_client import call, open_channel
from dataserver.archive.model import Presence
from dataserver.core import events, instructions
from protos.packhorse.v1 import redirector_pb2 as pb
from protos.packhorse.v1 import redirector_pb2_grpc

if TYPE_CHECKING:
    from dataserver.archive import Archive
    from dataserver.engine import Engine
    from dataserver.link import Link

log = logging.getLogger(__name__)

#: A redirector answers in milliseconds, or is in trouble.
ANSWER_LIMIT_S: Final = 10.0


@dataclass(eq=False)
class _Question:
    """What is asked about one name."""

    task: asyncio.Task[None]
    #: Set when the redirector has answered, or is not asked any more.
    answered: asyncio.Event = field(default_factory=asyncio.Event)


class Claims:
    """Asks for names whenever the core wants it to, over one connection."""

    def __init__(
        self, engine: Engine, archive: Archive, link: Link, redirector: str, boot_epoch: str
    ) -> None:
        self._engine = engine
        self._archive = archive
        self._link = link
        self._redirector = redirector
        self._boot_epoch = boot_epoch
        self._channel = open_channel(redirector)
        self._stub = redirector_pb2_grpc.ClusterStub(self._channel)
        self._asking: dict[str, _Question] = {}
        engine.carry_with({instructions.ClaimName: self._start})

    async def stop(self) -> None:
        """Ends what is being asked, and the connection."""
        asking = [question.task for question in self._asking.values()]
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        await self._channel.close()

    async def until_answered(self, claimant_id: str) -> None:
        """Waits until the redirector has answered, and has nothing more asked for this upload.

        Only then may its claim be given back: the redirector must not hear that first.
        """
        if (question := self._asking.get(claimant_id)) is not None:
            await question.answered.wait()
            # The archive may take its time, and nobody wants to know any more.
            question.task.cancel()
            await asyncio.wait([question.task])

    def _start(self, order: instructions.ClaimName) -> None:
        task = asyncio.create_task(self._claim(order), name=f"claim {order.lfn}")
        question = self._asking[order.claimant_id] = _Question(task)
        task.add_done_callback(lambda _: self._done(order.claimant_id, question))

    def _done(self, claimant_id: str, question: _Question) -> None:
        question.answered.set()
        del self._asking[claimant_id]

    async def _claim(self, order: instructions.ClaimName) -> None:
        event: events.Event
        try:
            archive_was_asked = await self._ask(order)
            self._asking[order.claimant_id].answered.set()
            if order.is_new and not (order.replaces or archive_was_asked):
                await self._check_free(order.lfn)
        except PackhorseError as error:
            event = events.ClaimRefused(order.claimant_id, error)
        except Exception as error:
            log.exception("%s: %s was not claimed", self._engine.name, order.lfn)
            event = events.ClaimRefused(order.claimant_id, PackhorseError(str(error)))
        else:
            event = events.Claimed(order.claimant_id)
        self._engine.post(event)

    async def _ask(self, order: instructions.ClaimName) -> bool:
        """Claims a name; returns whether the archive was found not to have it, just now."""
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
        return (await call(answer, f"redirector {self._redirector}")).archive_was_asked

    async def _check_free(self, lfn: str) -> None:
        """Raises AlreadyExists or Refused if the archive has something of this name, and
        Unreachable if it may have, but cannot be asked."""
        (found,) = await self._archive.examine([lfn])
        if found.is_directory:
            raise AlreadyExists(f"{lfn} is a directory of the archive")
        if found.presence is Presence.THERE:
            raise Refused(f"{lfn} is in the archive, where clients change nothing")
        if found.presence is Presence.UNKNOWN and not found.is_beyond_asking:
            raise Unreachable(f"{lfn} may be in the archive, which cannot be asked: {found.reason}")
