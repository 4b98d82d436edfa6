"""A whole file system is synced by one call, or the error says why not."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from dataserver.sync import sync_file_system

if TYPE_CHECKING:
    from pathlib import Path


def test_a_directory_stands_for_its_file_system(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        sync_file_system(fd)
    finally:
        os.close(fd)


def test_what_cannot_be_synced_is_an_error(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    os.close(fd)
    with pytest.raises(OSError, match="Bad file descriptor"):
        sync_file_system(fd)
