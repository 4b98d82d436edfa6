"""XRootD's Python bindings, unmodified: they do the same with XRootD's servers and with ours."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from tests.support.side_by_side import SideBySide

CALLS: Final = Path(__file__).parent / "clients" / "pyxrootd_calls.py"
#: Debian's bindings are those of its own Python; ours is given what pip has.
PYTHONS: Final = {"system": "/usr/bin/python3", "pip": sys.executable}


class Calls:
    """Runs a step of calls on both sides, which must come to the same."""

    def __init__(self, python: str, directory: str) -> None:
        self._python = python
        self.directory = directory

    def __call__(self, both: SideBySide, step: str) -> list[str]:
        """What came of each call."""
        said = both(self._python, str(CALLS), "{host}", self.directory, step)
        return said.replace(self.directory, "@").splitlines()


@pytest.fixture(params=PYTHONS)
def calls(request: pytest.FixtureRequest, directory: str) -> Calls:
    python = PYTHONS[request.param]
    if shutil.which(python) is None:
        pytest.skip(f"not installed: {python}")
    if subprocess.run([python, "-c", "import XRootD.client"], capture_output=True).returncode:
        pytest.skip(f"not installed: XRootD's bindings for {python}")
    return Calls(python, directory)


def test_files_are_read_in_all_ways(calls: Calls, both: SideBySide) -> None:
    said = calls(both, "read_in_all_ways")
    assert "readline 'line 0\\n' 7" in said
    assert "readlines 1000" in said
    assert "readchunks [4000, 4000, 890]" in said
    assert [line for line in said if "refused" in line] == ["write refused", "truncate refused"]


def test_vectors_are_read(calls: Calls, both: SideBySide) -> None:
    said = calls(both, "read_vectors")
    assert [line for line in said if " ok" not in line] == [
        "vector_read overlapping 303 0 ",  # says the client itself
        "vector_read past the end refused",
    ]
    assert any(line.startswith("vector_read most ok (1024, ") for line in said)


def test_names_are_asked_about(calls: Calls, both: SideBySide) -> None:
    said = calls(both, "ask_of_names")
    assert "ping ok " in said
    assert "stat /store/run/small ok (1000, 16)" in said
    assert "stat /store/run/none 400 3011 " in said
    assert sum(line.startswith("dirlist") and "('small', (1000, 16))" in line for line in said) == 1
    assert any("adler32 ecb8cd15" in line for line in said)
    assert said.count("query ok True") == 2


def test_directories_are_listed(calls: Calls, alone: SideBySide) -> None:
    said = calls(alone, "list_directories")
    assert any("('sub/deep/d', (10, 16))" in line for line in said)


def test_files_are_staged(calls: Calls, both: SideBySide) -> None:
    """A request whose state can be asked for; how it is told is each server's own."""
    assert calls(both, "stage") == ["prepare ok ", "query ok "]


def test_files_are_opened_in_all_ways(calls: Calls, alone: SideBySide) -> None:
    said = calls(alone, "open_in_all_ways")
    assert [line for line in said if "open" in line and " ok " not in line] == [
        "open modes (8,) 400 3018 ",
        "open modes (10,) 400 3018 ",
        "open none (32,) 400 3011 ",
        "open none (16,) 400 3011 ",
        f"open {calls.directory.rpartition('/')[2]} (16,) 400 3016 ",
    ]


def test_files_are_written_in_all_ways(calls: Calls, alone: SideBySide) -> None:
    said = calls(alone, "write_in_all_ways")
    assert all(" ok " in line for line in said)
    assert "read what was emptied ok (0, 0, b'')" in said


def test_names_are_changed(calls: Calls, alone: SideBySide) -> None:
    said = calls(alone, "change_names")
    assert "mv ok " in said
    assert "mv 400 3011 " in said
    assert "rmdir 400 3005 " in said


def test_attributes_are_noted(calls: Calls, alone: SideBySide) -> None:
    said = calls(alone, "note_attributes")
    assert "get_xattr ok [('color', 'red', 0), ('none', '', 3027)]" in said
    assert "list_xattr ok [('weight', '7', 0)]" in said
    assert "file get_xattr ok [('shape', 'round', 0)]" in said
    assert said[-1] == "list_xattr ok [('shape', 'round', 0)]"


def test_files_are_copied(calls: Calls, alone: SideBySide) -> None:
    said = calls(alone, "copy")
    assert [line for line in said if line.startswith("job")] == [
        "job ok ",
        "job ok ",
        "job 400 3011 ",
    ]
