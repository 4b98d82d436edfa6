"""What clients write comes into the archive, whatever happens on the way."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from common.errors import NotFound, Refused, Unreachable
from protos.packhorse.v1 import redirector_pb2 as pb
from tests.support.data_site import DataSite, adler32
from tests.support.processes import is_alive
from tests.support.waiting import becomes_true, text_appears

if TYPE_CHECKING:
    from pathlib import Path

    from dataserver.service import DataServerService
    from tests.support.fake_redirector import FakeRedirector

LFN = "/store/my/a.txt"
CONTENT = b"events " * 1000
#: Copies as careful scripts do, and notes that it ran.
STORE = 'echo run >> "$3/runs"; mkdir -p "$(dirname "$2")" && cp "$1" "$2.tmp" && mv "$2.tmp" "$2"'


def make_site(
    folder: Path, redirector: FakeRedirector, stagecmd: Any = "builtin", **mss: Any
) -> DataSite:
    mss = {"storecmd": "builtin", "store_delay": "0s", "store_backoff": "10ms", **mss}
    site = DataSite(folder, redirector, stagecmd=stagecmd, mss=mss, node={"inspect": False})
    # An archive that is empty is taken for one that is not mounted.
    site.write("/store/.archive", b"")
    return site


def by_script(folder: Path, redirector: FakeRedirector, text: str = STORE, **mss: Any) -> DataSite:
    """A site whose files are stored by a shell script with path, archive's name and a folder."""
    command = ["/bin/sh", "-c", text, "store", "{source}", "{target}", str(folder)]
    return make_site(folder, redirector, storecmd=command, **mss)


async def put(service: DataServerService, lfn: str = LFN, content: bytes = CONTENT) -> None:
    """Writes a file as most clients do."""
    upload = await service.uploads.begin(
        lfn, size_bytes=len(content), replaces=service.node.is_visible(lfn)
    )
    await upload.write(content, 0)
    await upload.finish()


def is_archived(service: DataServerService, lfn: str = LFN) -> bool:
    replica = service.node.pool.get(lfn)
    return replica is not None and replica.archived


def archived(site: DataSite, lfn: str = LFN) -> bytes:
    return (site.archive / lfn.lstrip("/")).read_bytes()


def reason(service: DataServerService, lfn: str = LFN) -> str:
    standing = service.node.stores.standing(lfn, service.node.stores.table.oldest_s(0.0))
    return "" if standing is None else standing.reason


