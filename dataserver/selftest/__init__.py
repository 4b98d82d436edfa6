"""Trying a site's commands against their contracts, before they go live.

`check_commands` runs them as a data server would, on files that are named, and tells check by
check what is right, what is wrong, and what to do about it. `docs/stage-command.md` has the
contracts.
"""

from __future__ import annotations

from dataserver.selftest.bench import Bench
from dataserver.selftest.checking import KINDS, check_commands, kinds_of
from dataserver.selftest.finding import Finding, Verdict

__all__ = ["KINDS", "Bench", "Finding", "Verdict", "check_commands", "kinds_of"]
