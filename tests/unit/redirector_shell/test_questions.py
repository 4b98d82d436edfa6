"""Questions to nodes that fail: others are asked if others can tell, and all get an answer."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from protos.packhorse.v1 import redirector_pb2 as pb
from redirector.core.figures import HolderGroups
from redirector.core.states import NodeState
from redirector.links import Link, Links
from redirector.questions import ArchiveListing, Questions, archive, replicas

if TYPE_CHECKING:
    from collections.abc import Callable

    from redirector.questions.replicas import ReplicaStat

THERE, UNKNOWN = pb.ArchiveFile.PRESENCE_THERE, pb.ArchiveFile.PRESENCE_UNKNOWN
NOT_THERE = pb.ArchiveFile.PRESENCE_NOT_THERE
LFNS = [f"/store/{i}" for i in range(230)]


class Site:
    """Just enough of a runner: links, and a head that knows which nodes are up."""

    def __init__(self) -> None:
        self.links = Links()
        self.head = SimpleNamespace(nodes=self._nodes, group_by_holder=self._group_by_holder)
        self._up: list[Link] = []
        self._tasks: list[asyncio.Task[None]] = []

    def now_s(self) -> float:
        return 0.0

    def node(self, obey: Callable[[Link, Any], None]) -> Link:
        """Adds a node that does this with every question."""
        link = self.links.open()
        self._up.append(link)

        async def live() -> None:
            async for command in link.commands():
                kind = command.WhichOneof("command")
                assert kind is not None
                obey(link, getattr(command, kind))

        self._tasks.append(asyncio.create_task(live()))
        return link

    async def examine(self) -> dict[str, pb.ArchiveFile.Presence.ValueType]:
        async with asyncio.timeout(10):
            answers = Questions(cast("Any", self)).examine(LFNS)
            told = [file async for files in answers for file in files]
        self._end()
        assert len(told) == len(LFNS), "every name is answered exactly once"
        return {file.lfn: file.presence for file in told}

    async def list_archive(self) -> ArchiveListing:
        async with asyncio.timeout(10):
            found = await Questions(cast("Any", self)).list_archive("/store")
        self._end()
        return found

    async def stats(self, lfns: list[str], algorithm: str | None = None) -> dict[str, ReplicaStat]:
        async with asyncio.timeout(10):
            found = await Questions(cast("Any", self)).stats(lfns, algorithm)
        self._end()
        return found

    def _end(self) -> None:
        for task in self._tasks:
            task.cancel()

    def _group_by_holder(self, lfns: list[str]) -> HolderGroups:
        """Files are held by the nodes in turn, but for those whose name says otherwise."""
        held = [lfn for lfn in lfns if "offline" not in lfn]
        groups: dict[int, list[str]] = {}
        for place, lfn in enumerate(held):
            connection = self._up[place % len(self._up)].connection
            groups.setdefault(connection, []).append(lfn)
        return HolderGroups(groups, [lfn for lfn in lfns if lfn not in held])

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


def go(link: Link, question: Any) -> None:
    link.close()


def keep_silent(link: Link, question: Any) -> None:
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
    monkeypatch.setattr(archive, "SLOW_ANSWER_TIMEOUT_S", 0.02)
    site = Site()
    site.node(keep_silent)
    site.node(answer)
    found = await site.examine()
    assert set(found) == set(LFNS)
    assert THERE in found.values()


async def test_without_an_answer_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "SLOW_ANSWER_TIMEOUT_S", 0.01)
    site = Site()
    site.node(keep_silent)
    assert set((await site.examine()).values()) == {UNKNOWN}
    site = Site()
    assert set((await site.examine()).values()) == {UNKNOWN}
    site.node(go)
    assert set((await site.examine()).values()) == {UNKNOWN}


# --- listings of the archive ------------------------------------------------------


def listing(presence: pb.ArchiveFile.Presence.ValueType, reason: str = "") -> Any:
    """A node that lists `a` and `b`, in two pieces."""

    def obey(link: Link, question: pb.ListArchive) -> None:
        assert question.directory == "/store"
        number = question.query_id
        link.answered(pb.Listed(query_id=number, entries=[pb.ArchiveEntry(name="a")]))
        last = pb.Listed(query_id=number, last=True, presence=presence, reason=reason)
        last.entries.add(name="b", is_directory=True)
        link.answered(last)

    return obey


def begin_and_go(link: Link, question: pb.ListArchive) -> None:
    link.answered(pb.Listed(query_id=question.query_id, entries=[pb.ArchiveEntry(name="lost")]))
    link.close()


@pytest.fixture
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "SLOW_ANSWER_TIMEOUT_S", 0.01)
    monkeypatch.setattr(replicas, "ANSWER_TIMEOUT_S", 0.01)


@pytest.fixture
def in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nodes are asked in the order they came."""
    monkeypatch.setattr(archive.random, "sample", lambda links, count: links[:count])


