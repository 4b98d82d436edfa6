"""What the scripts for the kinds of archives share: their words, exit codes, and manners.

A script is called `SCRIPT ACTION [OPTIONS] WORDS`:

    stage NAME TARGET    copies a file from the archive to a path
    stat NAME            prints what the archive knows of a file, as JSON
    list NAME            prints the entries of a directory, a line of JSON each
    store PATH NAME      copies a file into the archive, and looks whether it is whole there
    remove NAME          deletes a file from the archive; none is as good
    check [NAME]         tells whether what the script needs is there, and a file if one is named

It needs Python alone, no installation of Packhorse. What it promises is written down in
Packhorse's docs/stage-command.md.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import hashlib
import importlib
import json
import os
import shutil
import signal
import sys
import time
import zlib
from abc import ABC, abstractmethod
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    #: What a `stat` or a line of a `list` says: size, mtime, type, checksum, name.
    Answer = dict[str, Any]

BLOCK_BYTES: Final = 1 << 20
FIRST_PAUSE_S: Final = 1.0
#: Begins the names of files that are not whole yet.
PART_PREFIX: Final = ".packhorse-"


class Exit(IntEnum):
    """How a script ends; the codes of sysexits.h, as docs/stage-command.md reads them."""

    USAGE = 64
    DAMAGED = 65
    NOT_FOUND = 66
    UNAVAILABLE = 69
    NO_SPACE = 73
    LATER = 75
    NOT_PERMITTED = 77
    SET_UP_WRONGLY = 78


class Failed(Exception):
    """The script cannot do what it was asked; `reason` is one line for whoever waits."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


_CODES: Final = {
    errno.ENOENT: Exit.NOT_FOUND,
    errno.ENOTDIR: Exit.NOT_FOUND,
    errno.EACCES: Exit.NOT_PERMITTED,
    errno.EPERM: Exit.NOT_PERMITTED,
    errno.ELOOP: Exit.NOT_PERMITTED,
    errno.ENAMETOOLONG: Exit.NOT_PERMITTED,
    errno.ENOSPC: Exit.NO_SPACE,
    errno.EDQUOT: Exit.NO_SPACE,
}


def of_archive(error: OSError, name: str) -> Failed:
    """An error of the operating system about a file of the archive."""
    return Failed(_CODES.get(error.errno or 0, Exit.LATER), f"{name}: {error.strerror or error}")


