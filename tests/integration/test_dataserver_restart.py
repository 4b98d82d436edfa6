"""A data server is killed, cut off and restarted: nothing is lost, nothing stays behind."""

from __future__ import annotations

import os
import sqlite3
import time
from typing import TYPE_CHECKING

import psutil
import pytest

from common.errors import ConfigError, DiskAway
from common.service import NamedTasks
from protos.packhorse.v1 import redirector_pb2 as pb
from protos.packhorse.v1 import types_pb2
from tests.support.data_process import DataProcess
from tests.support.data_site import DataSite
from tests.support.waiting import becomes_true, text_appears

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


# --- killed -------------------------------------------------------------------------


def is_gone(process: psutil.Process) -> bool:
    """Whether a process has ended, reaped or not."""
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


async def test_a_killed_server_takes_its_commands_along(
    site: DataSite, redirector: FakeRedirector, tmp_path: Path
) -> None:
    pid_file = tmp_path / "pid"
    site.stagecmd = site.script(f'echo half > "$2"; echo $$ > {pid_file}; sleep 1000; sleep 1000')
    async with DataProcess.running(site) as server:
        redirector.start("disk1", LFN, size_bytes=len(CONTENT))
        command = psutil.Process(int(await text_appears(pid_file)))
        await server.kill()
        await becomes_true(lambda: is_gone(command))
        assert len(site.incoming()) == 1
        await server.start()
        assert site.incoming() == []
        first, second = redirector.hellos
        assert first.boot_epoch != second.boot_epoch
        assert first.pool_id == second.pool_id
        assert not second.running


async def test_a_command_that_hid_from_a_kill_is_ended_by_the_next_start(
    site: DataSite, redirector: FakeRedirector, tmp_path: Path
) -> None:
    pid_file = tmp_path / "pid"
    script = site.script(f"echo $$ > {pid_file}; sleep 1000; sleep 1000")
    site.stagecmd = ["/usr/bin/env", "-i", *script]
    async with DataProcess.running(site) as server:
        redirector.start("disk1", LFN, size_bytes=len(CONTENT))
        command = psutil.Process(int(await text_appears(pid_file)))
        notes = site.pool / ".packhorse" / "running"
        await becomes_true(lambda: len(list(notes.iterdir())) == 1)
        await server.kill()
        assert not is_gone(command)
        await server.start()
        assert is_gone(command)
        assert list(notes.iterdir()) == []


async def test_a_killed_server_has_all_its_files_again(
    site: DataSite, redirector: FakeRedirector
) -> None:
    lfns = [f"/store/d{number % 3}/f{number}" for number in range(20)]
    for lfn in lfns:
        site.write(lfn, lfn.encode())
    async with DataProcess.running(site) as server:
        for lfn in lfns:
            await redirector.staged("disk1", redirector.start("disk1", lfn), lfn)
        before = dict(redirector.nodes["disk1"].replicas)
        await server.kill()
        await server.start()
        assert redirector.nodes["disk1"].replicas == before
        query = pb.DescribeFiles(lfns=lfns[:1], wait_for_content=True)
        first, *_ = await redirector.ask("disk1", "describe", query)
        assert first.files[0].checksum.algorithm == "adler32"
        assert await server.stop() == 0


async def test_a_crash_between_the_rename_and_the_row_leaves_a_file_that_is_adopted(
    site: DataSite, redirector: FakeRedirector
) -> None:
    async with site.running():
        await redirector.staged("disk1", redirector.start("disk1", LFN), LFN)
    with sqlite3.connect(site.pool / ".packhorse" / "catalogue.sqlite") as catalogue:
        catalogue.execute("DELETE FROM replica")
    catalogue.close()
    async with site.running() as service:
        await redirector.until(lambda: redirector.nodes["disk1"].replicas == {LFN: len(CONTENT)})
        assert service.node.pool.veto(LFN, 0.0) is None


async def test_a_row_without_a_file_is_forgotten(
    site: DataSite, redirector: FakeRedirector
) -> None:
    async with site.running():
        await redirector.staged("disk1", redirector.start("disk1", LFN), LFN)
    site.replica(LFN).unlink()
    async with site.running():
        assert redirector.nodes["disk1"].replicas == {}
        await redirector.staged("disk1", redirector.start("disk1", LFN), LFN)


# --- found on disk at a start ---------------------------------------------------------


async def test_a_file_cut_short_on_disk_is_dropped_and_staged_anew(
    site: DataSite, redirector: FakeRedirector
) -> None:
    async with site.running():
        await redirector.staged("disk1", redirector.start("disk1", LFN), LFN)
    os.truncate(site.replica(LFN), 10)
    async with site.running():
        await redirector.staged("disk1", redirector.start("disk1", LFN), LFN)
        assert site.replica(LFN).read_bytes() == CONTENT


