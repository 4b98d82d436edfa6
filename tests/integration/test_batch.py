"""Stage commands of the batch contract: many files a run, and each ends by itself."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from common.command import ErrorClass, kill_leftovers
from common.config.mss import MssConfig
from common.names import NameMap
from dataserver.archive import Archive, batch_run
from tests.support.waiting import becomes_true

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from dataserver.archive import Fetched

SCRIPT = Path(__file__).parent / "scripts" / "batch-stage.py"
CONTENT = b"what the detector saw\n" * 100
OWNER = f"test-batch-{os.getpid()}"


class Site:
    """An archive behind the batch command, and a pool's incoming directory."""

    def __init__(self, folder: Path) -> None:
        self.store = folder / "store"
        self.notes = folder / "notes"
        self.incoming = folder / "incoming"
        for one in (self.store, self.notes, self.incoming):
            one.mkdir()
        self.archives: list[Archive] = []
        self.said: list[tuple[str, str]] = []
        self.grown: list[tuple[str, int]] = []
        self.groups: set[int] = set()

    def archive(self, slots: int = 2, hears: int = 0, **keys: object) -> Archive:
        """Its door; `hears`: the command listens to what is cancelled, and expects so many files."""
        words = [sys.executable, "-S", str(SCRIPT), str(self.notes)]
        config = MssConfig.model_validate(
            {
                "stagecmd": [*words, "--hears", str(hears)] if hears else words,
                "contract": "batch",
                "batch_wait": "200ms",
                "batch_cancel": bool(hears),
                "names": [{"prefix": "/store", "archive": str(self.store)}],
                **keys,
            }
        )
        names = NameMap(config.name_rules(), config.prefixes())
        archive = Archive(config, names, owner=OWNER, slots=slots)
        self.archives.append(archive)
        return archive

    def target(self, lfn: str) -> Path:
        return self.incoming / lfn.replace("/", "_") / "file"

    def fetch(self, archive: Archive, lfn: str, **options: Any) -> asyncio.Task[Fetched]:
        path = self.store / lfn.removeprefix("/store/")
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(CONTENT)
        target = self.target(lfn)
        target.parent.mkdir()
        return asyncio.create_task(
            archive.fetch(
                lfn,
                target,
                on_start=lambda pid, _: self.groups.add(pid),
                on_note=lambda note: self.said.append((lfn, note)),
                on_progress=lambda size: self.grown.append((lfn, size)),
                **options,
            )
        )

    def noted(self, kind: str) -> list[str]:
        path = self.notes / kind
        return path.read_text().splitlines() if path.exists() else []

    def let(self, name: str) -> None:
        (self.notes / name).touch()


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    site = Site(tmp_path)
    yield site
    for archive in site.archives:
        await archive.close()
    assert kill_leftovers(OWNER) == []
    assert [path for path in site.incoming.iterdir() if path.name.startswith("batch-")] == []


def failure_of(fetched: Fetched) -> tuple[ErrorClass, str]:
    assert fetched.failure is not None
    assert "\n" not in fetched.failure.reason
    return fetched.failure.error_class, fetched.failure.reason


async def test_many_files_are_brought_by_one_run_in_the_order_of_the_command(site: Site) -> None:
    archive = site.archive()
    names = [f"f{number}" for number in range(9)]
    results = await asyncio.gather(*(site.fetch(archive, f"/store/x/{name}") for name in names))
    assert [one.failure for one in results] == [None] * 9
    assert [one.size_bytes for one in results] == [len(CONTENT)] * 9
    assert all(site.target(f"/store/x/{name}").read_bytes() == CONTENT for name in names)
    assert site.noted("runs") == [" ".join(names)]
    assert site.noted("brought") == names[::-1]
    assert len(site.groups) == 1


async def test_runs_are_no_larger_and_no_more_than_allowed(site: Site) -> None:
    archive = site.archive(slots=2, batch_files=3)
    assert archive.capacity == 6
    files = [site.fetch(archive, f"/store/waits/f{number}") for number in range(8)]
    await becomes_true(lambda: len(site.noted("waiting")) == 2)
    assert sorted(site.noted("runs")) == ["f0 f1 f2", "f3 f4 f5"]
    for number in range(8):
        site.let(f"go-f{number}")
    assert [one.failure for one in await asyncio.gather(*files)] == [None] * 8
    assert sorted(site.noted("runs"))[2:] == ["f6 f7"]