class Archive(ABC):
    """One kind of archive; a script is a subclass, and `main` makes it a program."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options

    @staticmethod
    def add_options(parser: argparse.ArgumentParser) -> None:
        """Adds what can be told on the command line besides the words: nothing."""
        _ = parser

    def needs(self) -> None:
        """Raises Failed if a program or a library is missing: most need Python alone."""
        return

    @abstractmethod
    def stage(self, name: str, part: str) -> int | None:
        """Writes the file to `part`, which exists and is empty; how many bytes it should have."""

    @abstractmethod
    def stat(self, name: str) -> Answer:
        """What the archive knows of a file or directory. Raises Failed with NOT_FOUND."""

    @abstractmethod
    def entries(self, name: str) -> Iterable[Answer]:
        """What is in a directory, without `.` and `..`."""

    @abstractmethod
    def store(self, path: str, name: str) -> None:
        """Copies a file into the archive, over one of that name."""

    @abstractmethod
    def remove(self, name: str) -> None:
        """Deletes a file. Raises Failed with NOT_FOUND if there is none."""


# --- the actions --------------------------------------------------------------------


def _stage(archive: Archive, name: str, target: str) -> None:
    with incoming(target) as part:
        expected_bytes = archive.stage(name, part)
        try:
            found_bytes = Path(part).stat().st_size
        except FileNotFoundError as error:
            raise Failed(Exit.LATER, f"{name}: no file was left") from error
        if expected_bytes is not None and found_bytes != expected_bytes:
            reason = f"{name}: {found_bytes} of {expected_bytes} bytes came"
            raise Failed(Exit.LATER, reason)


def _stat(archive: Archive, name: str) -> None:
    say(archive.stat(name))


def _list(archive: Archive, name: str) -> None:
    for entry in archive.entries(name):
        say(entry)


def _store(archive: Archive, path: str, name: str) -> None:
    archive.store(path, name)
    found = archive.stat(name)
    size_bytes = Path(path).stat().st_size
    if found.get("size", size_bytes) != size_bytes:
        reason = f"{name}: {found['size']} of {size_bytes} bytes arrived in the archive"
        raise Failed(Exit.LATER, reason)
    kept = str(found.get("checksum", ""))
    algorithm = kept.partition(":")[0]
    if algorithm in {"adler32", "md5"} and checksum(algorithm, path) != kept:
        raise Failed(Exit.LATER, f"{name}: its {algorithm} in the archive is not that of {path}")


def _remove(archive: Archive, name: str) -> None:
    try:
        archive.remove(name)
    except Failed as failed:
        if failed.code != Exit.NOT_FOUND:
            raise


def _check(archive: Archive, name: str = "") -> None:
    archive.needs()
    if name:
        say(archive.stat(name))


_ACTIONS: Final[dict[str, tuple[Callable[..., None], tuple[int, ...], str]]] = {
    "stage": (_stage, (2,), "NAME TARGET"),
    "stat": (_stat, (1,), "NAME"),
    "list": (_list, (1,), "NAME"),
    "store": (_store, (2,), "PATH NAME"),
    "remove": (_remove, (1,), "NAME"),
    "check": (_check, (0, 1), "[NAME]"),
}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise Failed(Exit.USAGE, f"{self.prog}: {message}")


def main(kind: type[Archive]) -> None:
    """Runs the script of one kind of archive, and ends the process."""
    signal.signal(signal.SIGTERM, _terminated)
    try:
        _run(kind)
        sys.stdout.flush()
    except Failed as failed:
        give_up(failed)
    except OSError as error:
        full = error.errno in {errno.ENOSPC, errno.EDQUOT}
        give_up(Failed(Exit.NO_SPACE if full else Exit.LATER, str(error)))


def give_up(failed: Failed) -> NoReturn:
    """Ends the process with one line on stderr."""
    line = " ".join(str(failed).split())
    sys.stderr.write(line.encode(errors="backslashreplace").decode() + "\n")
    sys.exit(failed.code)


def _run(kind: type[Archive]) -> None:
    parser = _Parser(description=kind.__doc__)
    kind.add_options(parser)
    parser.add_argument("action", choices=_ACTIONS)
    parser.add_argument("words", nargs="*")
    options = parser.parse_intermixed_args()
    do, counts, expected = _ACTIONS[options.action]
    if len(options.words) not in counts or not all(options.words):
        raise Failed(Exit.USAGE, f"usage: {parser.prog} {options.action} [OPTIONS] {expected}")
    do(kind(options), *options.words)


def _terminated(*_: object) -> None:
    """SIGTERM leaves through every `finally`, so that nothing is left behind."""
    # A second one must not interrupt the cleaning up.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(128 + signal.SIGTERM)


# --- what scripts are made of ---------------------------------------------------------


def say(answer: Answer) -> None:
    """Prints a line of JSON; what is not known is left out."""
    print(json.dumps({key: value for key, value in answer.items() if value is not None}))


@contextlib.contextmanager
def incoming(target: str) -> Iterator[str]:
    """A new file beside `target`, which becomes it at the end and is deleted on failure."""
    part = part_of(target)
    try:
        Path(part).write_bytes(b"")
    except OSError as error:
        full = error.errno in {errno.ENOSPC, errno.EDQUOT}
        reason = f"cannot write {part}: {error.strerror}"
        raise Failed(Exit.NO_SPACE if full else Exit.LATER, reason) from error
    try:
        yield part
        Path(part).replace(target)
    except BaseException:
        Path(part).unlink(missing_ok=True)
        raise


def part_of(path: str) -> str:
    """Where a file is written before it is whole: beside it, under a name that is never too long.

    The same each time on a host, so that what a killed run left behind is written over.
    """
    name = hashlib.sha256(f"{os.uname().nodename}:{path}".encode(errors="surrogateescape"))
    return str(Path(path).with_name(f"{PART_PREFIX}{name.hexdigest()[:20]}.part"))


def pauses(part: str, longest_s: float) -> Iterator[None]:
    """Waits between two looks at the archive, ever longer, and shows that it is alive.

    Packhorse kills a command in whose directory nothing has changed for a while.
    """
    pause_s = min(FIRST_PAUSE_S, longest_s)
    while True:
        yield
        wait(part, pause_s)
        pause_s = min(2 * pause_s, longest_s)


def wait(part: str, pause_s: float) -> None:
    """Waits, and touches `part` all the while."""
    end_s = time.monotonic() + pause_s
    while (left_s := end_s - time.monotonic()) > 0:
        if part:
            os.utime(part)
        time.sleep(min(left_s, 30.0))


def library(name: str, install: str) -> Any:
    """A library that the script needs besides Python, or Failed, which says how to get it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        reason = f"{sys.executable} has no {name}: pip install '{install}' ({error})"
        raise Failed(Exit.SET_UP_WRONGLY, reason) from error


def program(name: str, package: str) -> str:
    """Where a program is, or Failed, which says what it comes with."""
    found = shutil.which(name)
    if found is None:
        raise Failed(Exit.SET_UP_WRONGLY, f"there is no {name} in PATH; it comes with {package}")
    return found


def split_url(name: str, *schemes: str) -> tuple[str, str, str]:
    """Scheme, host, and path of a file's URL. What follows the host is taken as it is.

    A question mark or a percent sign is a part of the file's name, like any other character.
    """
    scheme, separator, rest = name.partition("://")
    host, _, path = rest.partition("/")
    if not separator or scheme not in schemes or not host:
        known = " or ".join(f"{known}://" for known in schemes)
        raise Failed(Exit.SET_UP_WRONGLY, f"{name} does not begin with {known} and a host")
    return scheme, host, "/" + path


def checksum(algorithm: str, path: str) -> str:
    """`"adler32:07a6c902"` of a file; adler32 or md5."""
    with Path(path).open("rb") as file:
        if algorithm == "md5":
            return f"md5:{hashlib.file_digest(file, _md5).hexdigest()}"
        value = 1
        while block := file.read(BLOCK_BYTES):
            value = zlib.adler32(block, value)
    return f"adler32:{value:08x}"


def _md5() -> Any:
    """Not for secrets: hosts that forbid md5 there allow it here."""
    return hashlib.md5(usedforsecurity=False)