async def test_a_directory_is_listed_by_one_node_whole() -> None:
    site = Site()
    for _ in range(3):
        site.node(listing(NOT_THERE, "no such directory"))
    found = await site.list_archive()
    assert (found.presence, found.reason) == (NOT_THERE, "no such directory")
    assert [(entry.name, entry.is_directory) for entry in found.entries] == [
        ("a", False),
        ("b", True),
    ]


@pytest.mark.usefixtures("in_order", "no_patience")
@pytest.mark.parametrize("failing", [go, begin_and_go, keep_silent, listing(UNKNOWN, "unmounted")])
async def test_another_node_lists_what_the_first_cannot(
    failing: Callable[[Link, Any], None],
) -> None:
    site = Site()
    site.node(failing)
    site.node(listing(THERE))
    site.node(listing(NOT_THERE))
    found = await site.list_archive()
    assert found.presence == THERE
    assert [entry.name for entry in found.entries] == ["a", "b"]


@pytest.mark.usefixtures("in_order", "no_patience")
async def test_what_is_known_is_told_although_no_node_is_sure() -> None:
    site = Site()
    site.node(listing(UNKNOWN, "no listcmd"))
    site.node(go)
    found = await site.list_archive()
    assert (found.presence, found.reason) == (UNKNOWN, "no listcmd")
    assert [entry.name for entry in found.entries] == ["a", "b"]


@pytest.mark.usefixtures("no_patience")
async def test_not_every_node_is_asked_for_a_listing() -> None:
    site = Site()
    asked = []

    def obey(link: Link, question: pb.ListArchive) -> None:
        asked.append(link)

    for _ in range(9):
        site.node(obey)
    found = await site.list_archive()
    assert found.presence == UNKNOWN
    assert len(asked) == archive.ATTEMPTS


async def test_without_a_node_no_directory_is_known() -> None:
    found = await Site().list_archive()
    assert (found.presence, found.entries) == (UNKNOWN, ())
    assert found.reason == "no data server could list the archive"


# --- what listings tell --------------------------------------------------------------


def stat(link: Link, question: pb.StatReplicas) -> None:
    for lfn in question.lfns:
        mtimes = [float(lfn.rpartition("/")[2])]
        link.answered(pb.ReplicaStats(query_id=question.query_id, lfns=[lfn], mtime_unix_s=mtimes))
    link.answered(pb.ReplicaStats(query_id=question.query_id, last=True))


async def test_the_holders_tell_when_files_were_modified(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replicas, "STAT_BATCH", 20)
    site = Site()
    for _ in range(3):
        site.node(stat)
    lfns = [f"/store/{number}" for number in range(1, 200)]
    found = await site.stats([*lfns, "/store/offline"])
    assert found == {lfn: (float(lfn.rpartition("/")[2]), "") for lfn in lfns}


@pytest.mark.usefixtures("no_patience")
@pytest.mark.parametrize("failing", [go, keep_silent])
async def test_whose_holder_does_not_answer_is_left_out(
    failing: Callable[[Link, Any], None],
) -> None:
    site = Site()
    site.node(stat)
    site.node(failing)
    found = await site.stats(["/store/1", "/store/2", "/store/3"])
    assert found == {"/store/1": (1.0, ""), "/store/3": (3.0, "")}


async def test_whose_holder_has_just_gone_is_left_out() -> None:
    site = Site()
    site.links.forget(site.node(stat))
    assert await site.stats(["/store/1"]) == {}


async def test_only_sensible_times_of_files_asked_about_are_taken() -> None:
    """Of the others it is told only that they are there."""

    def obey(link: Link, question: pb.StatReplicas) -> None:
        times = {"/store/1": 0.0, "/store/2": float("nan"), "/else": 4.0, "/store/3": 3.0}
        link.answered(
            pb.ReplicaStats(
                query_id=question.query_id,
                lfns=times.keys(),
                mtime_unix_s=times.values(),
                last=True,
            )
        )

    site = Site()
    site.node(obey)
    found = await site.stats(["/store/1", "/store/2", "/store/3"])
    assert found == {"/store/1": (0.0, ""), "/store/2": (0.0, ""), "/store/3": (3.0, "")}


@pytest.mark.parametrize(
    ("told", "shown"),
    [("md5:0f", "md5:0f"), ("", ""), ("md5", ""), ("md5:0f ]\n/x", ""), ("none:none", "")],
)
async def test_only_what_is_a_checksum_gets_into_a_listing(told: str, shown: str) -> None:
    asked: list[pb.StatReplicas] = []

    def obey(link: Link, question: pb.StatReplicas) -> None:
        asked.append(question)
        link.answered(
            pb.ReplicaStats(
                query_id=question.query_id,
                lfns=question.lfns,
                mtime_unix_s=[1.0],
                checksums=[told],
                last=True,
            )
        )

    site = Site()
    site.node(obey)
    assert await site.stats(["/store/1"], "md5") == {"/store/1": (1.0, shown)}
    assert (asked[0].with_checksums, asked[0].algorithm) == (True, "md5")
