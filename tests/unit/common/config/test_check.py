"""Before a role starts, its directories and commands are looked at on this machine."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from common.config.check import Role, check_for_role, node_name
from common.config.load import LoadedConfig, load
from common.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

as_user = pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")


def site(folder: Path, **changes: str) -> LoadedConfig:
    """A site below `folder` that is fine unless something is changed."""
    (folder / "disk1").mkdir(exist_ok=True)
    (folder / "disk2").mkdir(exist_ok=True)
    keys = {"stagecmd": '["cp", "{source}", "{target}"]', "more": "", "pool": f"{folder}/disk1"}
    keys |= changes
    path = folder / "site.toml"
    path.write_text(f"""\
[mss]
stagecmd = {keys["stagecmd"]}
names = [{{ prefix = "/store/", archive = "/archive/store/" }}]
[redirector]
state = "{folder}/state/redirector"
[dataserver.disk1]
pool = "{keys["pool"]}"
quota = "1GB"
{keys["more"]}
[dataserver.disk2]
name = "second"
pool = "{folder}/disk2"
quota = "1GB"
""")
    return load(path, {})


def problems(config: LoadedConfig, role: Role, node: str | None = None) -> list[str]:
    return [str(problem) for problem in check_for_role(config, role, node)]


def test_a_site_that_is_ready_has_no_problems(tmp_path: Path) -> None:
    config = site(tmp_path)
    assert problems(config, "dataserver") == []
    assert problems(config, "redirector") == []
    assert not (tmp_path / "state").exists()


def test_a_pool_must_exist_and_be_a_directory(tmp_path: Path) -> None:
    config = site(tmp_path, pool=f"{tmp_path}/nowhere")
    (told,) = problems(config, "dataserver")
    assert told.startswith(f"dataserver.disk1.pool: {tmp_path}/nowhere does not exist")
    assert problems(config, "dataserver", "second") == []
    config = site(tmp_path, pool=f"{tmp_path}/site.toml")
    assert problems(config, "dataserver") == [
        f"dataserver.disk1.pool: {tmp_path}/site.toml is not a directory"
    ]


@as_user
def test_a_pool_must_be_writable(tmp_path: Path) -> None:
    config = site(tmp_path)
    (tmp_path / "disk1").chmod(0o555)
    assert problems(config, "dataserver") == [
        f"dataserver.disk1.pool: {tmp_path}/disk1 cannot be written to by this user"
    ]


def test_commands_must_exist_and_be_executable(tmp_path: Path) -> None:
    script = tmp_path / "stage.sh"
    script.write_text("#!/bin/sh\n")
    for command, told in [
        (str(script), f"mss.stagecmd: {script} is not executable"),
        (f"{script}.no", f"mss.stagecmd: {script}.no does not exist"),
        (str(tmp_path), f"mss.stagecmd: {tmp_path} is a directory"),
        ("no-such-program", "mss.stagecmd: there is no program 'no-such-program' on PATH"),
    ]:
        config = site(tmp_path, stagecmd=f'["{command}", "{{source}}", "{{target}}"]')
        (found,) = problems(config, "dataserver")
        assert found.startswith(told)
        assert problems(config, "redirector") == []
    script.chmod(0o755)
    fine = site(tmp_path, stagecmd=f'["{script}", "{{source}}", "{{target}}"]')
    assert problems(fine, "dataserver") == []


def test_what_asks_the_archive_must_exist_too(tmp_path: Path) -> None:
    commands = 'statcmd = ["/no/stat", "{source}"]\nlistcmd = ["/no/list", "{source}"]'
    config = site(tmp_path, stagecmd=f'"builtin"\n{commands}')
    assert problems(config, "dataserver") == [
        "mss.statcmd: /no/stat does not exist",
        "mss.listcmd: /no/list does not exist",
    ]


def test_the_purge_command_is_looked_at_with_its_node(tmp_path: Path) -> None:
    config = site(tmp_path, more='purgecmd = ["/no/purge"]')
    assert problems(config, "dataserver", "disk1") == [
        "dataserver.disk1.purgecmd: /no/purge does not exist"
    ]
    assert problems(config, "dataserver", "disk2") == []


def test_a_state_directory_must_be_possible(tmp_path: Path) -> None:
    config = site(tmp_path)
    (tmp_path / "state").write_text("a file")
    assert problems(config, "redirector") == [
        (
            f"redirector.state: {tmp_path}/state/redirector cannot be made: "
            f"{tmp_path}/state is not a directory"
        )
    ]
    (tmp_path / "state").unlink()
    (tmp_path / "state").mkdir()
    (tmp_path / "state/redirector").write_text("a file")
    assert problems(config, "redirector") == [
        f"redirector.state: {tmp_path}/state/redirector is not a directory"
    ]


@as_user
def test_a_state_directory_must_be_writable(tmp_path: Path) -> None:
    config = site(tmp_path)
    (tmp_path / "state").mkdir(mode=0o555)
    (told,) = problems(config, "redirector")
    assert "cannot be made in" in told


def test_problems_are_told_with_the_line_of_the_file(tmp_path: Path) -> None:
    config = site(tmp_path, pool="/nowhere")
    error = config.error(check_for_role(config, "dataserver"))
    assert str(error).startswith(f"{tmp_path}/site.toml:7: dataserver.disk1.pool: /nowhere")


def test_a_role_or_node_the_file_does_not_have_is_refused(tmp_path: Path) -> None:
    config = site(tmp_path)
    with pytest.raises(ConfigError, match=r"there is no \[packetizer\] table"):
        check_for_role(config, "packetizer")
    with pytest.raises(ConfigError, match="which data server is meant"):
        node_name(config, None)
    with pytest.raises(ConfigError, match='no data server "disk3"; there are: disk1, disk2'):
        node_name(config, "disk3")
    assert node_name(config, "second") == "disk2"


def test_credentials_must_be_there(tmp_path: Path) -> None:
    token = tmp_path / "token"
    path = site(tmp_path).path
    keys = f'credential_contents = {{ TOKEN = "{token}" }}'
    path.write_text(path.read_text().replace("[redirector]", f"{keys}\n[redirector]"))
    (told,) = problems(load(path, {}), "dataserver")
    assert told == f"mss.credential_contents.TOKEN: {token} is not a file that is there"
    token.write_text("x")
    assert problems(load(path, {}), "dataserver") == []
