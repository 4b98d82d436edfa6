"""The lines in replies, as XRootD writes them, and back."""

from __future__ import annotations

import pytest

from xroot import texts
from xroot.errors import ProtocolError
from xroot.protocol import Code, StatFlag
from xroot.texts import Location, StatText

FILE = StatText(10_000, StatFlag.READABLE, 1_795_562_608)
LONG = StatText(
    4096,
    StatFlag.EXECUTABLE | StatFlag.DIRECTORY | StatFlag.READABLE,
    1_795_562_651,
    9_255_074_702_360_064,
    1_795_562_652,
    1_795_562_608,
    0o755,
    "xrootd",
    "root",
)


@pytest.mark.parametrize(
    ("stat", "text"),
    [
        (FILE, "0 10000 16 1795562608"),
        (StatText(0, 0), "0 0 0 0"),
        (LONG, "9255074702360064 4096 19 1795562651 1795562652 1795562608 0755 xrootd root"),
        (StatText(1, 16, 2, 3, 4, 5, 0o4), "3 1 16 2 4 5 0004 - -"),
    ],
)
def test_stat(stat: StatText, text: str) -> None:
    assert str(stat) == text
    assert texts.read_stat(text) == stat
    assert texts.read_stat(f"{text}\0") == stat
    assert texts.read_stat(f"{text} [ adler32:021700dc ]") == stat


def test_directories_are_known_by_their_flags() -> None:
    assert LONG.is_directory
    assert not FILE.is_directory


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\0",
        "1 2 3",
        "1 2 3 x",
        "1 -2 3 4",
        "1 2 -3 4",
        "1 2 3 4 5 6 0799 a b",
        "1 2 3 4 5 x 0755 a b",
        "9" * 5000 + " 1 1 1",
    ],
)
def test_what_is_no_stat_is_refused(text: str) -> None:
    with pytest.raises(ProtocolError) as refused:
        texts.read_stat(text)
    assert refused.value.code == Code.BAD_PAYLOAD
    assert len(refused.value.message) < 200


@pytest.mark.parametrize(
    ("location", "text"),
    [
        (Location("[::127.0.0.1]:31611", can_write=True), "Sw[::127.0.0.1]:31611"),
        (Location("disk1:1094"), "Srdisk1:1094"),
        (Location("disk1:1094", is_pending=True), "srdisk1:1094"),
        (Location("head:1094", is_manager=True), "Mrhead:1094"),
        (Location("head:1094", is_manager=True, is_pending=True, can_write=True), "mwhead:1094"),
    ],
)
def test_locations(location: Location, text: str) -> None:
    assert str(location) == text
    assert texts.read_locations(f"{text}\0") == [location]
    assert texts.read_locations(f"{text} {text}") == [location, location]


def test_no_locations() -> None:
    assert texts.read_locations("\0") == []


@pytest.mark.parametrize("text", ["S", "Sw", "Xwhost:1", "Sxhost:1", "Srhost:1 what"])
def test_what_is_no_location_is_refused(text: str) -> None:
    with pytest.raises(ProtocolError):
        texts.read_locations(text)


@pytest.mark.parametrize(
    ("entries", "text"),
    [
        ([], ""),
        ([("a.root", None), ("dir", None)], "a.root\ndir"),
        (
            [("a b.root", FILE), ("dir", LONG)],
            f".\n0 0 0 0\na b.root\n{FILE}\ndir\n{LONG}",
        ),
    ],
)
def test_listings(entries: list[tuple[str, StatText | None]], text: str) -> None:
    assert texts.listing(entries) == text
    assert texts.read_listing(f"{text}\0") == entries
    assert texts.read_listing(f"{text}\n\0") == entries


def test_names_alone_are_told_unless_all_entries_are_known() -> None:
    assert texts.listing([("a", FILE), ("b", None)]) == "a\nb"


def test_an_empty_directory_with_what_is_known_of_its_entries() -> None:
    assert texts.read_listing(".\n0 0 0 0\0") == []
    assert texts.read_listing(".\n0 0 0 0\n\0") == []


@pytest.mark.parametrize("text", [".\n0 0 0 0\na.root", ".\n0 0 0 0\na.root\nno stat"])
def test_what_is_no_listing_is_refused(text: str) -> None:
    with pytest.raises(ProtocolError):
        texts.read_listing(text)


def test_cgi_values() -> None:
    assert texts.cgi_values("") == {}
    assert texts.cgi_values("a=1&b=2=3&a=4&flag&&c=") == {"a": "4", "b": "2=3", "c": ""}


def test_space() -> None:
    # As XRootD's own server says it.
    told = texts.space(
        total_bytes=270553174016,
        free_bytes=83765186560,
        largest_bytes=83765186560,
        used_bytes=186787987456,
    )
    assert told == (
        "oss.cgroup=public&oss.space=270553174016&oss.free=83765186560&oss.maxf=83765186560"
        "&oss.used=186787987456&oss.quota=-1"
    )


def test_vfs() -> None:
    assert texts.vfs(nodes=1, free_mb=79884, used_percent=69, stagers=2) == "1 79884 69 2 79884 69"
