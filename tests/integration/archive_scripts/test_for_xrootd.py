"""A stock XRootD stages by the published scripts: what its clients see, whatever goes wrong."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from packhorse.scripts.kinds import PUBLISHED
from tests.support.archive_scripts import Mounted
from tests.support.patience import eventually
from tests.support.processes import is_alive
from tests.support.staging_xrootd import StagingXrootd
from tests.support.stock_staging import StagingCluster, lacking

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(
    not all(shutil.which(program) for program in ("xrootd", "xrdcp", "xrdfs")),
    reason="there is no XRootD here",
)

CONTENT = b"what the detector saw" * 10_000
NO_SUCH_FILE = "[3011]"


@pytest.fixture(scope="module")
def server() -> Iterator[StagingXrootd]:
    """One for all tests; each has files of its own."""
    with StagingXrootd() as server:
        yield server


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """Where a client copies to."""
    return tmp_path / "copy"


def test_files_of_any_name_are_staged_once_for_however_many(
    server: StagingXrootd, tmp_path: Path
) -> None:
    # XRootD has a client wait for two seconds at least, so all of them wait together.
    lfns = ["/store/staged/a", '/store/staged/it\'s "two" words, 100%20 ünïcøde']
    for lfn in lfns:
        server.put(lfn, CONTENT)
    server.hold()
    clients = {
        tmp_path / f"copy{number}": server.copy(lfn, tmp_path / f"copy{number}")
        for number, lfn in enumerate(lfns + lfns[:1] * 3)
    }
    eventually(lambda: all(server.stages(lfn) for lfn in lfns))
    code, said = server.xrdfs("prepare", "-s", lfns[0])
    assert code == 0, said
    server.release()
    for copy, client in clients.items():
        said, _ = client.communicate(timeout=60)
        assert client.returncode == 0, said
        assert copy.read_bytes() == CONTENT
    assert [len(server.stages(lfn)) for lfn in lfns] == [1, 1]
    eventually(lambda: len(list(server.local("/store/staged").iterdir())) == 2)


def test_every_way_to_fail_is_told_once_and_leaves_no_file(
    server: StagingXrootd, tmp_path: Path
) -> None:
    """The copier lies, finds the disk full, is killed; the file vanishes, or never was."""
    lfns = {how: f"/store/{how}/a" for how in ("lies", "full", "killed", "vanished")}
    for lfn in lfns.values():
        server.put(lfn, CONTENT)
    server.hold()
    clients = {how: server.copy(lfn, tmp_path / how) for how, lfn in lfns.items()}
    eventually(lambda: all(server.stages(lfn) for lfn in lfns.values()))
    server.kill_stage(lfns["killed"])
    (server.archive / "store/vanished/a").unlink()
    server.release()
    lfns["missing"] = "/store/missing/a"
    clients["missing"] = server.copy(lfns["missing"], tmp_path / "missing")
    for how, lfn in lfns.items():
        said, _ = clients[how].communicate(timeout=60)
        assert (clients[how].returncode != 0, NO_SUCH_FILE in said) == (True, True), said
        # It is remembered: nothing is run for whoever asks again.
        assert server.copied(lfn, tmp_path / how)[0] != 0
        assert len(server.stages(lfn)) == 1
        assert [path.name for path in server.local(lfn).parent.iterdir()] == ["a.fail"]
    fails = {how: server.local(f"{lfn}.fail") for how, lfn in lfns.items()}
    assert {how for how, fail in fails.items() if fail.stat().st_mtime == 2} == {
        "vanished",
        "missing",
    }


def test_a_copy_that_was_killed_is_made_once_its_failure_is_forgotten(target: Path) -> None:
    lfn = "/store/killed/a"
    with StagingXrootd(deny_s=3) as server:
        server.put(lfn, CONTENT)
        server.hold()
        client = server.copy(lfn, target)
        server.kill_stage(lfn)
        eventually(lambda: server.local(f"{lfn}.fail").exists())
        server.release()
        client.communicate(timeout=60)
        eventually(lambda: server.copied(lfn, target)[0] == 0)
        assert target.read_bytes() == CONTENT
        assert len(server.stages(lfn)) == 2
        assert [path.name for path in server.local(lfn).parent.iterdir()] == ["a"]


def test_clients_see_what_is_in_the_archive_alone(server: StagingXrootd) -> None:
    server.put("/store/seen/a", CONTENT)
    code, said = server.xrdfs("stat", "/store/seen/a")
    assert code == 0, said
    assert str(len(CONTENT)) in said
    assert not server.local("/store/seen/a").exists()
    code, said = server.xrdfs("stat", "/store/seen/none")
    assert NO_SUCH_FILE in said


def test_prepare_brings_files_and_tells_of_them(server: StagingXrootd) -> None:
    there, missing = "/store/prepared/a", "/store/prepared/none"
    server.put(there, CONTENT)
    server.hold()
    code, said = server.xrdfs("prepare", "-s", there, missing)
    assert code == 0, said
    request = said.strip()
    eventually(lambda: server.stages(there))
    told = server.prepared(request, [there, missing])
    assert (told[there]["online"], told[there]["on_tape"]) == (False, True)
    assert (told[there]["requested"], told[there]["has_reqid"]) == (True, True)
    assert told[missing]["path_exists"] is False
    server.release()
    eventually(lambda: server.prepared(request, [there])[there]["online"])
    eventually(lambda: server.prepared(request, [missing])[missing]["error_text"])
    assert server.local(there).read_bytes() == CONTENT
    assert server.xrdfs("prepare", "-e", there)[0] == 0
    eventually(lambda: not server.prepared(request, [there])[there]["online"])


def test_prepare_can_be_cancelled(server: StagingXrootd) -> None:
    lfn = "/store/cancelled/a"
    server.put(lfn, CONTENT)
    server.hold()
    _, said = server.xrdfs("prepare", "-s", lfn)
    request = said.strip()
    (pid,) = eventually(lambda: server.stages(lfn))
    assert server.xrdfs("prepare", "-a", request)[0] == 0
    eventually(lambda: not is_alive(pid))
    server.release()
    eventually(lambda: not server.prepared(request, [lfn])[lfn]["has_reqid"])
    told = server.prepared(request, [lfn])[lfn]
    assert (told["online"], told["requested"], told["on_tape"]) == (False, False, True)
    assert list(server.local(lfn).parent.iterdir()) == []


def test_a_file_the_archive_does_not_have_is_never_evicted(server: StagingXrootd) -> None:
    only, other = "/store/evicted/only-copy", "/store/evicted/a"
    server.put(other, CONTENT)
    for lfn in (only, other):
        server.place(lfn, CONTENT)
    # They are looked at in turn, so that the first was spared when the second is gone.
    assert server.xrdfs("prepare", "-e", only, other)[0] == 0
    eventually(lambda: not server.local(other).exists())
    assert server.local(only).read_bytes() == CONTENT


@pytest.mark.skipif(bool(lacking()), reason=f"not installed: {lacking()}")
def test_frm_xfrd_copies_by_a_script(target: Path) -> None:
    cluster = StagingCluster(1, tuned=True)
    programs = shutil.copytree(PUBLISHED, cluster.folder / "bin")
    adapter, script = programs / "for_xrootd.py", programs / "mounted_archive.py"
    cluster.script.write_text(f'#!/bin/sh\n{adapter} copy {script} "$1" "$2"\nexit $?\n')
    (cluster.archive / "store/a").write_bytes(CONTENT)
    with cluster:
        url = f"root://127.0.0.1:{cluster.port}//store"
        for name, is_there in (("a", True), ("none", False)):
            argv = ["xrdcp", "--nopbar", f"{url}/{name}", str(target)]
            done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
            assert (done.returncode == 0) == is_there, done.stderr
    assert NO_SUCH_FILE in done.stderr
    assert target.read_bytes() == CONTENT


def test_a_full_disk_is_a_failure_that_leaves_nothing(tmp_path: Path) -> None:
    """In a file system of its own, where the kernel lets us have one."""
    archive = Mounted(tmp_path / "archive")
    archive.put("/store/a", CONTENT * 10)
    pool = tmp_path / "pool"
    pool.mkdir()
    unshare = ["unshare", "--user", "--map-root-user", "--mount"]
    if subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("no mount namespaces for users here")
    script = f"""
mount -t tmpfs -o size=256k none {pool}
{sys.executable} {PUBLISHED}/for_xrootd.py stage {PUBLISHED}/mounted_archive.py \
    {archive.name("/store/a")} {pool}/store/a
echo $?
ls -A {pool}/store
"""
    done = subprocess.run([*unshare, "sh", "-c", script], capture_output=True, text=True)
    assert done.stdout.split() == ["1", "a.fail"], done
    assert "No space left" in done.stderr
