"""What all questions have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from protos.packhorse.v1 import redirector_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Iterable

    from protos.packhorse.v1 import types_pb2
    from redirector.runner import Runner

ANSWER_TIMEOUT_S: Final = 30.0
#: The same where files are looked into, or the archive is asked, before the answer.
SLOW_ANSWER_TIMEOUT_S: Final = 600.0

File = TypeVar("File", "types_pb2.FileInfo", pb.ArchiveFile)


class Asking:
    """Knows the head and the links to its nodes."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner


def taken(files: Iterable[File], unanswered: dict[str, None]) -> list[File]:
    """Those of the files that were asked about and not answered yet; now they are."""
    taken = []
    for file in files:
        if file.lfn in unanswered:
            del unanswered[file.lfn]
            taken.append(file)
    return taken
