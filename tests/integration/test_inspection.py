"""The inspector with its child process: real files, and children that misbehave."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import struct
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest
import uproot

from dataserver.inspection import Content, Format, Inspector, InspectorStoppedError, Table

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

REPOSITORY = Path(__file__).resolve().parents[2]
SHARED_DATA = REPOSITORY.parent / "shared" / "data"
ODD_CHILD = (sys.executable, "-P", str(REPOSITORY / "tests" / "support" / "odd_inspection.py"))
ROOT_START = struct.pack(">4sII", b"root", 63602, 100) + bytes(100)


def children() -> set[int]:
    return {
        process.pid
        for process in psutil.Process().children(recursive=True)
        if "inspection" in " ".join(process.cmdline())
    }


def inspected(inspector: Inspector, path: Path) -> Coroutine[Any, Any, Content]:
    return inspector.inspect(path, path.stat().st_size)


@pytest.fixture
async def inspector() -> AsyncIterator[Inspector]:
    made = Inspector()
    await made.start()
    yield made
    await made.stop()
    assert children() == set()


@pytest.fixture
async def odd() -> AsyncIterator[Inspector]:
    """An inspector whose child misbehaves on demand; half a second per file."""
    made = Inspector(time_limit_s=0.5, command=ODD_CHILD)
    await made.start()
    yield made
    await made.stop()
    assert children() == set()


@pytest.fixture
def root_file(tmp_path: Path) -> Callable[[str], Path]:
    def make(name: str) -> Path:
        path = tmp_path / f"{name}.root"
        path.write_bytes(ROOT_START)
        return path

    return make


# --- real files -------------------------------------------------------------


@pytest.mark.skipif(not SHARED_DATA.is_dir(), reason=f"the real files of {SHARED_DATA} are absent")
@pytest.mark.parametrize(
    ("name", "entries"),
    [
        ("uproot-Zmumu.root", {"events": 2304}),
        ("uproot-HZZ.root", {"events": 2421}),
        ("nanoAOD_2015_CMS_Open_Data_ttbar.root", {"Events": 200}),
        ("nano_dy.root", {"Events": 40, "Runs": 1}),
        ("nano_dimuon.root", {"Events": 40, "Runs": 56}),
    ],
)
async def test_real_root_files_tell_their_trees(
    inspector: Inspector, name: str, entries: dict[str, int]
) -> None:
    content = await inspected(inspector, SHARED_DATA / name)
    assert content.format is Format.ROOT
    assert {table.name: table.entries for table in content.tables} == entries
    assert all(table.cluster_ends[-1] == table.entries for table in content.tables)
    with uproot.open(SHARED_DATA / name) as file:
        assert content.uuid == str(file.file.uuid)
    assert content.problem == ""


@pytest.mark.skipif(not SHARED_DATA.is_dir(), reason=f"the real files of {SHARED_DATA} are absent")
async def test_real_parquet_and_text_files_are_told(inspector: Inspector) -> None:
    path = SHARED_DATA / "nano_dimuon.parquet"
    rows = pq.read_metadata(path).num_rows
    content = await inspected(inspector, path)
    assert content == Content(Format.PARQUET, (Table("", rows, (rows,)),))
    text = SHARED_DATA / "pylhe-testfile-pr29.lhe"
    content = await inspected(inspector, text)
    assert content == Content(Format.BYTES, (Table("", text.stat().st_size),))


async def test_a_file_of_several_clusters_goes_through_the_child(
    inspector: Inspector, tmp_path: Path
) -> None:
    path = tmp_path / "a.root"
    with uproot.recreate(path) as file:
        tree = file.mktree("events", {"x": "f8"})
        for _ in range(3):
            tree.extend({"x": np.zeros(100)})
    content = await inspected(inspector, path)
    assert content.tables == (Table("events", 300, (100, 200, 300)),)
    assert content.problem == ""


async def test_a_cut_and_a_garbled_file_cost_the_child_nothing(
    inspector: Inspector, tmp_path: Path
) -> None:
    path = tmp_path / "whole.root"
    with uproot.recreate(path) as file:
        file["events"] = {"x": np.zeros(100)}
    cut = tmp_path / "cut.root"
    cut.write_bytes(path.read_bytes()[:-1])
    garbled = tmp_path / "garbled.root"
    garbled.write_bytes(ROOT_START)
    assert (await inspected(inspector, path)).problem == ""
    before = children()
    assert (await inspected(inspector, cut)).problem.startswith("is cut short: ")
    assert (await inspected(inspector, garbled)).problem.startswith("cannot be read as ROOT: ")
    assert (await inspected(inspector, path)).problem == ""
    assert children() == before


# --- what needs no child ----------------------------------------------------


async def test_files_told_by_their_first_bytes_start_no_child(
    inspector: Inspector, tmp_path: Path
) -> None:
    text = tmp_path / "a.root"
    text.write_text("root of all evil")
    content = await inspected(inspector, text)
    assert content.format is Format.BYTES
    assert content.problem == "named .root but is not a ROOT file"
    assert children() == set()


def test_the_servers_process_does_not_import_the_libraries() -> None:
    code = (
        "import sys, dataserver.inspection;"
        "print([m for m in ('uproot', 'pyarrow', 'numpy', 'awkward') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


# --- children that misbehave ------------------------------------------------


async def test_a_file_that_takes_too_long_gets_a_problem_and_the_next_a_new_child(
    odd: Inspector, root_file: Callable[[str], Path]
) -> None:
    first = await inspected(odd, root_file("one"))
    assert (await inspected(odd, root_file("hang"))).problem == "inspection took longer than 0.5 s"
    second = await inspected(odd, root_file("two"))
    assert second.problem == ""
    assert first.tables[0].name != second.tables[0].name


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("crash", "inspection died of it (SIGSEGV)"),
        ("exit", "inspection died of it (exit code 3)"),
        ("many", "holds more tables than an inspection can tell"),
        ("swell", "needs more memory than an inspection may have"),
        ("print", ""),
    ],
)
async def test_a_misbehaving_file_gets_its_problem_and_the_next_one_none(
    root_file: Callable[[str], Path], name: str, problem: str
) -> None:
    inspector = Inspector(time_limit_s=60, command=ODD_CHILD)
    await inspector.start()
    try:
        assert (await inspected(inspector, root_file(name))).problem == problem
        assert (await inspected(inspector, root_file("good"))).problem == ""
    finally:
        await inspector.stop()


async def test_a_child_that_died_in_its_sleep_is_replaced(
    odd: Inspector, root_file: Callable[[str], Path]
) -> None:
    first = await inspected(odd, root_file("one"))
    child = psutil.Process(int(first.tables[0].name))
    child.kill()
    await asyncio.to_thread(psutil.wait_procs, [child], 10)
    assert (await inspected(odd, root_file("two"))).problem == ""


async def test_a_child_that_cannot_start_is_a_problem(root_file: Callable[[str], Path]) -> None:
    for command in (("/nowhere/python",), ("/bin/false",)):
        inspector = Inspector(command=command)
        await inspector.start()
        content = await inspected(inspector, root_file("a"))
        assert content.problem.startswith("was not inspected: ")
        await inspector.stop()


# --- the queue --------------------------------------------------------------


async def test_files_asked_for_together_are_all_answered(
    odd: Inspector, root_file: Callable[[str], Path]
) -> None:
    paths = [root_file(f"f{i}") for i in range(50)]
    contents = await asyncio.gather(*(inspected(odd, path) for path in paths))
    assert len({content.tables[0].name for content in contents}) == 1


async def test_an_inspection_given_up_does_not_answer_the_next(
    root_file: Callable[[str], Path],
) -> None:
    inspector = Inspector(time_limit_s=0.3, command=ODD_CHILD)
    await inspector.start()
    try:
        hanging = asyncio.create_task(inspected(inspector, root_file("hang")))
        waiting = asyncio.create_task(inspected(inspector, root_file("crash")))
        last = asyncio.create_task(inspected(inspector, root_file("good")))
        async with asyncio.timeout(30):
            while not children():  # noqa: ASYNC110 -- a process starting sets no event
                await asyncio.sleep(0.01)
        hanging.cancel()
        waiting.cancel()
        assert (await last).problem == ""
        assert hanging.cancelled()
        assert waiting.cancelled()
    finally:
        await inspector.stop()


async def test_stopping_ends_the_child_and_tells_who_waits(
    root_file: Callable[[str], Path],
) -> None:
    inspector = Inspector(time_limit_s=60, command=ODD_CHILD)
    await inspector.start()
    await inspected(inspector, root_file("good"))
    waiting = []
    # One after the other: the second must find the child busy with the first.
    for name in ("hang", "good"):
        waiting.append(asyncio.create_task(inspected(inspector, root_file(name))))
        while inspector.waiting < len(waiting):  # noqa: ASYNC110 -- a thread looks at the file
            await asyncio.sleep(0.01)
    await inspector.stop()
    assert children() == set()
    for task in waiting:
        with pytest.raises(InspectorStoppedError):
            await task


async def test_an_inspector_that_was_not_started_says_so(root_file: Callable[[str], Path]) -> None:
    with pytest.raises(InspectorStoppedError):
        await inspected(Inspector(), root_file("a"))


# --- the child alone --------------------------------------------------------


def start_child(*, alarm_s: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*ODD_CHILD, "--memory-bytes=4000000000", f"--alarm-s={alarm_s}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
    )


def test_the_child_ends_with_its_standard_input() -> None:
    with start_child(alarm_s=60) as child:
        assert child.stdin is not None
        child.stdin.close()
        assert child.wait(30) == 0


def test_an_alarm_ends_a_child_whose_server_is_gone() -> None:
    with start_child(alarm_s=1) as child:
        assert child.stdin is not None
        request = {"path": "/hang.root", "size_bytes": 1, "format": "root"}
        child.stdin.write(json.dumps(request).encode() + b"\n")
        child.stdin.close()
        assert child.wait(30) == -signal.SIGALRM
