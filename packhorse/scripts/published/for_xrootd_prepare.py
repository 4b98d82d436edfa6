#!/usr/bin/env python3
"""Answers `xrdfs prepare` for a stock XRootD, with one of these scripts.

    ofs.preplib libXrdOfsPrepGPI.so -admit all -run DIR/prepare.sh

XRootD gives its program no options, so that prepare.sh is three lines of your own:

    #!/bin/sh
    exec DIR/for_xrootd_prepare.py --local OSS.LOCALROOT --remote OSS.REMOTEROOT \
        --state DIRECTORY -- DIR/s3_archive.py [OPTIONS] -- "$@"

Staging goes on after the program has ended, for XRootD forgets requests that wait for a free
one. What was asked is kept below --state until a day after it was asked.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import for_xrootd
from archive_tools import Exit

if TYPE_CHECKING:
    from collections.abc import Sequence

KEPT_S: Final = 86_400.0
GRACE_S: Final = 5.0


class Prepare:
    """Requests to stage, each a directory: its files, its process, and their errors."""

    def __init__(self, options: argparse.Namespace, script: Sequence[str]) -> None:
        self._local: str = options.local.rstrip("/")
        self._remote: str = options.remote.rstrip("/")
        self._state = Path(options.state)
        self._script = script

    # --- what XRootD asks -------------------------------------------------------------

    def stage(self, request: str, paths: Sequence[str]) -> None:
        """Notes what is wanted, and leaves a process behind that brings it."""
        self._forget_old()
        folder = self._folder(request)
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder / "files", {"at": time.time(), "paths": list(paths)})
        if os.fork():
            return
        # XRootD waits for whoever holds its pipes.
        os.setsid()
        # A request that is cancelled cleans up behind itself.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
        nothing = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(nothing, number)
        _write(folder / "process", {"pid": os.getpid(), "started": _started(os.getpid())})
        for path in paths:
            self._bring(folder, path)
        (folder / "process").unlink()

    prep = stage

    def query(self, request: str, paths: Sequence[str]) -> None:
        """Prints what has become of the files, as clients of tape storages expect it."""
        folder = self._folder(request)
        noted = _read(folder / "files")
        responses = [self._answer(folder, noted, path) for path in paths or noted.get("paths", ())]
        print(json.dumps({"request_id": request, "responses": responses}))

    def cancel(self, request: str, _paths: Sequence[str]) -> None:
        """Ends the process, and forgets the request."""
        folder = self._folder(request)
        if (pid := _living(folder)) is not None:
            _end(pid)
        shutil.rmtree(folder, ignore_errors=True)

    def evict(self, _request: str, paths: Sequence[str]) -> None:
        """Deletes local copies of what the archive has, and nothing else."""
        for path in paths:
            local = Path(self._local + path)
            with contextlib.suppress(FileNotFoundError, IsADirectoryError):
                kept = self._stat(path)
                if kept.get("size") == local.stat().st_size:
                    local.unlink()

    # --- inside ---------------------------------------------------------------------

    def _bring(self, folder: Path, path: str) -> None:
        log = folder / "said"
        with log.open("wb") as said:
            os.dup2(said.fileno(), 2)
        code = for_xrootd.stage(self._script, self._remote + path, self._local + path)
        if code != 0:
            lines = log.read_text(errors="replace").splitlines() or [f"exit code {code}"]
            errors = _read(folder / "errors")
            _write(folder / "errors", {**errors, path: lines[-1]})

    def _answer(self, folder: Path, noted: dict[str, Any], path: str) -> dict[str, Any]:
        is_online = Path(self._local + path).is_file()
        on_tape = "size" in self._stat(path)
        mine = path in noted.get("paths", ())
        error = "" if is_online else _read(folder / "errors").get(path, "")
        waits = mine and not is_online and not error and _living(folder) is not None
        return {
            "path": path,
            "path_exists": is_online or on_tape,
            "on_tape": on_tape,
            "online": is_online,
            "requested": waits,
            "has_reqid": mine,
            "req_time": str(int(noted["at"])) if mine else "",
            "error_text": error,
        }

    def _stat(self, path: str) -> dict[str, Any]:
        """What the archive has of the file; nothing if it has none, or cannot be asked."""
        done = for_xrootd.run(self._script, "stat", self._remote + path, stdout=subprocess.PIPE)
        found: dict[str, Any] = json.loads(done.stdout) if done.returncode == 0 else {}
        return found

    def _folder(self, request: str) -> Path:
        """A client could make up the name of a request."""
        return self._state / request.replace("/", "_").lstrip(".")

    def _forget_old(self) -> None:
        for folder in self._state.glob("*"):
            noted = _read(folder / "files")
            if noted and noted["at"] < time.time() - KEPT_S and _living(folder) is None:
                shutil.rmtree(folder, ignore_errors=True)


def _living(folder: Path) -> int | None:
    """The process of a request, while it lives."""
    noted = _read(folder / "process")
    if noted and _started(noted["pid"]) == noted["started"]:
        return int(noted["pid"])
    return None


def _started(pid: int) -> str:
    """When a process was started, by the kernel's clock; so one number means one process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""


def _end(pid: int) -> None:
    """Ends the process's group, whose scripts clean up behind themselves."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGTERM)
        end_s = time.monotonic() + GRACE_S
        while time.monotonic() < end_s:
            time.sleep(0.05)
            os.killpg(pid, 0)
        os.killpg(pid, signal.SIGKILL)


def _read(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return found


def _write(path: Path, value: dict[str, Any]) -> None:
    part = path.with_name(f"{path.name}.part")
    part.write_text(json.dumps(value))
    part.replace(path)


def main() -> None:
    """What XRootD calls: [-C] [-n fin|rdy] [-p N] [-w] -- REQUEST VERB PATH..."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("--local", "--remote", "--state"):
        parser.add_argument(name, required=True)
    own, _, rest = _split(sys.argv[1:])
    script, _, given = _split(rest)
    _, _, asked = _split(given)
    options = parser.parse_args(own)
    if len(asked) < 2 or not script:
        parser.error("see above")
    request, verb, *paths = asked
    prepare = Prepare(options, script)
    if verb not in {"stage", "prep", "query", "cancel", "evict"}:
        sys.exit(Exit.USAGE)
    # XRootD lets no such names through; nothing here depends on that.
    if any(".." in path.split("/") for path in paths):
        sys.exit(Exit.USAGE)
    getattr(prepare, verb)(request, paths)


def _split(words: Sequence[str]) -> tuple[list[str], bool, list[str]]:
    """What stands before the first `--`, whether there is one, and what follows it."""
    if "--" not in words:
        return list(words), False, []
    at = words.index("--")
    return list(words[:at]), True, list(words[at + 1 :])


if __name__ == "__main__":
    main()
