"""Runs the demo: `make demo`, or `python -m examples.demo --help`."""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType

ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main() -> int:
    """The main job, end to end; returns the exit code."""
    options = parse(sys.argv[1:])
    for number in ENDINGS:
        signal.signal(number, _interrupt)
    folder = Path(tempfile.mkdtemp(prefix="packhorse-demo-"))
    figures = None
    try:
        # An interrupt while the libraries are imported is one like any other.
        from examples.demo.job import run

        figures = run(folder, options)
    except KeyboardInterrupt:
        pass
    except ImportError:
        # A library that is interrupted while it starts may say so in its own way.
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if figures is None:
        print("\ninterrupted: every process and temporary file is gone", file=sys.stderr)
        return 130
    print(json.dumps(figures))
    return 0 if figures["equals_direct"] and figures["quota_kept"] else 1


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    """Ends the demo. Impatient further ones must not end the cleaning up."""
    for number in ENDINGS:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def parse(argv: list[str]) -> argparse.Namespace:
    """The demo's options."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--files", type=int, default=40)
    parser.add_argument("--events", type=int, default=30_000, help="in each file")
    parser.add_argument("--clusters", type=int, default=5, help="in each file")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--seed", type=int, default=42, help="of the events")
    parser.add_argument("--drives", type=int, default=3, help="of the tape library")
    parser.add_argument("--mount", type=float, default=0.3, help="seconds to mount a tape")
    parser.add_argument("--bandwidth", type=float, default=0.6, help="MB/s of a drive")
    parser.add_argument("--output", type=Path, default=Path("demo-output"), help="of the pictures")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
