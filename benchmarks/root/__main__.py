"""One or several of the root:// benchmarks, of one side alone if need be."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import time

from benchmarks.figures import flat, machine, show
from benchmarks.root.peers import SIDES

PARTS = ("redirects", "reads", "staging", "connections")


def main() -> int:
    """Prints a table for each part, and a line of JSON with every figure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.root", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--only", choices=list(SIDES), help="measure nothing else")
    arguments = parser.parse_args()
    if unknown := set(arguments.parts) - set(PARTS):
        parser.error(f"no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    print(json.dumps(machine()), flush=True)
    begun_s = time.monotonic()
    figures: dict[str, float] = {}
    for part in arguments.parts or PARTS:
        found = importlib.import_module(f"benchmarks.root.{part}").measure(arguments.only)
        if found:
            show(f"root:// {part}", found)
        figures |= {f"root.{part}.{one.key}": round(one.value, 6) for one in flat(found)}
    took_s = round(time.monotonic() - begun_s, 1)
    print(json.dumps({"figures": figures, "took_s": took_s, "machine": machine()}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