async def test_a_file_ends_long_before_its_run(site: Site) -> None:
    archive = site.archive()
    slow, quick = site.fetch(archive, "/store/waits/a"), site.fetch(archive, "/store/x/b")
    assert (await quick).failure is None
    assert not slow.done()
    await becomes_true(lambda: ("/store/waits/a", "waits for a") in site.said)
    # What it has written by now is seen without its saying so.
    await becomes_true(lambda: ("/store/waits/a", len(b"begun")) in site.grown)
    site.let("go-a")
    assert (await slow).failure is None


@pytest.mark.parametrize(
    ("way", "error_class", "reason"),
    [
        ("missing", ErrorClass.NOT_FOUND, "no such file: "),
        ("torn", ErrorClass.PERMANENT, "the tape is torn"),
        ("empty", ErrorClass.TRANSIENT, "left no file"),
        ("silent", ErrorClass.TRANSIENT, "did not say that this file is done"),
        # 66 is "no such file" of a command for one file; of a run it says nothing of the others.
        ("dies", ErrorClass.TRANSIENT, "exit code 66"),
    ],
)
async def test_a_failure_is_of_one_file(
    site: Site, way: str, error_class: ErrorClass, reason: str
) -> None:
    archive = site.archive()
    # The command goes from the last name to the first.
    bad, good = site.fetch(archive, f"/store/{way}/a"), site.fetch(archive, "/store/x/b")
    found, told = failure_of(await bad)
    assert found is error_class
    assert reason in told
    assert (await good).failure is None


async def test_a_command_that_dies_fails_only_what_it_was_at_work_on(site: Site) -> None:
    archive = site.archive()
    # It goes from the last name to the first, and dies at the fourth, the third and the first.
    names = ["dies/1", "x/2", "dies/3", "dies/4", "x/5"]
    files = [site.fetch(archive, f"/store/{name}") for name in sorted(names)]
    results = dict(zip(sorted(names), await asyncio.gather(*files), strict=True))
    assert [name for name in names if results[name].failure is None] == ["x/2", "x/5"]
    for name in ("dies/1", "dies/3", "dies/4"):
        assert failure_of(results[name])[0] is ErrorClass.TRANSIENT
        assert results[name].exit_code == 66
    # "x" is behind "dies", so the first run brought both good files before it died.
    assert site.noted("runs") == ["1 2 3 4 5", "1 3", "1"]


async def test_files_that_a_run_did_not_come_to_are_brought_by_the_next(site: Site) -> None:
    archive = site.archive()
    names = ["a/1", "a/2", "dies/3", "x/4"]
    *good, died, done = [site.fetch(archive, f"/store/{name}") for name in names]
    assert [(await one).failure for one in (*good, done)] == [None] * 3
    assert failure_of(await died)[0] is ErrorClass.TRANSIENT
    assert site.noted("runs") == ["1 2 3 4", "1 2"]


async def test_a_command_that_never_comes_to_anything_fails_all_at_once(site: Site) -> None:
    archive = site.archive(stagecmd=["sh", "-c", "echo the robot is on strike >&2; exit 75"])
    files = [site.fetch(archive, f"/store/x/{name}") for name in "abc"]
    for one in await asyncio.gather(*files):
        found, reason = failure_of(one)
        assert found is ErrorClass.TRANSIENT
        assert "the robot is on strike" in reason
    assert len(site.groups) == 1


async def test_a_command_that_is_not_set_up_is_told_at_once(site: Site) -> None:
    archive = site.archive(stagecmd=["/no/such/program"])
    found, reason = failure_of(await site.fetch(archive, "/store/x/a"))
    assert found is ErrorClass.PERMANENT
    assert "/no/such/program" in reason
    archive = site.archive(stagecmd=["sh", "-c", "echo no tape library is configured >&2; exit 78"])
    found, reason = failure_of(await site.fetch(archive, "/store/x/b"))
    assert found is ErrorClass.PERMANENT
    assert "no tape library is configured" in reason


