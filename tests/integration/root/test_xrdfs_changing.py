"""xrdfs, unmodified: files and directories that it changes, with XRootD and with ours."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.side_by_side import SideBySide


@pytest.fixture
def at(alone: SideBySide, directory: str) -> str:
    """The directory of a test, made on both sides, with a few files in it."""
    alone("xrdfs", "{host}", "mkdir", directory)
    for name in ("a", "b"):
        alone("xrdcp", "-", f"{{url}}{directory}/{name}", stdin=name.encode() * 7)
    return directory


class Change:
    """Runs xrdfs on both sides, "@" being the directory of the test."""

    def __init__(self, both: SideBySide, directory: str) -> None:
        self._both = both
        self._directory = directory

    def __call__(self, words: str, code: int = 0, *, in_order: bool = True) -> str:
        argv = words.replace("@", self._directory).split()
        said = self._both("xrdfs", "{host}", *argv, code=code, in_order=in_order)
        return said.replace(self._directory, "@")

    def apart(self, words: str) -> list[tuple[int, list[str]]]:
        """What came of it on each side: exit codes and errors."""
        argv = words.replace("@", self._directory).split()
        return [(one.code, one.errors) for one in self._both.apart("xrdfs", "{host}", *argv)]


@pytest.fixture
def xrdfs(alone: SideBySide, at: str) -> Change:
    return Change(alone, at)


def failing(code: str) -> tuple[int, list[str]]:
    return 54, ["ERROR", code]


# --- directories ---------------------------------------------------------------------------


def test_directories_are_made_and_removed(xrdfs: Change) -> None:
    xrdfs("mkdir @/d")
    xrdfs("mkdir @/e/f/g", code=54)
    xrdfs("mkdir -p @/e/f/g")
    xrdfs("mkdir -p @/e/f/g")
    xrdfs("mkdir @/a", code=54)
    assert xrdfs("ls -R @", in_order=False).split() == [
        "@/a", "@/b", "@/d", "@/e", "@/e/f", "@/e/f/g"
    ]  # fmt: skip
    xrdfs("rmdir @/e", code=54)
    xrdfs("rmdir @/a", code=54)
    xrdfs("rmdir @/e/f/g")
    xrdfs("rmdir @/d")
    assert xrdfs("ls @").split() == ["@/a", "@/b", "@/e"]


def test_what_is_there_already_or_not_any_more_is_said(xrdfs: Change) -> None:
    """A single server of XRootD says nothing of it; its clusters do, as ours does."""
    xrdfs("mkdir @/d")
    assert xrdfs.apart("mkdir @/d") == [(0, []), failing("3018")]
    xrdfs("rmdir @/d")
    assert xrdfs.apart("rmdir @/d") == [(0, []), failing("3011")]


def test_nothing_lies_in_a_file(xrdfs: Change) -> None:
    assert xrdfs.apart("mkdir -p @/a/x") == [failing("3005"), failing("3010")]


def test_directories_have_no_modes_of_their_own(xrdfs: Change, alone: SideBySide) -> None:
    """They exist at the redirector, and files in them at any data server."""
    xrdfs("mkdir -mrwxr-x--- @/d")
    stock, ours = alone.apart("xrdfs", "{host}", "ls", "-l", "/store/user")
    assert (stock.code, ours.code) == (0, 0)
    assert xrdfs.apart("chmod @/d rwxrwxrwx") == [(0, []), failing("3016")]


# --- names ---------------------------------------------------------------------------------


def test_files_are_renamed(xrdfs: Change) -> None:
    xrdfs("mkdir @/d")
    xrdfs("mv @/a @/a")
    xrdfs("mv @/a @/c")
    xrdfs("mv @/b @/d/b")
    xrdfs("mv @/c @/new/directory/c")
    xrdfs("stat @/a", code=54)
    assert xrdfs("cat @/d/b") == "bbbbbbb"
    assert xrdfs("cat @/new/directory/c") == "aaaaaaa"
    xrdfs("mv @/a @/x", code=54)
    assert xrdfs("ls @").split() == ["@/d", "@/new"]


def test_a_rename_takes_no_other_file_away(xrdfs: Change) -> None:
    """XRootD replaces it. With ours it may lie on another data server, or be wanted."""
    assert xrdfs.apart("mv @/a @/b") == [(0, []), failing("3018")]


def test_directories_are_not_renamed(xrdfs: Change) -> None:
    """Their files lie on many data servers, and could not all be renamed or none."""
    xrdfs("mkdir @/d")
    assert xrdfs.apart("mv @/d @/e") == [(0, []), failing("3016")]


def test_a_file_stays_where_clients_may_write(alone: SideBySide, at: str) -> None:
    name = f"{at}/a"
    moved = alone.ours.run("xrdfs", "{host}", "mv", name, "/store/run/a")
    assert (moved.code, moved.errors) == failing("3010")
    taken = alone.ours.run("xrdfs", "{host}", "mv", "/store/run/small", f"{at}/small")
    assert (taken.code, taken.errors) == failing("3010")
    alone("xrdfs", "{host}", "stat", name)


def test_files_are_removed(xrdfs: Change) -> None:
    assert "SUCCESS" in xrdfs("rm @/a")
    xrdfs("rm @/a", code=54)
    xrdfs("rm @/none @/nor-this", code=54, in_order=False)
    xrdfs("stat @/a", code=54)
    assert xrdfs("ls @").split() == ["@/b"]


def test_many_files_are_removed(xrdfs: Change, alone: SideBySide, at: str) -> None:
    for name in "cdef":
        alone("xrdcp", "-", f"{{url}}{at}/{name}", stdin=b"x")
    xrdfs("rm @/a @/b @/c @/d @/e", in_order=False)
    assert xrdfs("ls @").split() == ["@/f"]


def test_only_rmdir_removes_directories(xrdfs: Change) -> None:
    xrdfs("mkdir @/d")
    assert xrdfs.apart("rm @/d") == [(0, []), failing("3016")]


# --- what belongs to a file ----------------------------------------------------------------


def test_files_are_made_shorter_and_longer(xrdfs: Change) -> None:
    xrdfs("truncate @/a 3")
    assert xrdfs("cat @/a") == "aaa"
    xrdfs("truncate @/a 10")
    assert xrdfs("cat @/a") == "aaa" + 7 * "\0"
    xrdfs("query checksum @/a")
    xrdfs("truncate @/a 0")
    xrdfs("stat @/a")
    xrdfs("truncate @/none 3", code=54)
    xrdfs("truncate @/a -1", code=54)
    xrdfs("truncate @/a", code=50)


def test_files_get_other_modes(xrdfs: Change) -> None:
    for mode in ("rwxrwx---", "rw-rw-rw-", "rw-r-----", "rw-r--r--"):
        xrdfs(f"chmod @/a {mode}")
        xrdfs("stat @/a")
        xrdfs("ls -l @/a")
    xrdfs("chmod @/none rw-r--r--", code=54)


def test_a_data_server_may_always_change_its_files(
    xrdfs: Change, alone: SideBySide, at: str
) -> None:
    """What a mode would keep the owner from, it would keep the data server from."""
    xrdfs("chmod @/a r--r--r--")
    stock, ours = alone.apart("xrdfs", "{host}", "stat", f"{at}/a")
    assert "Mode:   0444" in stock.stdout
    assert "Mode:   0644" in ours.stdout


def test_files_have_attributes(xrdfs: Change) -> None:
    xrdfs("xattr @/a set color=red")
    xrdfs("xattr @/a set weight=7")
    assert 'color="red"' in xrdfs("xattr @/a get color")
    xrdfs("xattr @/a list", in_order=False)
    xrdfs("xattr @/a set color=blue")
    assert 'color="blue"' in xrdfs("xattr @/a get color")
    xrdfs("xattr @/a del color")
    assert xrdfs("xattr @/a list") == '# file: @/a\nweight="7"\n'
    xrdfs("xattr @/a get color", code=54)
    xrdfs("xattr @/a del color", code=54)
    xrdfs("xattr @/none set color=red", code=54)


def test_a_renamed_file_keeps_what_belongs_to_it(xrdfs: Change) -> None:
    xrdfs("xattr @/a set color=red")
    xrdfs("chmod @/a rwxr-x---")
    xrdfs("mv @/a @/c")
    assert 'color="red"' in xrdfs("xattr @/c get color")
    xrdfs("stat @/c")
    xrdfs("query checksum @/c")


# --- where nobody may write ----------------------------------------------------------------


@pytest.mark.parametrize(
    "asked",
    [
        "rm @/small",
        "mv @/small @/other",
        "truncate @/small 3",
        "chmod @/small rw-r--r--",
        "xattr @/small set a=1",
        "xattr @/small del a",
        "mkdir @/new",
        "rmdir @/sub",
    ],
)
def test_where_nobody_may_write_nothing_changes(both: SideBySide, asked: str) -> None:
    """XRootD finds no server to write to; ours knows that nobody may."""
    xrdfs = Change(both, "/store/run")
    assert xrdfs.apart(asked) == [failing("3011"), failing("3010")]
    assert "@/sub" in xrdfs("ls @")
