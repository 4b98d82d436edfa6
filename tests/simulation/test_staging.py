"""Staging and writing under faults: seeds of clusters whose every step keeps the promises."""

from __future__ import annotations

import pytest

from tests.simulation.cluster.site import Site
from tests.simulation.cluster.world import World

TROUBLE_S = 120.0
PATIENCE_S = 1800.0


def run(seed: int, *, trouble: bool) -> World:
    """One seed: clients ask for files while things break; then peace, and everything ends."""
    world = World(seed)
    try:
        site = Site(world)
        lfns = sorted(site.archive.tapes)
        for _ in range(20):
            wanted = world.rng.sample(lfns, world.rng.randint(1, 8))
            pin_s = world.rng.choice([0.0, 0.0, 5.0])
            deadline_s = world.rng.choice([0.0, 0.0, 0.0, 40.0])
            at_s = world.rng.uniform(0, TROUBLE_S)
            world.after(
                at_s,
                lambda wanted=wanted, pin_s=pin_s, deadline_s=deadline_s: site.stage(  # type: ignore[misc]
                    wanted, pin_s=pin_s, deadline_s=deadline_s
                ),
            )
        for number in range(12):
            # Some of the names are being staged, some are written twice.
            lfn = world.rng.choice([f"/store/new/w{number % 8}", world.rng.choice(lfns)])
            size_bytes = world.rng.randint(1, 3_000_000)
            world.after(
                world.rng.uniform(0, TROUBLE_S),
                lambda lfn=lfn, size_bytes=size_bytes: site.write(lfn, size_bytes),  # type: ignore[misc]
            )
        for number in range(5):
            lfn = f"/store/made/{number % 2}/d{number}"
            world.after(
                world.rng.uniform(0, TROUBLE_S),
                lambda lfn=lfn: site.make_directory(lfn),  # type: ignore[misc]
            )
        if trouble:
            site.break_things(TROUBLE_S, mean_s=6.0)
        world.run(until_s=TROUBLE_S + 60.0)
        world.run(until_s=PATIENCE_S, enough=lambda: not site.head.unfinished())
        world.run(until_s=world.now_s - 1_000_000.0 + 60.0)
        site.check_at_peace()
    except Exception as error:
        raise AssertionError(f"{error}\n{world.story()}") from error
    return world


@pytest.mark.parametrize("seed", range(3))
def test_without_trouble_every_request_ends_and_every_promise_holds(seed: int) -> None:
    run(seed, trouble=False)


@pytest.mark.parametrize("seed", range(100, 140))
def test_every_promise_holds_in_trouble(seed: int) -> None:
    run(seed, trouble=True)


def test_a_seed_tells_the_same_story_twice() -> None:
    assert run(7, trouble=True).story() == run(7, trouble=True).story()
