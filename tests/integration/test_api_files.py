"""The Python API against servers that play their part, over real gRPC."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

import packhorse
from common.errors import (
    AlreadyExists,
    Damaged,
    NameRefused,
    NotFound,
    StageFailed,
    TimedOut,
    Unreachable,
    UsageError,
)
from packhorse.aio import connect
from tests.support.fakes import FakeSite
from tests.support.patience import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def fakes(tmp_path: Path) -> Iterator[FakeSite]:
    with FakeSite(tmp_path / "pool") as site:
        yield site


@pytest.fixture
def site(fakes: FakeSite) -> Iterator[packhorse.Site]:
    with packhorse.connect(redirector=fakes.redirector_address, host="here") as site:
        yield site


def far(fakes: FakeSite) -> packhorse.Site:
    """A client on another host: it reads over gRPC."""
    return packhorse.connect(redirector=fakes.redirector_address, host="elsewhere")


def test_any_number_of_names_is_located_in_order(fakes: FakeSite, site: packhorse.Site) -> None:
    fakes.add("/store/a", b"12345")
    names = ["root://x//store/a", *(f"/store/{number}" for number in range(25_000))]
    found = site.locate(names)
    assert [location.lfn for location in found[:2]] == ["/store/a", "/store/0"]
    assert len(found) == len(names)
    assert (found[0].state, found[0].size_bytes, found[0].nodes[0].node) == ("online", 5, "node1")
    assert [size for call, size in fakes.redirector.calls if call == "Locate"] == [
        10_000,
        10_000,
        5001,
    ]


def test_staging_is_followed_to_its_end(fakes: FakeSite, site: packhorse.Site) -> None:
    steps = list(site.stage(["/store/a", "/store/b"]).progress())
    assert steps[-1].ended
    assert (steps[-1].online, steps[-1].files) == (2, 2)
    assert all(location.state == "online" for location in site.locate(["/store/a", "/store/b"]))


def test_many_names_make_several_requests(fakes: FakeSite, site: packhorse.Site) -> None:
    staging = site.stage([f"/store/{number}" for number in range(10_001)])
    assert len(staging.request_ids) == 2
    assert staging.files == 10_001
    assert staging.request_id == staging.request_ids[0]


def test_waiting_names_the_files_that_did_not_come(fakes: FakeSite, site: packhorse.Site) -> None:
    fakes.redirector.unstageable["/store/b"] = "no such tape"
    seen: list[int] = []
    with pytest.raises(StageFailed, match=r"1 of 2 files .*: /store/b \(no such tape\)"):
        site.stage(["/store/a", "/store/b"]).wait(on_progress=lambda step: seen.append(step.online))
    assert seen[-1] == 1


def test_waiting_may_be_limited_and_the_request_goes_on(
    fakes: FakeSite, site: packhorse.Site
) -> None:
    fakes.do(hold_tape(fakes))
    staging = site.stage("/store/a")
    with pytest.raises(TimedOut, match=r"1 of 1 files are not online after 0\.2 s"):
        staging.wait(timeout_s=0.2)
    assert staging.requests()[0].state == "active"
    assert staging.cancel() == 1
    with pytest.raises(StageFailed, match="1 of 1 files were cancelled"):
        staging.wait()


async def hold_tape(fakes: FakeSite) -> None:
    fakes.redirector.tape.clear()


def test_nothing_to_stage_is_refused(site: packhorse.Site) -> None:
    with pytest.raises(UsageError, match="nothing to stage"):
        site.stage([])


def test_an_error_of_the_redirector_is_the_same_error_here(site: packhorse.Site) -> None:
    with pytest.raises(NotFound, match="there is no request 'r9'"):
        site.cancel("r9")
    with pytest.raises(NameRefused):
        site.locate(["/store/../etc/passwd"])
    with pytest.raises(NameRefused):
        site.locate(["/store/\udcff"])


def test_a_redirector_that_is_not_there_is_named() -> None:
    with (
        packhorse.connect(redirector="127.0.0.1:1") as site,
        pytest.raises(Unreachable, match=r"the redirector at 127\.0\.0\.1:1 does not answer"),
    ):
        site.status()


# --- reading and copying ----------------------------------------------------------


@pytest.mark.parametrize("host", ["here", "elsewhere"])
def test_a_file_is_copied_whole_and_checked(fakes: FakeSite, tmp_path: Path, host: str) -> None:
    content = bytes(range(256)) * 20_000
    fakes.add("/store/a.bin", content)
    steps: list[tuple[int, int]] = []
    with packhorse.connect(redirector=fakes.redirector_address, host=host) as site:
        target = site.cp("/store/a.bin", tmp_path, on_progress=lambda *step: steps.append(step))
    assert target == tmp_path / "a.bin"
    assert target.read_bytes() == content
    assert steps[-1] == (len(content), len(content))
    assert fakes.dataserver.bytes_served == (0 if host == "here" else len(content))


def test_a_file_on_tape_is_staged_before_it_is_copied(
    fakes: FakeSite, site: packhorse.Site, tmp_path: Path
) -> None:
    fakes.archive["/store/cold"] = b"cold bytes"
    with pytest.raises(NotFound, match="/store/cold is nearline"):
        site.cp("/store/cold", tmp_path / "x", stage=False)
    assert site.cp("/store/cold", tmp_path / "x").read_bytes() == b"cold bytes"


def test_a_copy_that_is_not_the_file_never_appears(fakes: FakeSite, tmp_path: Path) -> None:
    fakes.add("/store/a", b"precious")
    fakes.dataserver.garbled.add("/store/a")
    with far(fakes) as site, pytest.raises(Damaged, match=r"adler32 .* instead of"):
        site.cp("/store/a", tmp_path / "copy")
    assert [path.name for path in tmp_path.iterdir()] == ["pool"]


def test_a_copy_does_not_replace_a_file_unasked(
    fakes: FakeSite, site: packhorse.Site, tmp_path: Path
) -> None:
    fakes.add("/store/a", b"new")
    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(AlreadyExists):
        site.cp("/store/a", tmp_path)
    assert site.cp("/store/a", tmp_path, overwrite=True).read_bytes() == b"new"
    with pytest.raises(NotFound, match="there is no directory"):
        site.cp("/store/a", tmp_path / "none" / "a")


@pytest.mark.parametrize("host", ["here", "elsewhere"])
def test_an_open_file_reads_seeks_and_is_let_go_of(fakes: FakeSite, host: str) -> None:
    content = bytes(range(256)) * 5000
    fakes.add("/store/a", content)
    with (
        packhorse.connect(redirector=fakes.redirector_address, host=host) as site,
        site.open("/store/a") as file,
    ):
        file.seek(1000)
        assert file.read(5000) == content[1000:6000]
        file.seek(-3, 2)
        assert file.read() == content[-3:]
        assert fakes.dataserver.open_now == 1
    eventually(lambda: fakes.dataserver.open_now == 0)


async def test_the_asynchronous_twin_reads_too(fakes: FakeSite) -> None:
    fakes.add("/store/a", b"0123456789")
    async with (
        await connect(redirector=fakes.redirector_address, host="elsewhere") as site,
        await site.open("/store/a") as replica,
    ):
        assert await replica.read(2, 3) == b"234"
        assert await replica.read() == b"0123456789"
        assert replica.info.size_bytes == 10
        assert replica.local_path is None


# --- datasets ------------------------------------------------------------------------


def test_a_large_dataset_is_registered_in_pieces(fakes: FakeSite, site: packhorse.Site) -> None:
    names = [f"/store/{number}" for number in range(20_001)]
    assert site.datasets.register("big", names).files == 20_001
    assert [size for call, size in fakes.redirector.calls if call == "Register"] == [
        0,
        10_000,
        10_000,
        1,
    ]
    assert site.datasets.show("big").files == 20_001
    assert [file.lfn for file in site.datasets.files("big")] == names


def test_a_list_is_registered_with_what_it_says(
    fakes: FakeSite, site: packhorse.Site, tmp_path: Path
) -> None:
    path = tmp_path / "fileset.json"
    path.write_text(
        '{"z": {"files": {"root://h//store/a": {"object_path": "T", "num_entries": 7}}}}'
    )
    site.datasets.register("z", packhorse.read_listing(path))
    (file,) = fakes.redirector.registered["z"]
    assert (file.lfn, file.tree, file.entries, file.entries_known) == ("/store/a", "T", 7, True)


def test_a_name_that_is_taken_or_unknown_is_told(site: packhorse.Site) -> None:
    site.datasets.register("d", ["/store/a"])
    with pytest.raises(AlreadyExists, match="dataset 'd' exists already"):
        site.datasets.register("d", ["/store/a"])
    with pytest.raises(NotFound, match="there is no dataset 'x'"):
        site.datasets.show("x")


# --- the connection --------------------------------------------------------------------


def test_a_closed_site_says_so(fakes: FakeSite) -> None:
    site = packhorse.connect(redirector=fakes.redirector_address)
    site.close()
    site.close()
    with pytest.raises(UsageError, match="is closed"):
        site.status()


async def test_a_notebooks_own_loop_does_not_matter(fakes: FakeSite) -> None:
    assert asyncio.get_running_loop().is_running()
    with packhorse.connect(redirector=fakes.redirector_address) as site:
        assert site.status().packetizers


def test_a_site_without_a_packetizer_says_so(fakes: FakeSite, site: packhorse.Site) -> None:
    fakes.packetizer_addresses = []
    with pytest.raises(Unreachable, match="no packetizer has announced itself"):
        site.sessions.list()
