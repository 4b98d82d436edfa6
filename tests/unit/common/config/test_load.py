"""A site's file is read whole, and every mistake in it is told at once, with its place."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import get_args

import pytest

from common.config.dataserver import PurgePolicyName
from common.config.load import LoadedConfig, load
from common.errors import ConfigError
from dataserver.core.policies import POLICIES

EXAMPLES = Path(__file__).parents[4] / "examples"

SMALLEST = """\
[mss]
stagecmd = "builtin"
names = [{ prefix = "/store/", archive = "/archive/store/" }]

[redirector]
state = "/var/lib/packhorse/redirector"

[dataserver.disk1]
pool = "/data/disk1"
quota = "500GB"

[packetizer]
state = "/var/lib/packhorse/packetizer"
"""


class File:
    """A configuration file that a test writes and reads."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "site.toml"

    def load(self, text: str, **environment: str) -> LoadedConfig:
        self.path.write_text(text)
        return load(self.path, environment)

    def mistakes(self, text: str, **environment: str) -> list[str]:
        """The lines of the error, each without the folder of the file."""
        with pytest.raises(ConfigError) as refused:
            self.load(text, **environment)
        lines = str(refused.value).replace(str(self.path), "site.toml").split("\n  ")
        return lines if len(lines) == 1 else lines[1:]


@pytest.fixture
def file(tmp_path: Path) -> File:
    return File(tmp_path)


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.toml")), ids=lambda path: path.stem)
def test_the_examples_are_right(path: Path) -> None:
    assert load(path, {}).site.name_map().check("/store//a") == "/store/a"


def test_the_smallest_site_has_everything_it_needs(file: File) -> None:
    site = file.load(SMALLEST).site
    assert site.redirector is not None
    assert site.packetizer is not None
    assert site.redirector.exports == ["/store/"]
    assert site.mss.stagecmd == "builtin"
    node = site.dataservers["disk1"]
    assert (node.name, node.quota, node.host) == ("disk1", 500 * 10**9, socket.gethostname())
    assert (node.high_watermark, node.low_watermark) == (0.95, 0.9)
    assert node.redirector == site.packetizer.redirector == "127.0.0.1:1213"
    assert site.name_map().archive_name("/store/run7/a") == "/archive/store/run7/a"


def test_a_single_dataserver_is_named_after_the_machine(file: File) -> None:
    text = SMALLEST.replace("[dataserver.disk1]", "[dataserver]")
    loaded = file.load(text)
    short = socket.gethostname().partition(".")[0]
    assert loaded.site.dataservers[short].name == short
    assert loaded.nodes == {short: ("dataserver",)}
    assert loaded.origins["dataserver.pool"] == f"{file.path}:9"


def test_a_file_may_hold_one_role_only(file: File) -> None:
    packetizer = '[packetizer]\nstate = "/var/lib/p"\nredirector = "head:1213"'
    site = file.load(packetizer).site
    assert site.redirector is None
    assert site.dataservers == {}
    mss = '[mss]\nstagecmd = "builtin"\nnames = [{ prefix = "/a", archive = "/b" }]'
    assert file.load(mss).site.mss.prefixes() == ["/a"]


def test_a_role_without_what_it_shares_with_others_is_refused(file: File) -> None:
    node = '[dataserver.d]\npool = "/data/d"\nquota = "1TB"'
    assert file.mistakes(node) == [
        "site.toml: there is no [mss] table: what is the archive, and its names?",
        "site.toml:1: dataserver.d.redirector: required: the redirector's address",
    ]


def test_a_wildcard_address_is_called_at_loopback(file: File) -> None:
    listen = '[redirector]\nlisten = "0.0.0.0:99"'
    site = file.load(SMALLEST.replace("[redirector]", listen)).site
    assert site.dataservers["disk1"].redirector == "127.0.0.1:99"


