"""Functions are found by name and travel as bytes, and what cannot is told clearly."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from common.errors import UsageError
from packhorse.functions import Work, dump_work, load_function, load_work, name_of

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[3]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A current directory of its own; modules made there are forgotten afterwards."""
    before = set(sys.modules)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def write(folder: Path, name: str, text: str) -> None:
    (folder / f"{name}.py").write_text(textwrap.dedent(text))


def test_a_function_is_found_in_the_current_directory(folder: Path) -> None:
    write(folder, "ana_found", "def f(packet):\n    return 1\nclass C:\n    g = staticmethod(f)\n")
    assert load_function("ana_found:f")(None) == 1  # type: ignore[arg-type]
    assert load_function("ana_found:C.g")(None) == 1  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("ana_bad", "write module:function"),
        (":f", "write module:function"),
        ("ana_bad:", "write module:function"),
        ("ana_nowhere:f", "there is no module 'ana_nowhere'"),
        ("ana_nowhere.deep:f", r"there is no module 'ana_nowhere\.deep'"),
        ("ana_bad:g", "module 'ana_bad' has no 'g'"),
        ("ana_bad:number", "ana_bad:number is int, not a function"),
        ("ana_raises:f", r"fails when imported: ZeroDivisionError: .*ana_raises\.py, line 2"),
        ("ana_syntax:f", "fails when imported: SyntaxError"),
        ("ana_needs:f", "module 'ana_needs' needs 'no_such_package', which is not installed"),
    ],
)
def test_what_is_not_a_function_is_told_clearly(folder: Path, name: str, complaint: str) -> None:
    write(folder, "ana_bad", "number = 3\ndef f(packet): ...\n")
    write(folder, "ana_raises", "\n1 / 0\n")
    write(folder, "ana_syntax", "def f(:\n")
    write(folder, "ana_needs", "import no_such_package\n")
    with pytest.raises(UsageError, match=complaint):
        load_function(name)


def test_a_worker_without_the_file_can_run_the_function(folder: Path) -> None:
    write(
        folder,
        "ana_far",
        """
        FACTOR = 3
        def helper(x): return FACTOR * x
        def f(packet): return helper(packet)
        def merge(a, b): return helper(a + b)
        """,
    )
    module = sys.modules
    function = load_function("ana_far:f")
    content = dump_work(Work(function, module["ana_far"].merge))
    (folder / "work").write_bytes(content)
    code = (
        "from packhorse.functions import load_work\n"
        f"work = load_work(open({str(folder / 'work')!r}, 'rb').read())\n"
        "print(work.function(5), work.merge(1, 1))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout == "15 6\n", done.stderr


def test_a_local_function_and_a_callable_object_travel() -> None:
    offset = 4

    class Adder:
        def __call__(self, packet: Any) -> int:
            return offset + packet  # type: ignore[no-any-return]

    function = load_work(dump_work(Work(lambda packet: offset))).function
    assert function(None) == 4  # type: ignore[arg-type]
    assert load_work(dump_work(Work(Adder()))).function(1) == 5  # type: ignore[arg-type]


def test_a_function_of_an_installed_package_travels_by_name() -> None:
    function: Any = np.sum
    assert load_work(dump_work(Work(function))).function is function


def test_what_cannot_be_sent_is_told_clearly() -> None:
    lock = threading.Lock()

    def locked(packet: Any) -> Any:
        return lock

    with pytest.raises(UsageError, match="locked cannot be sent to workers: TypeError"):
        dump_work(Work(locked))
    with pytest.raises(UsageError, match="merge must be callable, not int"):
        dump_work(Work(locked, 3))  # type: ignore[arg-type]


def test_bytes_of_another_python_are_refused() -> None:
    header, _, pickled = dump_work(Work(len)).partition(b"\n")  # type: ignore[arg-type]
    magic = header.split()[0]
    with pytest.raises(UsageError, match=r"made by Python 2\.7, and this worker runs"):
        load_work(magic + b" 2.7\n" + pickled)
    with pytest.raises(UsageError, match="not a function made by Packhorse"):
        load_work(b"anything")
    with pytest.raises(UsageError, match="cannot be loaded here"):
        load_work(header + b"\n" + b"broken")


def test_people_see_module_and_function() -> None:
    function: Any = load_work
    assert name_of(function) == "packhorse.functions:load_work"
    assert name_of(lambda packet: None).endswith("<lambda>")


def test_a_traceback_of_a_function_that_was_sent_shows_its_lines() -> None:
    def divides(packet: object) -> float:
        return 1 / (len(str(packet)) - len(str(packet)))

    function = load_work(dump_work(Work(divides))).function
    assert function.__code__.co_filename == __file__
    with pytest.raises(ZeroDivisionError) as raised:
        function(None)  # type: ignore[arg-type]
    assert "return 1 / (len(str(packet))" in str(raised.traceback[-1].statement)
