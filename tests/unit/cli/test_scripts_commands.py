"""Scripts for archives are listed, installed, and tried on a file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from common.config.load import load
from packhorse.cli.main import main
from packhorse.scripts import KINDS

if TYPE_CHECKING:
    from pathlib import Path

ARCHIVES = [kind.name for kind in KINDS if kind.archive]


def test_every_kind_is_listed_with_what_it_needs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scripts", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == [kind.name for kind in KINDS]
    assert main(["scripts", "list", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {one["kind"]: one["needs"] for one in told} == {kind.name: kind.needs for kind in KINDS}


@pytest.mark.parametrize("kind", ARCHIVES)
def test_what_is_installed_is_a_site_that_can_be_loaded(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "scripts"
    assert main(["scripts", "install", kind, str(folder)]) == 0
    example = folder / f"{kind}.toml"
    assert capsys.readouterr().out == example.read_text()
    mss = load(example).site.mss
    for command in (mss.stagecmd, mss.statcmd, mss.listcmd, mss.storecmd, mss.removecmd):
        assert isinstance(command, list | tuple)
        assert os.access(command[0], os.X_OK)
    # It runs where it lies, by the Python that Packhorse was installed with.
    assert mss.stagecmd[0].startswith(f"{folder}/")
    done = subprocess.run([mss.stagecmd[0], "stage"], capture_output=True, text=True, check=False)
    assert (done.returncode, len(done.stderr.splitlines())) == (64, 1)
    first_line = (folder / mss.stagecmd[0]).read_text().splitlines()[0]
    assert first_line == f"#!{sys.executable}"


@pytest.mark.parametrize("kind", [kind.name for kind in KINDS if kind.takes_orders])
def test_an_archive_that_takes_orders_has_lines_for_that(kind: str, tmp_path: Path) -> None:
    assert main(["scripts", "install", kind, str(tmp_path)]) == 0
    example = tmp_path / f"{kind}.toml"
    first, instead, others = example.read_text().partition("# Or have the archive")
    kept = [line for line in first.splitlines() if not line.startswith("stagecmd")]
    orders = [line.removeprefix("# ") for line in others.splitlines()[1:]]
    example.write_text("\n".join([*kept, *orders]))
    mss = load(example).site.mss
    assert instead
    assert mss.stagecmd[1:3] == ["stage", "--ready"]
    for command in (mss.submitcmd, mss.pollcmd, mss.cancelcmd, mss.releasecmd):
        assert command is not None
        assert os.access(command[0], os.X_OK)


def test_a_script_that_was_changed_is_written_over_only_if_it_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    install = ["scripts", "install", "mounted", str(tmp_path)]
    assert main(install) == main(install) == 0
    script = tmp_path / "mounted_archive.py"
    original = script.read_text()
    script.write_text(f"{original}\n# ours\n")
    assert main(install) == 6
    assert "mounted_archive.py; --force" in capsys.readouterr().err
    assert main([*install, "--force"]) == 0
    assert script.read_text() == original


def test_scripts_for_a_stock_xrootd_come_with_lines_of_its_configuration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["scripts", "install", "for-xrootd", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    assert f"oss.stagecmd sync {tmp_path}/for_xrootd.py stage " in told
    assert os.access(tmp_path / "for_xrootd_prepare.py", os.X_OK)


def test_a_folder_that_cannot_be_written_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert main(["scripts", "install", "s3", str(tmp_path / "file" / "x")]) == 7
    assert main(["scripts", "install", "tapes", str(tmp_path)]) == 5
    first, second = capsys.readouterr().err.splitlines()
    assert "cannot write" in first
    assert "mounted, xrootd, s3" in second


def test_a_file_is_asked_for_and_staged_as_a_data_server_would(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a").write_bytes(b"hello")
    assert main(["scripts", "check", "mounted", f"{tmp_path}/a"]) == 0
    needs, stat, stage = capsys.readouterr().out.splitlines()
    assert needs.startswith("needs: all there")
    assert '"size": 5' in stat
    assert stage.startswith("stage: 5 bytes")
    assert main(["scripts", "check", "mounted", f"{tmp_path}/none", "--json"]) == 9
    captured = capsys.readouterr()
    assert [one["is_fine"] for one in json.loads(captured.out)] == [True, False]
    assert "none" in captured.err


def test_options_of_the_script_are_passed_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["scripts", "check", "dcache", "--", f"--script={tmp_path}/none"]
    assert main(words) == 3
    assert f"there is no {tmp_path}/none" in capsys.readouterr().err
    assert main([*words, "/store/a", "/store/b"]) == 2
    assert "/store/b: one file is tried" in capsys.readouterr().err
