"""The archive door with real scripts, as sites write them."""

from __future__ import annotations

import asyncio
import os
import shutil
from typing import TYPE_CHECKING

import psutil
import pytest

from common.command import ErrorClass
from common.config.mss import MssConfig
from common.names import NameMap
from dataserver.archive import (
    Archive,
    ArchiveEntry,
    ArchiveFile,
    Fetched,
    Presence,
    commanded,
)
from dataserver.checksum import Checksum

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LFN = "/store/run 7/{size}.root"
CONTENT = b"a file's bytes\n" * 1000


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """The archive's directory, with the file LFN in it."""
    path = tmp_path / "archive" / "store"
    (path / "run 7").mkdir(parents=True)
    (path / "run 7" / "{size}.root").write_bytes(CONTENT)
    return path


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """Where a recall would have its file put."""
    directory = tmp_path / "incoming" / "recall-1"
    directory.mkdir(parents=True)
    return directory / "file.root"


@pytest.fixture
def script(tmp_path: Path) -> Callable[[str], str]:
    def write(text: str) -> str:
        path = tmp_path / "script.sh"
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return str(path)

    return write


def archive_of(
    store: Path,
    stagecmd: list[str] | str = "builtin",
    statcmd: list[str] | None = None,
    listcmd: list[str] | None = None,
    **others: str,
) -> Archive:
    names = [{"prefix": "/store/", "archive": os.fspath(store)}]
    config = MssConfig.model_validate(
        {"stagecmd": stagecmd, "statcmd": statcmd, "listcmd": listcmd, "names": names, **others}
    )
    names_of_site = NameMap(config.name_rules(), config.prefixes())
    return Archive(config, names_of_site, owner="test-archive", parallel_stats=4)


def failure_of(result: Fetched) -> tuple[ErrorClass, str]:
    assert result.failure is not None
    assert "\n" not in result.failure.reason
    return result.failure.error_class, result.failure.reason


