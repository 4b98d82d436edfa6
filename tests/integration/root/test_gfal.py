"""gfal's commands on root://, the same library as in FTS: what they say of tape and disk."""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
import zlib
from typing import TYPE_CHECKING

import pytest

from tests.support.cluster import free_port
from tests.support.patience import eventually
from tests.support.staging_site import StagingSite, asking_archive, content_of, staging_site

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: Debian's scripts look for a Python of their own name otherwise.
PYTHON = "/usr/bin/python3"
TIMEOUT_S = 60.0
WRITABLE = "/store/user"
#: It asks after one second, two, four and so on.
POLLING = ("--polling-timeout", "30")


def lacking() -> str:
    """What is not installed of gfal; empty if it can be used."""
    if shutil.which("gfal-bringonline") is None:
        return "gfal2-util"
    argv = [
        PYTHON,
        "-c",
        "import gfal2_util, gfal2; print(gfal2.creat_context().get_plugin_names())",
    ]
    found = subprocess.run(argv, capture_output=True, text=True)
    return "" if "xrootd" in found.stdout else "gfal2-plugin-xrootd"


pytestmark = pytest.mark.skipif(bool(missing := lacking()), reason=f"not installed: {missing}")


class Gfal:
    """gfal's commands at a site, with {} where the URL of the site stands."""

    def __init__(self, staging: StagingSite, url: str, folder: Path) -> None:
        self.staging = staging
        self.url = url
        self.folder = folder

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Runs one to its end."""
        return subprocess.run(
            [word.replace("{}", self.url) for word in words],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            env={**os.environ, "GFAL_PYTHONBIN": PYTHON},
        )

    def __call__(self, *words: str) -> str:
        """The same; it must end well. What it said."""
        done = self.run(*words)
        assert done.returncode == 0, f"{done.args}: {done.stdout}{done.stderr}"
        return done.stdout

    def status(self, lfn: str) -> str:
        """Where it says a file is."""
        return self("gfal-xattr", f"{{}}{lfn}", "user.status").strip()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[StagingSite, str]]:
    port = free_port()
    with staging_site(
        tmp_path_factory.mktemp("gfal"),
        statcmd=asking_archive(if_missing=66),
        root={"writable": [WRITABLE]},
        root_listen=f"127.0.0.1:{port}",
    ) as site:
        yield site, f"root://127.0.0.1:{port}/"


@pytest.fixture
def gfal(shared: tuple[StagingSite, str], tmp_path: Path) -> Iterator[Gfal]:
    site, url = shared
    yield Gfal(site, url, tmp_path)
    site.tidy()


def test_files_are_looked_at_without_being_staged(gfal: Gfal) -> None:
    (lfn,) = gfal.staging.archived("gfal/looked-at", size_bytes=1234)
    assert "1234" in gfal("gfal-ls", "-l", f"{{}}{lfn}")
    assert "Size: 1234\tregular file" in gfal("gfal-stat", f"{{}}{lfn}")
    assert gfal.run("gfal-stat", "{}/store/gfal/none").returncode == errno.ENOENT
    assert gfal.staging.ran_on(lfn) == []


def test_directories_are_listed(gfal: Gfal) -> None:
    lfns = gfal.staging.archived("gfal/list/a", "gfal/list/b", "gfal/list/c/d")
    gfal.staging.site.stage(lfns).wait()
    assert sorted(gfal("gfal-ls", "{}/store/gfal/list").split()) == ["a", "b", "c"]
    assert re.search("(?m)^d.* c", gfal("gfal-ls", "-l", "{}/store/gfal/list"))
    assert "directory" in gfal("gfal-stat", "{}/store/gfal/list")


def test_where_a_file_is_follows_it_from_tape_to_disk_and_back(gfal: Gfal) -> None:
    (lfn,) = gfal.staging.archived("gfal/there-and-back")
    assert gfal.status(lfn) == "NEARLINE"
    assert "READY" in gfal("gfal-bringonline", *POLLING, f"{{}}{lfn}")
    assert gfal.status(lfn) == "ONLINE_AND_NEARLINE"
    gfal("gfal-evict", f"{{}}{lfn}")
    assert gfal.status(lfn) == "NEARLINE"
    assert len(gfal.staging.ran_on(lfn)) == 1


def test_what_was_written_is_online_only(gfal: Gfal) -> None:
    (gfal.folder / "mine").write_bytes(b"mine" * 100)
    gfal("gfal-copy", "mine", f"{{}}{WRITABLE}/mine")
    assert gfal.status(f"{WRITABLE}/mine") == "ONLINE"
    gfal("gfal-rm", f"{{}}{WRITABLE}/mine")
    assert gfal.run("gfal-stat", f"{{}}{WRITABLE}/mine").returncode != 0


def test_many_files_are_brought_online_by_one_request(gfal: Gfal) -> None:
    lfns = gfal.staging.archived(*(f"gfal/many{number}" for number in range(5)))
    (gfal.folder / "list").write_text("".join(f"{gfal.url}{lfn}\n" for lfn in lfns))
    said = gfal("gfal-bringonline", *POLLING, "--from-file", "list")
    assert said.count("READY") == len(lfns), said
    assert [gfal.status(lfn) for lfn in lfns] == ["ONLINE_AND_NEARLINE"] * len(lfns)
    assert {len(gfal.staging.ran_on(lfn)) for lfn in lfns} == {1}


def test_a_request_is_polled_until_its_files_are_there(gfal: Gfal) -> None:
    (lfn,) = gfal.staging.archived("gfal/slow")
    gfal.staging.hold(lfn)
    said = gfal("gfal-bringonline", "--polling-timeout", "1", f"{{}}{lfn}")
    assert said.count("QUEUED") == 2, said
    gfal.staging.until_running(lfn)
    assert gfal.status(lfn) == "NEARLINE"
    gfal.staging.release(lfn)
    eventually(lambda: gfal.staging.cluster.holders(lfn))
    eventually(lambda: gfal.status(lfn) == "ONLINE_AND_NEARLINE")


def test_what_cannot_be_brought_online_is_said_beside_what_can(gfal: Gfal) -> None:
    (lfn,) = gfal.staging.archived("gfal/there")
    (gfal.folder / "list").write_text(f"{gfal.url}{lfn}\n{gfal.url}/store/gfal/nowhere\n")
    said = gfal("gfal-bringonline", *POLLING, "--from-file", "list")
    assert re.search(f"{lfn} READY", said), said
    assert re.search("nowhere => FAILED: .*No such file", said), said


def test_whether_files_are_on_tape_is_asked_without_staging_them(gfal: Gfal) -> None:
    (lfn,) = gfal.staging.archived("gfal/safe")
    assert "READY" in gfal("gfal-archivepoll", f"{{}}{lfn}")
    assert "FAILED" in gfal("gfal-archivepoll", "{}/store/gfal/nowhere")
    assert gfal.staging.ran_on(lfn) == []


def test_a_file_on_tape_is_copied_and_summed(gfal: Gfal) -> None:
    (lfn,) = gfal.staging.archived("gfal/copied", size_bytes=100_000)
    content = content_of(lfn, 100_000)
    gfal("gfal-copy", f"{{}}{lfn}", "copied")
    assert (gfal.folder / "copied").read_bytes() == content
    said = gfal("gfal-sum", f"{{}}{lfn}", "ADLER32")
    assert said.split()[-1] == f"{zlib.adler32(content):08x}"
    assert "oss.used=100000" in gfal("gfal-xattr", f"{{}}{lfn}", "xroot.xattr")
    assert len(gfal.staging.ran_on(lfn)) == 1
