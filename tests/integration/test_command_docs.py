"""What docs/stage-command.md shows and promises is so."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from common.command import (
    CommandResult,
    CommandSpec,
    ErrorClass,
    Failure,
    render_argv,
    run_command,
)
from common.config.mss import MssConfig
from common.names import NameMap
from dataserver.archive import Archive, ArchiveEntry, ArchiveFile, Fetched, Presence
from dataserver.archive.answers import understand_file, understand_listing
from dataserver.archive.batch_lines import Said, file_line, understand
from dataserver.archive.submitting.words import Answer, many_answers
from dataserver.checksum import Checksum
from packhorse.scripts import find_kind
from tests.support.waiting import becomes_true

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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
    example = script_shown("Stages one file")
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


# A library of two tapes, that knows where its files lie and copies them to wherever it is told.
TAPE_POSITION = """#!/bin/sh
case $1 in *b) echo VOL1:0001 ;; *c) echo VOL1:0002 ;; *) echo VOL2:0001 ;; esac
"""
TAPE_COPY = """#!/bin/sh
echo "$1" >>"$(dirname "$0")/order"
[ -e "$1" ] || { echo "no such file: $1" >&2; exit 66; }
cp "$1" "$2"
"""


async def test_the_example_of_a_batch_command_brings_files_in_the_order_of_the_tapes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (example,) = re.findall(r"```python\n(#!.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    script = program(tmp_path / "batch.py", example)
    program(tmp_path / "bin" / "tape-position", TAPE_POSITION)
    program(tmp_path / "bin" / "tape-copy", TAPE_COPY)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{Path(sys.executable).parent}:/usr/bin:/bin")
    store = make_store(tmp_path)
    for name in "bc":
        (store / name).write_text(name)
    archive = archive_of(store, {"stagecmd": [str(script)], "contract": "batch"})

    async def fetch(name: str) -> Fetched:
        target = tmp_path / "incoming" / name / name
        target.parent.mkdir(parents=True)
        return await archive.fetch(f"/store/{name}", target)

    *brought, missing = await asyncio.gather(*map(fetch, ("a", "c", "b", "none")))
    await archive.close()
    assert [one.failure for one in brought] == [None, None, None]
    assert (tmp_path / "incoming" / "b" / "b").read_text() == "b"
    assert missing.failure is not None
    assert missing.failure.error_class is ErrorClass.NOT_FOUND
    assert "no such file" in missing.failure.reason
    order = (tmp_path / "bin" / "order").read_text().split()
    assert [Path(name).name for name in order] == ["b", "c", "a", "none"]


def test_a_file_of_a_batch_is_written_as_the_page_says() -> None:
    shown = one_shown("json", "source")
    assert json.loads(shown) == json.loads(
        file_line("1", "/tape/a", "/data/.incoming/r1/a", "/store/a", 1234)
    )


def test_what_a_batch_command_says_is_understood_as_the_page_says() -> None:
    lines = re.findall(r"^\| `(\{\"id\".*?\})` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert [understand(line.encode()) for line in lines] == [
        Said("1", "started"),
        Said("1", "progress", "waits for VOL123"),
        Said("1", "done"),
        Said("1", "failed", failure=Failure(ErrorClass.NOT_FOUND, "…")),
    ]


# An HSM whose requests are files: their content is what it says of them.
HSM = """#!/bin/sh
cd "$(dirname "$0")"
case $1 in
    recall) echo "queued at 3" >17; echo "$3" >source; echo "request accepted"; echo 17 ;;
    status) cat "$2" ;;
    cancel) rm "$2" ;;
