"""The environment overrides the file, and `config show` can tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from common.config.load import load
from common.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

TEXT = """\
[mss]
stagecmd = "builtin"
names = [{ prefix = "/store/", archive = "/archive/store/" }]
[redirector]
state = "/var/lib/redirector"
[dataserver.disk-1]
pool = "/data/disk1"
quota = "500GB"
[dataserver.disk2]
pool = "/data/disk2"
quota = "500GB"
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "site.toml"
    path.write_text(TEXT)
    return path


def test_variables_override_and_are_named_as_the_origin(path: Path) -> None:
    loaded = load(
        path,
        {
            "PACKHORSE_REDIRECTOR__LISTEN": "127.0.0.1:99",
            "PACKHORSE_DATASERVER__DISK_1__QUOTA": "1TB",
            "PACKHORSE_DATASERVER__DISK_1__SLOTS": "7",
            "PACKHORSE_DATASERVER__DISK_1__INSPECT": "false",
            "PACKHORSE_MSS__STAGECMD": '["cp", "{source}", "{target}"]',
            "PACKHORSE_REDIRECTOR__GROUPS__HIGGS__QUOTA": "5TB",
            "PACKHORSE_CONFIG": "ignored",
            "HOME__X": "ignored",
        },
    )
    node = loaded.site.dataservers["disk-1"]
    assert (node.quota, node.slots, node.inspect) == (10**12, 7, False)
    assert loaded.site.mss.stagecmd == ["cp", "{source}", "{target}"]
    assert loaded.site.redirector is not None
    assert loaded.site.redirector.groups["higgs"].quota == 5 * 10**12
    assert node.redirector == "127.0.0.1:99"
    origins = loaded.origins
    assert origins["dataserver.disk-1.quota"] == (
        "environment variable PACKHORSE_DATASERVER__DISK_1__QUOTA"
    )
    assert origins["dataserver.disk-1.pool"] == f"{path}:7"
    assert origins["dataserver.disk-1.redirector"] == "default: redirector.listen"
    assert origins["dataserver.disk2.slots"] == "default"
    assert origins["redirector.groups.higgs.quota"].endswith("__HIGGS__QUOTA")


def test_values_are_written_as_the_file_would_have_them(path: Path) -> None:
    values = {".".join(map(str, key)): value for key, value in load(path, {}).values()}
    assert values["dataserver.disk2.quota"] == "500GB"
    assert values["redirector.request_deadline"] == "7d"
    assert values["dataserver.disk2.low_watermark"] == "90%"
    assert values["dataserver.disk2.pool"] == "/data/disk2"


@pytest.mark.parametrize(
    ("variable", "value", "mistake"),
    [
        ("REDIRECTR__LISTEN", "x", 'redirectr: unknown key; did you mean "redirector"?'),
        ("REDIRECTOR__LISTN", "x", 'redirector.listn: unknown key; did you mean "listen"?'),
        ("REDIRECTOR__LISTEN", "x", "redirector.listen: 'x' is not an address"),
        ("DATASERVER__DISK3__QUOTA", "1GB", 'no such data server; did you mean "disk2"?'),
        (
            "DATASERVER__DISK2__SLOTS",
            "many",
            "dataserver.disk2.slots: 'many' is not a whole number",
        ),
        ("MSS__STAGECMD", '["cp"', "mss.stagecmd: is not TOML"),
        ("MSS__STAGECMD__X", "1", "is not a table, so PACKHORSE_MSS__STAGECMD__X cannot reach"),
    ],
)
def test_a_mistaken_variable_is_named(path: Path, variable: str, value: str, mistake: str) -> None:
    name = f"PACKHORSE_{variable}"
    with pytest.raises(ConfigError) as refused:
        load(path, {name: value})
    message = str(refused.value)
    assert mistake in message
    assert name in message
    assert "\n" not in message
