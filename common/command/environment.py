"""The environment of a command: what copy tools need, and nothing that happens to be there.

A server's environment may hold secrets of other programs, and settings that
differ from shell to shell. So a command gets a variable only if its name is
known to be of use to tools that move files, or if it was configured.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

# Which run of which server a process belongs to; see `leftovers`.
ID_VARIABLE = "PACKHORSE_COMMAND_ID"

PASSED_ON = frozenset(
    {
        "PATH",
        "LD_LIBRARY_PATH",
        "HOME",
        "USER",
        "LOGNAME",
        "LANG",
        "TZ",
        "TMPDIR",
        # Kerberos, and where the WLCG rules look for a token.
        "KRB5CCNAME",
        "KRB5_CONFIG",
        "XDG_RUNTIME_DIR",
    }
)
PASSED_ON_PREFIXES = ("LC_", "X509_", "BEARER_TOKEN", "XRD_", "XrdSec")


def command_environment(
    own: Mapping[str, str], configured: Mapping[str, str], command_id: str
) -> dict[str, str]:
    """What a command sees of our `own` environment, and what is `configured` for it."""
    environment = {
        name: value
        for name, value in own.items()
        if name in PASSED_ON or name.startswith(PASSED_ON_PREFIXES)
    }
    environment.setdefault("PATH", os.defpath)
    return {**environment, **configured, ID_VARIABLE: command_id}
