from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from dataserver.inspection import Format, Table
from dataserver.inspection.child import content_or_problem
from dataserver.inspection.parquet import read_parquet

if TYPE_CHECKING:
    from pathlib import Path


def test_rows_and_row_groups_are_told(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"x": list(range(250))}), path, row_group_size=100)
    content = read_parquet(os.fspath(path))
    assert content.format is Format.PARQUET
    assert content.tables == (Table("", 250, (100, 200, 250)),)
    assert content.problem == ""


def test_an_empty_table_has_no_row_groups(tmp_path: Path) -> None:
    path = tmp_path / "empty.parquet"
    pq.write_table(pa.table({"x": pa.array([], pa.int64())}), path)
    assert read_parquet(os.fspath(path)).tables == (Table("", 0, ()),)


def test_a_garbled_footer_is_a_problem(tmp_path: Path) -> None:
    path = tmp_path / "garbled.parquet"
    path.write_bytes(b"PAR1" + bytes(range(200)) + (150).to_bytes(4, "little") + b"PAR1")
    content = content_or_problem(
        lambda name, _size_bytes: read_parquet(name), Format.PARQUET, os.fspath(path), 212
    )
    assert content.tables == ()
    assert content.problem.startswith("cannot be read as Parquet: ")
