"""Archives that are asked for files and make them ready in their own time."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from common.command import ErrorClass, kill_leftovers
from common.config.mss import MssConfig
from common.names import NameMap
from dataserver.archive import Archive
from dataserver.archive.submitting import book, ending, submitter
from tests.support.waiting import becomes_true

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from dataserver.archive import Fetched

SCRIPT = Path(__file__).parent / "scripts" / "slow-archive.py"
CONTENT = b"what the detector saw\n" * 100
OWNER = f"test-submitting-{os.getpid()}"


class SlowSite:
    """An archive behind submit and poll commands; `one_by_one`: told of one file a run."""

    def __init__(self, folder: Path, *, one_by_one: bool) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.store = folder / "store"
        for one in (self.home, self.store, folder / "incoming"):
            one.mkdir()
        self.one_by_one = one_by_one
        self.archives: list[Archive] = []
        self.said: list[tuple[str, str]] = []
        self.tries = 0

    async def archive(self, **keys: object) -> Archive:
        """A life of a data server's archive door."""
        run = [sys.executable, "-S", str(SCRIPT), str(self.home)]
        one = self.one_by_one
        config = MssConfig.model_validate(
            {
                "stagecmd": ["cp", "{source}", "{target}"],
                "submitcmd": [*run, "submit", *(["{key}", "{source}"] if one else [])],
                "pollcmd": [*run, "poll", *(["{id}"] if one else [])],
                "cancelcmd": [*run, "cancel", *(["{id}"] if one else [])],
                "releasecmd": [*run, "release", *(["{id}"] if one else [])],
                "poll": "20ms",
                "poll_max": "100ms",
                "names": [{"prefix": "/store", "archive": str(self.store)}],
                **keys,
            }
        )
        names = NameMap(config.name_rules(), config.prefixes())
        orders = self.folder / "orders.sqlite"
        archive = Archive(config, names, owner=OWNER, orders=orders)
        await archive.start()
        self.archives.append(archive)
        return archive

    def fetch(self, archive: Archive, name: str) -> asyncio.Task[Fetched]:
        (self.store / name).write_bytes(CONTENT)
        self.tries += 1
        target = self.folder / "incoming" / f"{name}-{self.tries}" / name
        target.parent.mkdir()
        return asyncio.create_task(
            archive.fetch(
                f"/store/{name}", target, on_note=lambda note: self.said.append((name, note))
            )
        )

    def noted(self, verb: str) -> list[str]:
        """What was done, without the notes of runs."""
        path = self.home / verb
        lines = path.read_text().splitlines() if path.exists() else []
        return [line for line in lines if not line.startswith("run ")]

    def runs(self, verb: str) -> int:
        return (self.home / verb).read_text().count("run ")

    def order(self, name: str) -> str:
        """The archive's id of the one order of a file."""
        (found,) = [line.split()[0] for line in self.noted("submit") if line.endswith(f"/{name}")]
        return found

    async def ordered(self, *names: str) -> None:
        """Waits until files are on order, and were asked about."""

        def are_asked_about() -> bool:
            submitted = {line.rpartition("/")[2]: line.split()[0] for line in self.noted("submit")}
            polled = set(self.noted("poll"))
            return all(submitted.get(name) in polled for name in names)

        await becomes_true(are_asked_about)

    def keys(self) -> list[str]:
        """The keys of what is on order without an id."""
        with contextlib.closing(sqlite3.connect(self.folder / "orders.sqlite")) as kept:
            rows = kept.execute("SELECT key FROM submission WHERE archive_id = ''")
            return [key for (key,) in rows]

    def turn(self, name: str, state: str) -> None:
        """Has the archive say something else of an order."""
        path = self.home / "orders" / self.order(name)
        path.with_suffix(".new").write_text(f"{state}\n")
        path.with_suffix(".new").rename(path)


#: For what commands that are told of one file do in their own way.
either_way = pytest.mark.parametrize("site", ["many", "one by one"], indirect=True)


