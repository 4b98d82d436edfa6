"""Asking about files on their way to the archive: the nodes that hold them store them."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Final, NamedTuple

from common import wording
from common.errors import TimedOut, Unreachable
from protos.packhorse.v1 import redirector_pb2 as pb
from redirector.questions.asking import ANSWER_TIMEOUT_S, Asking

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redirector.core.figures import NodeFigures
    from redirector.links import Link

#: Who asks about one file is told what is known without a node that is slow to answer.
PATIENCE_S: Final = 5.0


class Storing(NamedTuple):
    """Which files are stored now, and why others are not: (LFN, reason)."""

    taken: list[str]
    refused: list[tuple[str, str]]


class StoreQuestions(Asking):
    """Questions about what is being stored."""

    async def stores(
        self, node: NodeFigures, limit: int, *, failed_only: bool
    ) -> pb.ListStoresReply.NodeStores:
        """What a node has to store, the oldest first."""
        found = pb.ListStoresReply.NodeStores(node=node.address.node)
        link = None if node.connection is None else self._runner.links.get(node.connection)
        if link is None:
            found.problem = "not in touch"
            return found
        asked = pb.TellStores(failed_only=failed_only, limit=limit)
        try:
            found.stores.extend(await _told(link, asked, ANSWER_TIMEOUT_S))
        except (Unreachable, TimedOut) as error:
            found.problem = str(error)
        return found

    async def store_lines(self, lfn: str) -> list[str]:
        """How it stands with a file that is not in the archive yet, a line for each holder."""
        groups = self._runner.head.group_by_holder([lfn])
        lines = []
        for connection in groups.by_connection:
            link = self._runner.links.get(connection)
            if link is None:
                continue
            try:
                told = await _told(link, pb.TellStores(lfns=[lfn]), PATIENCE_S)
            except (Unreachable, TimedOut) as error:
                lines.append(f"{link.node} does not tell whether the archive has it: {error}")
            else:
                lines += [_line(link.node, info) for info in told]
        return lines

    async def store_now(self, lfns: Sequence[str]) -> Storing:
        """Has files stored now by their holders; without names, all that failed for good."""
        head = self._runner.head
        answer = Storing([], [])
        asked: dict[int, list[str]]
        if lfns:
            groups = head.group_by_holder(list(dict.fromkeys(lfns)))
            asked = {connection: list(held) for connection, held in groups.by_connection.items()}
            answer.refused.extend((lfn, "not online") for lfn in groups.not_online)
        else:
            nodes = head.nodes(self._runner.now_s())
            asked = {node.connection: [] for node in nodes if node.connection is not None}
        for said in await asyncio.gather(*(self._store_at(*one) for one in asked.items())):
            answer.taken.extend(said.taken)
            answer.refused.extend(said.refused)
        return answer

    async def _store_at(self, connection: int, lfns: Sequence[str]) -> Storing:
        link = self._runner.links.get(connection)
        answer = Storing([], [])

        def command(number: int) -> pb.NodeCommand:
            return pb.NodeCommand(store_files=pb.StoreFiles(query_id=number, lfns=lfns))

        try:
            if link is None:
                raise Unreachable("its data server went away")
            async with aclosing(link.ask(command, ANSWER_TIMEOUT_S)) as pieces:
                async for piece in pieces:
                    answer.taken.extend(piece.taken)
                    answer.refused.extend((one.lfn, one.reason) for one in piece.refused)
        except (Unreachable, TimedOut) as error:
            told = {*answer.taken, *(lfn for lfn, _ in answer.refused)}
            answer.refused.extend((lfn, str(error)) for lfn in lfns if lfn not in told)
        return answer


async def _told(link: Link, asked: pb.TellStores, timeout_s: float) -> list[pb.StoreInfo]:
    def command(number: int) -> pb.NodeCommand:
        question = pb.TellStores(query_id=number)
        question.MergeFrom(asked)
        return pb.NodeCommand(tell_stores=question)

    found: list[pb.StoreInfo] = []
    async with aclosing(link.ask(command, timeout_s)) as pieces:
        async for piece in pieces:
            found.extend(piece.stores)
    return found


def _line(node: str, info: pb.StoreInfo) -> str:
    """How a node's storing of a file stands, for people."""
    if info.state == "kept":
        return f"only on {node}, not in the archive: {info.reason}"
    line = f"only on {node}, to be stored in the archive: {info.state}"
    line += f", written {wording.duration(info.waiting_s)} ago"
    if info.next_try_s > 0.0:
        line += f", next try in {wording.duration(info.next_try_s)}"
    return f"{line}; it failed last: {info.reason}" if info.reason else line
