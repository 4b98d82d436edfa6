"""`packhorse purge replay`: a pool's log, told for people and for programs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from dataserver.access_log import AccessLog
from dataserver.core.access import Access, AccessKind
from packhorse.cli.main import main

if TYPE_CHECKING:
    from pathlib import Path

START_S = 1_790_000_000.0


@pytest.fixture
def pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The private directory of a pool of 1 kB, found by the site's file."""
    private = tmp_path / "disk1" / ".packhorse"
    private.mkdir(parents=True)
    path = tmp_path / "site.toml"
    path.write_text(f"""\
[mss]
stagecmd = "builtin"
names = [{{ prefix = "/store/", archive = "/archive/store/" }}]
[redirector]
state = "{tmp_path}/redirector"
[redirector.groups.higgs]
share = "50%"
paths = ["/store/higgs"]
[dataserver.disk1]
pool = "{tmp_path}/disk1"
quota = "1KB"
""")
    monkeypatch.setenv("PACKHORSE_CONFIG", str(path))
    return private


def write_log(folder: Path) -> None:
    """Twelve files of 100 bytes come, an hour apart, and the first is wanted again."""
    log = AccessLog(folder, 1_000_000)
    for number in range(13):
        lfn = f"/store/{number % 12}"
        log.write([Access(START_S + 3600.0 * number, AccessKind.RECALLED, 100, lfn)])
    log.close()


def test_every_policy_is_compared_with_what_was(
    pool: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_log(pool)
    assert main(["purge", "replay"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert "13 lines from" in told[0]
    assert [line.split()[0] for line in told[2:]] == ["(as", "lru", "lru-by-size", "done-first"]
    assert told[3].split() == [
        "lru",
        "13",
        "1.3",
        "kB",
        "0.0%",
        "13",
        "1.3",
        "kB",
        "1",
        "100",
        "B",
        "4",
        "0",
    ]


def test_other_quotas_and_single_policies_can_be_tried(
    pool: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copied = tmp_path / "copied"
    copied.mkdir()
    write_log(copied)
    argv = ["purge", "replay", "--policy", "lru", "--quota", "2KB", "--log", str(copied), "--json"]
    assert main(argv) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["lines"], told["quota_bytes"], list(told["outcomes"])) == (13, 2000, ["lru"])
    assert told["outcomes"]["lru"]["recalled_again"] == 0
    assert main([*argv[:-1], "--max-files", "4", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["outcomes"]["lru"]["recalled_again_bytes"] == 100


@pytest.mark.parametrize(
    ("argv", "code", "complaint"),
    [
        ([], 5, "there is no access log in"),
        (["--policy", "fifo"], 2, "--policy fifo is none of lru, lru-by-size, done-first"),
        (["--name", "disk2"], 3, "disk2"),
        (["--quota", "much"], 2, "much"),
        (["--log", "/proc/1/nowhere"], 5, "there is no access log in /proc/1/nowhere"),
    ],
)
def test_what_cannot_be_played_is_told_in_a_line(
    pool: Path, argv: list[str], code: int, complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["purge", "replay", *argv]) == code
    told = capsys.readouterr().err
    assert complaint in told
    assert told.count("\n") == 1
    assert pool.exists()


def test_a_log_that_cannot_be_read_is_told_in_a_line(
    pool: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (pool / "access.log").mkdir()
    assert main(["purge", "replay"]) == 7
    told = capsys.readouterr().err
    assert f"cannot be read: {pool}/access.log: Is a directory" in told
    assert told.count("\n") == 1
