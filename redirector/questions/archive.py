"""Asking about the archive: any node that is up can tell, so others are asked if one fails."""

from __future__ import annotations

import logging
import random
from collections import deque
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from common.errors import TimedOut, Unreachable
from protos.packhorse.v1 import redirector_pb2 as pb
from redirector.core.states import NodeState
from redirector.merging import merged
from redirector.questions.asking import SLOW_ANSWER_TIMEOUT_S, Asking, taken

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from redirector.links import Link

log = logging.getLogger(__name__)

#: Smaller than other batches, for every file may cost a command of its own.
EXAMINE_BATCH: Final = 50
#: Names in one run of a command that is told of many.
HINT_BATCH: Final = 5_000
#: Batches that a node examines at a time.
EXAMINE_AT_ONCE: Final = 2
#: A batch, or a directory, about which this many nodes could not tell is given up.
ATTEMPTS: Final = 3

_KNOWN: Final = frozenset({pb.ArchiveFile.PRESENCE_THERE, pb.ArchiveFile.PRESENCE_NOT_THERE})


@dataclass(frozen=True, slots=True)
class ArchiveListing:
    """What the archive has in a directory, in no order.

    `presence` says whether there is such a directory. If that is not known, there may be
    more than the `entries`, and `reason` is one line saying why.
    """

    presence: pb.ArchiveFile.Presence.ValueType
    entries: Sequence[pb.ArchiveEntry]
    reason: str


class _Batch(NamedTuple):
    lfns: Sequence[str]
    hints: bool
    attempt: int = 1


class ArchiveQuestions(Asking):
    """Questions about the archive."""

    def examine(self, lfns: Sequence[str]) -> AsyncGenerator[list[pb.ArchiveFile], None]:
        """What the archive says of files, asked through all nodes that are up."""
        return self._ask(lfns, EXAMINE_BATCH, hints=False)

    def hints(
        self, lfns: Sequence[str], *, one_by_one: bool
    ) -> AsyncGenerator[list[pb.ArchiveFile], None]:
        """Where files lie on tape, asked through all nodes that are up.

        `one_by_one`: each file costs a command, instead of many together.
        """
        return self._ask(lfns, EXAMINE_BATCH if one_by_one else HINT_BATCH, hints=True)

    async def _ask(
        self, lfns: Sequence[str], at_a_time: int, *, hints: bool
    ) -> AsyncGenerator[list[pb.ArchiveFile], None]:
        batches = deque(
            _Batch(lfns[start : start + at_a_time], hints)
            for start in range(0, len(lfns), at_a_time)
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

    async def list_archive(self, directory: str) -> ArchiveListing:
        """What the archive has in a directory (an LFN; `/` is the top).

        One node is asked, and another one if it does not answer or cannot tell.
        """
        links = self._links_up()
        found = ArchiveListing(
            pb.ArchiveFile.PRESENCE_UNKNOWN, (), "no data server could list the archive"
        )
        for link in random.sample(links, min(ATTEMPTS, len(links))):
            try:
                found = await _list_at(link, directory)
            except (Unreachable, TimedOut) as error:
                log.warning("listing %s in the archive: %s", directory, error)
            if found.presence in _KNOWN:
                break
        return found

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
                return pb.NodeCommand(
                    examine=pb.ExamineArchive(query_id=number, lfns=batch.lfns, hints=batch.hints)
                )

            try:
                async with aclosing(link.ask(command, SLOW_ANSWER_TIMEOUT_S)) as pieces:
                    async for piece in pieces:
                        yield taken(piece.files, unanswered)
            except (Unreachable, TimedOut) as error:
                log.warning("asking the archive about %d files: %s", len(unanswered), error)
                if unanswered and batch.attempt < ATTEMPTS:
                    batches.append(_Batch(list(unanswered), batch.hints, batch.attempt + 1))
                    return
            if unanswered:
                yield [_not_told(lfn) for lfn in unanswered]


async def _list_at(link: Link, directory: str) -> ArchiveListing:
    """What one node says. Raises Unreachable, TimedOut."""

    def command(number: int) -> pb.NodeCommand:
        return pb.NodeCommand(list_archive=pb.ListArchive(query_id=number, directory=directory))

    entries: list[pb.ArchiveEntry] = []
    last = pb.Listed()
    async with aclosing(link.ask(command, SLOW_ANSWER_TIMEOUT_S)) as pieces:
        async for last in pieces:
            entries.extend(last.entries)
    return ArchiveListing(last.presence, entries, last.reason)


def _not_told(lfn: str) -> pb.ArchiveFile:
    return pb.ArchiveFile(
        lfn=lfn,
        presence=pb.ArchiveFile.PRESENCE_UNKNOWN,
        reason="no data server could ask the archive",
    )
