"""Ready-made scripts for the kinds of archives that sites have.

The scripts themselves lie in `published/`, which is no package: they are copied to where an
admin wants them, and run there with Python alone. Here is what is known of them.
"""

from __future__ import annotations

from packhorse.scripts.installing import install
from packhorse.scripts.kinds import KINDS, Kind, find_kind
from packhorse.scripts.trying import Trial, try_kind

__all__ = ["KINDS", "Kind", "Trial", "find_kind", "install", "try_kind"]
