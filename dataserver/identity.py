"""Who a pool is, whoever serves it and wherever it is mounted."""

from __future__ import annotations

import os
import re
import secrets
from typing import TYPE_CHECKING

from common.errors import ConfigError, Damaged

if TYPE_CHECKING:
    from pathlib import Path

_ID = re.compile(r"[0-9a-f]{32}")


def pool_id(private: Path) -> str:
    """The pool's own identity, made at its first start and kept on its disk.

    Raises ConfigError if it cannot be kept, Damaged if it is not what it should be.
    """
    path = private / "pool_id"
    try:
        if not path.exists():
            _write(path, secrets.token_hex(16))
        found = path.read_text(errors="replace").strip()
    except OSError as error:
        raise ConfigError(f"cannot keep the pool's identity in {path}: {error.strerror}") from error
    if not _ID.fullmatch(found):
        raise Damaged(f"{path} does not hold a pool's identity; remove it to make a new one")
    return found


def _write(path: Path, text: str) -> None:
    """Writes a file that is there as a whole, or not at all."""
    draft = path.with_name(path.name + ".new")
    with draft.open("w") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
