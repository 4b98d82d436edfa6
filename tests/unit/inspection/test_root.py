"""ROOT files: some made by ROOT itself, some by uproot, some damaged."""

from __future__ import annotations

import os
import random
from pathlib import Path

import numpy as np
import pytest
import uproot

from dataserver.inspection import Content, Format, Table
from dataserver.inspection.child import content_or_problem
from dataserver.inspection.root import read_root

DATA = Path(__file__).parent / "data"
MADE_BY_ROOT = DATA / "clusters.root"
# As TTree::TClusterIterator told them when the file was made, but for `changing`
# and `late`: there the declared ends 250, 380 and 130 are no ends of baskets.
CLUSTERS = {
    "steady": (450, (100, 200, 300, 400, 450)),
    "changing": (450, (100, 200, 290, 330, 370, 450)),
    "late": (155, (40, 80, 120, 155)),
    "unmarked": (135, (60, 120, 135)),
    "empty": (0, ()),
    "deep/deeper/nested": (25, (10, 20, 25)),
    "pairs": (7, (3, 6, 7)),
    "ntuple": (95, (30, 60, 90, 95)),
    "again": (10, (5, 10)),
}


def inspected(path: Path) -> Content:
    return content_or_problem(read_root, Format.ROOT, os.fspath(path), path.stat().st_size)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file as uproot writes it: one tree of three clusters, one in a directory."""
    path = tmp_path_factory.mktemp("root") / "written.root"
    with uproot.recreate(path) as file:
        tree = file.mktree("events", {"x": "f8", "n": "i4"})
        for count in (1000, 500, 250):
            tree.extend({"x": np.zeros(count), "n": np.arange(count, dtype="i4")})
        file["run/lumi"] = {"section": np.arange(5)}
    return path


def test_every_table_of_a_file_made_by_root_is_found_with_its_clusters() -> None:
    content = inspected(MADE_BY_ROOT)
    assert content.format is Format.ROOT
    assert content.problem == ""
    assert content.uuid == "7c108d80-2aea-4e90-a621-6e64cf5e29af"
    found = {table.name: (table.entries, table.cluster_ends) for table in content.tables}
    assert found == CLUSTERS


def test_only_the_newest_cycle_of_a_tree_is_told() -> None:
    names = [table.name for table in inspected(MADE_BY_ROOT).tables]
    assert names.count("again") == 1


def test_clusters_of_a_file_made_by_uproot_are_its_extends(written: Path) -> None:
    content = inspected(written)
    assert content.tables == (
        Table("events", 1750, (1000, 1500, 1750)),
        Table("run/lumi", 5, (5,)),
    )
    with uproot.open(written) as file:
        assert content.uuid == str(file.file.uuid)
    assert content.problem == ""


def test_an_rntuple_made_by_uproot_is_found(tmp_path: Path) -> None:
    path = tmp_path / "ntuple.root"
    with uproot.recreate(path) as file:
        made = file.mkrntuple("data", {"x": np.arange(10)})
        made.extend({"x": np.arange(7)})
    assert inspected(path).tables == (Table("data", 17, (10, 17)),)


def test_a_file_without_tables_is_no_problem(tmp_path: Path) -> None:
    path = tmp_path / "histogram.root"
    with uproot.recreate(path) as file:
        file["h"] = np.histogram([1.0, 2.0])
    content = inspected(path)
    assert content.tables == ()
    assert content.problem == ""


@pytest.mark.parametrize("made_by", ["root", "uproot"])
def test_a_file_cut_at_any_length_has_a_problem(
    written: Path, tmp_path: Path, made_by: str
) -> None:
    data = (MADE_BY_ROOT if made_by == "root" else written).read_bytes()
    cut = tmp_path / "cut.root"
    lengths = {4, 12, 40, 63, 64, 99, 100, len(data) - 1, *range(150, len(data), len(data) // 40)}
    for length in sorted(lengths):
        cut.write_bytes(data[:length])
        problem = inspected(cut).problem
        assert problem != "", f"{length} of {len(data)} bytes"


def test_a_cut_file_is_told_with_both_lengths(written: Path, tmp_path: Path) -> None:
    data = written.read_bytes()
    cut = tmp_path / "cut.root"
    cut.write_bytes(data[:-10])
    assert inspected(cut).problem == (
        f"is cut short: {len(data) - 10} bytes are here of the {len(data)} its header tells"
    )


def test_a_file_never_closed_is_told() -> None:
    content = inspected(DATA / "unclosed.root")
    assert content.problem == "was never closed by its writer, so it lists nothing"


def test_one_unreadable_tree_leaves_the_others(written: Path, tmp_path: Path) -> None:
    with uproot.open(written) as file:
        key = file["run"].key("lumi")
        start, length = key.fSeekKey + key.fKeylen, key.fNbytes - key.fKeylen
    data = bytearray(written.read_bytes())
    data[start : start + length] = b"\xff" * length
    path = tmp_path / "half.root"
    path.write_bytes(data)
    content = inspected(path)
    assert content.tables == (Table("events", 1750, (1000, 1500, 1750)),)
    assert content.problem.startswith("run/lumi could not be read: ")
    assert "\n" not in content.problem


def test_garbled_files_never_raise_or_give_impossible_tables(written: Path, tmp_path: Path) -> None:
    rng = random.Random(1)
    whole = written.read_bytes()
    path = tmp_path / "garbled.root"
    for _ in range(60):
        data = bytearray(whole)
        for _ in range(8):
            data[rng.randrange(8, len(data))] = rng.randrange(256)
        path.write_bytes(data)
        for table in inspected(path).tables:
            assert table.entries >= 0
            assert table.cluster_ends == tuple(sorted(set(table.cluster_ends)))
            assert not table.cluster_ends or table.cluster_ends[-1] == table.entries