async def test_a_file_whose_bytes_were_changed_is_dropped(
    site: DataSite, redirector: FakeRedirector
) -> None:
    async with site.running():
        await redirector.staged("disk1", redirector.start("disk1", LFN), LFN)
    site.replica(LFN).write_bytes(CONTENT.swapcase())
    async with site.running() as service:
        await redirector.until(lambda: not len(service.node.pool))
        assert not site.replica(LFN).exists()


async def test_a_file_put_there_by_hand_is_adopted_if_the_archive_has_it(
    site: DataSite, redirector: FakeRedirector
) -> None:
    site.replica(LFN).parent.mkdir(parents=True)
    site.replica(LFN).write_bytes(CONTENT)
    only_copy = site.replica("/store/precious")
    only_copy.write_bytes(b"precious")
    async with site.running() as service:
        await redirector.until(lambda: len(redirector.nodes["disk1"].replicas) == 2)
        assert service.node.pool.veto(LFN, 0.0) is None
        veto = service.node.pool.veto("/store/precious", 0.0)
        assert veto == "not in the archive: this may be the only copy"
        evict = pb.EvictFiles(lfns=["/store/precious", LFN])
        (answer,) = await redirector.ask("disk1", "evict", evict)
        assert list(answer.evicted) == [LFN]
        assert only_copy.exists()
    # It is not forgotten that it is the only copy; and when the archive has it, it may go.
    site.write("/store/precious", b"precious")
    async with site.running() as service:
        pool = service.node.pool
        await becomes_true(lambda: pool.veto("/store/precious", 0.0) is None)


async def test_a_file_from_the_future_is_no_younger_than_now(
    site: DataSite, redirector: FakeRedirector
) -> None:
    path = site.replica(LFN)
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    os.utime(path, (4e9, 4e9))
    async with site.running() as service:
        await redirector.until(lambda: LFN in redirector.nodes["disk1"].replicas)
        replica = service.node.pool.get(LFN)
        assert replica is not None
        assert replica.last_use_s <= time.time()


