"""What is peculiar to single kinds of archives."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from packhorse.scripts import find_kind
from packhorse.scripts.kinds import KINDS
from tests.support.archive_scripts import (
    S3,
    SCRIPTS,
    Dcache,
    Fsspec,
    Mounted,
    Oss,
    World,
    Xrootd,
    run_script,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.archive_scripts import MotoServer
    from tests.support.recorded_xrootd import WritableXrootd

CONTENT = b"what the detector saw" * 1000
USAGE, DAMAGED, NOT_FOUND, UNAVAILABLE = 64, 65, 66, 69
NO_SPACE, LATER, NOT_PERMITTED, SET_UP_WRONGLY = 73, 75, 77, 78


def run(world: World, action: str, *words: str) -> subprocess.CompletedProcess[str]:
    return run_script(world.kind, action, *world.options, *words, env=world.env)


# --- S3 and Glacier -----------------------------------------------------------------


def test_a_cold_object_is_restored_once_and_waited_for(
    s3: S3, moto: MotoServer, tmp_path: Path
) -> None:
    moto.set_restore_delay(3)
    s3.put("/store/cold", CONTENT, StorageClass="DEEP_ARCHIVE")
    with pytest.raises(s3.client.exceptions.ClientError):
        s3.client.get_object(Bucket=s3.bucket, Key="store/cold")
    for target in (tmp_path / "first", tmp_path / "second"):
        done = run(s3, "stage", "--days=1", s3.name("/store/cold"), str(target))
        assert done.returncode == 0, done.stderr
        assert target.read_bytes() == CONTENT


def test_what_s3_knows_of_an_object_is_told(s3: S3) -> None:
    s3.put("/store/a", b"hello")
    told = json.loads(run(s3, "stat", s3.name("/store/a")).stdout)
    assert told["checksum"] == "md5:5d41402abc4b2a76b9719d911017c592"
    assert told["mtime"] > 1.7e9


def test_a_class_of_storage_is_chosen_when_storing(s3: S3, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(CONTENT)
    name = s3.name("/store/new")
    done = run(s3, "store", "--storage-class=GLACIER", str(tmp_path / "a"), name)
    assert done.returncode == 0, done.stderr
    head = s3.client.head_object(Bucket=s3.bucket, Key="store/new")
    assert head["StorageClass"] == "GLACIER"


def test_mistakes_about_s3_are_told_as_such(s3: S3, tmp_path: Path) -> None:
    target = str(tmp_path / "a")
    name = s3.name("/store/a")
    for words, code, said in (
        (["--profile=nobody", name], SET_UP_WRONGLY, "nobody"),
        (["--endpoint=http://127.0.0.1:1", name], UNAVAILABLE, "127.0.0.1:1"),
        (["/archive/a"], SET_UP_WRONGLY, "does not begin with s3://"),
        (["s3://no-such-bucket/a"], NOT_FOUND, "no-such-bucket"),
    ):
        done = run(s3, "stage", *words, target)
        assert (done.returncode, said in done.stderr) == (code, True), done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


# --- XRootD -------------------------------------------------------------------------


def test_a_name_that_xrootd_cannot_have_is_refused(tmp_path: Path) -> None:
    done = run_script("xrootd", "stage", "root://host//store/a?b", str(tmp_path / "a"))
    assert (done.returncode, "question mark" in done.stderr) == (USAGE, True)


@pytest.mark.parametrize(
    ("flags", "checksum"), [("IsReadable", "adler32:062c0215"), ("Offline|BackUpExists", None)]
)
def test_a_checksum_is_asked_for_only_of_what_is_on_disk(
    tmp_path: Path, flags: str, checksum: str | None
) -> None:
    """Of a file on tape, a server would have to read it all."""
    xrdfs = tmp_path / "xrdfs"
    xrdfs.write_text(f"""#!/bin/sh
case $2 in
    query) echo 'adler32 062c0215' ;;
    stat) printf 'Path:   /a\nSize:   5\nMTime:  2026-11-25 03:12:14\nFlags:  48 ({flags})\n' ;;
