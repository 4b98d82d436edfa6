"""Which names are stored in the archive when clients have written them."""

from __future__ import annotations

import pytest

from dataserver.migratable import Migratable


@pytest.mark.parametrize(
    ("migratable", "notmigratable", "lfn", "goes"),
    [
        ([], [], "/anything", True),
        (["/store"], [], "/store/a", True),
        (["/store"], [], "/stores/a", False),
        (["/store"], [], "/other/a", False),
        ([], ["/store/tmp"], "/store/tmp/a", False),
        ([], ["/store/tmp"], "/store/tmpfile", True),
        (["/store"], ["/store/tmp"], "/store/tmp/x/a", False),
        (["/store", "/store/tmp/keep"], ["/store/tmp"], "/store/tmp/keep/a", True),
        (["/store", "/store/tmp/keep"], ["/store/tmp"], "/store/tmp/other/a", False),
    ],
)
def test_of_two_directories_the_inner_one_decides(
    migratable: list[str], notmigratable: list[str], lfn: str, goes: bool
) -> None:
    assert Migratable(migratable, notmigratable).covers(lfn) is goes
