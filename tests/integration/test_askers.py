"""What people with a pool and an archive ask first (docs/askers.md), at a real site."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from common.errors import NotFound
from packhorse.values import FileState
from tests.support.staging_site import content_of, staging_site

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.staging_site import StagingSite

PATIENCE_S = 60.0
SIZE = 1000


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StagingSite]:
    with staging_site(tmp_path_factory.mktemp("site")) as made:
        yield made


def test_one_url_works_before_and_after_and_the_archive_is_read_once(desk: StagingSite) -> None:
    (lfn,) = desk.archived("hidden.root", size_bytes=SIZE)
    url = f"root://anywhere/{lfn}"
    assert desk.site.locate(url)[0].state is FileState.NEARLINE
    for _ in range(3):
        with desk.site.open(url) as file:
            assert file.read() == content_of(lfn, SIZE)
    assert len(desk.ran_on(lfn)) == 1


def test_a_file_is_brought_by_one_named_node_and_only_if_that_is_wished(
    desk: StagingSite,
) -> None:
    (lfn,) = desk.archived("asked.root", size_bytes=SIZE)
    with pytest.raises(NotFound):
        desk.site.open(lfn, stage=False)
    assert desk.cluster.holders(lfn) == []
    assert desk.ran_on(lfn) == []
    with desk.site.open(lfn) as file:
        assert file.read() == content_of(lfn, SIZE)
    (holder,) = desk.cluster.holders(lfn)
    assert desk.ran_on(lfn) == [holder]
    story = [line.text for line in desk.site.explain(lfn).story]
    assert any(holder in text for text in story), story


def test_files_of_the_pool_belong_to_the_service_whoever_asked(desk: StagingSite) -> None:
    (lfn,) = desk.archived("owned.root", size_bytes=SIZE)
    desk.site.stage(lfn).wait(PATIENCE_S)
    (holder,) = desk.cluster.holders(lfn)
    found = desk.cluster.pool(holder).joinpath(lfn.lstrip("/")).stat()
    service = os.stat(f"/proc/{desk.cluster.processes[holder].pid}")  # noqa: PTH116 - no path of ours
    assert (found.st_uid, found.st_gid) == (service.st_uid, service.st_gid)


def test_what_was_staged_before_is_not_waited_for_again(desk: StagingSite) -> None:
    lfns = desk.archived(*(f"early/{number}.bin" for number in range(5)), size_bytes=SIZE)
    before = desk.site.stage(lfns)
    assert before.request_ids
    before.wait(PATIENCE_S)
    desk.site.datasets.register("early", lfns)
    verified = desk.site.datasets.verify("early", stage=True)
    assert (verified.summary.online, verified.problems) == (5, ())
    for lfn in lfns:
        with desk.site.open(lfn, stage=False) as file:
            assert file.read() == content_of(lfn, SIZE)
    assert [len(desk.ran_on(lfn)) for lfn in lfns] == [1] * 5