def test_every_mistake_is_told_at_once_in_the_order_of_the_file(file: File) -> None:
    text = """\
[mss]
stagecmd = ["cp", "{source}", "/tmp"]
names = [
  { prefix = "/store/", archive = "/a" },
  { archve = "/x", prefix = "/l" },
  { regex = "/(", archive = "/x" },
]
deadline = "5 years"

[redirector]
listn = "127.0.0.1:1213"
exports = ["store"]
attempts = true

[dataserver.disk1]
pool = "data/disk1"
quota = "5XB"
high_watermark = 0.9
checksum = "sha1"
inspect = "maybe"
name = "disk 1"

[packetzer]
listen = 5
"""
    assert file.mistakes(text) == [
        (
            "site.toml:2: mss.stagecmd: the command has no {target}: it would not know where to put "
            "the file"
        ),
        "site.toml:5: mss.names[1].archive: required: what the archive calls them",
        'site.toml:5: mss.names[1].archve: unknown key; did you mean "archive"?',
        "site.toml:6: mss.names[2]: cannot be used: missing ), unterminated subpattern at position 1",
        (
            "site.toml:8: mss.deadline: '5 years': 'years' is no unit of time; write it like "
            '"30s", "5m", "2h" or "7d"'
        ),
        "site.toml:10: redirector.state: required: the directory of its database",
        'site.toml:11: redirector.listn: unknown key; did you mean "listen"?',
        "site.toml:12: redirector.exports[0]: name 'store' is refused: it must start with '/'",
        "site.toml:13: redirector.attempts: True is not a whole number",
        (
            "site.toml:16: dataserver.disk1.pool: 'data/disk1' is not an absolute path; write it like "
            '"/data/disk1"'
        ),
        (
            "site.toml:17: dataserver.disk1.quota: '5XB' has no unit of size I know; write it like "
            '"500GB", "2TiB" or a whole number of bytes'
        ),
        (
            "site.toml:18: dataserver.disk1.high_watermark: 0.9 is not a share in percent; write it "
            'like "95%"'
        ),
        (
            'site.toml:19: dataserver.disk1.checksum: "sha1" is not one of '
            "'adler32', 'crc32c', 'md5' or 'none'"
        ),
        'site.toml:20: dataserver.disk1.inspect: "maybe" is not a boolean',
        (
            "site.toml:21: dataserver.disk1.name: 'disk 1' will not do as a name; use up to 64 "
            "letters, digits, '.', '_' and '-'"
        ),
        'site.toml:23: packetzer: unknown key; did you mean "packetizer"?',
    ]


def test_a_default_taken_from_a_mistake_is_no_second_mistake(file: File) -> None:
    text = SMALLEST.replace('prefix = "/store/"', 'prefix = "store"').replace(
        "[redirector]", '[redirector]\nlisten = "nowhere"'
    )
    assert [line.split(": ")[1] for line in file.mistakes(text)] == [
        "mss.names[0]",
        "redirector.listen",
    ]