async def test_what_cannot_be_a_replica_is_left_alone(
    site: DataSite, redirector: FakeRedirector, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    (site.pool / "store").mkdir()
    (site.pool / "store" / "way-out").symlink_to(outside)
    (site.pool / "store" / "link").symlink_to(outside / "secret")
    (site.pool / "lost+found").mkdir()
    (site.pool / "lost+found" / "x").write_bytes(b"x")
    os.mkfifo(site.pool / "store" / "pipe")
    (site.pool / "store" / os.fsdecode(b"\xff\xfe")).write_bytes(b"y")
    async with site.running():
        assert redirector.nodes["disk1"].replicas == {}
        site.write("/store/way-out/f", b"would leave the pool")
        ended = await redirector.has_ended(redirector.start("disk1", "/store/way-out/f"))
        assert ended.failure.error_class == types_pb2.ERROR_CLASS_TRANSIENT
        site.write("/store/link", b"would be written through the link")
        await redirector.staged("disk1", redirector.start("disk1", "/store/link"), "/store/link")
    assert [path.name for path in outside.iterdir()] == ["secret"]
    assert (outside / "secret").read_bytes() == b"secret"
    assert not site.replica("/store/link").is_symlink()


async def test_leftovers_of_any_kind_are_removed_from_incoming(
    site: DataSite, redirector: FakeRedirector
) -> None:
    incoming = site.pool / ".incoming"
    (incoming / "r1" / "deep" / "er").mkdir(parents=True)
    (incoming / "r1" / "deep" / "er" / "f").write_bytes(b"x" * 1000)
    (incoming / "file").write_bytes(b"x")
    (incoming / "link").symlink_to(site.archive)
    async with site.running():
        assert site.incoming() == []
    assert site.archive.exists()


async def test_a_pool_belongs_to_one_server_at_a_time(
    site: DataSite, redirector: FakeRedirector
) -> None:
    async with site.running():
        second = site.service()
        with pytest.raises(ConfigError, match="is in use by another server"):
            await second.start(NamedTasks())
        await second.stop(1.0)
        await redirector.staged("disk1", redirector.start("disk1", LFN), LFN)


async def test_a_pool_that_is_not_there_is_refused_clearly(
    site: DataSite, redirector: FakeRedirector
) -> None:
    site.node["pool"] = str(site.folder / "not mounted")
    service = site.service()
    with pytest.raises(DiskAway, match="no such directory; is its disk mounted"):
        await service.start(NamedTasks())
    await service.stop(1.0)


# --- without its redirector -------------------------------------------------------------


async def test_a_node_joins_again_and_says_what_it_runs(
    site: DataSite, redirector: FakeRedirector, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    site.stagecmd = site.script(f'while [ ! -e {go} ]; do sleep 0.02; done; cp "$1" "$2"')
    async with site.running():
        recall = redirector.start("disk1", LFN, size_bytes=len(CONTENT))
        await redirector.until(lambda: redirector.nodes["disk1"].heartbeat.recalls_running == 1)
        await redirector.go_away()
        await redirector.come_back()
        await redirector.joined("disk1")
        (running,) = redirector.hellos[-1].running
        assert (running.recall_id, running.lfn) == (recall, LFN)
        assert running.reserved_bytes == len(CONTENT)
        assert redirector.hellos[-1].boot_epoch == redirector.hellos[0].boot_epoch
        go.touch()
        await redirector.staged("disk1", recall, LFN)


async def test_two_redirectors_that_answer_by_turns_are_told_from_one_that_restarts(
    site: DataSite, redirector: FakeRedirector, caplog: pytest.LogCaptureFixture
) -> None:
    async with site.running():
        for epoch in ("second", "third"):
            await redirector.go_away()
            redirector.epoch = epoch
            await redirector.come_back()
            await redirector.joined("disk1")
        assert "two redirectors" not in caplog.text
        await redirector.go_away()
        redirector.epoch = "second"
        await redirector.come_back()
        await redirector.joined("disk1")
        assert "two redirectors answer at its address by turns" in caplog.text


async def test_what_ended_while_the_redirector_was_away_is_told_when_it_is_back(
    site: DataSite, redirector: FakeRedirector, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    site.stagecmd = site.script(f'while [ ! -e {go} ]; do sleep 0.02; done; cp "$1" "$2"')
    async with site.running() as service:
        recall = redirector.start("disk1", LFN, size_bytes=len(CONTENT))
        await redirector.until(lambda: redirector.nodes["disk1"].heartbeat.recalls_running == 1)
        await redirector.go_away()
        go.touch()
        await becomes_true(lambda: service.node.is_visible(LFN))
        await redirector.come_back()
        await redirector.staged("disk1", recall, LFN)


async def test_an_end_that_was_not_confirmed_is_told_again(
    site: DataSite, redirector: FakeRedirector
) -> None:
    redirector.confirms = False
    async with site.running():
        recall = redirector.start("disk1", LFN)
        await redirector.staged("disk1", recall, LFN)
        await redirector.go_away()
        redirector.ended.clear()
        redirector.confirms = True
        await redirector.come_back()
        await redirector.has_ended(recall)
        beats = (await redirector.joined("disk1")).beats
        await redirector.until(lambda: redirector.nodes["disk1"].beats > beats + 1)
        await redirector.go_away()
        redirector.ended.clear()
        await redirector.come_back()
        node = await redirector.joined("disk1")
        await redirector.until(lambda: node.beats > 1)
        assert redirector.ended == {}


async def test_out_of_touch_for_too_long_a_node_ends_its_recalls(
    site: DataSite, redirector: FakeRedirector, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The node says why before the janitor ends the command, which it does at 0.9 of the lease.
    monkeypatch.setattr("dataserver.engine.TICK_S", 0.05)
    redirector.lease_s = 4.0
    site.stagecmd = site.script("sleep 1000")
    async with site.running() as service:
        recall = redirector.start("disk1", LFN, size_bytes=len(CONTENT))
        await redirector.until(lambda: redirector.nodes["disk1"].heartbeat.recalls_running == 1)
        await redirector.go_away()
        await becomes_true(lambda: service.node.staging.is_empty)
        await redirector.come_back()
        await redirector.joined("disk1")
        assert not redirector.hellos[-1].running
        ended = await redirector.has_ended(recall)
        assert "out of touch with the redirector" in ended.failure.reason


async def test_a_redirector_that_hears_nothing_ends_the_lease_though_the_stream_is_up(
    site: DataSite, redirector: FakeRedirector, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The node says why before the janitor ends the command, which it does at 0.9 of the lease.
    monkeypatch.setattr("dataserver.engine.TICK_S", 0.05)
    redirector.lease_s = 4.0
    redirector.confirms = False
    site.stagecmd = site.script("sleep 1000")
    async with site.running():
        recall = redirector.start("disk1", LFN, size_bytes=len(CONTENT))
        ended = await redirector.has_ended(recall)
        assert "out of touch with the redirector" in ended.failure.reason
