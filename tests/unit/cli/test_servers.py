"""Servers are started from their tables, and only on a machine that is as these say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import typer

from packhorse.cli import servers
from packhorse.cli.main import main

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("disk1", "disk2"):
        (tmp_path / name).mkdir()
    path = tmp_path / "site.toml"
    path.write_text(f"""\
[mss]
stagecmd = ["cp", "{{source}}", "{{target}}"]
names = [{{ prefix = "/store/", archive = "/archive/store/" }}]
[packetizer]
state = "{tmp_path}/packetizer"
[redirector]
state = "{tmp_path}/redirector"
[dataserver.disk1]
pool = "{tmp_path}/disk1"
quota = "1GB"
[dataserver.disk2]
pool = "{tmp_path}/disk2"
quota = "1GB"
""")
    monkeypatch.setenv("PACKHORSE_CONFIG", str(path))
    return path


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the services that would run, in order."""
    names: list[str] = []

    def serve(*services: Any, reload: Callable[[], None]) -> None:
        names.extend(service.name for service in services)
        raise typer.Exit(0)

    monkeypatch.setattr(servers, "_serve", serve)
    return names


@pytest.mark.usefixtures("config")
def test_up_runs_the_redirector_first_and_then_all_others(served: list[str]) -> None:
    assert main(["up"]) == 0
    first, *nodes, last = served
    assert (first, len(nodes), last) == ("redirector", 2, "packetizer")


@pytest.mark.usefixtures("config")
@pytest.mark.parametrize(
    "argv", [["redirector"], ["packetizer"], ["dataserver", "--name", "disk2"]]
)
def test_a_role_runs_alone(argv: list[str], served: list[str]) -> None:
    assert main(argv) == 0
    assert len(served) == 1


@pytest.mark.usefixtures("config", "served")
def test_one_of_several_data_servers_must_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dataserver"]) == 3
    assert "which data server is meant? There are: disk1, disk2" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("old", "new", "mistake"),
    [
        ('["cp", ', '["/no/such/stage", ', ":2: mss.stagecmd: /no/such/stage does not exist"),
        (
            "disk1]",
            "disk1]\nqouta = 1",
            ':9: dataserver.disk1.qouta: unknown key; did you mean "quota"',
        ),
    ],
    ids=["no command", "unknown key"],
)
def test_nothing_starts_on_a_machine_that_is_not_as_the_file_says(
    config: Path,
    served: list[str],
    capsys: pytest.CaptureFixture[str],
    old: str,
    new: str,
    mistake: str,
) -> None:
    config.write_text(config.read_text().replace(old, new))
    assert main(["dataserver", "--name", "disk1"]) == 3
    assert f"packhorse: error: {config}{mistake}" in capsys.readouterr().err
    assert main(["up"]) == 3
    assert served == []


def test_a_disk_that_is_not_there_keeps_its_own_data_server_from_starting_and_no_other(
    config: Path, served: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    config.write_text(config.read_text().replace('/disk1"', '/nowhere"'))
    assert main(["dataserver", "--name", "disk1"]) == 3
    mistake = f"packhorse: error: {config}:9: dataserver.disk1.pool: "
    assert mistake in capsys.readouterr().err
    assert served == []
    assert main(["dataserver", "--name", "disk1", "--name", "disk2", "--name", "disk1"]) == 0
    assert served == ["disk1", "disk2"]
    assert main(["up"]) == 0
    assert served[2:] == ["redirector", "disk1", "disk2", "packetizer"]


def test_a_file_without_servers_starts_nothing(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config.write_text('[mss]\nstagecmd = "builtin"\nnames = [{ prefix = "/a", archive = "/b" }]\n')
    assert main(["up"]) == 3
    assert "there is no server in it to run" in capsys.readouterr().err
    assert main(["redirector"]) == 3
    assert "there is no [redirector] table" in capsys.readouterr().err


@pytest.mark.usefixtures("config")
def test_workers_bear_their_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Any] = []

    def run_workers(options: list[Any], *, end_with_parent: bool) -> int:
        assert end_with_parent
        started.extend(options)
        return 11

    monkeypatch.setattr("packhorse.worker.run_workers", run_workers)
    monkeypatch.setenv("PACKHORSE_EXIT_WITH_PARENT", "1")
    monkeypatch.setenv("PACKHORSE_HOST", "disk1")
    argv = ["worker", "--workers", "2", "--rack", "A", "--session", "s1", "--memory", "1GB"]
    assert main([*argv, "--patience", "1m"]) == 11
    assert [one.host for one in started] == ["disk1", "disk1"]
    assert {one.redirector for one in started} == {"127.0.0.1:1213"}
    assert (started[0].rack, started[0].session_id) == ("A", "s1")
    assert (started[0].memory_bytes, started[0].patience_s) == (10**9, 60.0)
    assert main(["worker", "--host", "other", "--redirector", "head:1"]) == 11
    assert started[-1].host == "other"
    assert started[-1].redirector == "head:1"
