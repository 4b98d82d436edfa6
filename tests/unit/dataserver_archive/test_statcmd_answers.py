from __future__ import annotations

import json

import pytest

from dataserver.archive.commanded import understand
from dataserver.archive.model import ArchiveFile, Presence
from dataserver.checksum import Checksum

ADLER = Checksum("adler32", "07a6c902")


def understood(value: object) -> ArchiveFile:
    return understand("/store/a", json.dumps(value).encode())


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


@pytest.mark.parametrize(
    "answer",
    [{}, {"size": None, "checksum": None}, {"checksum": ""}, {"checksum": {"sha256": "ff"}}],
)
def test_what_is_not_told_is_not_known(answer: object) -> None:
    assert understood(answer) == ArchiveFile("/store/a", Presence.THERE)


def test_an_empty_file_has_a_size() -> None:
    assert understood({"size": 0}) == ArchiveFile("/store/a", Presence.THERE, 0)


def test_chatter_before_the_answer_is_passed_over() -> None:
    found = understand("/store/a", b'connecting...\n{not json}\n{"size": 12}\n\n')
    assert found == ArchiveFile("/store/a", Presence.THERE, 12)


def test_an_answer_may_take_several_lines() -> None:
    assert understand("/store/a", b'{\n  "size": 12\n}\n').size_bytes == 12


@pytest.mark.parametrize(
    "output", [b"", b"12", b"[12]", b"there", b"\xff\xfe", b"[" * 60_000, b'{"size": 12']
)
def test_an_answer_without_an_object_leaves_all_unknown(output: bytes) -> None:
    found = understand("/store/a", output)
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
    ],
)
def test_a_wrong_answer_is_told_and_nothing_of_it_believed(answer: object, said: str) -> None:
    found = understood(answer)
    assert found.presence is Presence.THERE
    assert found.size_bytes is None
    assert found.checksum is None
    assert found.reason.startswith("statcmd: ")
    assert said in found.reason
