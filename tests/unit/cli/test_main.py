"""The command line starts quickly, and ends with one line and the right exit code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from common.errors import NotFound, StageFailed
from packhorse.cli import main as cli
from packhorse.cli.main import main
from packhorse.version import __version__

SMALLEST = Path(__file__).parents[3] / "examples" / "smallest.toml"

#: What takes long to import, and is only needed once a command runs.
HEAVY = ("grpc", "google.protobuf", "pydantic", "numpy", "uproot", "pyarrow", "cloudpickle", "rich")


def test_building_the_command_line_imports_nothing_heavy() -> None:
    code = f"""
import sys
from packhorse.cli.main import build
import typer
typer.main.get_command(build())
print([name for name in {HEAVY!r} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"packhorse {__version__}\n"


@pytest.mark.parametrize(
    ("argv", "code", "message"),
    [
        (["stag"], 2, "no such command 'stag'. Did you mean 'stage', 'status'?"),
        (["stage", "--nope"], 2, "no such option: --nope"),
        (["drain"], 2, "missing argument 'NODE'"),
        (["pin", "--for", "x", "/a"], 2, "invalid value for '--for': 'x' is not a duration"),
        (["worker", "--memory", "2T"], 2, "'2T' has no unit of size I know"),
        (["worker", "--workers", "0"], 2, "invalid value for '--workers'"),
        (["process", "d", "m:f", "--missing", "no"], 2, "'wait', 'skip', 'abort'"),
        (["locate"], 2, "no file is named"),
        (["locate", "--from", "/nowhere", "/a"], 5, "there is no file /nowhere"),
        (["names"], 2, "no name is given"),
        (["names", "/store/a"], 2, "which configuration?"),
        (["locate", "/store/a"], 2, "which site?"),
        (["locate", "/store/../a", "--redirector", "localhost:1"], 4, "it holds a '..' component"),
        (["locate", "/store/\udcff", "--redirector", "localhost:1"], 4, "it is not UTF-8"),
        (["locate", "/" + "x" * 5000, "--redirector", "localhost:1"], 4, "5001 bytes are more"),
        (["dataset", "show", "\udcff", "--redirector", "localhost:1"], 2, "not UTF-8"),
        (["nodes", "--redirector", "nowhere"], 2, "'nowhere'"),
        (["nodes", "--redirector", "127.0.0.1:1"], 11, "the redirector at 127.0.0.1:1 does not"),
        (["nodes", "--config", "/nowhere.toml"], 3, "/nowhere.toml: cannot be read"),
        (["purge", "--redirector", "127.0.0.1:1"], 2, "only --dry-run is possible"),
        (["unpin", "--all", "/a"], 2, "give either files or --all"),
        (["stage", "--dataset", "d", "/a"], 2, "give either files or --dataset"),
        (["pin", "--for", "0s", "/a"], 2, "a pin must last"),
        (["dataset", "register", "d", "--replace", "--update"], 2, "either --replace or --update"),
        (["process", "d", "nowhere:f"], 2, "there is no module 'nowhere'"),
        (["process", "d", "json:nowhere"], 2, "module 'json' has no 'nowhere'"),
        (["process", "d", "json:loads", "--output", "/nowhere/x"], 2, "cannot be written"),
        (["config", "check", "--role", "cook", "--config", str(SMALLEST)], 2, "none of redirector"),
        (["up", "--config", "/nowhere.toml"], 3, "/nowhere.toml: cannot be read"),
        (["dataserver", "--name", "x", "--config", str(SMALLEST)], 3, 'no data server "x"'),
    ],
)
def test_a_mistake_is_one_line_on_stderr_and_an_exit_code(
    argv: list[str],
    code: int,
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("PACKHORSE_CONFIG", raising=False)
    assert main(argv) == code
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("packhorse: error: ")
    assert message in told.err
    assert told.err.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (NotFound("there is no dataset x"), 5, "there is no dataset x"),
        (StageFailed("tape\x1b[31m broke"), 9, "tape broke"),
        (ValueError("two\nlines"), 70, "ValueError: two\\nlines (this is a bug of ours"),
        (KeyboardInterrupt(), 130, None),
    ],
    ids=["known", "with colours", "unknown", "Ctrl-C"],
)
def test_no_error_of_a_command_becomes_a_traceback(
    error: BaseException,
    code: int,
    message: str | None,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("packhorse.cli.cluster.with_site", fail)
    assert main(["status"]) == code
    told = capsys.readouterr()
    assert told.out == ""
    if message is None:
        assert told.err == ""
    else:
        assert told.err.startswith(f"packhorse: error: {message}")
        assert "Traceback" not in told.err
        assert told.err.count("\n") == 1


def test_a_bug_shows_its_traceback_when_asked_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PACKHORSE_LOG", "debug")
    monkeypatch.setattr("packhorse.cli.cluster.with_site", lambda *_: 1 / 0)
    assert main(["status"]) == cli.INTERNAL_ERROR
    assert "Traceback" in capsys.readouterr().err


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    argv = [sys.executable, "-m", "packhorse", "config", "show", "--config", str(SMALLEST)]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.close()
    _, told = process.communicate(timeout=30)
    assert told == b""
