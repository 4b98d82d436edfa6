"""Tables for people, JSON for programs."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from packhorse.cli.output import counted, moment, say, say_json, say_table, share
from packhorse.cli.progress import Bar
from packhorse.values import Checksum, FileInfo, FileState, Location
from packhorse.values.files import Content


def test_a_table_that_is_piped_keeps_every_column_whole(
    capsys: pytest.CaptureFixture[str],
) -> None:
    name = "/store/" + "x" * 300
    say_table(("size", "lfn", "why"), [("7 B", name, "a\nb"), ("1.00 GB", "/a", "")], right="size")
    assert capsys.readouterr().out.split("\n") == [
        f"   SIZE  {'LFN'.ljust(307)}  WHY",
        f"    7 B  {name}  a\\nb",
        "1.00 GB  /a",
        "",
    ]


def test_an_empty_table_still_has_its_titles(capsys: pytest.CaptureFixture[str]) -> None:
    say_table(("state", "lfn"), [])
    assert capsys.readouterr().out == "STATE  LFN\n"


def test_a_table_on_a_terminal_is_drawn_and_markup_is_text(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")
    say_table(("lfn",), [("/store/[red]a",), ("/" + "y" * 100,)])
    drawn = capsys.readouterr().out
    assert "[red]a" in drawn
    assert drawn.count("y") == 100


def test_json_has_the_names_of_fields_and_only_plain_values(
    capsys: pytest.CaptureFixture[str],
) -> None:
    info = FileInfo("/a", 5, Checksum("adler32", "00"), Content("root", (), "", ""))
    say_json({"info": info, "where": Location("/a", FileState.ONLINE, 5, (), ""), "to": Path("/b")})
    assert json.loads(capsys.readouterr().out) == {
        "info": {
            "lfn": "/a",
            "size_bytes": 5,
            "checksum": {"algorithm": "adler32", "value": "00"},
            "content": {"format": "root", "tables": [], "uuid": "", "problem": ""},
        },
        "where": {"lfn": "/a", "state": "online", "size_bytes": 5, "nodes": [], "reason": ""},
        "to": "/b",
    }


def test_lines_hold_no_orders_for_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    say("a\x1b[31mb\x07")
    assert capsys.readouterr().out == "ab\n"


def test_figures_are_short() -> None:
    assert share(1, 3) == "33%"
    assert share(1, 0) == "-"
    assert moment(0) == "-"
    assert counted(1, "file") == "1 file"
    assert counted(12345, "file") == "12,345 files"


def test_progress_is_silent_where_nobody_watches(capsys: pytest.CaptureFixture[str]) -> None:
    with Bar("staging", "files") as bar:
        bar.update(1, 2)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("unit", ["files", "bytes"])
def test_progress_is_shown_on_a_terminal(
    unit: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with Bar("staging [x]", unit) as bar:
        bar.update(1, 0)
        bar.update(1, 2, "1 failed")
    told = capsys.readouterr()
    assert told.out == ""
    assert "staging [x]" in told.err
    assert "1 failed" in told.err
