"""Killing what a command leaves behind, and only that.

A process group ends with `kill_group`. What has left its group (`setsid`, a
daemon) is found by the mark that every process of a run inherits in its
environment, unless it was cleaned on the way. The same mark finds commands of an
earlier life of a server that was killed: a process id alone proves nothing, it
may be somebody else's by now.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from common.command.environment import ID_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

log = logging.getLogger(__name__)

# The kernel needs a moment to end what it was told to kill.
GONE_WITHIN_S = 2.0
# How far a start time may be off: the clock may have been set in between.
START_TOLERANCE_S = 2.0


def signal_group(group: int, number: signal.Signals) -> bool:
    """Sends a signal to a process group; False if it has no members.

    The group's number must be certain: its leader not reaped, or a member known.
    """
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    except PermissionError:
        # There are members, but of other users: started with sudo or set-uid.
        log.warning("may not send %s to process group %d", number.name, group)
    return True


def wait_until_group_is_gone(group: int) -> None:
    """Waits a moment for the members of a killed group; logs those that stay."""
    # The usual case costs one system call.
    if _exists(group):
        _wait_until_none(lambda: members(group), f"process group {group}")


def kill_marked(is_ours: Callable[[str], bool]) -> list[int]:
    """Kills every process whose mark is ours, and waits for the end; the process ids."""
    killed: set[int] = set()

    # What is killed may have had children meanwhile: look until there are none.
    def kill_found() -> list[int]:
        found = [pid for pid, mark in _marks() if is_ours(mark) and pid != os.getpid()]
        for pid in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        killed.update(found)
        return found

    _wait_until_none(kill_found, "commands")
    return sorted(killed)


def kill_leftovers(owner: str) -> list[int]:
    """Kills every process of every command of an owner; blocks, up to a few seconds.

    For the start of a server, before it runs commands itself: what its earlier
    life left running when it was killed. Returns the process ids.
    """
    killed = kill_marked(lambda mark: _is_of(mark, owner))
    if killed:
        log.warning("killed what was left running of %s: %s", owner, killed)
    return killed


def kill_leftover(pid: int, start_time_s: float, owner: str) -> bool:
    """Kills the group of a recorded command if it is still that one; whether it was there.

    `pid` and `start_time_s` are what `on_start` was told. For commands that clean
    their environment, where `kill_leftovers` finds nothing. A group whose leader
    is gone is the owner's if one of its members bears the owner's mark.
    """
    group = members(pid)
    try:
        ours = abs(start_time_of(pid) - start_time_s) <= START_TOLERANCE_S
    except psutil.NoSuchProcess:
        ours = any(member in group and _is_of(mark, owner) for member, mark in _marks())
    if not group or not ours:
        return False
    signal_group(pid, signal.SIGKILL)
    wait_until_group_is_gone(pid)
    return True


def start_time_of(pid: int) -> float:
    """When a process was started, in Unix seconds. Raises `psutil.Error`."""
    return psutil.Process(pid).create_time()


def _is_of(mark: str, owner: str) -> bool:
    """Owners may be nested: what belongs to `pool/life` belongs to `pool` too."""
    return mark.startswith(f"{owner}/")


def _exists(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _wait_until_none(find: Callable[[], list[int]], what: str) -> None:
    deadline_s = time.monotonic() + GONE_WITHIN_S
    pause_s = 0.001
    while found := find():
        if time.monotonic() > deadline_s:
            log.error("%s: processes %s were killed and do not end", what, found)
            return
        time.sleep(pause_s)
        pause_s = min(0.1, pause_s * 2)


def members(group: int) -> list[int]:
    """The living processes of a group; zombies are only waiting for their parents."""
    return [pid for pid, state, its_group in _processes() if its_group == group and state != "Z"]


def _processes() -> Iterator[tuple[int, str, int]]:
    """Every process: its id, its state, its group."""
    for pid in psutil.pids():
        with contextlib.suppress(OSError):
            stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
            # The name, in parentheses, may hold anything.
            state, _, group, *_ = stat.rpartition(")")[2].split()
            yield pid, state, int(group)


def _marks() -> Iterator[tuple[int, str]]:
    """Every process of ours that has a mark; others' environments cannot be read."""
    key = f"{ID_VARIABLE}=".encode()
    for pid in psutil.pids():
        with contextlib.suppress(OSError):
            for variable in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                if variable.startswith(key):
                    yield pid, os.fsdecode(variable.removeprefix(key))
