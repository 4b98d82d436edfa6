"""The value of a session is written whole, in the form its file's name asks for."""

from __future__ import annotations

import json
import pickle
from typing import TYPE_CHECKING

import numpy as np
import pytest

from common.errors import UsageError
from packhorse.cli.results import check_output, value_to_text, write_value

if TYPE_CHECKING:
    from pathlib import Path

VALUE = {"events": 7, "mass": np.arange(3), "mean": np.float64(0.5), "tags": ("a", None)}


def test_json_holds_numbers_lists_dicts_and_arrays(tmp_path: Path) -> None:
    write_value(tmp_path / "v.json", VALUE)
    assert json.loads((tmp_path / "v.json").read_text()) == {
        "events": 7,
        "mass": [0, 1, 2],
        "mean": 0.5,
        "tags": ["a", None],
    }


def test_arrays_are_written_as_numpy_reads_them(tmp_path: Path) -> None:
    write_value(tmp_path / "v.npy", np.arange(3))
    assert np.load(tmp_path / "v.npy").tolist() == [0, 1, 2]
    write_value(tmp_path / "v.npz", {"a": np.arange(3), "b": 5})
    with np.load(tmp_path / "v.npz") as arrays:
        assert {name: arrays[name].tolist() for name in arrays} == {"a": [0, 1, 2], "b": 5}


def test_any_other_name_gets_a_pickle(tmp_path: Path) -> None:
    path = tmp_path / "v.pkl"
    path.write_text("older")
    write_value(path, {1, 2})
    assert pickle.loads(path.read_bytes()) == {1, 2}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("name", "value"),
    [("v.json", {1, 2}), ("v.npz", [1, 2]), ("v.npy", {"a": {1, 2}}), ("v.npz", {"a": {1, 2}})],
    ids=["set as json", "list as npz", "dict as npy", "sets as npz"],
)
def test_a_value_its_format_cannot_hold_is_not_lost(
    name: str, value: object, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=f"{name}.pickle") as refused:
        write_value(tmp_path / name, value)
    assert "cannot hold the value" in str(refused.value)
    (kept,) = tmp_path.iterdir()
    assert pickle.loads(kept.read_bytes()) == value


def test_a_path_that_cannot_be_written_is_refused_before_the_work(tmp_path: Path) -> None:
    check_output(None)
    check_output(tmp_path / "new.json")
    with pytest.raises(UsageError, match="is a directory"):
        check_output(tmp_path)
    with pytest.raises(UsageError, match="cannot be written"):
        check_output(tmp_path / "nowhere" / "x")


def test_a_long_value_is_shortened_for_people() -> None:
    assert value_to_text([1, 2]) == "[1, 2]"
    assert len(value_to_text("x" * 100_000)) < 5000
