"""`python -m common.command OWNER LEASED`: the janitor's process, see `janitor`."""

from __future__ import annotations

import sys

from common.command.janitor import main

if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
