"""A data server stages files, over real gRPC, from a mounted archive and with commands."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import psutil
import pytest

from protos.packhorse.v1 import redirector_pb2 as pb
from protos.packhorse.v1 import types_pb2
from tests.support.data_site import DataSite, adler32
from tests.support.waiting import text_appears

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.fake_redirector import FakeRedirector

CONTENT = b"events " * 1000
LFN = "/store/run7/a.txt"


@pytest.fixture
def site(tmp_path: Path, redirector: FakeRedirector) -> DataSite:
    made = DataSite(tmp_path, redirector)
    made.write(LFN, CONTENT)
    return made


async def test_a_file_is_staged_verified_and_told(
    site: DataSite, redirector: FakeRedirector
) -> None:
    async with site.running():
        recall = redirector.start("disk1", LFN, size_bytes=len(CONTENT))
        ended = await redirector.staged("disk1", recall, LFN)
        assert ended.checksum == types_pb2.Checksum(algorithm="adler32", value=adler32(CONTENT))
        assert site.replica(LFN).read_bytes() == CONTENT
        assert site.incoming() == []
        assert redirector.nodes["disk1"].replicas == {LFN: len(CONTENT)}


async def test_a_size_nobody_knew_is_learnt_from_the_archive(
    site: DataSite, redirector: FakeRedirector
) -> None:
    async with site.running() as service:
        ended = await redirector.staged("disk1", redirector.start("disk1", LFN), LFN)
        assert ended.size_bytes == len(CONTENT)
        assert service.node.pool.peak_bytes == len(CONTENT)


async def test_a_checksum_of_the_archive_is_demanded_of_the_copy(
    site: DataSite, redirector: FakeRedirector
) -> None:
    async with site.running():
        good = types_pb2.Checksum(algorithm="ADLER32", value="0x" + adler32(CONTENT))
        await redirector.staged("disk1", redirector.start("disk1", LFN, checksum=good), LFN)
        site.write("/store/b.txt", CONTENT)
        bad = types_pb2.Checksum(algorithm="crc32c", value="1")
        ended = await redirector.has_ended(redirector.start("disk1", "/store/b.txt", checksum=bad))
        assert ended.failure.error_class == types_pb2.ERROR_CLASS_TRANSIENT
        assert "crc32c:00000001" in ended.failure.reason
        assert not site.replica("/store/b.txt").exists()
        assert site.incoming() == []


async def test_what_the_archive_does_not_have_is_not_found_at_once(
    site: DataSite, redirector: FakeRedirector
) -> None:
    async with site.running() as service:
        ended = await redirector.has_ended(redirector.start("disk1", "/store/none.txt"))
        assert ended.failure.error_class == types_pb2.ERROR_CLASS_NOT_FOUND
        assert service.node.pool.reserved_bytes == 0


async def test_an_order_that_makes_no_sense_is_answered_and_harms_nobody(
    site: DataSite, redirector: FakeRedirector
) -> None:
    async with site.running():
        odd = types_pb2.Checksum(algorithm="sum", value="12")
        for number, (lfn, order) in enumerate(
            [
                ("/store/../etc/passwd", {}),
                ("/.packhorse/lock", {}),
                ("/elsewhere/x", {}),
                (LFN, {"checksum": odd}),
            ]
        ):
            ended = await redirector.has_ended(
                redirector.start("disk1", lfn, f"odd{number}", **order)
            )
            assert ended.failure.error_class in {
                types_pb2.ERROR_CLASS_PERMANENT,
                types_pb2.ERROR_CLASS_NOT_FOUND,
            }, ended
        await redirector.staged("disk1", redirector.start("disk1", LFN), LFN)


async def test_any_recall_id_is_only_a_name(
    site: DataSite, redirector: FakeRedirector, tmp_path: Path
) -> None:
    async with site.running():
        recall = redirector.start("disk1", LFN, "../../../" + "x" * 300)
        await redirector.staged("disk1", recall, LFN)
    assert _names_in(tmp_path) == ["archive", "pool"]


def _names_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


@pytest.mark.parametrize("batches", [False, True], ids=["one by one", "in batches"])
async def test_many_files_at_once_are_all_staged_and_none_is_left_over(
    site: DataSite, redirector: FakeRedirector, batches: bool
) -> None:
    redirector.takes_batches = batches
    lfns = [f"/store/d{number % 7}/f{number}.txt" for number in range(150)]
    for lfn in lfns:
        site.write(lfn, lfn.encode())
    async with site.running() as service:
        if batches:
            ids = [f"r{number}" for number in range(len(lfns))]
            orders = [
                pb.NodeCommand(start_recall=pb.StartRecall(recall_id=recall_id, lfn=lfn))
                for recall_id, lfn in zip(ids, lfns, strict=True)
            ]
            redirector.send("disk1", pb.NodeCommand(batch=orders))
        else:
            ids = [redirector.start("disk1", lfn) for lfn in lfns]
        for recall_id in ids:
            ended = await redirector.has_ended(recall_id)
            assert not ended.HasField("failure"), ended
        await redirector.until(lambda: len(redirector.nodes["disk1"].replicas) == len(lfns))
        service.node.check()
        for lfn in lfns:
            assert site.replica(lfn).read_bytes() == lfn.encode()
        assert site.incoming() == []


async def test_several_data_servers_live_in_one_process(
    site: DataSite, redirector: FakeRedirector, tmp_path: Path
) -> None:
    other = DataSite(tmp_path / "other", redirector, name="disk2")
    other.write(LFN, b"another archive")
    async with site.running(), other.running():
        first, second = (redirector.start(node, LFN) for node in ("disk1", "disk2"))
        await redirector.staged("disk1", first, LFN)
        await redirector.staged("disk2", second, LFN)
        assert site.replica(LFN).read_bytes() == CONTENT
        assert other.replica(LFN).read_bytes() == b"another archive"
    assert redirector.hellos[0].pool_id != redirector.hellos[1].pool_id


# --- stage commands of every quality ----------------------------------------------


@pytest.mark.parametrize(
    ("script", "kind", "reason"),
    [
        ("exit 0", types_pb2.ERROR_CLASS_TRANSIENT, "left no file"),
        ('head -c 10 "$1" > "$2"', types_pb2.ERROR_CLASS_TRANSIENT, "10 bytes where 7000"),
        (
            'cat "$1" "$1" > "$2"',
            types_pb2.ERROR_CLASS_TRANSIENT,
            "14000 bytes where 7000",
        ),
        (
            'tr e x < "$1" > "$2"',
            types_pb2.ERROR_CLASS_TRANSIENT,
            "the archive says adler32",
        ),
        ("echo no such tape >&2; exit 66", types_pb2.ERROR_CLASS_NOT_FOUND, "no such tape"),
        ("echo tape is torn >&2; exit 65", types_pb2.ERROR_CLASS_PERMANENT, "tape is torn"),
        ("echo robot rests >&2; exit 75", types_pb2.ERROR_CLASS_TRANSIENT, "robot rests"),
        ("echo disk full >&2; exit 41", types_pb2.ERROR_CLASS_NO_SPACE, "disk full"),
        ("kill -9 $$", types_pb2.ERROR_CLASS_TRANSIENT, "SIGKILL"),
        ('mkdir "$2"', types_pb2.ERROR_CLASS_PERMANENT, "something else"),
        ('ln -s /etc/passwd "$2"', types_pb2.ERROR_CLASS_PERMANENT, "a link"),
    ],
)
async def test_a_bad_stage_command_fails_its_recall_and_nothing_else(
    site: DataSite,
    redirector: FakeRedirector,
    script: str,
    kind: types_pb2.ErrorClass.ValueType,
    reason: str,
) -> None:
    site.stagecmd = site.script(script)
    checksum = types_pb2.Checksum(algorithm="adler32", value=adler32(CONTENT))
    async with site.running() as service:
        recall = redirector.start("disk1", LFN, size_bytes=len(CONTENT), checksum=checksum)
        ended = await redirector.has_ended(recall)
        assert reason in ended.failure.reason
        assert ended.failure.error_class == kind
        assert not site.replica(LFN).exists()
        assert site.incoming() == []
        assert service.node.pool.reserved_bytes == 0
        assert redirector.nodes["disk1"].replicas == {}


async def test_a_stage_command_that_cannot_be_run_is_told_so(
    site: DataSite, redirector: FakeRedirector
) -> None:
    site.stagecmd = ["/no/such/command", "{source}", "{target}"]
    async with site.running():
        ended = await redirector.has_ended(redirector.start("disk1", LFN, size_bytes=7000))
        assert ended.failure.error_class == types_pb2.ERROR_CLASS_PERMANENT
        assert "/no/such/command" in ended.failure.reason


async def test_a_command_that_hangs_is_killed_when_it_makes_no_progress(
    site: DataSite, redirector: FakeRedirector
) -> None:
    site.stagecmd = site.script("sleep 1000")
    site.mss["stall"] = "500ms"
    async with site.running():
        ended = await redirector.has_ended(redirector.start("disk1", LFN, size_bytes=7000))
        assert ended.failure.error_class == types_pb2.ERROR_CLASS_TRANSIENT
        assert site.incoming() == []


async def test_a_flood_of_output_is_cut_and_the_file_is_staged_all_the_same(
    site: DataSite, redirector: FakeRedirector
) -> None:
    site.stagecmd = site.script('head -c 5000000 /dev/zero | tr "\\0" x >&2; cp "$1" "$2"')
    async with site.running():
        ended = await redirector.staged("disk1", redirector.start("disk1", LFN), LFN)
        assert len(ended.output_tail) < 100_000


async def test_what_a_command_leaves_beside_its_target_is_removed(
    site: DataSite, redirector: FakeRedirector
) -> None:
    site.stagecmd = site.script('cp "$1" "$2.part"; mkdir "$2.d"; cp "$1" "$2.d/x"; cp "$1" "$2"')
    async with site.running():
        await redirector.staged("disk1", redirector.start("disk1", LFN), LFN)
        assert site.incoming() == []
        assert [path.name for path in site.replica(LFN).parent.iterdir()] == ["a.txt"]


async def test_a_file_that_outgrows_the_pool_is_stopped(
    site: DataSite, redirector: FakeRedirector
) -> None:
    site.stagecmd = site.script('yes | head -c 50000000 > "$2"; sleep 1000')
    site.node["quota"] = "10MB"
    async with site.running() as service:
        ended = await redirector.has_ended(redirector.start("disk1", LFN, reserve_bytes=1_000_000))
        assert ended.failure.error_class == types_pb2.ERROR_CLASS_NO_SPACE
        assert service.node.pool.peak_bytes <= 10_000_000
        assert site.incoming() == []


# --- cancelling ---------------------------------------------------------------------


def is_alive(pid_file: Path) -> bool:
    """Whether the process whose number a script has written still runs."""
    try:
        state = psutil.Process(int(pid_file.read_text())).status()
    except psutil.NoSuchProcess:
        return False
    return bool(state != psutil.STATUS_ZOMBIE)


@pytest.mark.parametrize(
    "script",
    [
        pytest.param('echo $$ > "$PIDS/shell"; sleep 1000 & wait', id="plain"),
        pytest.param(
            'trap "" TERM; echo $$ > "$PIDS/shell"; while :; do sleep 0.1; done', id="no SIGTERM"
        ),
        pytest.param(
            '(sleep 1000 & echo $! > "$PIDS/grandchild"); echo $$ > "$PIDS/shell"; sleep 1000',
            id="grandchild",
        ),
        pytest.param(
            'setsid sh -c "echo \\$\\$ > $PIDS/daemon; sleep 1000" & '
            'sleep 0.3; echo $$ > "$PIDS/shell"; sleep 1000',
            id="daemon",
        ),
    ],
)
async def test_cancelling_leaves_no_process_and_no_file(
    site: DataSite, redirector: FakeRedirector, tmp_path: Path, script: str
) -> None:
    pids = tmp_path / "pids"
    pids.mkdir()
    site.stagecmd = site.script(f'PIDS={pids}; export PIDS; echo half > "$2"; {script}')
    async with site.running() as service:
        recall = redirector.start("disk1", LFN, size_bytes=7000)
        await text_appears(pids / "shell")
        redirector.cancel("disk1", recall)
        ended = await redirector.has_ended(recall)
        assert ended.failure.error_class == types_pb2.ERROR_CLASS_CANCELLED
        assert ended.failure.reason == "nobody wants it"
        assert [path.name for path in pids.iterdir() if is_alive(path)] == []
        assert site.incoming() == []
        assert service.node.pool.reserved_bytes == 0


@pytest.mark.parametrize(
    ("script", "within_s"), [("", 0.012), ('cp "$1" "$2"', 0.04)], ids=["builtin", "command"]
)
async def test_a_recall_may_be_cancelled_at_any_moment_of_its_life(
    site: DataSite, redirector: FakeRedirector, script: str, within_s: float
) -> None:
    rng = random.Random(7)
    site.stagecmd = site.script(script) if script else "builtin"
    site.node["slots"] = 8
    for number in range(60):
        site.write(f"/store/f{number}", bytes(20_000))
    async with site.running() as service:
        for number in range(60):
            recall = redirector.start("disk1", f"/store/f{number}")
            await asyncio.sleep(rng.random() * within_s)
            redirector.cancel("disk1", recall)
        for recall in [f"epoch.{number}" for number in range(1, 61)]:
            ended = await redirector.has_ended(recall)
            cancelled = ended.failure.error_class == types_pb2.ERROR_CLASS_CANCELLED
            assert cancelled or not ended.HasField("failure"), ended
        await redirector.until(
            lambda: len(redirector.nodes["disk1"].replicas) == len(service.node.pool)
        )
        service.node.check()
        assert site.incoming() == []
        assert service.node.pool.reserved_bytes == 0
        on_disk = {f"/store/{path.name}" for path in (site.pool / "store").glob("*")}
        assert on_disk == set(redirector.nodes["disk1"].replicas)
    kinds = {one.HasField("failure") for one in redirector.endings}
    assert kinds == {True, False}, "the moments were not well chosen"


async def test_a_recall_that_waits_for_a_slot_is_cancelled_at_once(
    site: DataSite, redirector: FakeRedirector
) -> None:
    site.stagecmd = site.script("sleep 1000")
    site.node["slots"] = 1
    async with site.running():
        redirector.start("disk1", LFN, size_bytes=7000)
        waiting = redirector.start("disk1", "/store/b.txt", size_bytes=10)
        await redirector.until(lambda: redirector.nodes["disk1"].heartbeat.recalls_waiting == 1)
        redirector.cancel("disk1", waiting)
        ended = await redirector.has_ended(waiting, timeout_s=3.0)
        assert ended.failure.error_class == types_pb2.ERROR_CLASS_CANCELLED


async def test_stopping_the_server_ends_its_recalls_and_says_so(
    site: DataSite, redirector: FakeRedirector
) -> None:
    site.stagecmd = site.script("sleep 1000")
    async with site.running():
        recall = redirector.start("disk1", LFN, size_bytes=7000)
        await redirector.until(lambda: redirector.nodes["disk1"].heartbeat.recalls_running == 1)
    assert "being stopped" in redirector.ended[recall].failure.reason
    assert site.incoming() == []


async def test_progress_is_told_while_a_file_arrives(
    site: DataSite, redirector: FakeRedirector
) -> None:
    site.stagecmd = site.script('for i in 1 2 3 4 5 6; do cat "$1" >> "$2"; sleep 0.4; done')
    async with site.running():
        recall = redirector.start("disk1", LFN, size_bytes=6 * len(CONTENT))
        await redirector.staged("disk1", recall, LFN)
        told = [one.bytes_done for one in redirector.nodes["disk1"].progress[recall]]
        assert told == sorted(told)
        assert len(set(told)) >= 3
        beat = pb.Heartbeat()
        beat.CopyFrom(redirector.nodes["disk1"].heartbeat)
        assert beat.quota_bytes == 100_000_000