def names_in(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


def runs(folder: Path) -> int:
    path = folder / "runs"
    return len(path.read_text().split()) if path.exists() else 0


# --- the built-in copier --------------------------------------------------------


async def test_a_file_that_was_written_is_stored_and_may_be_purged_then(
    tmp_path: Path, redirector: FakeRedirector
) -> None:
    site = make_site(tmp_path, redirector)
    async with site.running() as service:
        await put(service)
        await becomes_true(lambda: is_archived(service))
        assert archived(site) == CONTENT
        assert service.node.pool.veto(LFN, 0.0) is None
        assert names_in(site.archive / "store/my") == ["a.txt"]
    async with site.running() as service:
        assert is_archived(service)


async def test_somebody_elses_file_in_the_archive_is_not_overwritten(
    tmp_path: Path, redirector: FakeRedirector
) -> None:
    site = make_site(tmp_path, redirector, store_delay="1h")
    async with site.running() as service:
        await put(service)
        site.write(LFN, b"other")
        await redirector.ask("disk1", "store_files", pb.StoreFiles(lfns=[LFN]))
        await becomes_true(lambda: "another file of this name" in reason(service))
        assert archived(site) == b"other"
        (answer, _) = await redirector.ask("disk1", "tell_stores", pb.TellStores(failed_only=True))
        assert [(one.lfn, one.state) for one in answer.stores] == [(LFN, "failed")]
    # It is remembered, and nothing is tried again by itself.
    async with site.running() as service:
        assert "another file of this name" in reason(service)
        (site.archive / LFN.lstrip("/")).unlink()
        await redirector.ask("disk1", "store_files", pb.StoreFiles())
        await becomes_true(lambda: is_archived(service))
        assert archived(site) == CONTENT


async def test_an_archive_that_is_not_mounted_gets_nothing(
    tmp_path: Path, redirector: FakeRedirector
) -> None:
    site = make_site(tmp_path, redirector)
    (site.archive / "store/.archive").unlink()
    async with site.running() as service:
        await put(service)
        await becomes_true(lambda: "is it mounted?" in reason(service))
        assert names_in(site.archive / "store") == []
        site.write("/store/.archive", b"")
        await becomes_true(lambda: is_archived(service))


async def test_what_is_not_migratable_stays(tmp_path: Path, redirector: FakeRedirector) -> None:
    site = make_site(tmp_path, redirector, notmigratable=["/store/my/scratch"])
    scratch = "/store/my/scratch/b.txt"
    async with site.running() as service:
        await put(service, scratch)
        await put(service)
        await becomes_true(lambda: is_archived(service))
        assert not (site.archive / scratch.lstrip("/")).exists()
        await redirector.until(lambda: redirector.nodes["disk1"].heartbeat.unarchived_files == 1)
        assert redirector.nodes["disk1"].heartbeat.stores_waiting == 0


# --- a command ------------------------------------------------------------------


async def test_a_command_is_told_path_name_size_and_checksum(
    tmp_path: Path, redirector: FakeRedirector
) -> None:
    said = tmp_path / "said"
    words = ["{source}", "{target}", "{lfn}", "{size}", "{checksum}", str(said)]
    text = 'cp "$1" "$2" && echo "$@" > "$6"'
    site = make_site(tmp_path, redirector, storecmd=["/bin/sh", "-c", text, "store", *words])
    site.write("/store/my/there", b"")
    async with site.running() as service:
        await put(service)
        await becomes_true(lambda: is_archived(service))
    target = site.archive / LFN.lstrip("/")
    checksum = f"adler32:{adler32(CONTENT)}"
    told = [str(site.replica(LFN)), str(target), LFN, str(len(CONTENT)), checksum]
    assert said.read_text().split()[:5] == told


async def test_a_command_that_fails_is_run_again_until_it_works(
    tmp_path: Path, redirector: FakeRedirector
) -> None:
    text = f'if test -e "$3/works"; then {STORE}; else echo run >> "$3/runs"; echo no tape >&2; exit 75; fi'
    site = by_script(tmp_path, redirector, text)
    async with site.running() as service:
        await put(service)
        await becomes_true(lambda: runs(tmp_path) >= 2)
        await becomes_true(lambda: "no tape" in reason(service))
        assert not is_archived(service)
        (tmp_path / "works").touch()
        await becomes_true(lambda: is_archived(service))
        assert archived(site) == CONTENT


async def test_a_command_that_stores_half_a_file_is_not_believed(
    tmp_path: Path, redirector: FakeRedirector
) -> None:
    text = 'mkdir -p "$(dirname "$2")"; if test -e "$3/works"; then cp "$1" "$2"; else head -c 9 "$1" > "$2"; fi'
    site = by_script(tmp_path, redirector, text)
    async with site.running() as service:
        await put(service)
        await becomes_true(lambda: "it has 9 bytes there" in reason(service))
        assert not is_archived(service)
        (tmp_path / "works").touch()
        await becomes_true(lambda: is_archived(service))
        assert archived(site) == CONTENT


async def test_a_command_without_anybody_to_ask_is_believed(
    tmp_path: Path, redirector: FakeRedirector
) -> None:
    site = by_script(tmp_path, redirector, stagecmd=["cp", "{source}", "{target}"])
    async with site.running() as service:
        await put(service)
        await becomes_true(lambda: is_archived(service))
        assert archived(site) == CONTENT


async def test_a_command_that_does_nothing_is_killed(
    tmp_path: Path, redirector: FakeRedirector
) -> None:
    site = by_script(tmp_path, redirector, "exec sleep 1000", stall="300ms")
    async with site.running() as service:
        await put(service)
        await becomes_true(lambda: "read and wrote nothing" in reason(service))


async def test_a_permanent_failure_waits_for_somebody(
    tmp_path: Path, redirector: FakeRedirector
) -> None:
    site = by_script(tmp_path, redirector, 'echo run >> "$3/runs"; echo no such pool >&2; exit 78')
    async with site.running() as service:
        await put(service)
        node = redirector.nodes["disk1"]
        await redirector.until(lambda: node.heartbeat.stores_failed == 1)
        assert runs(tmp_path) == 1
        # The archive has nothing of it: it is its client's again.
        await service.changing.remove(LFN)


# --- removing and replacing --------------------------------------------------------


async def test_what_is_being_stored_can_be_removed_only_with_a_removecmd(
    tmp_path: Path, redirector: FakeRedirector
) -> None:
    text = 'mkdir -p "$(dirname "$2")"; head -c 9 "$1" > "$2"; echo $$ > "$3/pid"; exec sleep 1000'
    site = by_script(tmp_path, redirector, text)
    async with site.running() as service:
        await put(service)
        await text_appears(tmp_path / "pid")
        with pytest.raises(Refused, match="is being stored in the archive"):
            await service.changing.remove(LFN)
    (tmp_path / "pid").unlink()
    site.mss["removecmd"] = ["rm"]
    async with site.running() as service:
        pid = int(await text_appears(tmp_path / "pid"))
        await service.changing.remove(LFN)
        assert not is_alive(pid)
        assert not (site.archive / LFN.lstrip("/")).exists()
        assert not site.replica(LFN).exists()
        assert service.node.is_idle
        with pytest.raises(NotFound):
            await service.changing.remove(LFN)


async def test_what_is_archived_is_removed_from_there_as_well(
    tmp_path: Path, redirector: FakeRedirector
) -> None:
    site = make_site(tmp_path, redirector, removecmd="builtin")
    only_there = "/store/my/b.txt"
    site.write(only_there, b"old")
    async with site.running() as service:
        await put(service)
        await becomes_true(lambda: is_archived(service))
        await service.changing.remove(LFN)
        await service.changing.remove(only_there)
        assert names_in(site.archive / "store/my") == []
        assert redirector.nodes["disk1"].replicas == {}
        with pytest.raises(NotFound, match="No such file"):
            await service.changing.remove(LFN)


async def test_an_archive_that_does_not_let_go_keeps_all_as_it_was(
    tmp_path: Path, redirector: FakeRedirector
) -> None:
    removecmd = ["/bin/sh", "-c", "echo the robot is stuck >&2; exit 75", "rm", "{source}"]
    site = make_site(tmp_path, redirector, removecmd=removecmd)
    async with site.running() as service:
        await put(service)
        await becomes_true(lambda: is_archived(service))
        with pytest.raises(Unreachable, match="the robot is stuck"):
            await service.changing.remove(LFN)
        await becomes_true(lambda: is_archived(service))
        assert archived(site) == CONTENT


async def test_a_removecmd_that_lies_is_found_out(
    tmp_path: Path, redirector: FakeRedirector
) -> None:
    site = make_site(tmp_path, redirector, removecmd=["true"])
    async with site.running() as service:
        await put(service)
        await becomes_true(lambda: is_archived(service))
        with pytest.raises(Refused, match="is in the archive still"):
            await service.changing.remove(LFN)


async def test_new_content_replaces_the_old_one_in_the_archive_too(
    tmp_path: Path, redirector: FakeRedirector
) -> None:
    site = make_site(tmp_path, redirector, removecmd="builtin")
    async with site.running() as service:
        await put(service)
        await becomes_true(lambda: is_archived(service))
        await put(service, content=b"new")
        await becomes_true(lambda: is_archived(service))
        assert archived(site) == b"new"
        assert site.replica(LFN).read_bytes() == b"new"


async def test_many_files_are_stored_side_by_side(
    tmp_path: Path, redirector: FakeRedirector
) -> None:
    site = make_site(tmp_path, redirector)
    names = [f"/store/my/{number:03}" for number in range(50)]
    async with site.running() as service:
        await asyncio.gather(*(put(service, name, name.encode()) for name in names))
        await becomes_true(lambda: all(is_archived(service, name) for name in names))
        assert all(archived(site, name) == name.encode() for name in names)
        assert service.node.is_idle
