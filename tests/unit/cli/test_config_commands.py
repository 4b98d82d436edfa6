"""The site's file is checked and shown, and names are tried against its rules."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from packhorse.cli.main import main

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The smallest site, ready to start, found by its variable."""
    (tmp_path / "disk1").mkdir()
    path = tmp_path / "site.toml"
    path.write_text(f"""\
[mss]
stagecmd = "builtin"
names = [{{ prefix = "/store/", archive = "/archive/store/" }}]
[redirector]
state = "{tmp_path}/redirector"
[dataserver.disk1]
pool = "{tmp_path}/disk1"
quota = "1GB"
""")
    monkeypatch.setenv("PACKHORSE_CONFIG", str(path))
    return path


def test_check_tells_that_all_is_fine(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "check"]) == 0
    assert capsys.readouterr().out == f"{config}: fine (redirector, dataserver)\n"
    assert main(["config", "check", "--json", "--role", "redirector"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == {"file": str(config), "roles": ["redirector"], "problems": []}


def test_check_looks_at_the_machine_for_the_roles_that_run_here(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (config.parent / "disk1").rmdir()
    assert main(["config", "check"]) == 3
    problem = f"dataserver.disk1.pool: {config.parent}/disk1 does not exist"
    assert f"packhorse: error: {config}:7: {problem}" in capsys.readouterr().err
    assert main(["config", "check", "--json"]) == 3
    (told,) = json.loads(capsys.readouterr().out)["problems"]
    assert told["where"] == f"{config}:7"
    assert told["problem"].startswith(problem)
    assert main(["config", "check", "--role", "redirector"]) == 0
    assert main(["config", "check", "--role", "dataserver", "--name", "disk2"]) == 3
    assert main(["config", "check", "--role", "packetizer"]) == 3


def test_show_tells_where_each_value_came_from(
    config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PACKHORSE_DATASERVER__DISK1__SLOTS", "7")
    assert main(["config", "show", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["dataserver.disk1.quota"] == {"value": "1GB", "from": f"{config}:8"}
    assert shown["dataserver.disk1.low_watermark"] == {"value": "90%", "from": "default"}
    assert shown["dataserver.disk1.slots"] == {
        "value": 7,
        "from": "environment variable PACKHORSE_DATASERVER__DISK1__SLOTS",
    }
    assert main(["config", "show"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["dataserver.disk1.quota", '"1GB"', f"{config}:8"] in rows


def test_names_tells_the_spelling_and_the_archive_name(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["names", "root://head//store/./run7//a%20b"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "/store/run7/a b",
        "  in the archive: /archive/store/run7/a b",
        "  by: prefix '/store/' -> '/archive/store/'",
    ]


def test_names_tells_every_name_that_is_refused(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["names", "/store/a", "/other/b", "--json", "/store/../c"]) == 4
    told = capsys.readouterr()
    fine, outside, upwards = json.loads(told.out)
    assert fine["archive_name"] == "/archive/store/a"
    assert "not under what this site exports" in outside["problem"]
    assert "'..'" in upwards["problem"]
    assert told.err.startswith("packhorse: error: 2 names refused: ")
    assert told.err.count("\n") == 1
