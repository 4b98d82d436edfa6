#!/usr/bin/env python3
"""An archive behind XRootD servers: EOS, CTA, dCache, or a plain one. Needs xrdcp and xrdfs.

Names are root://HOST[:PORT]//PATH. Files on tape are asked for first (`xrdfs prepare`); where
a server can tell, they are copied when it says that they are online, else xrdcp waits.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from archive_script import OrderingArchive, main
from archive_tools import Exit, Failed, each, pauses, program, split_url

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

    from archive_tools import Answer

PACKAGE: Final = "XRootD's clients (xrootd-client)"
#: A server that is down is given up within two minutes, not the usual eight.
PATIENCE: Final = {"XRD_CONNECTIONRETRY": "2", "XRD_CONNECTIONWINDOW": "60"}
LOOK_EVERY_S: Final = 30.0
#: Error codes of the protocol, and what else the tools say.
_MEANINGS: Final = (
    (r"\[3011\]", Exit.NOT_FOUND),
    (r"\[3010\]|Auth failed", Exit.NOT_PERMITTED),
    (r"\[3009\]|no space left|disk quota exceeded", Exit.NO_SPACE),
    (r"\[FATAL\]", Exit.UNAVAILABLE),
)
_ENTRY: Final = re.compile(
    r"(?P<kind>[-dl])\S*\s.*?(?P<size>\d+)? *(?P<time>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)"
    r" +(?P<later_size>\d+)? *(?P<path>/.*)"
)


class XrootdArchive(OrderingArchive):
    """Copies files from and to XRootD servers with xrdcp, and has them staged before."""

    @staticmethod
    def add_options(parser: argparse.ArgumentParser) -> None:
        """What servers are asked to do besides."""
        OrderingArchive.add_options(parser)
        parser.add_argument("--evict", action="store_true", help="from the server's disk, at last")
        parser.add_argument("--checksum", action="store_true", help="ask for it with the size")

    def needs(self) -> None:
        """Both programs."""
        for name in ("xrdcp", "xrdfs"):
            program(name, PACKAGE)

    def stage(self, name: str, part: str) -> None:
        """xrdcp compares the sizes itself."""
        if not self.options.ready:
            self._bring_online(name, part)
        _run(["xrdcp", "--nopbar", "--force", _checked(name), part], name, waiting=part)
        if self.options.evict:
            with contextlib.suppress(Failed):
                self._ask(name, "prepare", "-e")

    def stat(self, name: str) -> Answer:
        """Size and time; the checksum if it is wanted and need not be read from tape."""
        said = dict(re.findall(r"^(\w+): *(.*)$", self._ask(name, "stat"), re.MULTILINE))
        answer: Answer = {"mtime": _seconds(said["MTime"])}
        if "IsDir" in said["Flags"]:
            return {**answer, "type": "dir"}
        if self.options.checksum and "Offline" not in said["Flags"]:
            answer["checksum"] = self._checksum(name)
        return {**answer, "size": int(said["Size"])}

    def entries(self, name: str) -> Iterator[Answer]:
        """The entries of a directory; servers are willing to list a file as well."""
        if self.stat(name).get("type") != "dir":
            raise Failed(Exit.NOT_FOUND, f"{name} is not a directory")
        for line in self._ask(name, "ls", "-l").splitlines():
            found = _ENTRY.fullmatch(line)
            if found is None:
                raise Failed(Exit.LATER, f"{name}: xrdfs ls printed {line!r}")
            entry = found["path"].rpartition("/")[2]
            answer: Answer = {"name": entry, "mtime": _seconds(found["time"])}
            if found["kind"] == "d":
                yield {**answer, "type": "dir"}
            else:
                yield {**answer, "size": int(found["size"] or found["later_size"])}

    def store(self, path: str, name: str) -> None:
        """A file that did not come whole is not kept (--posc)."""
        _run(["xrdcp", "--nopbar", "--force", "--posc", path, _checked(name)], name)

    def remove(self, name: str) -> None:
        """Deletes the file."""
        self._ask(name, "rm")

    def submit(self, files: Sequence[Answer]) -> Iterator[Answer]:
        """One request for each file: a server can cancel requests only as a whole."""
        return each(files, lambda file: {"id": self._prepare(file["source"])})

    def poll(self, orders: Sequence[Answer]) -> Iterator[Answer]:
        """A file is ready if the server says so, or has nothing to say."""

        def standing(order: Answer) -> Answer:
            is_ready = self._may_copy(order["source"], order["id"])
            return {"state": "ready" if is_ready else "waiting"}

        return each(orders, standing)

    def cancel(self, orders: Sequence[Answer]) -> None:
        """A server that has forgotten a request is as good."""
        for order in orders:
            with contextlib.suppress(Failed):
                self._abort(order["source"], order["id"])

    def release(self, orders: Sequence[Answer]) -> None:
        """Lets the copy on the server's disk go."""
        for order in orders:
            with contextlib.suppress(Failed):
                self._ask(order["source"], "prepare", "-e")

    # --- inside ---------------------------------------------------------------------

    def _bring_online(self, name: str, part: str) -> None:
        """Asks for the file, and waits as long as the server says that it is not there yet."""
        try:
            request = self._prepare(name)
        except Failed:
            # One that knows no prepare may have the file all the same: xrdcp will see.
            return
        try:
            for _ in pauses(part, self.options.poll):
                if self._may_copy(name, request):
                    return
        except BaseException:
            with contextlib.suppress(Failed):
                self._abort(name, request)
            raise

    def _prepare(self, name: str) -> str:
        return self._ask(name, "prepare", "-s").strip()

    def _abort(self, name: str, request: str) -> None:
        _run(["xrdfs", _host(name), "prepare", "-a", request], name)

    def _may_copy(self, name: str, request: str) -> bool:
        """Whether the file is online, or there is nobody who could tell."""
        try:
            said = self._ask(name, "query", "prepare", request)
            file: dict[str, Any] = json.loads(said)["responses"][0]
        except (Failed, ValueError, LookupError, TypeError):
            return True
        if file.get("path_exists", file.get("exists")) is False:
            raise Failed(Exit.NOT_FOUND, f"{name}: {file.get('error_text') or 'no such file'}")
        if file.get("error_text"):
            raise Failed(Exit.LATER, f"{name}: {file['error_text']}")
        return bool(file.get("online"))

    def _checksum(self, name: str) -> str | None:
        """What the server knows or reckons; nothing if it does neither."""
        with contextlib.suppress(Failed):
            algorithm, value = self._ask(name, "query", "checksum").split()[:2]
            return f"{algorithm}:{value}"
        return None

    def _ask(self, name: str, *words: str) -> str:
        """What xrdfs prints of a file."""
        _checked(name)
        return _run(["xrdfs", _host(name), *words, _path(name)], name)


