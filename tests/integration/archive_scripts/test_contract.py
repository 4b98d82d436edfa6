"""What every script promises, whatever the archive: each against a real one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.support.archive_scripts import World, run_script

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

NOT_FOUND = 66
CONTENT = b"what the detector saw" * 1000
#: Blanks, quotes, percent signs, what shells and URLs take for something else.
ODD = '-it\'s "two" words, 100%20 ünïcøde #1&b=c;d $HOME* [x] {y} \\n'


def run(world: World, action: str, *words: str) -> subprocess.CompletedProcess[str]:
    return run_script(world.kind, action, *world.options, *words, env=world.env)


def answer(world: World, action: str, name: str) -> list[dict[str, object]]:
    done = run(world, action, name)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """Where a file is staged to, in a directory of its own."""
    folder = tmp_path / "incoming"
    folder.mkdir()
    return folder / "target"


def test_stage_brings_the_bytes_and_leaves_nothing_else(world: World, target: Path) -> None:
    world.put("/store/stage/a", CONTENT)
    done = run(world, "stage", world.name("/store/stage/a"), str(target))
    assert done.returncode == 0, done.stderr
    assert target.read_bytes() == CONTENT
    assert list(target.parent.iterdir()) == [target]
    world.put("/store/stage/empty", b"")
    done = run(world, "stage", world.name("/store/stage/empty"), str(target))
    assert (done.returncode, target.read_bytes()) == (0, b""), done.stderr


def test_a_file_that_is_missing_is_told_as_such(world: World, target: Path) -> None:
    world.put("/store/missing/other", CONTENT)
    done = run(world, "stage", world.name("/store/missing/a"), str(target))
    assert done.returncode == NOT_FOUND, done
    assert "missing/a" in done.stderr.splitlines()[-1]
    assert list(target.parent.iterdir()) == []
    for action in ("stat", "list"):
        done = run(world, action, world.name("/store/missing/a"))
        assert done.returncode == NOT_FOUND, done
        assert done.stdout == ""


def test_stat_tells_sizes_and_directories(world: World) -> None:
    world.put("/store/stat/a", CONTENT)
    (told,) = answer(world, "stat", world.name("/store/stat/a"))
    assert told["size"] == len(CONTENT)
    assert told.get("type", "file") == "file"
    (told,) = answer(world, "stat", world.name("/store/stat"))
    assert told["type"] == "dir"


def test_list_tells_files_and_directories(world: World) -> None:
    world.put("/store/list/a", CONTENT)
    world.put("/store/list/empty", b"")
    world.put("/store/list/run7/b", CONTENT)
    for name in ("/store/list", "/store/list/"):
        told = answer(world, "list", world.name(name))
        by_name = {entry["name"]: entry for entry in told}
        assert len(told) == len(by_name)
        sizes = {name: entry.get("size") for name, entry in by_name.items()}
        assert sizes == {"a": len(CONTENT), "empty": 0, "run7": None}
        assert by_name["run7"]["type"] == "dir"
    assert run(world, "list", world.name("/store/list/a")).returncode == NOT_FOUND


def test_what_is_stored_is_in_the_archive(world: World, target: Path) -> None:
    name = world.name("/store/made/for/it/a")
    for content in (b"an earlier version", CONTENT):
        target.write_bytes(content)
        done = run(world, "store", str(target), name)
        assert done.returncode == 0, done.stderr
        assert world.get("/store/made/for/it/a") == content
    (told,) = answer(world, "list", world.name("/store/made/for/it"))
    assert (told["name"], told["size"]) == ("a", len(CONTENT))


def test_removed_is_removed_and_twice_is_as_good(world: World) -> None:
    world.put("/store/removed/a", CONTENT)
    for _ in range(2):
        done = run(world, "remove", world.name("/store/removed/a"))
        assert done.returncode == 0, done.stderr
    assert world.get("/store/removed/a") is None


def test_any_name_is_one_word(world: World, target: Path) -> None:
    path = f"/store/odd/{ODD}"
    world.put(path, CONTENT)
    assert [told["name"] for told in answer(world, "list", world.name("/store/odd"))] == [ODD]
    done = run(world, "stage", world.name(path), str(target))
    assert done.returncode == 0, done.stderr
    assert target.read_bytes() == CONTENT
    stored = f"/store/odd/more/{ODD}"
    done = run(world, "store", str(target), world.name(stored))
    assert done.returncode == 0, done.stderr
    assert world.get(stored) == CONTENT
