#!/usr/bin/env python3
"""An archive that is mounted as a file system: tape behind NFS, a slow disk, CephFS.

A file NAME.adler32 beside NAME, if there is one, holds its checksum in hexadecimal digits.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final

from archive_script import Archive, main
from archive_tools import PART_PREFIX, Exit, Failed, expect_mounted, of_archive, part_of

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from archive_tools import Answer

SLICE_BYTES: Final = 8 << 20


class MountedArchive(Archive):
    """Copies files from and to an archive that is mounted as a file system."""

    @staticmethod
    def add_options(parser: argparse.ArgumentParser) -> None:
        """Where the mount is."""
        parser.add_argument("--root", metavar="DIR", help="never empty while it is mounted")

    def needs(self) -> None:
        """The mount, if it is said where it is."""
        if self.options.root:
            expect_mounted(self.options.root)

    def stage(self, name: str, part: str) -> int:
        """Copies it, and looks whether it stayed the same meanwhile."""
        found = self._look(name)
        if not stat.S_ISREG(found.st_mode):
            raise Failed(Exit.DAMAGED, f"{name} is not a regular file")
        with _about(name):
            source = Path(name).open("rb")  # noqa: SIM115 - it is closed below
        with source, Path(part).open("wb") as target:
            shutil.copyfileobj(source, target, SLICE_BYTES)
            after = os.fstat(source.fileno())
        if (after.st_size, after.st_mtime_ns) != (found.st_size, found.st_mtime_ns):
            raise Failed(Exit.LATER, f"{name} changed while it was copied")
        return found.st_size

    def stat(self, name: str) -> Answer:
        """Size, time, and the checksum that lies beside the file."""
        found = self._look(name)
        answer: Answer = {"mtime": found.st_mtime}
        if stat.S_ISDIR(found.st_mode):
            return {**answer, "type": "dir"}
        if not stat.S_ISREG(found.st_mode):
            raise Failed(Exit.NOT_FOUND, f"{name} is not a regular file")
        beside = Path(f"{name}.adler32")
        if beside.is_file():
            answer["checksum"] = f"adler32:{beside.read_text().strip()}"
        return {**answer, "size": found.st_size}

    def entries(self, name: str) -> Iterator[Answer]:
        """Files and directories; what is anything else is passed over."""
        with _about(name):
            entries = os.scandir(name)
        with entries:
            for entry in entries:
                if entry.name.startswith(PART_PREFIX):
                    continue
                try:
                    found = entry.stat()
                except FileNotFoundError:
                    continue
                answer: Answer = {"name": entry.name, "mtime": found.st_mtime}
                if stat.S_ISDIR(found.st_mode):
                    yield {**answer, "type": "dir"}
                elif stat.S_ISREG(found.st_mode):
                    yield {**answer, "size": found.st_size}

    def store(self, path: str, name: str) -> None:
        """Nobody sees the file before it is whole, and on the disk."""
        part = Path(part_of(name))
        with Path(path).open("rb") as source, _about(name):
            part.parent.mkdir(parents=True, exist_ok=True)
            try:
                with part.open("wb") as target:
                    shutil.copyfileobj(source, target, SLICE_BYTES)
                    target.flush()
                    os.fsync(target.fileno())
                # It was that of the file which was there before.
                Path(f"{name}.adler32").unlink(missing_ok=True)
                part.replace(name)
            finally:
                part.unlink(missing_ok=True)
            _sync_directory(part.parent)

    def remove(self, name: str) -> None:
        """Deletes the file and the checksum beside it."""
        with _about(name):
            Path(name).unlink()
        Path(f"{name}.adler32").unlink(missing_ok=True)

    def _look(self, name: str) -> os.stat_result:
        with _about(name):
            return Path(name).stat()


@contextlib.contextmanager
def _about(name: str) -> Iterator[None]:
    """Errors in here are about this file of the archive."""
    try:
        yield
    except OSError as error:
        raise of_archive(error, name) from error


def _sync_directory(path: Path) -> None:
    """A new name is safe on the disk as well."""
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


if __name__ == "__main__":
    main(MountedArchive)
