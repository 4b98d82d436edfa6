"""What docs/stage-command.md shows and promises is so."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from common.command import CommandResult, CommandSpec, ErrorClass, render_argv, run_command

if TYPE_CHECKING:
    from collections.abc import Sequence

PAGE = Path(__file__).parents[2] / "docs" / "stage-command.md"

# Behaves as xrdcp does towards a script: copies, or fails with one line and code 54.
FAKE_XRDCP = """#!/bin/sh
case $3 in
    *lost*) echo "[ERROR] Server responded with an error: [3011] No such file" >&2; exit 54 ;;
    *secret*) echo "[ERROR] Server responded with an error: [3010] Unauthorized" >&2; exit 54 ;;
    *full*) echo "[ERROR] Local error: No space left on device" >&2; exit 51 ;;
    *flaky*) echo "[ERROR] Operation expired" >&2; exit 51 ;;
esac
echo "content of $3" >"$4"
"""

# As sites have them: makes the directory, verifies, renames, marks failures.
XROOTD_SCRIPT = """#!/bin/bash
remote="$1"
local="$2"
mkdir -p "$(dirname "$local")" || exit 1
if ! cp "$remote" "$local.part" || ! cmp -s "$remote" "$local.part"; then
    rm -f "$local.part"
    touch "$local.fail"
    exit 1
fi
mv "$local.part" "$local"
"""


def stage(
    template: Sequence[str], source: str, target: Path, **env: str
) -> tuple[CommandResult, list[str]]:
    """Runs a stage command as a data server does; the result, and the files it left."""
    target.parent.mkdir(parents=True)
    values = {"source": source, "target": str(target), "lfn": "/store/a", "size": None}
    spec = CommandSpec(
        argv=render_argv(template, values),
        cwd=target.parent,
        env=env,
        deadline_s=30,
        watch=target,
        stall_s=20,
    )
    result = asyncio.run(run_command(spec))
    return result, sorted(path.name for path in target.parent.iterdir())


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("source", "error_class", "words"),
    [
        ("/tape/a b", None, ""),
        ("/tape/lost", ErrorClass.NOT_FOUND, "[3011] No such file"),
        ("/tape/secret", ErrorClass.PERMANENT, "[3010] Unauthorized"),
        ("/tape/full", ErrorClass.NO_SPACE, "No space left"),
        ("/tape/flaky", ErrorClass.TRANSIENT, "Operation expired"),
    ],
)
def test_the_example_script_tells_failures_apart(
    tmp_path: Path, source: str, error_class: ErrorClass | None, words: str
) -> None:
    (example,) = re.findall(r"```sh\n(#!.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    script = program(tmp_path / "stage.sh", example)
    program(tmp_path / "bin" / "xrdcp", FAKE_XRDCP)
    path = f"{tmp_path}/bin:/usr/bin:/bin"
    target = tmp_path / "incoming" / "a"
    result, left = stage([str(script), "{source}", "{target}"], source, target, PATH=path)
    if error_class is None:
        assert result.failure is None
        assert left == ["a"]
        assert target.read_text() == f"content of root://tape.example.org/{source}\n"
    else:
        assert result.failure is not None
        assert result.failure.error_class is error_class
        assert words in result.failure.reason


def test_a_script_for_xrootd_runs_unchanged(tmp_path: Path) -> None:
    script = program(tmp_path / "stage", XROOTD_SCRIPT)
    (tmp_path / "archive file").write_text("content")
    target = tmp_path / "incoming" / "target"
    result, left = stage([str(script)], str(tmp_path / "archive file"), target)
    assert result.failure is None
    assert left == ["target"]
    assert target.read_text() == "content"


def test_a_failing_script_for_xrootd_is_tried_again_with_its_words_kept(tmp_path: Path) -> None:
    script = program(tmp_path / "stage", XROOTD_SCRIPT)
    result, _ = stage([str(script)], "/no/such/file", tmp_path / "incoming" / "target")
    assert result.failure is not None
    assert result.failure.error_class is ErrorClass.TRANSIENT
    assert "No such file or directory" in result.failure.reason


def test_braces_in_a_template_are_written_as_the_page_shows(tmp_path: Path) -> None:
    (shown,) = re.findall(r'`\["sh", "-c", "(.*)", "sh", .*\]`', PAGE.read_text(encoding="utf-8"))
    (tmp_path / "source").write_text("content")
    template = ["sh", "-c", shown.replace('\\"', '"'), "sh", "{source}", "{target}"]
    target = tmp_path / "incoming" / "target"
    result, _ = stage(template, str(tmp_path / "source"), target)
    assert result.failure is None
    assert target.read_text() == "content"