esac
""")
    xrdfs.chmod(0o755)
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "TZ": "America/New_York"}
    done = run_script("xrootd", "stat", "--checksum", "root://tape//a", env=env)
    told = json.loads(done.stdout)
    assert (told["size"], told["mtime"]) == (5, 1_795_576_334.0)
    assert told.get("checksum") == checksum


def test_no_xrootd_server_is_told_as_unavailable(tmp_path: Path) -> None:
    env = {"XRD_CONNECTIONRETRY": "1", "XRD_CONNECTIONWINDOW": "1"}
    target = str(tmp_path / "a")
    done = run_script("xrootd", "stage", "--ready", "root://127.0.0.1:1//a", target, env=env)
    assert (done.returncode, "127.0.0.1:1" in done.stderr) == (UNAVAILABLE, True)


@pytest.mark.parametrize(
    ("answers", "code", "asked"),
    [
        ([{"online": False}, {"online": True}], 0, ["prepare", "query", "query"]),
        ([{"online": False, "error_text": "tape is torn"}], LATER, ["prepare", "query", "prepare"]),
        ([{"path_exists": False}], NOT_FOUND, ["prepare", "query", "prepare"]),
        ([None], 0, ["prepare", "query"]),
    ],
)
def test_a_tape_server_is_asked_until_the_file_is_online(
    tmp_path: Path, answers: list[dict[str, object] | None], code: int, asked: list[str]
) -> None:
    """XRootD's programs are played: no server that could be installed here has tapes."""
    for number, answer in enumerate(answers):
        said = "" if answer is None else json.dumps({"responses": [answer]})
        (tmp_path / f"answer{number}").write_text(said)
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "xrdfs").write_text(f"""#!/bin/sh
count=$(grep -c query {tmp_path}/asked 2>/dev/null)
echo "$2" >> {tmp_path}/asked
case $2 in prepare) echo request1 ;; query) cat {tmp_path}/answer${{count:-0}} ;; esac
""")
    (programs / "xrdcp").write_text('#!/bin/sh\nprintf hello > "$4"\n')
    for program in programs.iterdir():
        program.chmod(0o755)
    env = {"PATH": f"{programs}:{os.environ['PATH']}"}
    words = ["stage", "--poll=0.02", "root://tape//a", str(tmp_path / "a")]
    done = run_script("xrootd", *words, env=env)
    assert done.returncode == code, done.stderr
    assert (tmp_path / "asked").read_text().split() == asked
    assert (tmp_path / "a").exists() == (code == 0)


# --- fsspec -------------------------------------------------------------------------


