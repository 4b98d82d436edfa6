"""What scripts for archives are made of: exit codes, files that are not whole yet, waiting."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import importlib
import json
import os
import shutil
import sys
import time
import zlib
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    #: What is said of a file, and is printed as a line of JSON.
    Answer = dict[str, Any]

BLOCK_BYTES: Final = 1 << 20
FIRST_PAUSE_S: Final = 1.0
#: How many files an archive is asked about at a time.
AT_A_TIME: Final = 8
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


def say(answer: Answer) -> None:
    """Prints a line of JSON; what is not known is left out."""
    known = {key: value for key, value in answer.items() if value is not None}
    print(json.dumps(known), flush=True)


def each(files: Sequence[Answer], do: Callable[[Answer], Answer]) -> Iterator[Answer]:
    """What `do` answers of every file, several at a time, or how it failed."""
    # A script that stages one file need not wait for what this loads.
    from concurrent import futures

    def answer(file: Answer) -> Answer:
        try:
            return {"key": file["key"], **do(file)}
        except Failed as failed:
            return refusal(file, failed)

    with futures.ThreadPoolExecutor(AT_A_TIME) as threads:
        yield from threads.map(answer, files)


def refusal(file: Answer, failed: Failed) -> Answer:
    """The answer that an order has failed, by the code that a stage would end with."""
    return {
        "key": file["key"],
        "state": "failed",
        "reason": str(failed),
        "exit_code": int(failed.code),
    }


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


def expect_mounted(directory: str) -> None:
    """Raises Failed if a directory is missing or empty: a mount that has vanished looks the same.

    Every file of it would look missing, and what is stored would go to another disk.
    """
    try:
        with os.scandir(directory) as entries:
            is_empty = next(entries, None) is None
    except OSError as error:
        raise Failed(Exit.UNAVAILABLE, f"{directory}: {error.strerror}") from error
    if is_empty:
        hint = f"if it is new, touch {directory}/{PART_PREFIX}here"
        raise Failed(Exit.UNAVAILABLE, f"{directory} is empty: is it mounted? ({hint})")


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