esac
"""


async def test_the_example_of_an_hsm_takes_orders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = str(program(tmp_path / "hsm-order.sh", script_shown("hsm-order.sh")))
    program(tmp_path / "hsm" / "hsm", HSM)
    monkeypatch.setenv("PATH", f"{tmp_path}/hsm:/usr/bin:/bin")
    store = make_store(tmp_path)
    (shown,) = [block for block in toml_shown() if "hsm-order.sh" in block]
    shown = shown.replace("/usr/local/libexec/hsm-order.sh", script)
    archive = archive_of(store, {**tomllib.loads(shown)["mss"], "poll": "10ms", "poll_max": "10ms"})
    await archive.start()
    request = tmp_path / "hsm" / "17"
    for number, (state, outcome) in enumerate(
        [("done", None), ("error: torn", "torn"), ("", "cancelled")]
    ):
        request.unlink(missing_ok=True)
        notes: list[str] = []
        target = tmp_path / "incoming" / str(number) / "a"
        target.parent.mkdir(parents=True)
        fetching = asyncio.create_task(archive.fetch("/store/a", target, on_note=notes.append))
        await becomes_true(lambda notes=notes: "17: queued at 3" in notes)
        if outcome == "cancelled":
            fetching.cancel()
            await asyncio.gather(fetching, return_exceptions=True)
            archive.call_off("/store/a")
            await becomes_true(lambda: not request.exists())
            continue
        request.write_text(f"{state}\n")
        fetched = await fetching
        if outcome is None:
            assert fetched.failure is None
            assert target.read_bytes() == b"content"
            archive.published("/store/a")
        else:
            assert fetched.failure is not None
            assert outcome in fetched.failure.reason
    await archive.close()
    assert (tmp_path / "hsm" / "source").read_text() == f"{store}/a\n"


def test_the_lines_about_orders_are_understood_as_the_page_says() -> None:
    text = PAGE.read_text(encoding="utf-8")
    lines = re.findall(r"`(\{\"key\".*?\})`", text)
    assert list(many_answers("\n".join(lines).encode())) == [
        ("f3a1", Answer("req-17")),
        ("f3a1", Answer("", "waiting", "3 of 17")),
        ("f3a1", Answer("", "failed", "", Failure(ErrorClass.NOT_FOUND, "no such file on tape"))),
    ]


def test_every_example_of_a_configuration_is_one() -> None:
    for block in toml_shown():
        keys = tomllib.loads(block)["mss"]
        names = [{"prefix": "/store", "archive": "/tape/store"}]
        MssConfig.model_validate({"stagecmd": "builtin", "names": names, **keys})


def toml_shown() -> list[str]:
    return re.findall(r"```toml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def script_shown(word: str) -> str:
    """The one script for the shell that has a word in it."""
    scripts = re.findall(r"```sh\n(#!.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (found,) = [script for script in scripts if word in script]
    return found


def one_shown(language: str, field: str) -> str:
    """The one block of the page that has a field of this name."""
    blocks = re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (found,) = [block for block in blocks if f'"{field}"' in block]
    return found


def test_the_answer_of_a_statcmd_is_understood_as_the_page_says() -> None:
    shown = one_shown("json", "checksum")
    assert understand_file("/store/a", shown.encode()) == ArchiveFile(
        "/store/a",
        Presence.THERE,
        123456789,
        Checksum("adler32", "07a6c902"),
        mtime_s=1790000000.0,
    )


def test_the_lines_of_a_listcmd_are_understood_as_the_page_says() -> None:
    (shown,) = re.findall(r"```jsonl\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert understand_listing(shown.encode()) == [
        ArchiveEntry("a.root", False, 123456789, 1790000000.0),
        ArchiveEntry("run7", is_directory=True),
    ]


async def test_the_ready_made_script_asks_a_file_system(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    archive = archive_with_scripts(store)
    file, directory, none = await archive.examine(["/store/a", "/store/run 7", "/store/none"])
    assert file == ArchiveFile(
        "/store/a", Presence.THERE, 7, Checksum("adler32", "07a6c902"), mtime_s=1790000000.0
    )
    assert (directory.presence, directory.is_directory) == (Presence.NOT_THERE, True)
    assert (none.presence, none.is_directory) == (Presence.NOT_THERE, False)


async def test_the_ready_made_script_lists_a_file_system(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    archive = archive_with_scripts(store)
    found = await archive.list_directory("/store")
    assert found.presence is Presence.THERE
    entries = {entry.name: entry for entry in found.entries}
    assert entries.keys() == {"a", "a.adler32", "run 7"}
    assert entries["a"] == ArchiveEntry("a", False, 7, 1790000000.0)
    assert entries["run 7"].is_directory
    for name in ("none", "a"):
        missing = await archive.list_directory(f"/store/{name}")
        assert missing.presence is Presence.NOT_THERE
        assert name in missing.reason


def make_store(tmp_path: Path) -> Path:
    store = tmp_path / "store"
    (store / "run 7").mkdir(parents=True)
    (store / "a").write_bytes(b"content")
    (store / "a.adler32").write_text("07a6c902\n")
    (store / "dangling").symlink_to("nowhere")
    os.utime(store / "a", (0, 1790000000))
    return store


def archive_with_scripts(store: Path) -> Archive:
    script = find_kind("mounted").path
    return archive_of(
        store,
        {
            "stagecmd": ["cp", "{source}", "{target}"],
            "statcmd": [sys.executable, str(script), "stat", "{source}"],
            "listcmd": [sys.executable, str(script), "list", "{source}"],
        },
    )


def archive_of(store: Path, keys: Mapping[str, object]) -> Archive:
    names = [{"prefix": "/store", "archive": str(store)}]
    config = MssConfig.model_validate({"names": names, **keys})
    return Archive(config, NameMap(config.name_rules(), config.prefixes()), owner="test-scripts")
