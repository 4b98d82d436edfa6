"""A changed configuration file, taken over while servers run."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from common.config.load import load
from common.config.reloading import Part, Reloading, taken_over

if TYPE_CHECKING:
    from pathlib import Path

    from common.config.model import SiteConfig

FILE = """\
[mss]
stagecmd = "builtin"
names = [{ prefix = "/store/", archive = "/archive/store/" }]
[redirector]
state = "/var/redirector"
[redirector.groups.muons]
quota = "1TB"
[dataserver.disk1]
pool = "/disk1"
quota = "1GB"
[dataserver.disk2]
pool = "/disk2"
quota = "1GB"
"""


class Running:
    """Servers whose files are changed under their hands."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "site.toml"
        self.path.write_text(FILE)
        self.taken: list[tuple[str, SiteConfig]] = []
        self.reloading = Reloading(
            load(self.path, {}),
            [
                Part(
                    ("redirector",),
                    frozenset({"groups.quota", "attempts"}),
                    self._take("redirector"),
                ),
                Part(
                    ("dataserver", "disk1"),
                    frozenset({"quota", "slots"}),
                    self._take("disk1"),
                    frozenset({(("redirector",), "groups.share")}),
                ),
            ],
        )

    def _take(self, name: str):
        return lambda site: self.taken.append((name, site))

    def change(self, old: str, new: str) -> None:
        text = self.path.read_text()
        assert old in text
        self.path.write_text(text.replace(old, new, 1))
        self.reloading.reload()


@pytest.fixture
def running(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Running:
    caplog.set_level(logging.INFO)
    return Running(tmp_path)


def test_what_can_change_is_handed_to_its_server_and_said(
    running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    running.change('quota = "1GB"', 'quota = "2GB"\nslots = 7')
    ((name, site),) = running.taken
    assert name == "disk1"
    assert site.dataservers["disk1"].quota == 2 * 10**9
    assert "in force now: dataserver.disk1.quota is 2GB, dataserver.disk1.slots is 7" in caplog.text
    running.reloading.reload()
    assert "nothing has changed" in caplog.text
    assert len(running.taken) == 1


def test_what_cannot_change_is_named_every_time_until_a_restart(
    running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    later = "in force only after a restart: "
    running.change('pool = "/disk1"', 'pool = "/disk9"')
    assert f"{later}dataserver.disk1.pool" in caplog.text
    caplog.clear()
    running.change('stagecmd = "builtin"', 'stagecmd = ["cp", "{source}", "{target}"]')
    assert f"{later}mss.stagecmd, dataserver.disk1.pool" in caplog.text
    assert running.taken == []


def test_other_servers_tables_are_no_concern_of_this_process(
    running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    running.change('pool = "/disk2"\nquota = "1GB"', 'pool = "/disk3"\nquota = "5GB"')
    assert "nothing has changed" in caplog.text
    assert running.taken == []


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ('quota = "1GB"', 'quota = "many"', "dataserver.disk1.quota"),
        ('quota = "1GB"', 'qouta = "1GB"', "unknown key"),
        ("[redirector]", "[redirector", "is not TOML"),
    ],
)
def test_a_mistake_changes_nothing_and_is_told(
    running: Running, caplog: pytest.LogCaptureFixture, old: str, new: str, why: str
) -> None:
    running.change(old, new)
    assert "was not reloaded, and nothing has changed" in caplog.text
    assert why in caplog.text
    assert running.taken == []
    running.change(new, old)
    assert "nothing has changed" in caplog.text


def test_a_file_that_is_gone_changes_nothing(
    running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    running.path.unlink()
    running.reloading.reload()
    assert "cannot be read: No such file" in caplog.text


def test_groups_come_and_go(running: Running, caplog: pytest.LogCaptureFixture) -> None:
    running.change(
        '[redirector.groups.muons]\nquota = "1TB"\n', '[redirector.groups.taus]\nquota = "3TB"\n'
    )
    ((_name, site),) = running.taken
    assert site.redirector is not None
    assert list(site.redirector.groups) == ["taus"]
    assert "redirector.groups.muons.quota is gone" in caplog.text


def test_keys_of_inner_tables_are_told_apart(
    running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    running.change('quota = "1TB"', 'quota = "2TB"\nshare = "40%"\npaths = ["/store/mu/"]')
    assert [name for name, _site in running.taken] == ["redirector"]
    assert "in force now: redirector.groups.muons.quota is 2TB" in caplog.text
    later = "after a restart: redirector.groups.muons.share, redirector.groups.muons.paths"
    assert later in caplog.text


def test_a_table_that_is_gone_is_named_and_its_server_goes_on(
    running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    running.change('[dataserver.disk1]\npool = "/disk1"\nquota = "1GB"\n', "")
    assert "in force only after a restart: " in caplog.text
    assert "dataserver.disk1.quota" in caplog.text
    assert running.taken == []


def test_only_what_can_change_is_taken_over(running: Running) -> None:
    old = load(running.path, {}).site.dataservers["disk1"]
    new = old.model_copy(update={"quota": 5, "slots": 9, "host": "elsewhere"})
    merged = taken_over(old, new, {"quota", "slots"})
    assert (merged.quota, merged.slots, merged.host) == (5, 9, old.host)
