"""`python -m common.command OWNER`: the janitor's process, see `common.command.janitor`."""

from __future__ import annotations

import sys

from common.command.leftovers import kill_leftovers

if __name__ == "__main__":
    sys.stdin.buffer.read()
    kill_leftovers(sys.argv[1])
