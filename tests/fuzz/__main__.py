"""Looks for bytes that break a promise of `xroot`, led by the code they reach.

Each target has a process of its own for its share of the time. What was found useful is
kept in build/fuzz and is where the next run begins. An input that breaks something is kept
there too; run its target on it again by `python -m tests.fuzz --target NAME INPUT`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["xroot"], enable_loader_override=False):
    from tests.fuzz.targets import SEEDS, TARGETS

KEPT = Path("build/fuzz")


def main() -> int:
    """1 if anything was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="for all targets together")
    parser.add_argument("--target", choices=TARGETS, help="this one only")
    parser.add_argument("inputs", nargs="*", type=Path, metavar="INPUT", help="try these only")
    asked = parser.parse_args()
    if asked.inputs:
        for path in asked.inputs:
            TARGETS[asked.target](path.read_bytes())
        return 0
    if asked.target:
        fuzz(asked.target, asked.seconds)
    seconds = max(1, asked.seconds // len(TARGETS))
    failed = [name for name in TARGETS if not passes(name, seconds)]
    print(f"broken: {', '.join(failed)}" if failed else "nothing found")
    return 1 if failed else 0


def passes(name: str, seconds: int) -> bool:
    """Runs one target in a process of its own; whether nothing was found."""
    print(f"--- {name}, {seconds} s", flush=True)
    command = [sys.executable, "-m", "tests.fuzz", "--target", name, "--seconds", str(seconds)]
    return subprocess.run(command, check=False).returncode == 0


def fuzz(name: str, seconds: int) -> None:
    """Runs one target, and ends the process."""
    corpus, found = KEPT / name, KEPT / f"found-{name}"
    for folder in (corpus, found):
        folder.mkdir(parents=True, exist_ok=True)
    for seed in SEEDS[name]:
        (corpus / sha256(seed).hexdigest()[:16]).write_bytes(seed)
    options = [f"-max_total_time={seconds}", "-max_len=8192", "-timeout=10", "-rss_limit_mb=2048"]
    options += [f"-artifact_prefix={found}/", "-print_final_stats=1", "-verbosity=0"]
    atheris.Setup([sys.argv[0], *options, str(corpus)], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
