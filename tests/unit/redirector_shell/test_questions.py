"""Asking the archive through nodes that fail: others are asked, and everything is answered."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from protos.packhorse.v1 import redirector_pb2 as pb
from redirector import questions
from redirector.core.states import NodeState
from redirector.links import Link, Links
from redirector.questions import Questions

if TYPE_CHECKING:
    from collections.abc import Callable

THERE, UNKNOWN = pb.ArchiveFile.PRESENCE_THERE, pb.ArchiveFile.PRESENCE_UNKNOWN
LFNS = [f"/store/{i}" for i in range(230)]


class Site:
    """Just enough of a runner: links, and a head that knows which nodes are up."""

    def __init__(self) -> None:
        self.links = Links()
        self.head = SimpleNamespace(nodes=self._nodes)
        self._up: list[Link] = []
        self._tasks: list[asyncio.Task[None]] = []

    def now_s(self) -> float:
        return 0.0

    def node(self, obey: Callable[[Link, pb.ExamineArchive], None]) -> Link:
        """Adds a node that does this with every question."""
        link = self.links.open()
        self._up.append(link)

        async def live() -> None:
            async for command in link.commands():
                obey(link, command.examine)

        self._tasks.append(asyncio.create_task(live()))
        return link

    async def examine(self) -> dict[str, pb.ArchiveFile.Presence.ValueType]:
        async with asyncio.timeout(10):
            answers = Questions(cast("Any", self)).examine(LFNS)
            told = [file async for files in answers for file in files]
        for task in self._tasks:
            task.cancel()
        assert len(told) == len(LFNS), "every name is answered exactly once"
        return {file.lfn: file.presence for file in told}

    def _nodes(self, now_s: float) -> list[Any]:
        return [
            SimpleNamespace(state=NodeState.UP, connection=link.connection)
            for link in self._up
            if not link.is_closed
        ]


def answer(link: Link, question: pb.ExamineArchive) -> None:
    files = [pb.ArchiveFile(lfn=lfn, presence=THERE) for lfn in question.lfns]
    link.answered(pb.Examined(query_id=question.query_id, files=files, last=True))


def answer_half_and_go(link: Link, question: pb.ExamineArchive) -> None:
    files = [pb.ArchiveFile(lfn=lfn, presence=THERE) for lfn in question.lfns[::2]]
    link.answered(pb.Examined(query_id=question.query_id, files=files))
    link.close()


def go(link: Link, question: pb.ExamineArchive) -> None:
    link.close()


def keep_silent(link: Link, question: pb.ExamineArchive) -> None:
    pass


async def test_nodes_share_the_work() -> None:
    site = Site()
    asked = []
    for name in "ab":

        def obey(link: Link, question: pb.ExamineArchive, name: str = name) -> None:
            asked.append(name)
            answer(link, question)

        site.node(obey)
    assert set((await site.examine()).values()) == {THERE}
    assert {*asked} == {"a", "b"}


@pytest.mark.parametrize("failing", [go, answer_half_and_go])
async def test_what_a_lost_node_did_not_answer_others_are_asked(
    failing: Callable[[Link, pb.ExamineArchive], None],
) -> None:
    site = Site()
    site.node(failing)
    site.node(answer)
    assert set((await site.examine()).values()) == {THERE}


async def test_a_node_that_keeps_silent_does_not_stop_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(questions, "SLOW_ANSWER_TIMEOUT_S", 0.02)
    site = Site()
    site.node(keep_silent)
    site.node(answer)
    found = await site.examine()
    assert set(found) == set(LFNS)
    assert THERE in found.values()


async def test_without_an_answer_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(questions, "SLOW_ANSWER_TIMEOUT_S", 0.01)
    site = Site()
    site.node(keep_silent)
    assert set((await site.examine()).values()) == {UNKNOWN}
    site = Site()
    assert set((await site.examine()).values()) == {UNKNOWN}
    site.node(go)
    assert set((await site.examine()).values()) == {UNKNOWN}
