"""xrdcp, unmodified: it does the same with XRootD's servers and with ours."""

from __future__ import annotations

import os
import signal
import subprocess
import zlib
from typing import TYPE_CHECKING

import pytest

from tests.integration.root.conftest import FILES
from tests.support.patience import eventually
from tests.support.side_by_side import summed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.support.side_by_side import SideBySide

SMALL = "{url}/store/run/small"
MEDIUM = "{url}/store/run/medium"
#: Where the client is told to use plain reads and writes, and where it uses pages.
WAYS = pytest.mark.parametrize("env", [{}, {"XRD_CPUSEPGWRTRD": "0"}], ids=["in pages", "plainly"])


def adler32(content: bytes) -> str:
    return f"{zlib.adler32(content):08x}"


# --- down ----------------------------------------------------------------------------------


@WAYS
@pytest.mark.parametrize("name", ["small", "empty", "medium"])
def test_a_file_comes_down(both: SideBySide, name: str, env: Mapping[str, str]) -> None:
    both("xrdcp", f"{{url}}/store/run/{name}", "got", env=env)
    assert summed((both.ours.folder / "got").read_bytes()) == summed(FILES[f"/store/run/{name}"])


@WAYS
def test_a_file_comes_down_by_many_streams(both: SideBySide, env: Mapping[str, str]) -> None:
    both("xrdcp", "-S", "4", MEDIUM, "got", env=env)


def test_a_large_file_comes_down(both: SideBySide) -> None:
    lfn = "/store/run/large"
    content = b"".join(number.to_bytes(8, "big") * 512 for number in range(51_200))
    both.stock_cluster.write("server1", lfn, content)
    both.cluster.write(lfn, content)
    both("xrdcp", f"{{url}}{lfn}", "got")
    both("xrdcp", "-f", "-S", "2", f"{{url}}{lfn}", "got", env={"XRD_CPUSEPGWRTRD": "0"})
    assert summed((both.ours.folder / "got").read_bytes()) == summed(content)


def test_a_file_is_told_to_stdout(both: SideBySide) -> None:
    assert both("xrdcp", "{url}/store/run/lines", "-") == FILES["/store/run/lines"].decode()


def test_a_local_file_is_overwritten_only_by_force(both: SideBySide) -> None:
    both.put("got", b"mine")
    both("xrdcp", SMALL, "got", code=54)
    both("xrdcp", "-f", SMALL, "got")


