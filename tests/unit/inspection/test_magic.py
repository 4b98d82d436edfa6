from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest

from dataserver.inspection import Content, Format, Table
from dataserver.inspection.magic import look

if TYPE_CHECKING:
    from pathlib import Path

ROOT_START = struct.pack(">4sII", b"root", 63602, 100) + bytes(200)
BIG_ROOT_START = struct.pack(">4sII", b"root", 1063602, 100) + bytes(200)


def looked_at(path: Path, data: bytes) -> Format | Content:
    path.write_bytes(data)
    return look(path, len(data))


@pytest.mark.parametrize("data", [ROOT_START, BIG_ROOT_START])
@pytest.mark.parametrize("name", ["a.root", "a", "a.txt"])
def test_a_root_file_is_known_by_its_header_whatever_its_name(
    tmp_path: Path, name: str, data: bytes
) -> None:
    assert looked_at(tmp_path / name, data) is Format.ROOT


def test_a_root_file_cut_within_its_header_is_still_one(tmp_path: Path) -> None:
    assert looked_at(tmp_path / "a.root", b"root\0\0") is Format.ROOT


def test_a_parquet_file_is_known_by_both_its_ends(tmp_path: Path) -> None:
    assert looked_at(tmp_path / "a", b"PAR1 some columns PAR1") is Format.PARQUET


@pytest.mark.parametrize("name", ["passwd", "notes.txt", "archive.tar.gz", "root", "parquet"])
@pytest.mark.parametrize("data", [b"", b"r", b"root:x:0:0:root:/root:/bin/sh\n", b"PAR1"])
def test_other_files_are_bytes_without_a_problem(tmp_path: Path, name: str, data: bytes) -> None:
    expected = Content(Format.BYTES, (Table("", len(data)),))
    assert looked_at(tmp_path / name, data) == expected


@pytest.mark.parametrize(
    ("name", "data", "problem"),
    [
        ("a.root", b"once upon a time", "named .root but is not a ROOT file"),
        ("a.ROOT", b"root: a plant's lower part", "named .root but is not a ROOT file"),
        ("a.root", b"", "named .root but is empty"),
        ("a.parquet", b"", "named .parquet but is empty"),
        ("a.parquet", b"PAR1 cut sho", "named .parquet but is not a Parquet file"),
        ("a.parquet", b"PAR1", "named .parquet but is not a Parquet file"),
    ],
)
def test_a_broken_promise_of_the_name_is_told(
    tmp_path: Path, name: str, data: bytes, problem: str
) -> None:
    expected = Content(Format.BYTES, (Table("", len(data)),), problem=problem)
    assert looked_at(tmp_path / name, data) == expected


def test_a_file_that_cannot_be_opened_is_a_problem_not_an_error(tmp_path: Path) -> None:
    found = look(tmp_path / "gone.dat", 12)
    assert found == Content(
        Format.BYTES, (Table("", 12),), problem="could not be read: No such file or directory"
    )


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(ROOT_START)
    (tmp_path / "link.root").symlink_to(tmp_path / "secret")
    found = look(tmp_path / "link.root", len(ROOT_START))
    assert isinstance(found, Content)
    assert "could not be read" in found.problem
