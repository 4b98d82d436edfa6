#!/usr/bin/env python3
"""Runs an HSM script that was written for dCache, as it is.

dCache calls such a script `put PNFSID FILE -si=...`, `get PNFSID FILE -si=... -uri=...`, and
`remove -uri=...`; a put prints the URI by which the file is found again. Packhorse knows files
by their names, so the URIs are kept in a directory (--book) with a small file for each: all
data servers must see it. Without one, a name must itself be the URI.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import stat
import subprocess
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from archive_script import Archive, main
from archive_tools import PART_PREFIX, Exit, Failed, expect_mounted, of_archive, part_of, program

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from archive_tools import Answer


class DcacheArchive(Archive):
    """Runs an HSM script that was written for dCache."""

    @staticmethod
    def add_options(parser: argparse.ArgumentParser) -> None:
        """The script, and what dCache's `hsm create` would have told it."""
        parser.add_argument("--script", required=True, metavar="PATH")
        parser.add_argument("--book", metavar="DIR", help="where the URIs of files are kept")
        parser.add_argument("--type", default="osm", help="of the HSM, told as hsm=")
        parser.add_argument("--store", default="packhorse:files", help="told as sClass=")
        parser.add_argument("--option", action="append", default=[], metavar="KEY=VALUE")

    def needs(self) -> None:
        """The script itself, and the book."""
        program(self.options.script, "your HSM, or see --script")
        if self.options.book:
            expect_mounted(self.options.book)

    def stage(self, name: str, part: str) -> int | None:
        """Has the script get the file by its URI."""
        known = self._known(name)
        # A script may refuse to write over a file.
        Path(part).unlink()
        size_bytes = known.get("size")
        info = self._info(name, size_bytes or 0, stored=True)
        self._run("get", known["pnfsid"], part, info, f"-uri={known['uris'][0]}")
        return size_bytes

    def stat(self, name: str) -> Answer:
        """What the book says; the script cannot be asked."""
        entry = self._entry(name)
        if entry.is_dir():
            return {"type": "dir"}
        return {"size": self._known(name).get("size")}

    def entries(self, name: str) -> Iterator[Answer]:
        """What the book has."""
        directory = self._entry(name)
        try:
            found = sorted(directory.iterdir())
        except OSError as error:
            raise of_archive(error, name) from error
        for entry in found:
            if entry.name.startswith(PART_PREFIX):
                continue
            if stat.S_ISDIR(entry.stat().st_mode):
                yield {"name": entry.name, "type": "dir"}
            else:
                yield {"name": entry.name, "size": json.loads(entry.read_text()).get("size")}

    def store(self, path: str, name: str) -> None:
        """Has the script put the file, and writes down the URIs it prints."""
        entry = self._entry(name)
        size_bytes = Path(path).stat().st_size
        # In dCache no two files ever have the same one.
        pnfsid = secrets.token_hex(18).upper()
        printed = self._run("put", pnfsid, path, self._info(name, size_bytes, stored=False))
        uris = [line.strip() for line in printed.splitlines() if line.strip()]
        if not uris:
            raise Failed(Exit.LATER, f"{name}: {self.options.script} put printed no URI")
        _write(entry, {"pnfsid": pnfsid, "uris": uris, "size": size_bytes})

    def remove(self, name: str) -> None:
        """Has the script remove every copy, and then forgets the file."""
        for uri in self._known(name)["uris"]:
            self._run("remove", f"-uri={uri}")
        if self.options.book:
            self._entry(name).unlink(missing_ok=True)

    # --- inside ---------------------------------------------------------------------

    def _run(self, *words: str) -> str:
        """Runs the script; its exit codes mean to Packhorse what they mean to dCache."""
        script = program(self.options.script, "your HSM, or see --script")
        options = [f"-{option}" for option in self.options.option]
        argv = [script, *words, *options, f"-command={script}"]
        done = subprocess.run(argv, stdout=subprocess.PIPE, check=False)
        if done.returncode != 0:
            code = done.returncode if done.returncode > 0 else Exit.LATER
            raise Failed(code, f"{self.options.script} {words[0]} ended with {done.returncode}")
        return done.stdout.decode(errors="surrogateescape")

    def _info(self, name: str, size_bytes: int, *, stored: bool) -> str:
        """The storage information, in which no blanks may be."""
        fields = {
            "size": size_bytes,
            "new": str(not stored).lower(),
            "stored": str(stored).lower(),
            "sClass": self.options.store,
            "cClass": "-",
            "hsm": self.options.type,
            "path": quote(name, errors="surrogateescape"),
        }
        return "-si=" + ";".join(f"{key}={value}" for key, value in fields.items()) + ";"

    def _known(self, name: str) -> dict[str, Any]:
        """The identifier, URIs, and size of a file."""
        if not self.options.book and "://" in name:
            digest = hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()
            return {"pnfsid": digest[:36].upper(), "uris": [name]}
        try:
            known: dict[str, Any] = json.loads(self._entry(name).read_text())
        except OSError as error:
            raise of_archive(error, name) from error
        except ValueError as error:
            raise Failed(Exit.DAMAGED, f"{self._entry(name)} is damaged: {error}") from error
        return known

    def _entry(self, name: str) -> Path:
        """Where the book has a file."""
        book = self.options.book
        if not book:
            raise Failed(Exit.SET_UP_WRONGLY, f"{name}: where are the URIs kept? Give --book DIR")
        path = PurePosixPath(name.replace("://", "/", 1).lstrip("/"))
        if ".." in path.parts:
            raise Failed(Exit.USAGE, f"{name}: a name has no .. in it")
        return Path(book, path)


def _write(entry: Path, known: dict[str, Any]) -> None:
    """Writes an entry of the book, which is whole whenever somebody reads it."""
    entry.parent.mkdir(parents=True, exist_ok=True)
    part = Path(part_of(str(entry)))
    with part.open("w") as file:
        file.write(json.dumps(known))
        file.flush()
        os.fsync(file.fileno())
    part.replace(entry)


if __name__ == "__main__":
    main(DcacheArchive)
