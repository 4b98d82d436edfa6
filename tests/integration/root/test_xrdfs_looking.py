"""xrdfs, unmodified: what it is told of files and directories, by XRootD and by ours."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.integration.root.conftest import FILES
from tests.support.patience import eventually

if TYPE_CHECKING:
    from tests.support.side_by_side import SideBySide

RUN = "/store/run"

# --- directories ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "asked",
    [
        f"ls {RUN}",
        f"ls {RUN}/",
        f"ls -R {RUN}",
        f"ls -Z {RUN}",
        f"ls {RUN}/small",
        f"ls -l {RUN}/small",
        f"ls -l {RUN}/sub/deep/three",
    ],
)
def test_directories_are_listed(both: SideBySide, asked: str) -> None:
    assert both("xrdfs", "{host}", *asked.split())


@pytest.mark.parametrize(
    "asked", [f"ls {RUN}/none", f"ls -l {RUN}/none", "ls /elsewhere", f"ls -R {RUN}/none"]
)
def test_what_is_no_directory_is_not_listed(both: SideBySide, asked: str) -> None:
    both("xrdfs", "{host}", *asked.split(), code=54)


@pytest.mark.parametrize("asked", ["ls -l", "ls -C"])
def test_modes_in_listings_say_what_may_be_changed(both: SideBySide, asked: str) -> None:
    """XRootD tells the mode that a file has on its disk; only stat says that it is exported
    read-only. Ours says so in both. Ours has computed all checksums when the files came.
    """
    if asked == "ls -C":
        for name in ("small", "empty", "lines", "medium"):
            both("xrdfs", "{host}", "query", "checksum", f"{RUN}/{name}")
    stock, ours = both.apart("xrdfs", "{host}", *asked.split(), RUN)
    assert (stock.code, ours.code) == (0, 0)
    assert "-r--r--r-- USER GROUP 1000 " in ours.stdout
    told = stock.stdout.replace("-rw-r--r--", "-r--r--r--").replace("drwxr-xr-x", "dr-xr-xr-x")
    assert ours.stdout == told


def test_checksums_in_listings_are_of_the_kind_asked_for(both: SideBySide) -> None:
    name = f"{RUN}/sub/two"
    both("xrdfs", "{host}", "query", "checksum", f"{name}?cks.type=crc32c")
    for kind in ("crc32c", "sha1"):
        asked = ("xrdfs", "{host}", "ls", "-C", f"{RUN}/sub?cks.type={kind}")
        stock, ours = both.apart(*asked)
        assert ours.code == stock.code, (stock, ours)
        assert ours.errors == stock.errors, (stock, ours)
        sums = [re.findall(r"\S+:\S+(?= TIME)", one.stdout) for one in (stock, ours)]
        assert sums[0] == sums[1], (stock, ours)


def test_every_entry_is_listed_once(both: SideBySide) -> None:
    """XRootD lists a directory that many servers have once for each of them, if asked so."""
    stock, ours = both.apart("xrdfs", "{host}", "ls", "-D", RUN)
    assert stock.stdout.splitlines().count(f"{RUN}/sub") == 2
    assert ours.stdout.splitlines() == sorted(set(stock.stdout.splitlines()))


def test_urls_in_listings_lead_to_the_redirector(both: SideBySide) -> None:
    """A file may be moved or purged, and is found there still; XRootD names the server."""
    stock, ours = both.apart("xrdfs", "{host}", "ls", "-u", RUN)
    assert f"root://{both.ours.host}/{RUN}/small" in ours.stdout.replace(
        "REDIRECTOR", str(both.ours.port)
    )
    assert sorted(set(stock.stdout.replace("SERVER", "REDIRECTOR").splitlines())) == sorted(
        ours.stdout.splitlines()
    )


def test_the_top_leads_to_what_is_exported(both: SideBySide) -> None:
    """XRootD refuses to tell of what it does not export itself."""
    stock, ours = both.apart("xrdfs", "{host}", "ls", "/")
    assert (stock.code, stock.errors) == (54, ["ERROR", "3010"])
    assert (ours.code, ours.stdout) == (0, "/store\n")


# --- files ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "asked",
    [
        f"stat {RUN}/small",
        f"stat {RUN}/empty",
        f"stat {RUN}",
        f"stat {RUN}/",
        "stat /store",
        "stat /store/user",
        "stat //store//run/small",
        "stat /store/./run/small",
        f"stat -q IsReadable {RUN}/small",
        f"stat -q IsDir {RUN}",
        f"stat -q IsReadable&IsDir {RUN}",
        f"stat -q IsDir|IsReadable {RUN}/small",
    ],
)
def test_files_and_directories_are_told_of(both: SideBySide, asked: str) -> None:
    assert "Size:" in both("xrdfs", "{host}", *asked.split())


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        (f"stat {RUN}/none", 54),
        ("stat /elsewhere/a", 54),
        ("stat /store/../etc/passwd", 54),
        (f"stat {RUN}/small {RUN}/lines", 50),
        (f"stat -q IsDir {RUN}/small", 55),
        (f"stat -q IsReadable&IsDir {RUN}/small", 55),
        (f"stat -q Offline {RUN}/small", 55),
    ],
)
def test_what_is_not_there_is_not_told_of(both: SideBySide, asked: str, code: int) -> None:
    both("xrdfs", "{host}", *asked.split(), code=code)


@pytest.mark.parametrize("option", ["", "-n", "-r", "-d", "-m", "-h", "-i", "-p"])
def test_files_are_located(both: SideBySide, option: str) -> None:
    found = both("xrdfs", "{host}", "locate", *option.split(), f"{RUN}/small")
    assert found == "[::127.0.0.1]:SERVER Server Read\n"


@pytest.mark.parametrize("asked", [RUN, "-d " + RUN, "-h -d " + RUN, "-d *", "*/store/run"])
def test_directories_are_located_everywhere(both: SideBySide, asked: str) -> None:
    found = both("xrdfs", "{host}", "locate", *asked.split())
    assert found.splitlines() == ["[::127.0.0.1]:SERVER Server Read"] * 2


@pytest.mark.parametrize("asked", [f"{RUN}/none", f"-d {RUN}/none", "/elsewhere/a"])
def test_what_is_not_there_is_not_located(both: SideBySide, asked: str) -> None:
    both("xrdfs", "{host}", "locate", *asked.split(), code=54)


# --- bytes ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "asked",
    [
        f"cat {RUN}/lines",
        f"cat {RUN}/small {RUN}/sub/one",
        f"tail {RUN}/lines",
        f"tail -c 20 {RUN}/lines",
        f"tail -c 5000000 {RUN}/lines",
    ],
)
def test_files_are_shown(both: SideBySide, asked: str) -> None:
    assert both("xrdfs", "{host}", *asked.split())


@pytest.mark.parametrize("asked", [f"cat {RUN}/empty", f"tail {RUN}/empty"])
def test_empty_files_are_shown(both: SideBySide, asked: str) -> None:
    assert both("xrdfs", "{host}", *asked.split()) == ""


@pytest.mark.parametrize("asked", [f"cat {RUN}/none", f"cat {RUN}", f"tail {RUN}/none"])
def test_what_is_no_file_is_not_shown(both: SideBySide, asked: str) -> None:
    both("xrdfs", "{host}", *asked.split(), code=54)


def test_the_tail_of_a_file_is_followed_until_its_reader_has_enough(both: SideBySide) -> None:
    for side in both.sides:
        argv = side.argv(("xrdfs", "{host}", "tail", "-c", "9", "-f", f"{RUN}/lines"))
        with (side.folder / "seen").open("wb") as seen:
            following = subprocess.Popen(argv, stdout=seen, stderr=subprocess.DEVNULL)
        eventually(lambda side=side: (side.folder / "seen").stat().st_size)  # type: ignore[misc]
        assert following.poll() is None
        following.kill()
        following.wait()
    seen = [(side.folder / "seen").read_bytes() for side in both.sides]
    assert seen == [FILES[f"{RUN}/lines"][-9:]] * 2


# --- questions -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "asked",
    [
        "config role",
        "config bind_max",
        "config readv_ior_max",
        "config readv_iov_max",
        "config nothing-known",
        f"checksum {RUN}/small",
        f"checksum {RUN}/small?cks.type=adler32",
        f"checksum {RUN}/small?cks.type=crc32c",
        f"checksum {RUN}/empty",
        f"checksumcancel {RUN}/small",
    ],
)
def test_questions_are_answered(both: SideBySide, asked: str) -> None:
    both("xrdfs", "{host}", "query", *asked.split())


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        (f"checksum {RUN}/small?cks.type=sha1024", 54),
        (f"checksum {RUN}/none", 54),
        (f"xattr {RUN}/none", 54),
        ("opaque anything", 54),
        (f"opaquefile {RUN}/small?a=b", 54),
        ("visa anything", 50),
        ("stats", 50),
        ("", 50),
    ],
)
def test_what_makes_no_sense_is_not_answered(both: SideBySide, asked: str, code: int) -> None:
    both("xrdfs", "{host}", "query", *asked.split(), code=code)


def test_a_directory_has_no_checksum(both: SideBySide) -> None:
    """XRootD says so too, but now and then it forgets to answer."""
    told = both.ours.run("xrdfs", "{host}", "query", "checksum", RUN)
    assert (told.code, told.errors) == (54, ["ERROR", "3016"])


@pytest.mark.parametrize(
    "asked",
    [f"xattr {RUN}/small", f"xattr {RUN}", "space /store", "space /store/user"],
)
def test_figures_are_told_under_the_same_names(both: SideBySide, asked: str) -> None:
    """Sizes and times of files and pools are what they are. XRootD's ofs.ap says which
    plug-in answered.
    """
    stock, ours = both.apart("xrdfs", "{host}", "query", *asked.split())
    assert (stock.code, ours.code) == (0, 0)
    names = [re.findall(r"([\w.]+)=[^&\n]+", outcome.stdout) for outcome in (stock, ours)]
    assert [name for name in names[0] if name != "ofs.ap"] == names[1]


def test_statistics_come_in_the_frame_that_monitors_read(both: SideBySide) -> None:
    for outcome in both.apart("xrdfs", "{host}", "query", "stats", "a"):
        assert outcome.code == 0
        assert re.match(r'<statistics tod="\d+" ver="[^"]+" .*pgm="\w+', outcome.stdout)
        assert outcome.stdout.rstrip().endswith("</statistics>")


@pytest.mark.parametrize(
    ("asked", "may_write"),
    [("/store", "0"), ("/store/user", "2")],
)
def test_space_is_told_as_of_a_file_system(both: SideBySide, asked: str, may_write: str) -> None:
    """XRootD's redirector knows no figures as long as it does not choose servers by them."""
    stock, ours = both.apart("xrdfs", "{host}", "statvfs", asked)
    labels = [re.findall(r"(?m)^[^:]+:", outcome.stdout) for outcome in (stock, ours)]
    assert labels[0] == labels[1]
    assert re.search(rf"(?m)^Nodes with RW space: +{may_write}$", ours.stdout)
    assert re.search(r"(?m)^Nodes with staging space: +2$", ours.stdout)