def test_a_download_goes_on_where_it_was_broken_off(both: SideBySide) -> None:
    content = FILES["/store/run/medium"]
    both.put("got", content[: len(content) // 2])
    both("xrdcp", "--continue", MEDIUM, "got")
    assert summed((both.ours.folder / "got").read_bytes()) == summed(content)


def test_directories_come_down(both: SideBySide) -> None:
    both("xrdcp", "-r", "{url}/store/run/sub", ".")
    assert (both.ours.folder / "sub/deep/three").read_bytes() == b"3"


def test_many_files_come_down(both: SideBySide) -> None:
    both.put("into/before", b"")
    names = [f"{{url}}/store/run/{name}" for name in ("small", "empty", "lines", "sub/one")]
    both("xrdcp", *names, "into/")
    both("xrdcp", "-f", "--parallel", "3", *names, "into/")
    assert (both.ours.folder / "into/one").read_bytes() == b"one\n"


@pytest.mark.parametrize(
    ("source", "code"), [("/store/run/none", 54), ("/store/run", 54), ("/elsewhere/a", 54)]
)
def test_what_is_no_file_does_not_come_down(both: SideBySide, source: str, code: int) -> None:
    both("xrdcp", f"{{url}}{source}", "got", code=code)
    assert not (both.ours.folder / "got").exists()


@pytest.mark.parametrize(
    ("checksum", "code"),
    [
        ("adler32:print", 0),
        ("adler32:source", 0),
        ("adler32", 0),
        ("crc32c:print", 0),
        ("adler32:" + adler32(FILES["/store/run/small"]), 0),
        ("adler32:00000000", 53),
    ],
)
def test_what_comes_down_is_checked(both: SideBySide, checksum: str, code: int) -> None:
    both("xrdcp", "--cksum", checksum, SMALL, "got", code=code)


def test_what_is_wrong_may_be_removed_at_once(both: SideBySide) -> None:
    both("xrdcp", "--rm-bad-cksum", "--cksum", "adler32:00000000", SMALL, "got", code=53)
    assert not (both.ours.folder / "got").exists()


# --- up ------------------------------------------------------------------------------------


@WAYS
@pytest.mark.parametrize("name", ["small", "empty", "medium"])
def test_a_file_goes_up(
    both: SideBySide, name: str, env: Mapping[str, str], directory: str
) -> None:
    content = FILES[f"/store/run/{name}"]
    both.put("mine", content)
    target = f"{{url}}{directory}/{name}"
    both("xrdcp", "mine", target, env=env)
    both("xrdcp", target, "back", env=env)
    assert summed((both.ours.folder / "back").read_bytes()) == summed(content)
    both("xrdfs", "{host}", "stat", f"{directory}/{name}")
    both("xrdfs", "{host}", "query", "checksum", f"{directory}/{name}")


@WAYS
def test_a_file_goes_up_by_many_streams(
    alone: SideBySide, env: Mapping[str, str], directory: str
) -> None:
    alone.put("mine", FILES["/store/run/medium"])
    alone("xrdcp", "-S", "4", "mine", f"{{url}}{directory}/new", env=env)
    alone("xrdcp", f"{{url}}{directory}/new", "back", env=env)


def test_a_file_is_replaced_only_by_force(alone: SideBySide, directory: str) -> None:
    alone.put("one", b"the first\n")
    alone.put("two", b"the second, which is longer\n")
    target = f"{{url}}{directory}/file"
    alone("xrdcp", "one", target)
    alone("xrdcp", "two", target, code=50)
    assert alone("xrdcp", target, "-") == "the first\n"
    alone("xrdcp", "-f", "two", target)
    assert alone("xrdcp", target, "-") == "the second, which is longer\n"
    alone("xrdcp", "-f", "one", target)
    assert alone("xrdcp", target, "-") == "the first\n"


def test_stdin_goes_up(alone: SideBySide, directory: str) -> None:
    content = FILES["/store/run/medium"]
    alone("xrdcp", "-", f"{{url}}{directory}/new", stdin=content)
    alone("xrdcp", f"{{url}}{directory}/new", "back")
    assert summed((alone.ours.folder / "back").read_bytes()) == summed(content)


def test_directories_go_up(both: SideBySide, directory: str) -> None:
    for name in ("tree/a", "tree/b", "tree/below/c", "tree/below/deeper/d"):
        both.put(name, name.encode())
    both("xrdfs", "{host}", "mkdir", directory)
    both("xrdcp", "-r", "tree", f"{{url}}{directory}/", in_order=False)
    both("xrdfs", "{host}", "ls", "-R", directory)
    both("xrdcp", "-r", f"{{url}}{directory}/tree", "back", code=2)
    both.put("back/before", b"")
    both("xrdcp", "-r", f"{{url}}{directory}/tree", "back")
    assert (both.ours.folder / "back/tree/below/deeper/d").read_bytes() == b"tree/below/deeper/d"


def test_persistence_only_on_a_successful_close_is_asked_for(
    alone: SideBySide, directory: str
) -> None:
    alone.put("mine", b"whole")
    alone("xrdcp", "--posc", "mine", f"{{url}}{directory}/new")
    assert alone("xrdfs", "{host}", "cat", f"{directory}/new") == "whole"


@pytest.mark.parametrize(
    ("checksum", "code"),
    [
        ("adler32:print", 0),
        ("adler32:source", 0),
        ("crc32c:source", 0),
        ("adler32:" + adler32(b"content"), 0),
        ("adler32:00000000", 53),
    ],
)
def test_what_goes_up_is_checked(
    alone: SideBySide, checksum: str, code: int, directory: str
) -> None:
    alone.put("mine", b"content")
    alone("xrdcp", "--cksum", checksum, "mine", f"{{url}}{directory}/new", code=code)


def test_a_file_goes_from_one_name_to_another(both: SideBySide, directory: str) -> None:
    both("xrdcp", SMALL, f"{{url}}{directory}/copy")
    both("xrdfs", "{host}", "query", "checksum", f"{directory}/copy")
    both("xrdcp", "{url}/store/run/none", f"{{url}}{directory}/copy2", code=54)


def test_attributes_go_along(both: SideBySide, directory: str) -> None:
    both.put("mine", b"content")
    one, two = f"{directory}/one", f"{directory}/two"
    both("xrdcp", "mine", f"{{url}}{one}")
    both("xrdfs", "{host}", "xattr", one, "set", "color=red")
    both("xrdcp", "--xattr", f"{{url}}{one}", f"{{url}}{two}")
    assert 'color="red"' in both("xrdfs", "{host}", "xattr", two, "list")
    both("xrdcp", "--xattr", f"{{url}}{two}", "back")
    both("xrdcp", "--xattr", "back", f"{{url}}{directory}/three")
    assert 'color="red"' in both("xrdfs", "{host}", "xattr", f"{directory}/three", "list")


def test_where_nobody_may_write_nothing_goes_up(both: SideBySide, directory: str) -> None:
    both.put("mine", b"content")
    for target in ("/store/run/new", "/store/run/small"):
        stock, ours = both.apart("xrdcp", "-f", "mine", f"{{url}}{target}")
        # XRootD finds no server to write to; ours knows that nobody may write there.
        assert (stock.code, stock.errors) == (54, ["ERROR", "3011"])
        assert (ours.code, ours.errors) == (54, ["ERROR", "3010"])
    both("xrdcp", "mine", "{url}/elsewhere/new", code=54)
    both("xrdcp", "missing", f"{{url}}{directory}/new", code=2)


def test_an_upload_whose_client_is_killed_leaves_nothing(both: SideBySide, directory: str) -> None:
    """XRootD keeps what there was, but for an upload with --posc, which it removes later."""
    for way in ([], ["--posc"]):
        argv = both.ours.argv(("xrdcp", *way, "-", f"{{url}}{directory}/half"))
        upload = subprocess.Popen(argv, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert upload.stdin is not None
        upload.stdin.write(os.urandom(20_000_000))
        upload.stdin.flush()
        eventually(lambda: sum(path.stat().st_size for path in both.cluster.incoming()))
        upload.send_signal(signal.SIGKILL)
        upload.communicate()
        eventually(lambda: not both.cluster.incoming())
        assert both.ours.run("xrdfs", "{host}", "stat", f"{directory}/half").errors[-1] == "3011"
    # The name is free for the next one.
    both.put("mine", b"whole")
    both("xrdcp", "mine", f"{{url}}{directory}/half")


def test_a_file_that_is_being_written_has_no_second_writer(
    alone: SideBySide, directory: str
) -> None:
    alone("xrdfs", "{host}", "mkdir", directory)
    alone.put("second", b"second")
    first = [
        subprocess.Popen(
            side.argv(("xrdcp", "-N", "-", f"{{url}}{directory}/file")), stdin=subprocess.PIPE
        )
        for side in alone.sides
    ]
    try:
        for upload in first:
            assert upload.stdin is not None
            upload.stdin.write(b"first" * 4_000_000)
            upload.stdin.flush()
        eventually(lambda: sum(path.stat().st_size for path in alone.cluster.incoming()))
        eventually(lambda: not alone.stock.run("xrdfs", "{host}", "stat", f"{directory}/file").code)
        alone("xrdcp", "-f", "second", f"{{url}}{directory}/file", code=54)
        refused = alone.ours.run("xrdcp", "-f", "second", f"{{url}}{directory}/file")
        assert refused.errors[-1] == "3003"
    finally:
        for upload in first:
            upload.communicate()
    alone("xrdfs", "{host}", "query", "checksum", f"{directory}/file")


def test_what_the_archive_has_is_not_written_straight_to_a_data_server(
    both: SideBySide, directory: str
) -> None:
    """The redirector asks the archive, but not for clients that it does not see."""
    both.cluster.write(f"{directory}/archived", b"in the archive")
    both.put("mine", b"mine")
    door = f"127.0.0.1:{both.ours.server_ports[0]}"
    ours = both.ours
    refused = ours.run("xrdcp", "-f", "mine", f"root://{door}/{directory}/archived")
    assert (refused.code, refused.errors[-1]) == (54, "3010")
    assert "is in the archive" in refused.stderr
    assert ours.run("xrdcp", "mine", f"root://{door}/{directory}/new").code == 0
    moved = ours.run("xrdfs", door, "mv", f"{directory}/new", f"{directory}/archived")
    assert (moved.code, moved.errors) == (54, ["ERROR", "3010"])
    assert ours.run("xrdfs", door, "mv", f"{directory}/new", f"{directory}/newer").code == 0


def test_a_data_server_sends_back_whoever_asks_about_anothers_file(
    both: SideBySide, directory: str
) -> None:
    both.put("mine", b"mine")
    ours = both.ours
    holder, other = (f"127.0.0.1:{port}" for port in ours.server_ports)
    assert ours.run("xrdcp", "mine", f"root://{holder}/{directory}/f").code == 0
    for words in (
        "chmod @ rw-r-----",
        "xattr @ set color=red",
        "xattr @ get color",
        "query checksum @",
        "truncate @ 2",
        "mv @ @2",
        "rm @2",
    ):
        argv = words.replace("@", f"{directory}/f").split()
        done = ours.run("xrdfs", other, *argv)
        assert done.code == 0, (words, done)
    assert ours.run("xrdfs", other, "stat", f"{directory}/f2").errors == ["ERROR", "3011"]
    assert ours.run("xrdfs", other, "query", "checksum", f"{directory}/f").errors[-1] == "3011"