@pytest.mark.parametrize(
    ("old", "new", "mistake"),
    [
        ("[packetizer]", '[dataserver.b]\npool = "/data/disk1"\nquota = 1\n[packetizer]',
         "dataserver.b.pool: /data/disk1 is the pool of [dataserver.disk1] already"),
        ("[packetizer]", '[dataserver.b]\npool = "/data/disk1/b"\nquota = 1\n[packetizer]',
         "lie inside one another"),
        ("[packetizer]", '[dataserver.b]\nname = "disk1"\npool = "/b"\nquota = 1\n[packetizer]',
         'dataserver.b.name: "disk1" is the name of [dataserver.disk1] already'),
        ('"500GB"', '"500GB"\nlow_watermark = "95%"',
         "low_watermark (95%) must be below high_watermark (95%)"),
        ("/var/lib/packhorse/packetizer", "/var/lib/packhorse/redirector", "lie inside one another"),
        ("/var/lib/packhorse/packetizer", "/data/disk1/state", "lie inside one another"),
        ("[packetizer]", '[packetizer]\nlisten = "127.0.0.1:1213"', "redirector.listen already"),
        ("[redirector]", '[redirector]\nexports = ["/other"]',
         'redirector.exports[0]: no rule of mss.names is about "/other"'),
        ("[redirector]", '[redirector]\nsuspect_after = "2m"', "must grow in this order"),
        ("[redirector]", '[redirector]\nbackoff = "1h"', "is over backoff_max"),
        ("[packetizer]", '[packetizer]\nheartbeat = "1m"', "must be shorter than lease"),
        ("[redirector]", '[redirector]\nlisten = "127.0.0.1:0"', "port 0, which nobody can call"),
        ("[redirector]", "[redirector]\ngroups = { a = 5 }", "redirector.groups.a: 5 is not a table"),
        ("[redirector]", '[redirector.groups.a]\nshare = "5%"\n[redirector]',
         "share is given without paths"),
        ("[redirector]", '[redirector.groups.a]\npaths = ["/a"]\n[redirector]',
         "paths are given without a share"),
        ("[redirector]", ('[redirector.groups]\na = { share = "60%", paths = ["/a"] }\n'
         'b = { share = "41%", paths = ["/b"] }\n[redirector]'),
         "the shares of the groups add up to 101%, more than there is"),
        ("[redirector]", ('[redirector.groups]\na = { share = "6%", paths = ["/a"] }\n'
         'b = { share = "4%", paths = ["/b", "/a//"] }\n[redirector]'),
         '"/a//" is a path of group a and of group b'),
        (
            "[redirector]",
            '[redirector.groups.a]\nshare = "6%"\npaths = ["/shop/a"]\n[redirector]',
            "nothing is exported there; the exports are /store/",
        ),
        ('"500GB"', '"500GB"\npurge_policy = "fifo"', "purge_policy: "),
        ("[redirector]", '[redirector.groups.a]\nquata = "1GB"\n[redirector]',
         'redirector.groups.a.quata: unknown key; did you mean "quota"?'),
        ('"builtin"', '"cp"', '\'cp\' is neither "builtin" nor a list like'),
        ('"builtin"', '["cp", "{dest}"]', "unknown placeholder {dest}"),
        ('"builtin"', '["touch", "{target}"]', "no {source} and no {lfn}: which file should it"),
        ('"builtin"', '"builtin"\nstatcmd = ["stat", "{lfn}", "{target}"]', "{source} and {lfn} only"),
        ('"builtin"', '["cp", "a\\u0000"]', "holds a NUL"),
        ('"builtin"', "[]", "mss.stagecmd: the command is empty"),
        ('"builtin"', '["cp", 5]', "is not a command; write it as a list"),
        ('"builtin"', '"builtin"\nstatcmd = ["stat"]', "mss.statcmd: the command has no {source}"),
        ("[dataserver.disk1]", '[dataserver]\nquota = "1GB"\n[dataserver.disk1]',
         "either one [dataserver] or several [dataserver.NAME], not both"),
        ("[dataserver.disk1]", "[dataserver]\n[other]", "dataserver.pool: required"),
        ('quota = "500GB"', "quota = 0", "dataserver.disk1.quota: 0 will not do: it must be greater"),
        ('quota = "500GB"', 'quota = "1GB"\nslots = 2.5', "slots: 2.5 is not a whole number"),
        ("[mss]", "mss2 = 1\n[mss]", 'mss2: unknown key; did you mean "mss"?'),
    ],
)  # fmt: skip
def test_what_does_not_fit_together_is_refused(
    file: File, old: str, new: str, mistake: str
) -> None:
    assert old in SMALLEST
    text = SMALLEST.replace(old, new, 1)
    assert any(mistake in line for line in file.mistakes(text)), file.mistakes(text)


def test_a_script_without_placeholders_is_accepted_as_xrootd_has_it(file: File) -> None:
    site = file.load(SMALLEST.replace('"builtin"', '["/usr/bin/xrd-stage"]')).site
    assert site.mss.stagecmd == ["/usr/bin/xrd-stage"]


def test_the_same_pool_path_on_two_hosts_is_two_pools(file: File) -> None:
    other = '[dataserver.b]\npool = "/data/disk1"\nquota = 1\nhost = "elsewhere"\n[packetizer]'
    assert len(file.load(SMALLEST.replace("[packetizer]", other)).site.dataservers) == 2


@pytest.mark.parametrize(
    ("content", "mistake"),
    [
        (b"[mss]\nstagecmd = \n", "site.toml:2: is not TOML: Invalid value, at column 12"),
        (b"[mss]\n[mss]\n", "site.toml:2: is not TOML: Cannot declare"),
        (b"[mss", "site.toml: is not TOML"),
        (b"[mss]\n# \xff\n", "site.toml:2: is not UTF-8 text"),
    ],
    ids=["value", "twice", "end", "latin-1"],
)
def test_what_is_no_toml_is_refused_with_its_line(file: File, content: bytes, mistake: str) -> None:
    file.path.write_bytes(content)
    with pytest.raises(ConfigError) as refused:
        load(file.path, {})
    assert str(refused.value).replace(str(file.path), "site.toml").startswith(mistake)
    assert "\n" not in str(refused.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.toml: cannot be read: No such file"):
        load(tmp_path / "nowhere.toml", {})
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load(tmp_path, {})


def test_every_purge_policy_there_is_can_be_chosen() -> None:
    assert sorted(get_args(PurgePolicyName)) == sorted(POLICIES)