def test_space_is_added_up_where_clients_may_write(both: SideBySide) -> None:
    both("xrdfs", "{host}", "spaceinfo", "/elsewhere", code=54)
    stock, ours = both.apart("xrdfs", "{host}", "spaceinfo", "/store/user")
    labels = [re.findall(r"(?m)^[^:]+:", outcome.stdout) for outcome in (stock, ours)]
    assert labels[0] == labels[1]
    assert re.search(r"(?m)^Total: +2000000000$", ours.stdout)


# --- attributes, staging, and what xrdfs does by itself ------------------------------------


@pytest.mark.parametrize(
    ("asked", "code"),
    [("list", 0), ("get none", 54)],
)
def test_a_file_without_attributes_has_none(both: SideBySide, asked: str, code: int) -> None:
    both("xrdfs", "{host}", "xattr", f"{RUN}/small", *asked.split(), code=code)


@pytest.mark.parametrize("options", ["-s", "-s -p 2", "-s -f", "-w", "-s -c", "-e"])
def test_prepare_is_accepted(both: SideBySide, options: str) -> None:
    """Its id is each server's own."""
    asked = ("prepare", *options.split(), "/store/staged/file")
    stock, ours = both.apart("xrdfs", "{host}", *asked)
    assert (stock.code, ours.code) == (0, 0)
    assert bool(stock.stdout.strip()) == bool(ours.stdout.strip())


@pytest.mark.parametrize(
    ("asked", "code"), [("-s", 50), ("", 50), (f"-p 9 -s {RUN}/small", 50), ("-s /elsewhere/a", 54)]
)
def test_a_prepare_that_makes_no_sense_is_refused(both: SideBySide, asked: str, code: int) -> None:
    both("xrdfs", "{host}", "prepare", *asked.split(), code=code)


@pytest.mark.parametrize(("asked", "code"), [("explain", 50), ("help", 0), ("nonsense", 50)])
def test_xrdfs_itself_is_the_same(both: SideBySide, asked: str, code: int) -> None:
    both("xrdfs", "{host}", asked, code=code)


def test_a_session_goes_from_directory_to_directory(both: SideBySide) -> None:
    said = (
        "cd /store/run\npwd\nls\nstat small\ncd sub/deep\nls\ncat three\ncd ../none\nls ..\nexit\n"
    )
    told = both("xrdfs", "{host}", stdin=said.encode())
    assert "Size:   1000" in told
    assert "/store/run/sub/deep/three" in told
