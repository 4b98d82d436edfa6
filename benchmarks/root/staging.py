"""How long clients wait for files that are only in the archive, or nowhere.

A redirector and two data servers of each kind, which bring files by the same shell script.
XRootD comes twice: as it is by default, and with the shortest delays that it can be told.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

from benchmarks.figures import Figure
from benchmarks.root.jobs import AS_XRDCP
from benchmarks.root.peers import OURS, TUNED, XROOTD, Server, staging, wanted
from benchmarks.root.raw_client import Refused, final_answer, open_file
from tests.support.patience import eventually
from xroot.protocol import Status
from xroot.requests import Open, Read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

FILE_BYTES: Final = 1_000_000
ROUNDS: Final = 3
#: Ours does the same so many times a round, for it is over sooner.
OURS_A_ROUND: Final = 7
AT_ONCE: Final = 40
#: Stage commands at a time, on both data servers together.
SLOTS: Final = 8
PREPARED: Final = 1_000
TIMEOUT_S: Final = 120.0
FOLDER: Final = "/store/cold"


@dataclass(slots=True)
class Times:
    """Everything that was measured of one server, in seconds."""

    command: list[float] = field(default_factory=list)
    cold: list[float] = field(default_factory=list)
    warm: list[float] = field(default_factory=list)
    missing: list[float] = field(default_factory=list)
    together: list[float] = field(default_factory=list)
    commands: list[float] = field(default_factory=list)
    prepare: list[float] = field(default_factory=list)
    prepared: list[float] = field(default_factory=list)


def measure(only: str | None = None) -> list[Figure]:
    """Does the same to each server in turn."""
    times: dict[str, Times] = {}
    with contextlib.ExitStack() as running:
        servers = [
            running.enter_context(staging(name)) for name in wanted(only, XROOTD, TUNED, OURS)
        ]
        for server in servers:
            times[server.name] = Times()
        for _ in range(ROUNDS):
            for server in servers:
                for _ in range(OURS_A_ROUND if server.name == OURS else 1):
                    _one_by_one(server, times[server.name])
        for server in servers:
            times[server.name].together = _together(server)
            times[server.name].commands = _commands_together(server)
        for server in servers:
            _prepare(server, times[server.name])
    return list(_figures(times))


# --- what is done ---------------------------------------------------------------


def _one_by_one(server: Server, times: Times) -> None:
    number = len(times.cold)
    (lfn,) = _archived(server, [f"one-{number:03}"])
    times.cold.append(_seconds(partial(_copy, server, lfn)))
    times.warm.append(_seconds(partial(_copy, server, lfn)))
    target = server.archive.parent / "bare.dat"
    argv = [str(server.script), str(server.archive / lfn[1:]), str(target)]
    times.command.append(_seconds(partial(subprocess.run, argv, check=True)))
    target.unlink()
    times.missing.append(_seconds(partial(_open_nothing, server, f"{FOLDER}/none-{number:03}")))


def _together(server: Server) -> list[float]:
    """What each of many clients waits that come at the same time, each for a file of its own.

    Not by `xrdcp`: so many that start at once wait for each other, and for the name server.
    """
    lfns = _archived(server, (f"together-{number:03}" for number in range(AT_ONCE)))
    with ThreadPoolExecutor(AT_ONCE) as threads:
        return list(threads.map(lambda lfn: _seconds(partial(_read, server, lfn)), lfns))


def _commands_together(server: Server) -> list[float]:
    """When each of as many stage commands is done that are all there is to do.

    As many run at a time as the data servers together have slots for.
    """
    (lfn,) = _archived(server, ["commands"])
    begun_s = time.monotonic()

    def run(number: int) -> float:
        target = server.archive.parent / f"bare-{number:03}.dat"
        argv = [str(server.script), str(server.archive / lfn[1:]), str(target)]
        subprocess.run(argv, check=True, timeout=TIMEOUT_S)
        done_s = time.monotonic() - begun_s
        target.unlink()
        return done_s

    with ThreadPoolExecutor(SLOTS) as threads:
        return list(threads.map(run, range(AT_ONCE)))


def _prepare(server: Server, times: Times) -> None:
    lfns = _archived(server, (f"prepared-{number:04}" for number in range(PREPARED)))
    argv = ["xrdfs", str(server.address), "prepare", "-s", *lfns]
    begun_s = time.monotonic()
    subprocess.run(argv, check=True, timeout=TIMEOUT_S, stdout=subprocess.DEVNULL)
    times.prepare.append(time.monotonic() - begun_s)
    # What it has begun would be in the way of what is measured next.
    eventually(lambda: sum(_is_on_disk(server, lfn) for lfn in lfns) == PREPARED, TIMEOUT_S)
    times.prepared.append(time.monotonic() - begun_s)


def _copy(server: Server, lfn: str) -> None:
    argv = ["xrdcp", "--silent", "--force", f"root://{server.address}/{lfn}", "/dev/null"]
    subprocess.run(argv, check=True, timeout=TIMEOUT_S)


def _read(server: Server, lfn: str) -> None:
    connection, handle = open_file(server.address, lfn)
    content = connection.ask(Read(handle, 0, FILE_BYTES)).body
    connection.close()
    assert len(content) == FILE_BYTES, lfn


def _open_nothing(server: Server, lfn: str) -> None:
    # XRootD's own client would go back and ask once more, and wait as much longer.
    answer = final_answer(server.address, Open(lfn, options=AS_XRDCP))
    if answer.status != Status.ERROR:
        raise Refused(f"{server.name} opens {lfn}, which is nowhere")


def _archived(server: Server, names: Iterable[str]) -> list[str]:
    """Puts files into the archive; as one and the same, so that the disk is not busy with it."""
    first = server.archive / "store" / "first.dat"
    folder = server.archive / FOLDER[1:]
    folder.mkdir(parents=True, exist_ok=True)
    if not first.exists():
        first.write_bytes(os.urandom(FILE_BYTES))
    lfns = []
    for name in names:
        (folder / name).hardlink_to(first)
        lfns.append(f"{FOLDER}/{name}")
    return lfns


def _is_on_disk(server: Server, lfn: str) -> bool:
    paths = (pool / lfn[1:] for pool in server.pools)
    return any(path.exists() for path in paths)


def _seconds(work: Callable[[], object]) -> float:
    begun_s = time.monotonic()
    work()
    return time.monotonic() - begun_s


# --- what it says ---------------------------------------------------------------


def _figures(times: dict[str, Times]) -> Iterator[Figure]:
    def figure(
        key: str, what: str, value_ms: Callable[[Times], float], at_most: float | None = None
    ) -> Figure:
        by_name = {name: value_ms(one) for name, one in times.items()}
        main = OURS if OURS in by_name else next(iter(by_name))
        beside = tuple(
            Figure(f"{key}_{name.lower().replace(', ', '_')}_ms", name, value, "ms")
            for name, value in by_name.items()
        )
        shown = what if main == OURS else f"{what}: {main}"
        aim = at_most if main == OURS else None
        return Figure(f"{key}_ms", shown, by_name[main], "ms", at_most=aim, beside=beside)

    yield figure("command", "the stage command by itself", lambda one: _median_ms(one.command))
    yield figure("warm", "xrdcp of a file that is on disk", lambda one: _median_ms(one.warm))
    yield figure("cold", "xrdcp of a file in the archive", lambda one: _median_ms(one.cold))
    yield figure(
        "cold_beyond_command",
        "the same, beyond the stage command",
        lambda one: _median_ms(one.cold) - _median_ms(one.command),
        60,
    )
    yield figure(
        "cold_worst",
        "the same, at the worst",
        lambda one: 1e3 * max(one.cold) - _median_ms(one.command),
    )
    yield figure(
        "missing", "open of a file that is nowhere", lambda one: _median_ms(one.missing), 10
    )
    what = f"{AT_ONCE} clients at once, a cold file each"
    yield figure(
        "commands",
        f"{AT_ONCE} stage commands by themselves: median",
        lambda one: _median_ms(one.commands),
    )
    yield figure("together", f"{what}: median", lambda one: _median_ms(one.together))
    yield figure(
        "together_beyond_commands",
        "the same, beyond the stage commands",
        lambda one: _median_ms(one.together) - _median_ms(one.commands),
        60,
    )
    yield figure("together_last", f"{what}: the last", lambda one: 1e3 * max(one.together))
    yield figure(
        "prepare_file",
        f"prepare of {PREPARED:,} files, for each",
        lambda one: _median_ms(one.prepare) / PREPARED,
        0.2,
    )
    yield figure(
        "prepared_file",
        "until all of them are on disk, for each",
        lambda one: _median_ms(one.prepared) / PREPARED,
    )


def _median_ms(seconds: list[float]) -> float:
    return 1e3 * statistics.median(seconds)
