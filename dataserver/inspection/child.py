"""The process in which files are opened: `python -m dataserver.inspection.child`.

It reads one request a line (JSON: `path`, `size_bytes`, `format`) and answers
each with two lines: an empty one once it begins on the file, whatever it had to
import being imported, and the content (see `content.encode`). It ends with its
standard input, so it never outlives the server by more than the file in hand;
an alarm nobody catches bounds that as well.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import sys
from typing import TYPE_CHECKING, BinaryIO

from dataserver.inspection.content import Content, Format, encode
from dataserver.inspection.problem import in_one_line

if TYPE_CHECKING:
    from collections.abc import Callable

    Reader = Callable[[str, int], Content]


def main() -> None:
    """Serves requests until there are no more."""
    parser = argparse.ArgumentParser(description="Inspects files for a Packhorse data server.")
    parser.add_argument("--memory-bytes", type=int, required=True)
    parser.add_argument("--alarm-s", type=int, required=True)
    arguments = parser.parse_args()
    # The terminal's Ctrl-C is the server's to act on: it ends this process in order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_AS, (arguments.memory_bytes, arguments.memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        serve(sys.stdin.buffer, _own_stdout(), arguments.alarm_s)
    except BrokenPipeError:
        # The server was killed, so there is nobody left to answer or to complain to.
        os._exit(0)


def serve(requests: BinaryIO, answers: BinaryIO, alarm_s: int) -> None:
    """Answers requests line by line."""
    for line in requests:
        request = json.loads(line)
        kind = Format(request["format"])
        read = _reader_of(kind)
        answers.write(b"\n")
        answers.flush()
        signal.alarm(alarm_s)
        content = content_or_problem(read, kind, request["path"], request["size_bytes"])
        signal.alarm(0)
        answers.write(encode(content))
        answers.flush()


def _reader_of(kind: Format) -> Reader:
    """Imports are made when first needed: they take most of a second."""
    if kind is Format.ROOT:
        from dataserver.inspection.root import read_root

        return read_root
    from dataserver.inspection.parquet import read_parquet

    return lambda path, _size_bytes: read_parquet(path)


def content_or_problem(read: Reader, kind: Format, path: str, size_bytes: int) -> Content:
    """What `read` finds in a file, or the reason why it finds nothing."""
    try:
        return read(path, size_bytes)
    except MemoryError:
        return Content(kind, problem="needs more memory than an inspection may have")
    except Exception as error:  # noqa: BLE001 -- a garbled file makes libraries raise anything
        name = {Format.ROOT: "ROOT", Format.PARQUET: "Parquet"}[kind]
        return Content(kind, problem=f"cannot be read as {name}: {in_one_line(error)}")


def _own_stdout() -> BinaryIO:
    """The pipe to the server. What libraries print goes to standard error instead."""
    pipe = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return pipe


if __name__ == "__main__":
    main()
