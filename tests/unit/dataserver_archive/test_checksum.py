from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

import pytest

from common.errors import UsageError
from dataserver.checksum import ALGORITHMS, READ_BYTES, Checksum, canonical, of_bytes, of_fd, parse

if TYPE_CHECKING:
    from pathlib import Path

# The check values of "123456789" in the catalogue of CRC algorithms, RFC 1950 and RFC 1321.
CHECKED = b"123456789"
CHECK_VALUES = {
    "adler32": "091e01de",
    "crc32c": "e3069283",
    "md5": "25f9e794323b453885f5181f1b624d0b",
}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_check_values_of_the_standards_are_met(algorithm: str) -> None:
    assert of_bytes(CHECKED, algorithm) == Checksum(algorithm, CHECK_VALUES[algorithm])


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_file_longer_than_one_read_is_summed_whole(tmp_path: Path, algorithm: str) -> None:
    data = bytes(range(256)) * (READ_BYTES // 100)
    path = tmp_path / "file"
    path.write_bytes(data)
    fd = os.open(path, os.O_RDONLY)
    try:
        os.lseek(fd, 17, os.SEEK_SET)
        assert of_fd(fd, algorithm) == of_bytes(data, algorithm)
        assert os.lseek(fd, 0, os.SEEK_CUR) == 17
    finally:
        os.close(fd)


def test_values_keep_their_leading_zeros() -> None:
    assert of_bytes(b"", "adler32").value == "00000001"
    assert of_bytes(b"", "crc32c").value == "00000000"
    assert of_bytes(b"", "md5").value == hashlib.md5(b"").hexdigest()


def test_summing_stops_when_told(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(3 * READ_BYTES))
    answers = iter([True, True, False])
    fd = os.open(path, os.O_RDONLY)
    try:
        assert of_fd(fd, "adler32", lambda: next(answers)) is None
    finally:
        os.close(fd)
    assert next(answers, "asked no more") == "asked no more"


@pytest.mark.parametrize("algorithm", ["adler32", "ADLER32", "Adler-32", "adler_32", " adler 32 "])
@pytest.mark.parametrize("value", ["07a6c902", "7a6c902", "07A6C902", "0x7a6c902", " 0X07A6c902\n"])
def test_every_way_of_writing_a_checksum_is_one(algorithm: str, value: str) -> None:
    assert canonical(algorithm, value) == Checksum("adler32", "07a6c902")


@pytest.mark.parametrize(
    "written", ["adler32:7a6c902", "ADLER32=07A6C902", "adler32: 0x07a6c902", "adler32 07a6c902"]
)
def test_a_checksum_written_in_one_text_is_understood(written: str) -> None:
    assert parse(written) == Checksum("adler32", "07a6c902")
    assert parse(str(parse(written))) == parse(written)


@pytest.mark.parametrize(
    ("algorithm", "value", "said"),
    [
        ("sha256", "00", "'sha256' is not known; it may be one of adler32, crc32c, md5"),
        ("adler32", "", "'' is not a checksum of adler32, which has 8 hexadecimal digits"),
        ("adler32", "7a6c902z", "'7a6c902z' is not a checksum of adler32"),
        ("adler32", "107a6c902", "'107a6c902' is not a checksum of adler32"),
        ("md5", "0x" + "f" * 33, "is not a checksum of md5, which has 32 hexadecimal digits"),
        ("crc32c", "١٢", "is not a checksum of crc32c"),
    ],
)
def test_what_is_no_checksum_is_refused(algorithm: str, value: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        canonical(algorithm, value)
    assert said in str(caught.value)


@pytest.mark.parametrize("written", ["", "adler32", "07a6c902", ":"])
def test_half_a_checksum_is_refused(written: str) -> None:
    with pytest.raises(UsageError):
        parse(written)
