#!/usr/bin/env python3
"""Runs scripts that were written for XRootD's oss.stagecmd, oss.rsscmd, and frm.xfr.copycmd.

oss.stagecmd is called REMOTE LOCAL; a file LOCAL.fail whose time is the second 2 says that
there is no such file. oss.rsscmd is called VERB PATH; its first line is 0 or an errno.
frm.xfr.copycmd out is called LOCAL REMOTE.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final

from archive_script import Archive, main
from archive_tools import AT_A_TIME, Exit, Failed, of_archive, program

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from archive_tools import Answer

#: The time of a `.fail` file that says "no such file".
NO_SUCH_FILE_S: Final = 2


class OssArchive(Archive):
    """Runs scripts that were written for XRootD."""

    @staticmethod
    def add_options(parser: argparse.ArgumentParser) -> None:
        """The commands, as the configuration of XRootD has them."""
        for command in ("stagecmd", "rsscmd", "storecmd"):
            parser.add_argument(f"--{command}", default="", metavar="COMMAND")

    def needs(self) -> None:
        """Those commands that are given."""
        options = self.options
        for command in filter(None, (options.stagecmd, options.rsscmd, options.storecmd)):
            program(shlex.split(command)[0], "your site")

    def stage(self, name: str, part: str) -> None:
        """Has the stagecmd bring the file."""
        # It would take a file that exists for one that has come already.
        Path(part).unlink()
        fail = Path(f"{part}.fail")
        try:
            self._run("stagecmd", name, part)
        except Failed as failed:
            is_missing = fail.exists() and int(fail.stat().st_mtime) == NO_SUCH_FILE_S
            if is_missing or self._is_missing(name):
                raise Failed(Exit.NOT_FOUND, f"{name}: no such file in the archive") from failed
            raise
        finally:
            fail.unlink(missing_ok=True)

    def stat(self, name: str) -> Answer:
        """What `statx` says: type, mode, links, owner, group, three times, size, blocks."""
        lines = self._ask("statx", name)
        try:
            fields = lines[0].split()
            answer: Answer = {"mtime": int(fields[7])}
            return {**answer, "type": "dir"} if fields[0] == "d" else _sized(answer, fields[8])
        except (LookupError, ValueError) as error:
            raise Failed(Exit.LATER, f"{name}: rsscmd statx printed {lines}") from error

    def entries(self, name: str) -> Iterator[Answer]:
        """`dlist` gives names alone, so every one is asked about."""
        from concurrent import futures

        if self.stat(name).get("type") != "dir":
            raise Failed(Exit.NOT_FOUND, f"{name} is not a directory")
        names = self._ask("dlist", name)
        with futures.ThreadPoolExecutor(AT_A_TIME) as threads:
            answers = threads.map(self._look, [f"{name.rstrip('/')}/{entry}" for entry in names])
            for entry, answer in zip(names, answers, strict=True):
                if answer is not None:
                    yield {"name": entry, **answer}

    def store(self, path: str, name: str) -> None:
        """Has the storecmd copy it; only if it can be looked after it."""
        if not self.options.rsscmd:
            raise Failed(Exit.SET_UP_WRONGLY, "a store needs --rsscmd, to see what has arrived")
        self._run("storecmd", path, name)

    def remove(self, name: str) -> None:
        """`rm`."""
        self._ask("rm", name)

    # --- inside ---------------------------------------------------------------------

    def _look(self, name: str) -> Answer | None:
        """What is known of an entry; nothing if it has gone meanwhile."""
        try:
            return self.stat(name)
        except Failed as failed:
            if failed.code == Exit.NOT_FOUND:
                return None
            raise

    def _is_missing(self, name: str) -> bool:
        """Whether an rsscmd, if there is one, says so."""
        if not self.options.rsscmd:
            return False
        try:
            self._ask("exists", name)
        except Failed as failed:
            return failed.code == Exit.NOT_FOUND
        return False

    def _ask(self, verb: str, name: str) -> list[str]:
        """The lines that the rsscmd prints after its first. Raises Failed."""
        first, *lines = self._run("rsscmd", verb, name).splitlines() or [""]
        try:
            error = abs(int(first))
        except ValueError:
            reason = f"{name}: rsscmd {verb} printed {first!r}, and no number, first"
            raise Failed(Exit.LATER, reason) from None
        if error:
            raise of_archive(OSError(error, os.strerror(error)), name)
        return lines

    def _run(self, command: str, *words: str) -> str:
        given = shlex.split(getattr(self.options, command))
        if not given:
            raise Failed(Exit.SET_UP_WRONGLY, f"which command? Give --{command}")
        argv = [program(given[0], "your site"), *given[1:], *words]
        done = subprocess.run(argv, stdout=subprocess.PIPE, check=False)
        if done.returncode != 0:
            code = done.returncode if done.returncode > 0 else Exit.LATER
            raise Failed(code, f"{words[-1]}: {given[0]} ended with {done.returncode}")
        return done.stdout.decode(errors="surrogateescape")


def _sized(answer: Answer, size: str) -> Answer:
    return {**answer, "size": int(size)}


if __name__ == "__main__":
    main(OssArchive)
