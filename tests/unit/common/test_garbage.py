"""The collector sets aside what stays, and still finds cycles."""

from __future__ import annotations

import gc
import weakref
from typing import TYPE_CHECKING

import pytest

from common.garbage import ShortPauses, uncollected

if TYPE_CHECKING:
    from collections.abc import Iterator


class Knot:
    """An object that only the collector can free."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture
def pauses() -> Iterator[ShortPauses]:
    made = ShortPauses()
    made.begin()
    yield made
    made.end()
    assert gc.get_freeze_count() == 0


def test_what_survives_a_full_collection_is_not_walked_again(pauses: ShortPauses) -> None:
    kept = Knot()
    gc.collect()
    assert gc.get_freeze_count() > 0
    alive = weakref.ref(kept)
    del kept
    gc.collect()
    assert alive() is not None, "it was set aside"
    pauses.end()
    gc.collect()
    assert alive() is None, "and was found in the end"


def test_new_cycles_are_found_all_the_time(pauses: ShortPauses) -> None:
    gc.collect()
    alive = weakref.ref(Knot())
    gc.collect()
    assert alive() is None


def test_everything_is_walked_when_its_time_has_come() -> None:
    pauses = ShortPauses(everything_every_s=0.0)
    pauses.begin()
    try:
        gc.freeze()
        gc.collect()
        assert gc.get_freeze_count() == 0
    finally:
        pauses.end()


def test_nothing_is_collected_meanwhile_and_then_as_before() -> None:
    with uncollected():
        assert not gc.isenabled()
    assert gc.isenabled()
    gc.disable()
    try:
        with uncollected():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
