"""What the scripts for the kinds of archives share: their words, exit codes, and manners.

A script is called `SCRIPT ACTION [OPTIONS] WORDS`:

    stage NAME TARGET    copies a file from the archive to a path
    stat NAME            prints what the archive knows of a file, as JSON
    list NAME            prints the entries of a directory, a line of JSON each
    store PATH NAME      copies a file into the archive, and looks whether it is whole there
    remove NAME          deletes a file from the archive; none is as good
    submit, poll,        orders files from an archive that makes them ready in its own time,
    cancel, release      asks about orders, ends them, or gives the files back: told of in lines
                         of JSON on its standard input, answered in such lines
    check [NAME]         tells whether what the script needs is there, and a file if one is named

It needs Python alone, no installation of Packhorse. What it promises is written down in
Packhorse's docs/stage-command.md.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import json
import signal
import sys
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from archive_tools import Exit, Failed, checksum, incoming, say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from archive_tools import Answer


class Archive(ABC):
    """One kind of archive; a script is a subclass, and `main` makes it a program."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options

    @staticmethod
    def add_options(parser: argparse.ArgumentParser) -> None:
        """Adds what can be told on the command line besides the words: nothing."""
        _ = parser

    def needs(self) -> None:
        """Raises Failed if a program, a library, or a mount is missing; asked before all else."""
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


class OrderingArchive(Archive):
    """An archive that can be asked for many files, and told of them later."""

    @staticmethod
    def add_options(parser: argparse.ArgumentParser) -> None:
        """Every such script stages by itself as well, and waits; or leaves that to orders."""
        parser.add_argument("--ready", action="store_true", help="a stage copies, and no more")
        parser.add_argument("--poll", type=float, default=60.0, help="seconds, at the most")

    @abstractmethod
    def submit(self, files: Sequence[Answer]) -> Iterable[Answer]:
        """Orders files, each with `key` and `source`; an answer has `key` and `id`."""

    @abstractmethod
    def poll(self, orders: Sequence[Answer]) -> Iterable[Answer]:
        """How orders stand, each with `key`, `id`, and `source`; an answer has a `state`."""

    @abstractmethod
    def cancel(self, orders: Sequence[Answer]) -> None:
        """Ends orders that nobody wants any more."""

    @abstractmethod
    def release(self, orders: Sequence[Answer]) -> None:
        """Gives files back that were ready and are not needed any more."""


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
    try:
        difference = _difference(path, archive.stat(name))
    except Failed as failed:
        if failed.code == Exit.NOT_FOUND:
            raise Failed(Exit.LATER, f"{name} did not arrive in the archive") from failed
        raise
    if difference:
        # Nobody may take it for the file.
        with contextlib.suppress(Failed):
            archive.remove(name)
        raise Failed(Exit.LATER, f"{name}: {difference}")


def _difference(path: str, found: Answer) -> str:
    """How what the archive has differs from a file; empty if it does not, as far as is told."""
    size_bytes = Path(path).stat().st_size
    if found.get("size", size_bytes) != size_bytes:
        return f"{found['size']} of {size_bytes} bytes arrived in the archive"
    kept = str(found.get("checksum", ""))
    algorithm = kept.partition(":")[0]
    if algorithm in {"adler32", "md5"} and checksum(algorithm, path) != kept:
        return f"its {algorithm} in the archive is not that of {path}"
    return ""


def _remove(archive: Archive, name: str) -> None:
    try:
        archive.remove(name)
    except Failed as failed:
        if failed.code != Exit.NOT_FOUND:
            raise


def _check(archive: Archive, name: str = "") -> None:
    if name:
        say(archive.stat(name))


def _submit(archive: Archive) -> None:
    for answer in _ordering(archive).submit(_read("key", "source")):
        say(answer)


def _poll(archive: Archive) -> None:
    for answer in _ordering(archive).poll(_read("key", "id", "source")):
        say(answer)


def _cancel(archive: Archive) -> None:
    _ordering(archive).cancel(_read("key", "id", "source"))


def _release(archive: Archive) -> None:
    _ordering(archive).release(_read("key", "id", "source"))


def _ordering(archive: Archive) -> OrderingArchive:
    if not isinstance(archive, OrderingArchive):
        raise Failed(Exit.USAGE, f"{type(archive).__name__} takes no orders")
    return archive


def _read(*fields: str) -> list[Answer]:
    """The lines of the standard input, each an object that has these fields."""
    try:
        found = [json.loads(line) for line in sys.stdin if line.strip()]
    except ValueError as error:
        raise Failed(Exit.USAGE, f"the standard input is not lines of JSON: {error}") from error
    for line in found:
        if not isinstance(line, dict) or not all(isinstance(line.get(one), str) for one in fields):
            shown = json.dumps(line)[:100]
            raise Failed(Exit.USAGE, f"{shown} on the standard input lacks {', '.join(fields)}")
    return found


_ACTIONS: Final[dict[str, tuple[Callable[..., None], tuple[int, ...], str]]] = {
    "stage": (_stage, (2,), "NAME TARGET"),
    "stat": (_stat, (1,), "NAME"),
    "list": (_list, (1,), "NAME"),
    "store": (_store, (2,), "PATH NAME"),
    "remove": (_remove, (1,), "NAME"),
    "submit": (_submit, (0,), "< FILES"),
    "poll": (_poll, (0,), "< ORDERS"),
    "cancel": (_cancel, (0,), "< ORDERS"),
    "release": (_release, (0,), "< ORDERS"),
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
    except Exception as error:  # noqa: BLE001 - a server may say what nobody has thought of
        give_up(Failed(Exit.LATER, f"{type(error).__name__}: {error}"))


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
    archive = kind(options)
    archive.needs()
    do(archive, *options.words)


def _terminated(*_: object) -> None:
    """SIGTERM leaves through every `finally`, so that nothing is left behind."""
    # A second one must not interrupt the cleaning up.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(128 + signal.SIGTERM)