async def test_silence_ends_a_run_and_so_does_the_deadline(site: Site) -> None:
    archive = site.archive(stall="500ms")
    done, silent = site.fetch(archive, "/store/x/b"), site.fetch(archive, "/store/waits/a")
    assert (await done).failure is None
    assert failure_of(await silent) == (
        ErrorClass.TRANSIENT,
        "killed, for it wrote nothing and said nothing for 500ms",
    )
    archive = site.archive(deadline="500ms")
    found, reason = failure_of(await site.fetch(archive, "/store/waits/c"))
    assert found is ErrorClass.TRANSIENT
    assert "killed at its deadline" in reason


async def test_babble_and_contradictions_do_no_harm(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    archive = site.archive()
    files = [site.fetch(archive, f"/store/{way}/a") for way in ("babbles", "twice")]
    assert [one.failure for one in await asyncio.gather(*files)] == [None, None]
    # Far fewer than were said: only the latest is handed on.
    assert site.said[-1] == ("/store/babbles/a", "29999")
    assert len(site.said) < 1000
    await archive.close()
    assert "30000 times something of an id it was not given" in caplog.text
    assert '"failed" is said of' in caplog.text


# --- what nobody wants any more -----------------------------------------------


async def cancelled(file: asyncio.Task[Fetched]) -> None:
    file.cancel()
    with pytest.raises(asyncio.CancelledError):
        await file


async def test_the_last_one_who_leaves_ends_the_run(site: Site) -> None:
    archive = site.archive()
    files = [site.fetch(archive, f"/store/waits/{name}") for name in "ab"]
    await becomes_true(lambda: site.noted("waiting") == ["b"])
    await cancelled(files[0])
    assert not files[1].done()
    await cancelled(files[1])
    # Nothing of it is left: neither process nor directory.
    assert kill_leftovers(OWNER) == []


async def test_a_file_that_waits_for_a_run_is_never_given_to_one(site: Site) -> None:
    archive = site.archive(batch_wait="1s")
    dropped, kept = site.fetch(archive, "/store/x/a"), site.fetch(archive, "/store/x/b")
    await asyncio.sleep(0)
    await cancelled(dropped)
    assert (await kept).failure is None
    assert site.noted("runs") == ["b"]


async def test_a_command_that_listens_is_told_and_lets_the_file_go(site: Site) -> None:
    archive = site.archive(hears=2)
    dropped, kept = site.fetch(archive, "/store/waits/b"), site.fetch(archive, "/store/waits/a")
    await becomes_true(lambda: site.noted("waiting") == ["b"])
    await cancelled(dropped)
    # It said that it is through with the file before the cancellation came to its end.
    assert site.noted("cancelled") == ["1"]
    await becomes_true(lambda: site.noted("waiting") == ["b", "a"])
    site.let("go-a")
    assert (await kept).failure is None
    # When all files are over its input ends, and it can end by itself.
    await becomes_true(lambda: site.noted("ended") == ["input"])


async def test_a_command_that_does_not_listen_makes_nobody_wait_for_ever(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_run, "DROP_GRACE_S", 0.1)
    archive = site.archive()
    dropped, kept = site.fetch(archive, "/store/waits/b"), site.fetch(archive, "/store/x/a")
    await becomes_true(lambda: site.noted("waiting") == ["b"])
    await cancelled(dropped)
    site.let("go-b")
    assert (await kept).failure is None
    await archive.close()
    assert not site.target("/store/waits/b").parent.exists()


async def test_what_a_command_makes_again_of_a_dropped_file_does_not_stay(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_run, "DROP_GRACE_S", 0.1)
    archive = site.archive()
    first, dropped = site.fetch(archive, "/store/waits/z"), site.fetch(archive, "/store/again/b")
    last = site.fetch(archive, "/store/a/a")
    await becomes_true(lambda: site.noted("waiting") == ["z"])
    await cancelled(dropped)
    site.target("/store/again/b").parent.rmdir()
    site.let("go-z")
    assert [one.failure for one in await asyncio.gather(first, last)] == [None, None]
    assert site.noted("brought") == ["z", "b", "a"]
    await archive.close()
    assert not site.target("/store/again/b").parent.exists()


async def test_a_command_may_tidy_up_but_not_for_ever(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_run, "LINGER_S", 0.1)
    site.let("lingers")
    archive = site.archive(slots=1)
    assert (await site.fetch(archive, "/store/x/a")).failure is None
    # The one slot is free again although the first run would never have ended.
    assert (await site.fetch(archive, "/store/x/b")).failure is None
    assert site.noted("runs") == ["a", "b"]
