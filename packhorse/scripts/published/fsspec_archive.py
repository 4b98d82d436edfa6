#!/usr/bin/env python3
"""Any archive that Python's fsspec knows: sftp://, smb://, webhdfs://, gs://, abfs://, root:// ...

Options of a file system, such as a user's name, are given as `--option KEY=VALUE`.
"""

from __future__ import annotations

import contextlib
import json
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from archive_script import Archive, main
from archive_tools import Exit, Failed, library, of_archive

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from archive_tools import Answer


class FsspecArchive(Archive):
    """Copies files from and to any URL that fsspec has a file system for."""

    @staticmethod
    def add_options(parser: argparse.ArgumentParser) -> None:
        """What the file system is told."""
        parser.add_argument("--option", action="append", default=[], metavar="KEY=VALUE")

    def needs(self) -> None:
        """What else a protocol needs is known when a URL is."""
        _ = self._fsspec

    def stage(self, name: str, part: str) -> int | None:
        """Has the file system copy the file, by whatever it does best."""
        system, path = self._at(name)
        with _errors(name):
            size_bytes: int | None = system.info(path).get("size")
            system.get_file(path, part)
        return size_bytes

    def stat(self, name: str) -> Answer:
        """Size and time, where the file system knows them."""
        system, path = self._at(name)
        with _errors(name):
            return _described(system.info(path))

    def entries(self, name: str) -> Iterator[Answer]:
        """The entries, each by its name alone."""
        system, path = self._at(name)
        with _errors(name):
            if system.info(path).get("type") != "directory":
                raise Failed(Exit.NOT_FOUND, f"{name} is not a directory")
            entries = system.ls(path, detail=True)
        for entry in entries:
            yield {"name": entry["name"].rstrip("/").rpartition("/")[2], **_described(entry)}

    def store(self, path: str, name: str) -> None:
        """What arrived in part only is deleted again."""
        system, there = self._at(name)
        with _errors(name):
            system.makedirs(there.rpartition("/")[0], exist_ok=True)
            try:
                system.put_file(path, there)
            except BaseException:
                if system.exists(there):
                    system.rm_file(there)
                raise

    def remove(self, name: str) -> None:
        """Deletes the file."""
        system, path = self._at(name)
        with _errors(name):
            system.info(path)
            system.rm_file(path)

    @cached_property
    def _fsspec(self) -> Any:
        return library("fsspec", "packhorse[fsspec]")

    def _at(self, name: str) -> tuple[Any, str]:
        """The file system of a URL, and the path on it."""
        options = dict(map(_option, self.options.option))
        try:
            system, path = self._fsspec.core.url_to_fs(name, **options)
        except (ImportError, ValueError, TypeError) as error:
            raise Failed(Exit.SET_UP_WRONGLY, f"fsspec cannot use {name}: {error}") from error
        # What it remembers of a listing may have changed since.
        system.invalidate_cache()
        return system, path


@contextlib.contextmanager
def _errors(name: str) -> Iterator[None]:
    """Tells what a file system raises; some of them have errors that only they know."""
    try:
        yield
    except Failed:
        raise
    except FileNotFoundError as error:
        # Without an errno, often.
        raise Failed(Exit.NOT_FOUND, f"{name}: no such file in the archive") from error
    except PermissionError as error:
        raise Failed(Exit.NOT_PERMITTED, f"{name}: permission denied") from error
    except OSError as error:
        raise of_archive(error, name) from error
    except ImportError as error:
        raise Failed(Exit.SET_UP_WRONGLY, f"{name}: {error}") from error
    except Exception as error:
        raise Failed(Exit.LATER, f"{name}: {type(error).__name__}: {error}") from error


def _option(written: str) -> tuple[str, Any]:
    """A number, a list, or true is what it is in JSON; all else is text."""
    key, separator, value = written.partition("=")
    if not separator:
        raise Failed(Exit.USAGE, f"--option {written} is not written KEY=VALUE")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


def _described(info: dict[str, Any]) -> Answer:
    mtime = info.get("mtime", info.get("LastModified", info.get("modified")))
    seconds = mtime.timestamp() if isinstance(mtime, datetime) else mtime
    answer: Answer = {"mtime": seconds if isinstance(seconds, int | float) else None}
    if info.get("type") == "directory":
        return {**answer, "type": "dir"}
    return {**answer, "size": info.get("size")}


if __name__ == "__main__":
    main(FsspecArchive)