def test_fsspec_reads_from_a_stock_xrootd(xrootd: WritableXrootd, tmp_path: Path) -> None:
    pytest.importorskip("fsspec_xrootd", reason="no fsspec-xrootd here")
    world = Xrootd(xrootd)
    world.put("/store/by-fsspec", CONTENT)
    name = world.name("/store/by-fsspec")
    done = run_script("fsspec", "stage", name, str(tmp_path / "a"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a").read_bytes() == CONTENT
    assert json.loads(run_script("fsspec", "stat", name).stdout)["size"] == len(CONTENT)


def test_mistakes_about_a_url_are_told_as_such(tmp_path: Path) -> None:
    archive = Fsspec(tmp_path)
    for words, said in (
        (["nonsense://host/a"], "nonsense"),
        (["--option=host", archive.name("/a")], "KEY=VALUE"),
    ):
        done = run_script("fsspec", "stat", *words)
        assert done.returncode in {USAGE, SET_UP_WRONGLY}
        assert said in done.stderr
        assert len(done.stderr.splitlines()) == 1


# --- scripts of other systems -------------------------------------------------------


def test_a_dcache_script_says_with_its_own_code_why_it_failed(tmp_path: Path) -> None:
    world = Dcache(tmp_path)
    world.put("/store/a", CONTENT)
    name, target = world.name("/store/a"), str(tmp_path / "target")
    refused = run_script(world.kind, "stage", *world.options, "--option=tape=/none", name, target)
    assert (refused.returncode, "no tape /none" in refused.stderr) == (38, True)
    for kept in world.tape.iterdir():
        kept.unlink()
    lost = run(world, "stage", name, target)
    assert (lost.returncode, "no such bitfile" in lost.stderr) == (NOT_FOUND, True)


@pytest.mark.parametrize("kind", ["mounted", "dcache"])
def test_a_mount_that_has_vanished_is_no_archive_without_files(kind: str, tmp_path: Path) -> None:
    world: World = Mounted(tmp_path / "root") if kind == "mounted" else Dcache(tmp_path)
    world.put("/store/a", CONTENT)
    root = tmp_path / ("root" if kind == "mounted" else "book")
    world.options += ["--root", str(root)] if kind == "mounted" else []
    target = tmp_path / "target"
    assert run(world, "stage", world.name("/store/a"), str(target)).returncode == 0
    root.rename(tmp_path / "unmounted")
    for is_there in (False, True):
        if is_there:
            root.mkdir()
        words = {"stage": (world.name("/store/a"), str(target)), "remove": (world.name("/a"),)}
        words["store"] = (str(target), world.name("/store/b"))
        for action, given in words.items():
            done = run(world, action, *given)
            assert (done.returncode, str(root) in done.stderr) == (UNAVAILABLE, True)
    assert list(root.iterdir()) == []


def test_a_name_that_is_a_uri_needs_no_book(tmp_path: Path) -> None:
    world = Dcache(tmp_path)
    (world.tape / "0001").write_bytes(CONTENT)
    options = [option for option in world.options if not option.startswith("--book")]
    target = tmp_path / "target"
    done = run_script(world.kind, "stage", *options, "osm://osm/?bfid=0001", str(target))
    assert done.returncode == 0, done.stderr
    assert target.read_bytes() == CONTENT
    done = run_script(world.kind, "stat", *options, "/store/a")
    assert (done.returncode, "--book" in done.stderr) == (SET_UP_WRONGLY, True)


def test_a_fail_file_of_xrootd_says_that_a_file_is_missing(tmp_path: Path) -> None:
    world = Oss(tmp_path / "archive")
    (tmp_path / "incoming").mkdir()
    stagecmd = f"--stagecmd={SCRIPTS}/oss-stage.sh"
    words = (world.name("/store/none"), str(tmp_path / "incoming" / "a"))
    done = run_script(world.kind, "stage", stagecmd, *words)
    assert done.returncode == NOT_FOUND, done.stderr
    assert list((tmp_path / "incoming").iterdir()) == []
    done = run_script(world.kind, "stat", stagecmd, words[0])
    assert (done.returncode, "--rsscmd" in done.stderr) == (SET_UP_WRONGLY, True)


# --- the other way round, without an XRootD ------------------------------------------


def adapter(mode: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Calls what XRootD would call, with the script for a mounted file system."""
    script = str(find_kind("mounted").path)
    return run_script("for-xrootd", mode, script, *words)


def test_the_stagecmd_for_xrootd_keeps_its_contract(tmp_path: Path) -> None:
    archive = Mounted(tmp_path / "archive")
    archive.put("/store/a", CONTENT)
    local = tmp_path / "pool" / "store" / "a"
    none = local.with_name("none")
    assert adapter("stage", archive.name("/store/none"), str(none)).returncode == 2
    fail = none.with_name("none.fail")
    assert fail.stat().st_mtime == 2
    archive.put("/store/none", CONTENT)
    for remote, path in (("/store/a", local), ("/store/none", none)):
        assert adapter("stage", archive.name(remote), str(path)).returncode == 0
        assert path.read_bytes() == CONTENT
    assert sorted(path.name for path in local.parent.iterdir()) == ["a", "none"]
    assert adapter("copy", archive.name("/store/gone"), str(local)).returncode == 2
    assert adapter("store", str(local), archive.name("/store/new")).returncode == 0
    assert archive.get("/store/new") == CONTENT


def test_the_rsscmd_for_xrootd_keeps_its_contract(tmp_path: Path) -> None:
    archive = Mounted(tmp_path / "archive")
    archive.put("/store/a", CONTENT)
    for verb, path, first in (
        ("exists", "/store/a", "0"),
        ("exists", "/store/none", "2"),
        ("statx", "/store/a", "0"),
        ("dlist", "/store", "0"),
        ("rm", "/store/a", "0"),
        ("exists", "/store/a", "2"),
        ("dance", "/store/a", "95"),
    ):
        said = adapter("ask", verb, archive.name(path)).stdout.splitlines()
        assert said[0] == first, said
        if verb == "statx":
            assert said[1].split()[8] == str(len(CONTENT))
        if verb == "dlist":
            assert said[1:] == ["a"]
    assert adapter("ask", "mv", "/a", "/b").stdout == "95\n"
    assert run_script("for-xrootd").returncode == USAGE


# --- all of them --------------------------------------------------------------------


def test_a_checksum_beside_a_file_is_told_until_the_file_is_replaced(tmp_path: Path) -> None:
    world = Mounted(tmp_path / "archive")
    world.put("/store/a", b"hello")
    world.put("/store/a.adler32", b"062c0215\n")
    told = json.loads(run(world, "stat", world.name("/store/a")).stdout)
    assert told["checksum"] == "adler32:062c0215"
    (tmp_path / "new").write_bytes(b"jello")
    done = run(world, "store", str(tmp_path / "new"), world.name("/store/a"))
    assert done.returncode == 0, done.stderr
    assert world.get("/store/a") == b"jello"
    assert "checksum" not in json.loads(run(world, "stat", world.name("/store/a")).stdout)


@pytest.mark.parametrize(
    ("stat", "said"),
    [
        ("Size: 5\nMTime: 2026-11-25 03:12:14\nFlags: 48 (IsReadable)", "adler32"),
        ("Size: 4\nMTime: 2026-11-25 03:12:14\nFlags: 48 (IsReadable)", "4 of 5 bytes"),
        ("", "did not arrive"),
    ],
)
def test_what_arrived_otherwise_is_not_left_in_the_archive(
    tmp_path: Path, stat: str, said: str
) -> None:
    (tmp_path / "xrdcp").write_text("#!/bin/sh\n")
    (tmp_path / "xrdfs").write_text(f"""#!/bin/sh
case $2 in
    query) echo 'adler32 00000001' ;;
    rm) touch {tmp_path}/removed ;;
    stat) [ -n '{stat}' ] || {{ echo '[3011]'; exit 54; }}; echo '{stat}' ;;