@pytest.fixture
async def site(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[SlowSite]:
    site = SlowSite(tmp_path, one_by_one=getattr(request, "param", "many") == "one by one")
    yield site
    for archive in site.archives:
        await archive.close()
    assert kill_leftovers(OWNER) == []


def failure_of(fetched: Fetched) -> tuple[ErrorClass, str]:
    assert fetched.failure is not None
    assert "\n" not in fetched.failure.reason
    return fetched.failure.error_class, fetched.failure.reason


async def call_off(archive: Archive, fetching: asyncio.Task[Fetched], name: str) -> None:
    """What becomes of a recall that nobody wants any more."""
    fetching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await fetching
    archive.call_off(f"/store/{name}")


@either_way
async def test_a_file_is_ordered_waited_for_copied_and_released(site: SlowSite) -> None:
    archive = await site.archive()
    fetching = site.fetch(archive, "a")
    await site.ordered("a")
    await becomes_true(lambda: ("a", f"{site.order('a')}: on its way") in site.said)
    site.turn("a", "ready")
    fetched = await fetching
    assert fetched.failure is None
    assert fetched.size_bytes == len(CONTENT)
    assert ("a", f"submitted as {site.order('a')}") in site.said
    # It is in the pool only once the pool says so: until then the archive keeps it ready.
    assert site.noted("release") == []
    archive.published("/store/a")
    await becomes_true(lambda: site.noted("release") == [site.order("a")])
    assert site.noted("cancel") == []


@either_way
async def test_many_are_ordered_and_asked_about_together(site: SlowSite) -> None:
    archive = await site.archive(submit_files=500)
    assert archive.capacity == 500
    names = [f"f{number}" for number in range(20)]
    files = [site.fetch(archive, name) for name in names]
    await site.ordered(*names)
    assert len(site.noted("submit")) == 20
    if not site.one_by_one:
        assert site.runs("submit") <= 2
    for name in names:
        site.turn(name, "ready")
    assert [one.failure for one in await asyncio.gather(*files)] == [None] * 20


@either_way
@pytest.mark.parametrize(
    ("state", "error_class", "reason"),
    [
        ("failed the tape is torn", ErrorClass.TRANSIENT, "the tape is torn"),
        ("unknown", ErrorClass.TRANSIENT, "does not know request"),
    ],
)
async def test_a_file_that_will_not_come_is_told(
    site: SlowSite, state: str, error_class: ErrorClass, reason: str
) -> None:
    archive = await site.archive()
    bad, good = site.fetch(archive, "bad"), site.fetch(archive, "good")
    await site.ordered("bad", "good")
    site.turn("bad", state)
    found, told = failure_of(await bad)
    assert found is error_class
    assert reason in told
    assert not good.done()
    # The archive has forgotten it, so the next try orders it anew.
    again = site.fetch(archive, "bad")
    await becomes_true(lambda: sum(one.endswith("/bad") for one in site.noted("submit")) == 2)
    for one in (again, good):
        one.cancel()


@either_way
async def test_an_order_that_is_not_taken_on_is_told(site: SlowSite) -> None:
    archive = await site.archive()
    found, reason = failure_of(await site.fetch(archive, "refused"))
    assert found is ErrorClass.NOT_FOUND
    assert "not on tape" in reason
    (site.home / "down").touch()
    found, reason = failure_of(await site.fetch(archive, "a"))
    assert found is ErrorClass.TRANSIENT
    assert "the robot is on strike" in reason
    (site.home / "down").unlink()
    if not site.one_by_one:
        found, reason = failure_of(await site.fetch(archive, "nonsense"))
        assert (found, reason) == (
            ErrorClass.TRANSIENT,
            "submitcmd ended well but printed no id",
        )
    assert site.noted("cancel") == site.noted("release") == []


@either_way
async def test_who_cancels_calls_the_order_off(site: SlowSite) -> None:
    archive = await site.archive()
    dropped, kept = site.fetch(archive, "a"), site.fetch(archive, "b")
    await site.ordered("a", "b")
    await call_off(archive, dropped, "a")
    await becomes_true(lambda: site.noted("cancel") == [site.order("a")])
    site.turn("b", "ready")
    assert (await kept).failure is None
    # Who wants it again waits until it is called off, and orders it anew.
    again = site.fetch(archive, "a")
    await becomes_true(lambda: sum(one.endswith("/a") for one in site.noted("submit")) == 2)
    again.cancel()


async def test_what_is_cancelled_while_it_is_being_ordered_is_called_off_afterwards(
    site: SlowSite,
) -> None:
    (site.home / "slow-submit").touch()
    archive = await site.archive()
    dropped = site.fetch(archive, "a")
    await becomes_true(lambda: site.noted("submit") == ["begun"])
    await call_off(archive, dropped, "a")
    # It is wanted again before the archive has answered: that is one order still.
    again = site.fetch(archive, "a")
    await asyncio.sleep(0)
    (site.home / "slow-submit").unlink()
    await site.ordered("a")
    site.turn("a", "ready")
    assert (await again).failure is None
    assert len([one for one in site.noted("submit") if one != "begun"]) == 1
    (site.home / "slow-submit").touch()
    dropped = site.fetch(archive, "b")
    await becomes_true(lambda: site.noted("submit").count("begun") == 2)
    await call_off(archive, dropped, "b")
    (site.home / "slow-submit").unlink()
    await becomes_true(lambda: site.noted("cancel"))
    assert site.noted("cancel") == [site.order("b")]


async def test_what_was_skipped_while_nobody_wanted_it_is_ordered_all_the_same(
    site: SlowSite,
) -> None:
    (site.home / "slow-submit").touch()
    archive = await site.archive()
    first = site.fetch(archive, "a")
    await becomes_true(lambda: site.noted("submit") == ["begun"])
    # These two go into the next run, of which one is not wanted when it begins, and then is.
    second, skipped = site.fetch(archive, "b"), site.fetch(archive, "c")
    await asyncio.sleep(0)
    skipped.cancel()
    await asyncio.gather(skipped, return_exceptions=True)
    (site.home / "slow-submit").unlink()
    await site.ordered("a", "b")
    again = site.fetch(archive, "c")
    await site.ordered("a", "b", "c")
    for name, fetching in (("a", first), ("b", second), ("c", again)):
        site.turn(name, "ready")
        assert (await fetching).failure is None


async def test_a_copy_that_fails_finds_the_file_ready_the_next_time(site: SlowSite) -> None:
    stagecmd = ["sh", "-c", 'test -e "$3/disk" || exit 75; cp "$1" "$2"', "sh"]
    archive = await site.archive(stagecmd=[*stagecmd, "{source}", "{target}", str(site.home)])
    first = site.fetch(archive, "a")
    await site.ordered("a")
    site.turn("a", "ready")
    assert failure_of(await first)[0] is ErrorClass.TRANSIENT
    (site.home / "disk").touch()
    assert (await site.fetch(archive, "a")).failure is None
    assert len(site.noted("submit")) == 1


async def test_a_restart_orders_nothing_twice(site: SlowSite) -> None:
    archive = await site.archive()
    files = [site.fetch(archive, name) for name in "ab"]
    await site.ordered("a", "b")
    # As a server that stops does: its recalls end, but it will be back.
    for one in files:
        one.cancel()
    await asyncio.gather(*files, return_exceptions=True)
    await archive.close()
    assert site.noted("cancel") == []
    site.turn("a", "ready")
    archive = await site.archive()
    a, b = (site.fetch(archive, name) for name in "ab")
    assert (await a).failure is None
    site.turn("b", "ready")
    assert (await b).failure is None
    assert Counter(one.rpartition("/")[2] for one in site.noted("submit")) == {"a": 1, "b": 1}


async def test_what_nobody_comes_back_for_is_called_off(
    site: SlowSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = await site.archive()
    waiting, ready = site.fetch(archive, "waiting"), site.fetch(archive, "ready")
    await site.ordered("waiting", "ready")
    site.turn("ready", "ready")
    assert (await ready).failure is None
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await archive.close()
    monkeypatch.setattr(book, "KEPT_S", 0.0)
    await site.archive()
    expected = sorted(site.order(name) for name in ("waiting", "ready"))
    # Of neither is it known in a new life that it was ready.
    await becomes_true(lambda: sorted(site.noted("cancel")) == expected)


async def test_an_order_of_which_nobody_knows_keeps_its_key(site: SlowSite) -> None:
    (site.home / "down").touch()
    archive = await site.archive()
    assert failure_of(await site.fetch(archive, "a"))[0] is ErrorClass.TRANSIENT
    # The archive may have taken it on before the command failed.
    (key,) = site.keys()
    (site.home / "down").unlink()
    again = site.fetch(archive, "a")
    await site.ordered("a")
    assert site.order("a") == f"req-{key}"
    again.cancel()


async def test_an_order_without_an_id_is_placed_again_under_the_same_key(
    site: SlowSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submitter, "CLOSING_S", 0.0)
    (site.home / "slow-submit").touch()
    archive = await site.archive()
    lost = site.fetch(archive, "a")
    await becomes_true(lambda: site.noted("submit") == ["begun"])
    # The server ends before the archive has given the id.
    lost.cancel()
    await asyncio.gather(lost, return_exceptions=True)
    await archive.close()
    (key,) = site.keys()
    (site.home / "slow-submit").unlink()
    archive = await site.archive()
    again = site.fetch(archive, "a")
    await site.ordered("a")
    assert site.order("a") == f"req-{key}"
    site.turn("a", "ready")
    assert (await again).failure is None


@either_way
async def test_an_archive_that_is_down_is_waited_for_until_it_is_too_late(site: SlowSite) -> None:
    archive = await site.archive(stall="300ms")
    waiting = site.fetch(archive, "a")
    await site.ordered("a")
    (site.home / "down").touch()
    found, reason = failure_of(await waiting)
    assert found is ErrorClass.TRANSIENT
    assert f"no answer about {site.order('a')} for 300ms" in reason
    assert "the robot is on strike" in reason
    # It is still on order, and found by who tries again.
    (site.home / "down").unlink()
    again = site.fetch(archive, "a")
    site.turn("a", "ready")
    assert (await again).failure is None
    assert site.noted("cancel") == []


@either_way
async def test_an_archive_that_says_nothing_of_a_file_is_asked_again(site: SlowSite) -> None:
    (site.home / "deaf").touch()
    archive = await site.archive(stall="300ms")
    found, reason = failure_of(await site.fetch(archive, "a"))
    assert found is ErrorClass.TRANSIENT
    assert "said nothing of this file" in reason


async def test_the_archive_has_a_deadline(site: SlowSite) -> None:
    archive = await site.archive(submit_deadline="300ms")
    found, reason = failure_of(await site.fetch(archive, "a"))
    assert found is ErrorClass.TRANSIENT
    assert reason.startswith("the archive has not made it ready within 300ms, as req-")
    await becomes_true(lambda: site.noted("cancel") == [site.order("a")])


async def test_what_cannot_be_called_off_is_called_off_later(
    site: SlowSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ending, "TIDY_EVERY_S", 0.05)
    archive = await site.archive()
    dropped = site.fetch(archive, "a")
    await site.ordered("a")
    (site.home / "down").touch()
    await call_off(archive, dropped, "a")
    await archive.close()
    assert site.noted("cancel") == []
    (site.home / "down").unlink()
    monkeypatch.setattr(book, "KEPT_S", 0.0)
    await site.archive()
    await becomes_true(lambda: site.noted("cancel") == [site.order("a")])
