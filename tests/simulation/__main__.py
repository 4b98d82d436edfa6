"""`python -m tests.simulation --seeds N --seed0 K`: plays seeds, and tells of those that fail.

One process for each core plays them. A seed that fails is printed with its story; played
alone (`--seeds 1 --seed0 K`), a seed prints all of its story, well or not.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor

from tests.simulation.laboratory import Failed, play, play_quietly

#: Seeds that a process takes at a time.
CHUNK = 5
#: Failed seeds whose stories are printed.
STORIES = 5


def main() -> int:
    """The exit code: 1 if any seed failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=100, help="how many")
    parser.add_argument("--seed0", type=int, default=0, help="the first one")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    options = parser.parse_args()
    if options.seeds == 1:
        return _play_alone(options.seed0)
    seeds = range(options.seed0, options.seed0 + options.seeds)
    began_s = time.monotonic()
    failed: list[int] = []
    steps = 0
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.jobs, context) as pool:
        for seed, its_steps, story in pool.map(play_quietly, seeds, chunksize=CHUNK):
            steps += its_steps
            if story:
                failed.append(seed)
                if len(failed) <= STORIES:
                    print(f"{story}\n", flush=True)
    took_s = time.monotonic() - began_s
    print(
        f"{options.seeds} seeds from {options.seed0}, {steps} steps, {took_s:.0f} s,"
        f" {options.seeds / took_s:.1f} seeds/s by {options.jobs} processes: "
        + (f"{len(failed)} failed: {sorted(failed)}" if failed else "every promise was kept")
    )
    if failed:
        print(f"play one again: make simulate SEEDS=1 SEED0={min(failed)}")
    return 1 if failed else 0


def _play_alone(seed: int) -> int:
    try:
        laboratory = play(seed, story_lines=None)
    except Failed as failed:
        print("\n".join(failed.whole_story))
        print(failed)
        return 1
    print("\n".join(laboratory.world.story()))
    print(f"seed {seed}: {laboratory.world.steps} steps; every promise was kept")
    return 0


if __name__ == "__main__":
    sys.exit(main())
