"""Asking data servers about many files: who is asked what, and what comes of it.

Names go out in batches, to all nodes concerned at once, and answers are passed
on as they come. A node that goes away or does not answer in time is no error
here: its files count as not answered, in the way each question says.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from contextlib import aclosing
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from common.errors import TimedOut, Unreachable
from protos.packhorse.v1 import redirector_pb2 as pb
from redirector.core.states import NodeState
from redirector.merging import merged

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Sequence

    from protos.packhorse.v1 import types_pb2
    from redirector.core.figures import NodeFigures
    from redirector.links import Link
    from redirector.runner import Runner

log = logging.getLogger(__name__)

DESCRIBE_BATCH = 500
#: Smaller, for files may have to be looked into before the answer.
INSPECT_BATCH = 100
#: Smaller, for every file may cost a command of its own.
EXAMINE_BATCH = 50
#: Batches that a node examines at a time.
EXAMINE_AT_ONCE = 2
#: A batch that this many nodes did not answer is given up.
EXAMINE_ATTEMPTS = 3

ANSWER_TIMEOUT_S = 30.0
#: The same where files are looked into, or the archive is asked, before the answer.
SLOW_ANSWER_TIMEOUT_S = 600.0


class Description(NamedTuple):
    """What one piece of an answer says of files."""

    files: Sequence[types_pb2.FileInfo]
    not_online: Sequence[str]


class Eviction(NamedTuple):
    """What became of the files that were to be evicted."""

    evicted: list[str]
    refused: list[tuple[str, str]]  # (lfn, reason)


_File = TypeVar("_File", "types_pb2.FileInfo", pb.ArchiveFile)


class _Batch(NamedTuple):
    lfns: Sequence[str]
    attempt: int = 1


class Questions:
    """Asks the nodes that the head knows, over their links."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

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

    async def examine(self, lfns: Sequence[str]) -> AsyncGenerator[list[pb.ArchiveFile], None]:
        """What the archive says of files, asked through all nodes that are up."""
        batches = deque(
            _Batch(lfns[start : start + EXAMINE_BATCH])
            for start in range(0, len(lfns), EXAMINE_BATCH)
        )
        while batches and (links := self._links_up()):
            answers = merged(
                self._examine_at(link, batches) for link in links for _ in range(EXAMINE_AT_ONCE)
            )
            async with aclosing(answers):
                async for files in answers:
                    yield files
        for batch in batches:
            yield [_not_told(lfn) for lfn in batch.lfns]

    async def evict(self, lfns: Sequence[str]) -> Eviction:
        """Has every replica of files dropped; a file that keeps one is refused."""
        plan = self._runner.head.plan_evict(lfns, self._runner.now_s())
        refused = list(plan.refused)
        answers = await asyncio.gather(
            *(self._evict_at(connection, held) for connection, held in plan.by_connection.items())
        )
        evicted: dict[str, None] = {}
        for answer in answers:
            evicted.update(dict.fromkeys(answer.evicted))
            refused += answer.refused
        kept = {lfn for lfn, _ in refused}
        return Eviction([lfn for lfn in evicted if lfn not in kept], refused)

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
                        if files := _taken(piece.files, unanswered):
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

    def _links_up(self) -> list[Link]:
        """The links of all nodes that are up."""
        nodes = self._runner.head.nodes(self._runner.now_s())
        connections = [node.connection for node in nodes if node.state is NodeState.UP]
        links = [self._runner.links.get(one) for one in connections if one is not None]
        return [link for link in links if link is not None and not link.is_closed]

    async def _examine_at(
        self, link: Link, batches: deque[_Batch]
    ) -> AsyncGenerator[list[pb.ArchiveFile], None]:
        """Works off batches until there are none, or the node answers no more."""
        while batches and not link.is_closed:
            batch = batches.popleft()
            unanswered = dict.fromkeys(batch.lfns)

            def command(number: int, batch: _Batch = batch) -> pb.NodeCommand:
                return pb.NodeCommand(examine=pb.ExamineArchive(query_id=number, lfns=batch.lfns))

            try:
                async with aclosing(link.ask(command, SLOW_ANSWER_TIMEOUT_S)) as pieces:
                    async for piece in pieces:
                        yield _taken(piece.files, unanswered)
            except (Unreachable, TimedOut) as error:
                log.warning("asking the archive about %d files: %s", len(unanswered), error)
                if unanswered and batch.attempt < EXAMINE_ATTEMPTS:
                    batches.append(_Batch(list(unanswered), batch.attempt + 1))
                    return
            if unanswered:
                yield [_not_told(lfn) for lfn in unanswered]

    async def _evict_at(self, connection: int, lfns: Sequence[str]) -> Eviction:
        link = self._runner.links.get(connection)
        answer = Eviction([], [])
        unanswered = dict.fromkeys(lfns)
        reason = "its data server gave no answer about it"

        def command(number: int) -> pb.NodeCommand:
            return pb.NodeCommand(evict=pb.EvictFiles(query_id=number, lfns=lfns))

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


def _taken(files: Iterable[_File], unanswered: dict[str, None]) -> list[_File]:
    """Those of the files that were asked about and not answered yet; now they are."""
    taken = []
    for file in files:
        if file.lfn in unanswered:
            del unanswered[file.lfn]
            taken.append(file)
    return taken


def _not_told(lfn: str) -> pb.ArchiveFile:
    return pb.ArchiveFile(
        lfn=lfn,
        presence=pb.ArchiveFile.PRESENCE_UNKNOWN,
        reason="no data server could ask the archive",
    )
