#!/usr/bin/env python3
"""The other way round: has a stock XRootD stage with one of these scripts.

    oss.stagecmd sync DIR/for_xrootd.py stage DIR/s3_archive.py [OPTIONS]
    oss.rsscmd DIR/for_xrootd.py ask DIR/s3_archive.py [OPTIONS]
    frm.xfr.copycmd in noalloc DIR/for_xrootd.py copy DIR/s3_archive.py [OPTIONS] $RFN $PFN
    frm.xfr.copycmd out DIR/for_xrootd.py store DIR/s3_archive.py [OPTIONS] $PFN $RFN

What XRootD demands beyond a file and an exit code is done here: it makes the directory,
brings a file once however many ask for it, leaves LOCAL.fail behind when there is none, and
answers questions in the words of oss.rsscmd.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, NoReturn

from archive_tools import Exit, part_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

#: XRootD tells clients "no such file" for a `.fail` file of this time, in seconds since 1970.
NO_SUCH_FILE_S: Final = 2
#: What frm_xfrd takes for "no such file".
FRM_NO_SUCH_FILE: Final = 2
_ERRNOS: Final = {
    0: 0,
    Exit.NOT_FOUND: errno.ENOENT,
    Exit.NOT_PERMITTED: errno.EACCES,
    Exit.NO_SPACE: errno.ENOSPC,
}


def stage(script: Sequence[str], remote: str, local: str) -> int:
    """Brings one file as oss.stagecmd should; 0, or the script's exit code."""
    Path(local).parent.mkdir(parents=True, exist_ok=True)
    with _alone(local):
        if Path(local).exists():
            return 0
        code = run(script, "stage", remote, local).returncode
        if code == 0 and not Path(local).exists():
            sys.stderr.write(f"{script[0]} ended well but left no {local}\n")
            code = Exit.LATER
        fail = Path(f"{local}.fail")
        if code == 0:
            fail.unlink(missing_ok=True)
        else:
            fail.touch()
            when_s = NO_SUCH_FILE_S if code == Exit.NOT_FOUND else time.time()
            os.utime(fail, (when_s, when_s))
        return code


def run(
    script: Sequence[str], action: str, *words: str, stdout: int | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Runs an archive's script, which is given with its options."""
    argv = [script[0], action, *script[1:], *words]
    return subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=stdout, check=False)


def ask(script: Sequence[str], verb: str, *words: str) -> list[str]:
    """Answers oss.rsscmd: an errno, and then what was asked for."""
    if verb not in {"exists", "statx", "dlist", "rm"}:
        return [str(errno.ENOTSUP)]
    action = {"rm": "remove", "dlist": "list"}.get(verb, "stat")
    done = run(script, action, words[0], stdout=subprocess.PIPE)
    if done.returncode != 0:
        return [str(_ERRNOS.get(done.returncode, errno.EIO))]
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    if verb == "dlist":
        return ["0", *(answer["name"] for answer in answers)]
    return ["0", _statx(answers[0])] if verb == "statx" else ["0"]


def _statx(answer: dict[str, Any]) -> str:
    """Type, mode, links, owner, group, three times, size, size of a block, blocks."""
    is_directory = answer.get("type") == "dir"
    kind, mode = ("d", "rwxr-xr-x") if is_directory else ("-", "rw-r--r--")
    time_s = int(answer.get("mtime", 0))
    size_bytes = answer.get("size", 0)
    owner, group = os.geteuid(), os.getegid()
    blocks = -(-size_bytes // 512)
    times = f"{time_s} {time_s} {time_s}"
    return f"{kind} {mode} 1 {owner} {group} {times} {size_bytes} 4096 {blocks}"


@contextlib.contextmanager
def _alone(local: str) -> Iterator[None]:
    """One process at a time brings a file; a lock ends with its process, whatever happens."""
    path = Path(part_of(local).removesuffix(".part") + ".lock")
    with contextlib.ExitStack() as held:
        lock = held.enter_context(path.open("w"))
        fcntl.flock(lock, fcntl.LOCK_EX)
        while not _is_at(path, lock):
            # Whoever had it before has deleted the file.
            lock = held.enter_context(path.open("w"))
            fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield
        finally:
            path.unlink()


def _is_at(path: Path, file: IO[str]) -> bool:
    try:
        return path.stat().st_ino == os.fstat(file.fileno()).st_ino
    except FileNotFoundError:
        return False


def _usage() -> NoReturn:
    sys.stderr.write(f"{__doc__}\n")
    sys.exit(Exit.USAGE)


def main() -> None:
    """What XRootD calls."""
    if len(sys.argv) < 5:
        _usage()
    try:
        _answer(*sys.argv[1:])
    except OSError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(1)


def _answer(mode: str, *script: str) -> None:
    if mode == "stage":
        code = stage(script[:-2], *script[-2:])
        sys.exit(FRM_NO_SUCH_FILE if code == Exit.NOT_FOUND else int(code != 0))
    elif mode in {"copy", "store"}:
        action = "stage" if mode == "copy" else "store"
        code = run(script[:-2], action, *script[-2:]).returncode
        sys.exit(FRM_NO_SUCH_FILE if code == Exit.NOT_FOUND else _frm(code))
    elif mode == "ask":
        count = 3 if script[-3] in {"mv", "create"} else 2
        for line in ask(script[:-count], *script[-count:]):
            print(line)
    else:
        _usage()


def _frm(code: int) -> int:
    """frm_xfrd takes other codes for what they are not: 1 for "not permitted"."""
    return 0 if code == 0 else _ERRNOS.get(code, errno.EIO)


if __name__ == "__main__":
    main()
