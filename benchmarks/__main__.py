"""Runs all benchmarks, or the ones named.

Each runs in a process of its own, so that none inherits another's memory, and
prints a table. The last line of all is one JSON object with every figure.
"""

from __future__ import annotations

import argparse
import json
import sys
import time

from benchmarks.apart import run_apart
from benchmarks.figures import flat, machine, show

TITLES = {
    "purge": "Choosing what to purge",
    "pool": "A pool beside none",
    "locate": "The index of replicas, and Locate",
    "staging": "Staging 1 MB files",
    "queued": "A million queued recalls",
    "tapes": "Recalls in the order of tapes",
    "packets": "Handing out packets",
    "root.redirects": "Redirecting root:// clients, beside XRootD",
    "root.reads": "Reading by root://, beside XRootD",
    "root.staging": "Staging for root:// clients, beside XRootD",
    "root.connections": "Two thousand root:// clients at a time",
}


def main() -> int:
    """Returns 1 if a benchmark failed; an aim that is missed is no failure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(TITLES))
    names = parser.parse_args().names or list(TITLES)
    if unknown := set(names) - set(TITLES):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(TITLES)}")
    figures: dict[str, float] = {}
    failed: list[str] = []
    before = machine()
    begun_s = time.monotonic()
    for name in names:
        found = run_apart(name)
        if found is None:
            failed.append(name)
            continue
        show(TITLES[name], found)
        figures.update({f"{name}.{one.key}": round(one.value, 6) for one in flat(found)})
    took_s = round(time.monotonic() - begun_s, 1)
    report = {"figures": figures, "failed": failed, "took_s": took_s, "machine": before}
    print(json.dumps(report), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
