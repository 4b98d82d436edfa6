"""Seeds of whole clusters: every step of every one keeps the promises."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.simulation.cluster.clock import HostClock
from tests.simulation.laboratory import Laboratory, play, processing, staging
from tests.simulation.promises.progress import StuckIsReported
from tests.simulation.promises.time import OldMessagesAreIgnored

if TYPE_CHECKING:
    from tests.simulation.cluster.world import World

#: More of them are played by `make simulate`.
SEEDS = 72
BATCHES = 12


@pytest.mark.parametrize("batch", range(BATCHES))
def test_every_promise_is_kept_in_trouble(batch: int) -> None:
    for seed in range(batch, SEEDS, BATCHES):
        play(seed)


@pytest.mark.parametrize("seed", range(3))
def test_without_trouble_every_request_ends(seed: int) -> None:
    staging(seed, trouble=False)


@pytest.mark.parametrize("seed", range(3))
def test_without_trouble_only_what_cannot_be_brought_is_missing(seed: int) -> None:
    laboratory = processing(seed, trouble=False)
    archive = laboratory.site.archive
    absent = {tape.lfn for tape in archive.tapes.values() if not tape.in_archive}
    assert _missing(laboratory, "") == absent


@pytest.mark.parametrize("seed", range(3))
def test_a_function_that_raises_on_an_entry_loses_no_other_packet(seed: int) -> None:
    laboratory = processing(seed, trouble=False, poison=2)
    assert laboratory.desk is not None
    assert laboratory.desk.disk.end is not None
    poisoned = [one for one in laboratory.desk.disk.end.missing if "poison" in one.reason]
    assert len(poisoned) == 2


def test_a_seed_tells_the_same_story_twice() -> None:
    assert _story(7) == _story(7)


@pytest.mark.parametrize("seed", range(1, 40, 2))
def test_no_decision_depends_on_what_any_clock_shows(seed: int) -> None:
    """Promise 11: every host's clock is set off by another time, and nothing else happens."""
    right = staging(seed, clocks=HostClock).world
    wrong = staging(seed, clocks=_set_off).world
    assert right.story() == wrong.story()


def test_the_checks_had_something_to_look_at() -> None:
    """What is checked only now and then has come about in some seed."""
    late = stuck = reads = 0
    for seed in range(1, 12, 2):
        laboratory = play(seed)
        late += laboratory.watch.get(OldMessagesAreIgnored).late
        stuck += laboratory.watch.get(StuckIsReported).reports
        reads += laboratory.clients.reads
    assert late
    assert stuck
    assert reads


def test_seeds_are_played_by_many_processes() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "tests.simulation", "--seeds", "6", "--seed0", "9"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": "."},
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "6 seeds from 9" in ran.stdout
    assert "every promise was kept" in ran.stdout


def _story(seed: int) -> list[str]:
    return play(seed).world.story()


#: Seconds by which the clocks of a site's hosts are off, in the order they are made.
_OFF_S = [3600, -7200, 86400, -1]


def _set_off(world: World) -> HostClock:
    """Draws nothing from the world's random numbers, so that all else stays as it is."""
    world.clocks += 1
    return HostClock(world, _OFF_S[world.clocks % len(_OFF_S)])


def _missing(laboratory: Laboratory, reason: str) -> set[str]:
    assert laboratory.desk is not None
    end = laboratory.desk.disk.end
    assert end is not None
    return {one.lfn for one in end.missing if reason in one.reason}
