"""The house stands: rooms import downwards only; cores and xroot touch no I/O library."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

#: What would let pure code touch the world: none of it may be loaded by importing any.
IO_LIBRARIES = (
    "grpc",
    "google.protobuf",
    "asyncio",
    "sqlite3",
    "socket",
    "subprocess",
    "selectors",
    "multiprocessing",
    "psutil",
    "uproot",
    "pyarrow",
    "logging",
)


def test_a_room_imports_only_from_rooms_below_it() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([lint], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("pure", ["redirector/core", "dataserver/core", "packetizer/core", "xroot"])
def test_pure_code_runs_without_any_io_library(pure: str) -> None:
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in (ROOT / pure).rglob("*.py")
    ]
    assert len(modules) > 3
    code = f"""
import importlib, sys
for name in {modules!r}:
    importlib.import_module(name)
loaded = [name for name in {IO_LIBRARIES!r} if name in sys.modules]
assert not loaded, f"importing this loaded {{loaded}}"
"""
    done = subprocess.run(
        [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{code}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
