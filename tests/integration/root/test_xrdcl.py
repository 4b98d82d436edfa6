"""XRootD's C++ client library: what neither its commands nor its Python bindings can do."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.side_by_side import SideBySide

SOURCE = Path(__file__).parent / "clients" / "writes.cc"
HEADERS = Path("/usr/include/xrootd")


@pytest.fixture(scope="session")
def writes(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The program that writes in all ways, compiled."""
    if shutil.which("g++") is None or not (HEADERS / "XrdCl").is_dir():
        pytest.skip("there is no g++ here, or no libxrootd-client-dev")
    program = tmp_path_factory.mktemp("compiled") / "writes"
    argv = ["g++", "-std=c++17", "-I", str(HEADERS), "-o", str(program), str(SOURCE)]
    subprocess.run([*argv, "-lXrdCl", "-lXrdUtils"], check=True, timeout=120)
    return str(program)


@pytest.mark.parametrize("env", [{}, {"XRD_CPUSEPGWRTRD": "0"}], ids=["in pages", "plainly"])
def test_a_program_writes_in_all_ways(
    alone: SideBySide, directory: str, writes: str, env: dict[str, str]
) -> None:
    told = alone(writes, f"{{url}}{directory}/", env=env)
    assert told.splitlines().count("close ok") == 5
    # What came damaged and not again is no file here; XRootD keeps it, but says so too.
    gone = alone.ours.run("xrdfs", "{host}", "stat", f"{directory}/damaged")
    assert gone.errors == ["ERROR", "3011"]
    for name in ("scattered", "gathered", "pages", "many"):
        alone("xrdfs", "{host}", "query", "checksum", f"{directory}/{name}")