esac
""")
    for program in ("xrdcp", "xrdfs"):
        (tmp_path / program).chmod(0o755)
    (tmp_path / "file").write_bytes(b"hello")
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    words = ["store", "--checksum", str(tmp_path / "file"), "root://tape//a"]
    done = run_script("xrootd", *words, env=env)
    assert (done.returncode, said in done.stderr) == (LATER, True), done.stderr
    assert (tmp_path / "removed").exists() == bool(stat)


@pytest.mark.parametrize("kind", [kind.name for kind in KINDS if kind.archive])
def test_what_is_missing_is_told_in_one_line(kind: str, tmp_path: Path) -> None:
    """With Python alone, no libraries, and an empty PATH."""
    found = find_kind(kind)
    options = [option for option in found.options if "--root" not in option]
    argv = [
        sys.executable,
        "-I",
        "-S",
        "-c",
        f"""
import runpy, sys
sys.path.insert(0, {str(found.path.parent)!r})
sys.argv = [{str(found.path)!r}, "check", *{options!r}]
runpy.run_path(sys.argv[0], run_name="__main__")
""",
    ]
    done = subprocess.run(argv, capture_output=True, text=True, env={"PATH": str(tmp_path)})
    if kind in {"mounted", "tape-rest"}:
        assert done.returncode == 0, done.stderr
    else:
        assert done.returncode == SET_UP_WRONGLY
        assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "words", [[], ["fetch"], ["stage", "a"], ["stat", ""], ["stat", "a", "b"], ["stat", "--x", "a"]]
)
def test_wrong_usage_is_told_in_one_line(words: list[str]) -> None:
    done = run_script("mounted", *words)
    assert done.returncode == USAGE
    assert len(done.stderr.splitlines()) == 1


def test_a_target_that_cannot_be_written_is_no_fault_of_the_file(tmp_path: Path) -> None:
    world = Mounted(tmp_path)
    world.put("/store/a", CONTENT)
    done = run(world, "stage", world.name("/store/a"), str(tmp_path / "none" / "a"))
    assert (done.returncode, "cannot write" in done.stderr) == (LATER, True)