def _checked(name: str) -> str:
    """XRootD takes what follows a question mark for something else than a part of the name."""
    if "?" in name:
        raise Failed(Exit.USAGE, f"{name}: XRootD has no names with a question mark")
    return name


def _host(name: str) -> str:
    scheme, host, _ = split_url(name, "root", "roots", "xroot", "xroots")
    return f"{scheme}://{host}"


def _path(name: str) -> str:
    return "/" + split_url(name, "root", "roots", "xroot", "xroots")[2].lstrip("/")


def _run(argv: list[str], name: str, waiting: str = "") -> str:
    """Runs a program to its end, and returns what it printed. Raises Failed.

    `waiting` is a file to touch as long as it is empty: its server is bringing it from tape.
    """
    argv = [program(argv[0], PACKAGE), *argv[1:]]
    with subprocess.Popen(
        argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={**PATIENCE, **os.environ}
    ) as process:
        try:
            output = _watched(process, waiting)
        except BaseException:
            process.kill()
            raise
    said = output.decode(errors="surrogateescape")
    if process.returncode != 0:
        raise _failed(name, said, process.returncode)
    return said


def _watched(process: subprocess.Popen[bytes], waiting: str) -> bytes:
    while True:
        try:
            return process.communicate(timeout=LOOK_EVERY_S)[0]
        except subprocess.TimeoutExpired:
            if waiting and Path(waiting).stat().st_size == 0:
                os.utime(waiting)


def _failed(name: str, said: str, exit_code: int) -> Failed:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    reason = lines[-1] if lines else f"exit code {exit_code}"
    for pattern, code in _MEANINGS:
        if re.search(pattern, said, re.IGNORECASE):
            return Failed(code, f"{name}: {reason}")
    return Failed(Exit.LATER, f"{name}: {reason}")


def _seconds(written: str) -> float:
    """XRootD's tools write times in UTC."""
    return datetime.strptime(written, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC).timestamp()


if __name__ == "__main__":
    main(XrootdArchive)
