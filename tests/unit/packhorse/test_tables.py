"""Columns of a range of entries, and whose fault it is if they cannot be had."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import awkward as ak
import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import uproot

from packhorse.replica import ReplicaError
from packhorse.replica_file import ReplicaFile
from packhorse.tables import Table, open_table

if TYPE_CHECKING:
    from collections.abc import Callable

DATA = Path(__file__).parents[4] / "shared" / "data"
ENTRIES = 1000


def as_file(content: bytes) -> ReplicaFile:
    """Bytes, as a replica read from afar gives them."""
    return ReplicaFile(
        lambda offset, length: content[offset : offset + length],
        len(content),
        name="/f",
        is_local=False,
    )


def ttree(folder: Path) -> Path:
    path = folder / "t.root"
    with uproot.recreate(path) as file:
        tree = file.mktree("events", {"x": "int64", "y": "float32"})
        for start in range(0, ENTRIES, 100):
            tree.extend({"x": np.arange(start, start + 100), "y": np.ones(100, np.float32)})
    return path


def rntuple(folder: Path) -> Path:
    path = folder / "n.root"
    with uproot.recreate(path) as file:
        ntuple = file.mkrntuple("events", {"x": np.arange(0), "y": np.ones(0)})
        for start in range(0, ENTRIES, 100):
            ntuple.extend({"x": np.arange(start, start + 100), "y": np.ones(100)})
    return path


def parquet(folder: Path) -> Path:
    path = folder / "p.parquet"
    table = pa.table({"x": np.arange(ENTRIES), "y": np.ones(ENTRIES)})
    pyarrow.parquet.write_table(table, path, row_group_size=100)
    return path


MAKERS = pytest.mark.parametrize("make", [ttree, rntuple, parquet])


def open_made(make: Callable[[Path], Path], folder: Path) -> Table:
    path = make(folder)
    file_format = path.suffix.removeprefix(".")
    return open_table(file_format, as_file(path.read_bytes()), "/store/f", "events")


@MAKERS
@pytest.mark.parametrize(
    ("start", "stop"), [(0, 1000), (0, 100), (100, 200), (50, 130), (199, 200), (999, 1000), (7, 7)]
)
def test_exactly_the_entries_asked_for_are_read(
    make: Callable[[Path], Path], start: int, stop: int, tmp_path: Path
) -> None:
    table = open_made(make, tmp_path)
    arrays = table.arrays(start, stop, ["x"])
    assert ak.fields(arrays) == ["x"]
    assert arrays["x"].tolist() == list(range(start, stop))
    table.close()


@MAKERS
def test_columns_come_as_numpy_too_and_all_of_them_if_none_are_named(
    make: Callable[[Path], Path], tmp_path: Path
) -> None:
    table = open_made(make, tmp_path)
    arrays = table.arrays(10, 20, None, library="np")
    assert sorted(arrays) == ["x", "y"]
    assert list(arrays["x"]) == list(range(10, 20))
    assert list(table.arrays(10, 20, "x", library="np")) == ["x"]


@MAKERS
def test_a_column_that_is_not_there_is_the_askers_mistake(
    make: Callable[[Path], Path], tmp_path: Path
) -> None:
    table = open_made(make, tmp_path)
    for columns in ("z", ["z"], ["x", "z"]):
        with pytest.raises(KeyError, match="z"):
            table.arrays(0, 10, columns)


@MAKERS
def test_an_option_that_is_not_there_is_the_askers_mistake(
    make: Callable[[Path], Path], tmp_path: Path
) -> None:
    table = open_made(make, tmp_path)
    with pytest.raises(TypeError):
        table.arrays(0, 10, ["x"], no_such_option=1)
    with pytest.raises((TypeError, ValueError, ReplicaError)):
        table.arrays(0, 10, ["x"], library="no such library")


def test_expressions_and_cuts_are_uproots(tmp_path: Path) -> None:
    table = open_made(ttree, tmp_path)
    arrays = table.arrays(0, 10, ["twice"], cut="x > 7", aliases={"twice": "2*x"})
    assert arrays["twice"].tolist() == [16, 18]
    with pytest.raises(SyntaxError):
        table.arrays(0, 10, ["x +"])
    assert ak.fields(table.arrays(0, 10, filter_name="?")) == ["x", "y"]


def test_parquet_comes_as_an_arrow_table_too(tmp_path: Path) -> None:
    rows = open_made(parquet, tmp_path).arrays(250, 260, ["x"], library="arrow")
    assert rows.num_rows == 10
    assert rows.column("x").to_pylist() == list(range(250, 260))


@MAKERS
def test_a_truncated_file_is_damaged(make: Callable[[Path], Path], tmp_path: Path) -> None:
    path = make(tmp_path)
    content = path.read_bytes()[:-200]
    with pytest.raises(ReplicaError, match="/store/f cannot be read") as caught:
        open_table(path.suffix.removeprefix("."), as_file(content), "/store/f", "events").arrays(
            0, 1000, ["x"]
        )
    assert caught.value.damaged


@pytest.mark.parametrize("make", [ttree, parquet])
def test_garbled_columns_are_damaged(make: Callable[[Path], Path], tmp_path: Path) -> None:
    path = make(tmp_path)
    content = bytearray(path.read_bytes())
    file_format = path.suffix.removeprefix(".")
    first = 200
    if make is ttree:
        with uproot.open(path) as file:
            first = int(file["events"]["x"].member("fBasketSeek")[3]) + 90
    content[first : first + 100] = bytes(reversed(content[first : first + 100]))
    with pytest.raises(ReplicaError, match="/store/f cannot be read") as caught:
        open_table(file_format, as_file(bytes(content)), "/store/f", "events").arrays(0, 1000)
    assert caught.value.damaged


def test_a_text_file_named_root_is_damaged() -> None:
    with pytest.raises(ReplicaError, match="cannot be read") as caught:
        open_table("root", as_file(b"just some text" * 100), "/store/f.root", "events")
    assert caught.value.damaged


def test_a_tree_that_is_not_there_is_told(tmp_path: Path) -> None:
    content = ttree(tmp_path).read_bytes()
    with pytest.raises(ReplicaError, match="/store/f has no tree 'other'"):
        open_table("root", as_file(content), "/store/f", "other")


def test_a_replica_that_goes_away_is_not_damaged(tmp_path: Path) -> None:
    content = ttree(tmp_path).read_bytes()
    gone = False

    def read(offset: int, length: int) -> bytes:
        if gone:
            raise ReplicaError("the node is gone")
        return content[offset : offset + length]

    table = open_table(
        "root", ReplicaFile(read, len(content), name="/f", is_local=True), "/f", "events"
    )
    gone = True
    with pytest.raises(ReplicaError, match="the node is gone") as caught:
        table.arrays(0, 10, ["x"])
    assert not caught.value.damaged


def test_plain_bytes_have_no_columns() -> None:
    with pytest.raises(TypeError, match=r"plain bytes.*packet\.bytes\(\)"):
        open_table("bytes", as_file(b"text"), "/store/f.txt", "")


@pytest.mark.parametrize(
    ("name", "tree", "column"),
    [
        ("uproot-Zmumu.root", "events", "E1"),
        ("uproot-HZZ.root", "events", "Muon_Px"),
        ("nanoAOD_2015_CMS_Open_Data_ttbar.root", "Events", "nMuon"),
        ("nano_dimuon.parquet", "", "event"),
    ],
)
def test_real_files_give_what_their_libraries_give(name: str, tree: str, column: str) -> None:
    path = DATA / name
    if not path.exists():
        pytest.skip(f"{path} is not here")
    file_format = path.suffix.removeprefix(".")
    expected: Any
    if file_format == "root":
        with uproot.open(path) as file:
            expected = file[tree].arrays([column])[column]
    else:
        expected = ak.from_arrow(pyarrow.parquet.read_table(path, columns=[column]))[column]
    table = open_table(file_format, as_file(path.read_bytes()), name, tree)
    parts = [
        table.arrays(start, min(start + 7, len(expected)), [column])[column]
        for start in range(0, len(expected), 7)
    ]
    assert ak.concatenate(parts).tolist() == expected.tolist()
