"""`python -m tests.soak`: a site of real processes has a rough life, and is looked over after it.

It mounts file systems, so it is run as root, or in a mount namespace of its own:

    unshare --user --map-root-user --mount python -m tests.soak --kills 200 --freeze 60

Prints what it does, and at last one line that says what was found in order; ends with 1 and
the servers' logs if something was not.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from pathlib import Path

from tests.soak.rough_life import RoughLife
from tests.soak.site import soaked_site


def main() -> None:
    """Raises AssertionError for what is not in order."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--kills", type=int, default=200, help="how often a server is killed")
    parser.add_argument("--freeze", type=float, default=60.0, help="SIGSTOP for so many seconds")
    parser.add_argument("--lease", type=float, default=30.0, help="of recalls, in seconds")
    parser.add_argument("--files", type=int, default=100, help="in the archive")
    parser.add_argument("--seed", type=int, default=1, help="of all that is random")
    options = parser.parse_args()
    rng = random.Random(options.seed)
    with (
        tempfile.TemporaryDirectory(prefix="packhorse-soak-") as folder,
        soaked_site(Path(folder), options.lease, options.files, rng) as soaked,
    ):
        life = RoughLife(soaked, rng)
        with life.clients():
            life.kill_at_random(options.kills)
            life.freeze(options.freeze)
            life.fill_the_disk()
            life.go_read_only()
        life.check_served()
    print(f"in order: {life.summary()}")


if __name__ == "__main__":
    sys.exit(main())