def living(group: int) -> list[int]:
    """The processes of a group, without those that only wait to be reaped."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return found


def text_of(path: Path) -> str:
    return path.read_text()


# --- stage commands ---------------------------------------------------------


@pytest.mark.parametrize(
    "stagecmd", ["builtin", ["cp", "{source}", "{target}"]], ids=["builtin", "cp"]
)
async def test_a_file_is_brought(store: Path, target: Path, stagecmd: list[str] | str) -> None:
    result = await archive_of(store, stagecmd).fetch(LFN, target)
    assert result.failure is None
    assert result.size_bytes == len(CONTENT)
    assert text_of(target) == CONTENT.decode()


async def test_a_script_is_told_all_about_the_file(
    store: Path, target: Path, script: Callable[[str], str]
) -> None:
    command = script('printf "%s\\n" "$@" > "$1"')
    words = [command, "{target}", "{source}", "{lfn}", "size={size}", "{{}}"]
    archive = archive_of(store, words)
    started: list[tuple[int, float]] = []
    result = await archive.fetch(
        LFN, target, size_bytes=123, on_start=lambda *start: started.append(start)
    )
    assert result.failure is None
    assert result.exit_code == 0
    assert text_of(target).splitlines() == [
        str(target),
        f"{store}/run 7/{{size}}.root",
        LFN,
        "size=123",
        "{}",
    ]
    assert len(started) == 1


@pytest.mark.parametrize(
    ("code", "error_class"),
    [
        (66, ErrorClass.NOT_FOUND),
        (77, ErrorClass.PERMANENT),
        (75, ErrorClass.TRANSIENT),
        (1, ErrorClass.TRANSIENT),
        (41, ErrorClass.NO_SPACE),
    ],
)
async def test_exit_codes_and_the_scripts_own_words_are_told(
    store: Path,
    target: Path,
    script: Callable[[str], str],
    code: int,
    error_class: ErrorClass,
) -> None:
    command = script(f'echo "the robot is on strike" >&2; exit {code}')
    result = await archive_of(store, [command, "{source}", "{target}"]).fetch(LFN, target)
    found, reason = failure_of(result)
    assert found is error_class
    assert "the robot is on strike" in reason
    assert result.exit_code == code
    assert result.output == "the robot is on strike"


@pytest.mark.parametrize(
    ("leaves", "error_class", "said"),
    [
        (":", ErrorClass.TRANSIENT, "left no file"),
        ('ln -s "$1" "$2"', ErrorClass.PERMANENT, "left a link where the file should be"),
        ('mkdir "$2"', ErrorClass.PERMANENT, "left something else where the file should be"),
    ],
    ids=["nothing", "a link", "a directory"],
)
async def test_a_script_that_ends_well_must_leave_a_file(
    store: Path,
    target: Path,
    script: Callable[[str], str],
    leaves: str,
    error_class: ErrorClass,
    said: str,
) -> None:
    archive = archive_of(store, [script(leaves), "{source}", "{target}"])
    found, reason = failure_of(await archive.fetch(LFN, target))
    assert found is error_class
    assert said in reason


async def test_a_program_that_does_not_exist_is_told(store: Path, target: Path) -> None:
    result = await archive_of(store, ["/no/such/program", "{source}", "{target}"]).fetch(
        LFN, target
    )
    assert failure_of(result)[0] is ErrorClass.PERMANENT
    assert result.exit_code is None


async def test_a_script_that_makes_no_progress_is_killed(
    store: Path, target: Path, script: Callable[[str], str]
) -> None:
    archive = archive_of(store, [script("sleep 600"), "{source}", "{target}"], stall="300ms")
    assert failure_of(await archive.fetch(LFN, target))[0] is ErrorClass.TRANSIENT


async def test_a_script_that_tells_of_its_progress_is_not_hung(
    store: Path, target: Path, script: Callable[[str], str]
) -> None:
    talking = 'for i in 1 2 3 4 5 6 7 8; do echo "progress: mounts tape $i"; sleep 0.1; done'
    command = script(f'echo chatter; {talking}; cp "$1" "$2"')
    archive = archive_of(store, [command, "{source}", "{target}"], stall="500ms")
    notes: list[str] = []
    result = await archive.fetch(LFN, target, on_note=notes.append)
    assert result.failure is None
    # Not all of them need come through: of several at once the latest does.
    assert notes
    assert notes == sorted(note for note in notes if note.startswith("mounts tape "))


async def test_a_script_has_a_deadline(
    store: Path, target: Path, script: Callable[[str], str]
) -> None:
    archive = archive_of(store, [script("sleep 600"), "{source}", "{target}"], deadline="300ms")
    assert failure_of(await archive.fetch(LFN, target))[0] is ErrorClass.TRANSIENT


@pytest.mark.parametrize("stagecmd", ["builtin", "script"])
async def test_a_file_beyond_its_limit_is_stopped(
    store: Path, target: Path, script: Callable[[str], str], stagecmd: str
) -> None:
    command = [script('cat "$1" > "$2"; sleep 600'), "{source}", "{target}"]
    archive = archive_of(store, command if stagecmd == "script" else "builtin")
    result = await archive.fetch(LFN, target, limit_bytes=len(CONTENT) - 1)
    assert result.failure is not None


async def test_cancelling_leaves_no_process(
    store: Path, target: Path, script: Callable[[str], str]
) -> None:
    command = script('sleep 600 & sleep 600; cp "$1" "$2"')
    archive = archive_of(store, [command, "{source}", "{target}"])
    started: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    fetching = asyncio.create_task(
        archive.fetch(LFN, target, on_start=lambda pid, _start_s: started.set_result(pid))
    )
    group = await started
    fetching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await fetching
    assert living(group) == []


# --- stat commands ----------------------------------------------------------


async def test_a_statcmd_is_asked_about_every_file(
    store: Path, script: Callable[[str], str]
) -> None:
    command = script(
        'test -f "$1" || { echo "no file $1" >&2; exit 66; }\n'
        'printf \'{"size": %d, "checksum": "adler32:7a6c902"}\' $(wc -c < "$1")'
    )
    for i in range(0, 20, 2):
        (store / f"f{i}").write_bytes(bytes(i))
    archive = archive_of(store, ["cp", "{source}", "{target}"], [command, "{source}"])
    assert archive.can_examine
    found = await archive.examine([f"/store/f{i}" for i in range(20)])
    for i, file in enumerate(found):
        if i % 2 == 0:
            adler = Checksum("adler32", "07a6c902")
            assert file == ArchiveFile(f"/store/f{i}", Presence.THERE, i, adler)
        else:
            assert file.presence is Presence.NOT_THERE
            assert f"no file {store}/f{i}" in file.reason


@pytest.mark.parametrize(
    "text", ["exit 1", "echo nonsense", "kill -9 $$"], ids=["failing", "babbling", "killed"]
)
async def test_a_statcmd_that_fails_leaves_the_file_unknown(
    store: Path, script: Callable[[str], str], text: str
) -> None:
    archive = archive_of(store, "builtin", [script(text), "{lfn}"])
    (found,) = await archive.examine([LFN])
    assert found.presence is Presence.UNKNOWN
    assert found.reason != ""
    assert not found.is_beyond_asking


async def test_without_a_statcmd_nothing_is_known_of_a_site_with_a_script(store: Path) -> None:
    archive = archive_of(store, ["cp", "{source}", "{target}"])
    assert not archive.can_examine
    (found,) = await archive.examine([LFN])
    assert found.presence is Presence.UNKNOWN
    assert "no statcmd" in found.reason
    assert found.is_beyond_asking


async def test_a_name_that_cannot_be_in_the_archive_is_unknown(
    store: Path, script: Callable[[str], str]
) -> None:
    archive = archive_of(store, "builtin", [script("echo '{}'"), "{lfn}"])
    outside, inside = await archive.examine(["/elsewhere/a", LFN])
    assert outside.presence is Presence.UNKNOWN
    assert outside.is_beyond_asking
    assert inside.presence is Presence.THERE


async def test_the_built_in_archive_is_asked_without_a_command(store: Path) -> None:
    found = await archive_of(store).examine([LFN, "/store/missing"])
    assert [file.presence for file in found] == [Presence.THERE, Presence.NOT_THERE]
    shutil.rmtree(store)
    (found_later,) = await archive_of(store).examine([LFN])
    assert found_later.presence is Presence.UNKNOWN


async def test_a_statcmd_may_tell_times_and_directories(
    store: Path, script: Callable[[str], str]
) -> None:
    command = script(
        'test -d "$1" && { echo \'{"type": "dir"}\'; exit; }\n'
        'echo \'{"size": 15000, "mtime": 1790000000}\''
    )
    archive = archive_of(store, ["cp", "{source}", "{target}"], [command, "{source}"])
    file, directory = await archive.examine([LFN, "/store/run 7"])
    assert file == ArchiveFile(LFN, Presence.THERE, 15000, mtime_s=1_790_000_000.0)
    assert directory.presence is Presence.NOT_THERE
    assert directory.is_directory


# --- list commands ------------------------------------------------------------

LISTS_ITS_ARGUMENTS = """printf '{"name": "%s", "type": "dir"}\\n' "$@" | tr -d /"""


async def test_a_listcmd_is_asked_about_a_directory(
    store: Path, script: Callable[[str], str]
) -> None:
    command = script(
        """echo '{"name": "a.root", "size": 12, "mtime": 1790000000}'\n""" + LISTS_ITS_ARGUMENTS
    )
    archive = archive_of(
        store, ["cp", "{source}", "{target}"], listcmd=[command, "{source}", "{lfn}"]
    )
    found = await archive.list_directory("/store/run 7/")
    assert found.presence is Presence.THERE
    assert found.entries == [
        ArchiveEntry("a.root", False, 12, 1_790_000_000.0),
        ArchiveEntry(f"{store}/run 7".replace("/", ""), is_directory=True),
        ArchiveEntry("storerun 7", is_directory=True),
    ]


@pytest.mark.parametrize(
    ("text", "presence", "said"),
    [
        ('echo "no such directory" >&2; exit 66', Presence.NOT_THERE, "no such directory"),
        ('echo "robot on strike" >&2; exit 75', Presence.UNKNOWN, "robot on strike"),
        ("kill -9 $$", Presence.UNKNOWN, "SIGKILL"),
        ('echo "total 12"', Presence.UNKNOWN, "line 1: this is not JSON: total 12"),
        ('echo \'{"name": "a"}\'; exit 1', Presence.UNKNOWN, "exit code 1"),
    ],
    ids=["not there", "failing", "killed", "babbling", "half"],
)
async def test_a_listcmd_that_fails_tells_no_entries(
    store: Path, script: Callable[[str], str], text: str, presence: Presence, said: str
) -> None:
    archive = archive_of(store, "builtin", listcmd=[script(text), "{source}"])
    found = await archive.list_directory("/store/x")
    assert found.presence is presence
    assert said in found.reason
    assert list(found.entries) == []


async def test_a_listing_of_too_many_bytes_is_not_believed(
    store: Path, script: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commanded, "LISTING_LIMIT_BYTES", 3_000_000)
    lines = f"""yes '{{"name": "{"x" * 200}"}}' | head -c 5000000"""
    archive = archive_of(store, "builtin", listcmd=[script(lines), "{source}"])
    found = await archive.list_directory("/store")
    assert found.presence is Presence.UNKNOWN
    assert found.reason == "listcmd printed more than 3000000 bytes"


async def test_directories_are_listed_a_few_at_a_time(
    store: Path, tmp_path: Path, script: Callable[[str], str]
) -> None:
    room = tmp_path / "room"
    room.mkdir()
    # Each counts who is in the room with it; fifteen want to be there at once.
    command = script(
        f'touch "{room}/$$"; printf \'{{"name": "n%s"}}\' "$(ls "{room}" | wc -l)"; rm "{room}/$$"'
    )
    archive = archive_of(store, "builtin", listcmd=[command, "{source}"])
    listings = await asyncio.gather(*(archive.list_directory("/store") for _ in range(15)))
    assert max(int(one.entries[0].name[1:]) for one in listings) <= 4


async def test_the_built_in_archive_is_listed_without_a_command(store: Path) -> None:
    archive = archive_of(store)
    assert [one.name for one in (await archive.list_directory("/store")).entries] == ["run 7"]
    found = await archive.list_directory("/store/run 7")
    assert [one.size_bytes for one in found.entries] == [len(CONTENT)]
    shutil.rmtree(store)
    assert (await archive.list_directory("/store/run 7")).presence is Presence.UNKNOWN


async def test_a_site_with_a_script_and_no_listcmd_cannot_be_listed(store: Path) -> None:
    found = await archive_of(store, ["cp", "{source}", "{target}"]).list_directory("/store")
    assert found.presence is Presence.UNKNOWN
    assert "no listcmd" in found.reason
