"""What statcmd and listcmd print: understood however written, or told to be wrong."""

from __future__ import annotations

import json

import pytest

from common.errors import UsageError
from dataserver.archive.answers import understand_file, understand_listing
from dataserver.archive.model import ArchiveEntry, ArchiveFile, Presence
from dataserver.checksum import Checksum

ADLER = Checksum("adler32", "07a6c902")


def understood(value: object) -> ArchiveFile:
    return understand_file("/store/a", json.dumps(value).encode())


@pytest.mark.parametrize("size", [12, "12"], ids=["number", "text"])
@pytest.mark.parametrize(
    "checksum",
    [
        {"adler32": "07a6c902"},
        {"ADLER-32": "7A6C902"},
        {"md5": "0" * 32, "Adler32": "0x07a6c902", "sha256": "ff"},
        "adler32:07a6c902",
        "ADLER32:7a6c902",
    ],
)
def test_size_and_checksum_are_understood_however_written(size: object, checksum: object) -> None:
    found = understood({"size": size, "checksum": checksum, "locality": "NEARLINE"})
    assert found == ArchiveFile("/store/a", Presence.THERE, 12, ADLER)


@pytest.mark.parametrize("mtime", [1_790_000_000, 1_790_000_000.0, "1790000000"], ids=repr)
def test_the_time_of_change_is_understood_however_written(mtime: object) -> None:
    found = understood({"size": 12, "mtime": mtime, "type": "file"})
    assert found == ArchiveFile("/store/a", Presence.THERE, 12, mtime_s=1_790_000_000.0)


def test_a_directory_is_nothing_to_stage() -> None:
    found = understood({"type": "dir", "mtime": 12, "size": 4096})
    assert found == ArchiveFile(
        "/store/a",
        Presence.NOT_THERE,
        reason="/store/a is a directory in the archive",
        mtime_s=12.0,
        is_directory=True,
    )


@pytest.mark.parametrize(
    "answer",
    [{}, {"size": None, "checksum": None}, {"checksum": ""}, {"checksum": {"sha256": "ff"}}],
)
def test_what_is_not_told_is_not_known(answer: object) -> None:
    assert understood(answer) == ArchiveFile("/store/a", Presence.THERE)


def test_an_empty_file_has_a_size() -> None:
    assert understood({"size": 0}) == ArchiveFile("/store/a", Presence.THERE, 0)


def test_chatter_before_the_answer_is_passed_over() -> None:
    found = understand_file("/store/a", b'connecting...\n{not json}\n{"size": 12}\n\n')
    assert found == ArchiveFile("/store/a", Presence.THERE, 12)


def test_an_answer_may_take_several_lines() -> None:
    assert understand_file("/store/a", b'{\n  "size": 12\n}\n').size_bytes == 12


@pytest.mark.parametrize(
    "output", [b"", b"12", b"[12]", b"there", b"\xff\xfe", b"[" * 60_000, b'{"size": 12']
)
def test_an_answer_without_an_object_leaves_all_unknown(output: bytes) -> None:
    found = understand_file("/store/a", output)
    assert found.presence is Presence.UNKNOWN
    assert found.reason == 'statcmd printed no JSON object, as in {"size": 123}'


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"size": -1}, "size '-1' is not a number of bytes"),
        ({"size": 1.5}, "size '1.5' is not a number of bytes"),
        ({"size": True}, "size 'True' is not a number of bytes"),
        ({"size": "12 MB"}, "size '12 MB' is not a number of bytes"),
        ({"size": 10**30}, "is not a number of bytes"),
        ({"checksum": {"adler32": "hello"}}, "'hello' is not a checksum of adler32"),
        ({"checksum": "sha256:ff"}, "'sha256' is not known"),
        ({"checksum": 12}, "checksum '12' is not written like"),
        ({"mtime": -1}, "mtime '-1' is not a time in seconds since 1970"),
        ({"mtime": 1_790_000_000_000}, "is not a time in seconds"),
        ({"mtime": "yesterday"}, "mtime 'yesterday' is not a time"),
        ({"mtime": True}, "mtime 'True' is not a time"),
        ({"mtime": 10**400}, "is not a time"),
        ({"mtime": float("nan")}, "mtime 'nan' is not a time"),
        ({"mtime": [1]}, "mtime '[1]' is not a time"),
        ({"type": "directory"}, """type 'directory' is neither "file" nor "dir\""""),
        ({"type": ["dir"]}, "is neither"),
    ],
)
def test_a_wrong_answer_is_told_and_nothing_of_it_believed(answer: object, said: str) -> None:
    found = understood(answer)
    assert found.presence is Presence.THERE
    assert found.size_bytes is None
    assert found.checksum is None
    assert found.mtime_s is None
    assert not found.is_directory
    assert found.reason.startswith("statcmd: ")
    assert said in found.reason


# --- listings ---------------------------------------------------------------


def test_every_line_of_a_listing_is_an_entry() -> None:
    said = b"""{"name": "a.root", "size": 123, "mtime": 1790000000, "type": "file"}
{"name": "run 7", "type": "dir", "size": 4096, "mtime": 1790000000.5}

{"name": "b.root", "owner": "cms"}\r
{"name": "."}
{"name": ".."}
{"name": "\\u6f22\\u5b57", "size": "0"}"""
    assert understand_listing(said) == [
        ArchiveEntry("a.root", False, 123, 1_790_000_000.0),
        ArchiveEntry("run 7", True, None, 1_790_000_000.5),
        ArchiveEntry("b.root"),
        ArchiveEntry("漢字", False, 0),
    ]
    assert understand_listing(b"") == []


def test_a_name_that_is_not_utf8_spoils_no_other() -> None:
    odd, good = understand_listing(b'{"name": "\xff"}\n{"name": "a"}\n')
    assert good == ArchiveEntry("a")
    with pytest.raises(UnicodeEncodeError):
        odd.name.encode()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("a.root 123", "line 2: this is not JSON: a.root 123"),
        ("[" * 60_000, "line 2: this is not JSON"),
        ("[]", "line 2: this is no JSON object"),
        ("{}", 'line 2: "name" is not the name of an entry'),
        ('{"name": ""}', "is not the name"),
        ('{"name": 7}', "is not the name"),
        ('{"name": "run7/a"}', "is not the name"),
        ('{"name": "a", "size": -1}', "line 2: size '-1' is not a number of bytes"),
        ('{"name": "a", "mtime": "now"}', "line 2: mtime 'now' is not a time"),
        ('{"name": "a", "type": "link"}', "line 2: type 'link' is neither"),
    ],
)
def test_a_line_that_is_no_entry_is_named(line: str, said: str) -> None:
    with pytest.raises(UsageError) as raised:
        understand_listing(f'{{"name": "fine"}}\n{line}\n{{"name": "fine too"}}\n'.encode())
    assert said in str(raised.value)
    assert str(raised.value).startswith("listcmd: line 2: ")
    assert len(str(raised.value)) < 250
