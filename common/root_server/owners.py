"""Names of users and groups, as listings show them."""

from __future__ import annotations

import functools
import grp
import os
import pwd


@functools.cache
def user_name(uid: int) -> str:
    """A user's name, or the number where there is none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


@functools.cache
def group_name(gid: int) -> str:
    """The same for a group."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def own_names() -> tuple[str, str]:
    """The user and the group this server runs as: to clients, all that is there is theirs."""
    return user_name(os.geteuid()), group_name(os.getegid())
