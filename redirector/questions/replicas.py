"""Asking about replicas: the node that holds one is asked about it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import re
from contextlib import aclosing
from itertools import zip_longest
from typing import TYPE_CHECKING, Final, NamedTuple

from common.errors import NotFound, TimedOut, Unreachable
from protos.packhorse.v1 import redirector_pb2 as pb
from redirector.merging import merged
from redirector.questions.asking import (
    ANSWER_TIMEOUT_S,
    SLOW_ANSWER_TIMEOUT_S,
    Asking,
    taken,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator, Sequence

    from protos.packhorse.v1 import types_pb2
    from redirector.core.figures import NodeFigures
    from redirector.links import Link

log = logging.getLogger(__name__)

DESCRIBE_BATCH: Final = 500
#: Smaller, for files may have to be looked into before the answer.
INSPECT_BATCH: Final = 100
STAT_BATCH: Final = 1_000
#: A checksum as it may stand in a listing.
_SUM: Final = re.compile(r"[a-z0-9]+:[0-9a-f]+")


class Description(NamedTuple):
    """What one piece of an answer says of files."""

    files: Sequence[types_pb2.FileInfo]
    not_online: Sequence[str]


class ReplicaStat(NamedTuple):
    """What listings tell of a replica: when it was last modified (Unix time; 0: unknown), and
    a checksum, as in "adler32:07a6c902" ("": unknown, or not asked for)."""

    mtime_s: float
    checksum: str = ""


class Eviction(NamedTuple):
    """What became of the files that were to be evicted."""

    evicted: list[str]
    refused: list[tuple[str, str]]  # (lfn, reason)


class ReplicaQuestions(Asking):
    """Questions about replicas."""

    async def describe(
        self, lfns: Sequence[str], *, wait_for_content: bool
    ) -> AsyncGenerator[Description, None]:
        """What the holders of files say of them; every name is answered exactly once."""
        groups = self._runner.head.group_by_holder(lfns)
        if groups.not_online:
            yield Description((), groups.not_online)
        answers = merged(
            self._describe_at(connection, held, wait_for_content=wait_for_content)
            for connection, held in groups.by_connection.items()
        )
        async with aclosing(answers):
            async for description in answers:
                yield description

    async def stats(
        self, lfns: Sequence[str], algorithm: str | None = None
    ) -> dict[str, ReplicaStat]:
        """What listings tell of replicas, with checksums that are known already if `algorithm`
        is not None; "" stands for whichever was computed when a file came.

        Names that are not online, and those about which nobody answers, are left out.
        """
        groups = self._runner.head.group_by_holder(lfns)
        answers = await asyncio.gather(
            *(self._stats_at(*held, algorithm) for held in groups.by_connection.items())
        )
        return {lfn: stat for answer in answers for lfn, stat in answer.items()}

    async def evict(self, lfns: Sequence[str], *, owner: str = "", soft: bool = False) -> Eviction:
        """Has every replica of files dropped; a file that keeps one is refused.

        `soft`: has them go before all others, once room is needed and they are not pinned.
        """
        plan = self._runner.head.plan_evict(lfns, self._runner.now_s(), soft=soft)
        refused = list(plan.refused)
        answers = await asyncio.gather(
            *(
                self._evict_at(connection, held, owner, soft=soft)
                for connection, held in plan.by_connection.items()
            )
        )
        evicted: dict[str, None] = {}
        for answer in answers:
            evicted.update(dict.fromkeys(answer.evicted))
            refused += answer.refused
        kept = {lfn for lfn, _ in refused}
        return Eviction([lfn for lfn in evicted if lfn not in kept], refused)

    def check_replica(self, lfn: str, node: str) -> None:
        """Has a node look whether its replica is what it should be; it tells if it is not."""
        with contextlib.suppress(NotFound):
            connection = self._runner.head.node(node, self._runner.now_s()).connection
            link = None if connection is None else self._runner.links.get(connection)
            if link is not None:
                link.send(pb.NodeCommand(check_replicas=pb.CheckReplicas(lfns=[lfn])))

    async def purge_plan(
        self, node: NodeFigures, target_bytes: int, limit: int
    ) -> pb.PlanPurgeReply.NodePlan:
        """What a node's next purge would take."""
        plan = pb.PlanPurgeReply.NodePlan(node=node.address.node)
        link = None if node.connection is None else self._runner.links.get(node.connection)
        if link is None:
            plan.problem = "not in touch"
            return plan

        def command(number: int) -> pb.NodeCommand:
            return pb.NodeCommand(
                make_purge_plan=pb.MakePurgePlan(
                    query_id=number, target_bytes=target_bytes, limit=limit
                )
            )

        try:
            async with aclosing(link.ask(command, SLOW_ANSWER_TIMEOUT_S)) as pieces:
                async for piece in pieces:
                    plan.plan.CopyFrom(piece)
        except (Unreachable, TimedOut) as error:
            plan.problem = str(error)
        return plan

    async def _describe_at(
        self, connection: int, lfns: Sequence[str], *, wait_for_content: bool
    ) -> AsyncGenerator[Description, None]:
        link = self._runner.links.get(connection)
        size = INSPECT_BATCH if wait_for_content else DESCRIBE_BATCH
        for start in range(0, len(lfns), size):
            batch = lfns[start : start + size]
            unanswered = dict.fromkeys(batch)
            if link is not None:
                answers = self._describe_batch(link, batch, wait_for_content=wait_for_content)
                async with aclosing(answers):
                    async for piece in answers:
                        if files := taken(piece.files, unanswered):
                            yield Description(files, ())
            if unanswered:
                yield Description((), list(unanswered))

    async def _describe_batch(
        self, link: Link, lfns: Sequence[str], *, wait_for_content: bool
    ) -> AsyncGenerator[pb.Described, None]:
        def command(number: int) -> pb.NodeCommand:
            return pb.NodeCommand(
                describe=pb.DescribeFiles(
                    query_id=number, lfns=lfns, wait_for_content=wait_for_content
                )
            )

        timeout_s = SLOW_ANSWER_TIMEOUT_S if wait_for_content else ANSWER_TIMEOUT_S
        try:
            async with aclosing(link.ask(command, timeout_s)) as pieces:
                async for piece in pieces:
                    yield piece
        except (Unreachable, TimedOut) as error:
            log.warning("describing %d files: %s", len(lfns), error)

    async def _stats_at(
        self, connection: int, lfns: Sequence[str], algorithm: str | None
    ) -> dict[str, ReplicaStat]:
        link = self._runner.links.get(connection)
        found: dict[str, ReplicaStat] = {}
        if link is None:
            return found
        for start in range(0, len(lfns), STAT_BATCH):
            batch = lfns[start : start + STAT_BATCH]

            def command(number: int, batch: Sequence[str] = batch) -> pb.NodeCommand:
                return pb.NodeCommand(
                    stat_replicas=pb.StatReplicas(
                        query_id=number,
                        lfns=batch,
                        with_checksums=algorithm is not None,
                        algorithm=algorithm or "",
                    )
                )

            try:
                async with aclosing(link.ask(command, ANSWER_TIMEOUT_S)) as pieces:
                    async for piece in pieces:
                        found.update(_stats_in(piece))
            except (Unreachable, TimedOut) as error:
                log.warning("asking about %d files for a listing: %s", len(batch), error)
                break
        asked = frozenset(lfns)
        return {lfn: stat for lfn, stat in found.items() if lfn in asked}

    async def _evict_at(
        self, connection: int, lfns: Sequence[str], owner: str, *, soft: bool
    ) -> Eviction:
        link = self._runner.links.get(connection)
        answer = Eviction([], [])
        unanswered = dict.fromkeys(lfns)
        reason = "its data server gave no answer about it"

        def command(number: int) -> pb.NodeCommand:
            return pb.NodeCommand(
                evict=pb.EvictFiles(query_id=number, lfns=lfns, soft=soft, owner=owner)
            )

        try:
            if link is None:
                raise Unreachable("its data server went away")
            async with aclosing(link.ask(command, ANSWER_TIMEOUT_S)) as pieces:
                async for piece in pieces:
                    answer.evicted.extend(piece.evicted)
                    answer.refused.extend(
                        (refusal.lfn, refusal.reason) for refusal in piece.refused
                    )
        except (Unreachable, TimedOut) as error:
            reason = str(error)
        for lfn in (*answer.evicted, *(lfn for lfn, _ in answer.refused)):
            unanswered.pop(lfn, None)
        answer.refused.extend((lfn, reason) for lfn in unanswered)
        return answer


def _stats_in(piece: pb.ReplicaStats) -> Iterator[tuple[str, ReplicaStat]]:
    """What a piece of an answer says, as far as it makes sense."""
    told = zip_longest(piece.lfns, piece.mtime_unix_s, piece.checksums)
    for lfn, mtime_s, checksum in told:
        is_time = mtime_s is not None and 0 < mtime_s < math.inf
        is_sum = checksum is not None and _SUM.fullmatch(checksum)
        yield lfn, ReplicaStat(mtime_s if is_time else 0.0, checksum if is_sum else "")
