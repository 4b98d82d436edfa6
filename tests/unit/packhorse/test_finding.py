"""Clients find their site by address, by file, or by the environment."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from common.errors import ConfigError, UsageError
from packhorse.finding import SiteAddress, find_site

if TYPE_CHECKING:
    from pathlib import Path


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return write(
        tmp_path / "site.toml",
        f"""
        [mss]
        stagecmd = "builtin"
        names = [{{ prefix = "/store/", archive = "/archive/store/" }}]
        [redirector]
        listen = "0.0.0.0:1213"
        state = "{tmp_path / "redirector"}"
        [packetizer]
        listen = "127.0.0.1:1214"
        state = "{tmp_path / "packetizer"}"
        """,
    )


def test_an_address_needs_no_file() -> None:
    assert find_site(redirector="head:1213", env={}) == SiteAddress("head:1213")


def test_a_file_tells_where_its_servers_are(config: Path) -> None:
    assert find_site(config, env={}) == SiteAddress("127.0.0.1:1213", "127.0.0.1:1214")


def test_the_environment_names_a_file(config: Path) -> None:
    env = {"PACKHORSE_CONFIG": str(config)}
    assert find_site(env=env).redirector == "127.0.0.1:1213"
    assert find_site(redirector="other:1", env=env).redirector == "other:1"


def test_a_file_of_a_packetizer_alone_will_do(tmp_path: Path) -> None:
    path = write(
        tmp_path / "p.toml",
        f'[packetizer]\nstate = "{tmp_path}"\nredirector = "head:9"\nadvertise = "work:8"\n',
    )
    assert find_site(path, env={}) == SiteAddress("head:9", "work:8")


def test_no_site_at_all_is_told_with_what_to_do() -> None:
    with pytest.raises(UsageError, match=r"--config.*--redirector HOST:PORT.*PACKHORSE_CONFIG"):
        find_site(env={})


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(UsageError, match="HOST:PORT"):
        find_site(redirector="head", env={})


def test_a_file_without_any_address_is_refused(tmp_path: Path) -> None:
    path = write(
        tmp_path / "m.toml",
        '[mss]\nstagecmd = "builtin"\nnames = [{ prefix = "/s/", archive = "/a/s/" }]\n',
    )
    with pytest.raises(ConfigError, match="does not tell where the redirector is"):
        find_site(path, env={})
