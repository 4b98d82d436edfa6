"""The environment of a command: what copy tools need, and nothing that happens to be there.

A server's environment may hold secrets of other programs, and settings that
differ from shell to shell. So a command gets a variable only if every program
needs its like, or if its name is among those that the site lets through.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# Which run of which server a process belongs to; see `leftovers`.
ID_VARIABLE = "PACKHORSE_COMMAND_ID"

#: What every command gets.
ALWAYS_PASSED: Final = (
    "PATH",
    "LD_LIBRARY_PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "LANG",
    "LC_*",
    "TZ",
    "TMPDIR",
)
#: What a site lets through that says nothing of it: proxies, Kerberos, where the WLCG
#: rules look for a token, and what XRootD's tools are told.
PASSED_BY_DEFAULT: Final = (
    "X509_*",
    "BEARER_TOKEN*",
    "XDG_RUNTIME_DIR",
    "KRB5CCNAME",
    "KRB5_CONFIG",
    "XRD_*",
    "XrdSec*",
)


def command_environment(
    own: Mapping[str, str],
    configured: Mapping[str, str],
    command_id: str,
    passed: Iterable[str] = PASSED_BY_DEFAULT,
) -> dict[str, str]:
    """What a command sees of our `own` environment, and what is `configured` for it.

    `passed` are the names that are let through besides those every command gets; one
    that ends with `*` stands for all that begin so.
    """
    patterns = (*ALWAYS_PASSED, *passed)
    names = {pattern for pattern in patterns if not pattern.endswith("*")}
    beginnings = tuple(pattern[:-1] for pattern in patterns if pattern.endswith("*"))
    environment = {
        name: value for name, value in own.items() if name in names or name.startswith(beginnings)
    }
    environment.setdefault("PATH", os.defpath)
    return {**environment, **configured, ID_VARIABLE: command_id}
