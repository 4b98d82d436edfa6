"""What a file holds, as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Format(Enum):
    """How a file's bytes are to be understood."""

    ROOT = "root"
    PARQUET = "parquet"
    BYTES = "bytes"


@dataclass(frozen=True, slots=True)
class Table:
    """One table of a file.

    `cluster_ends` holds the entry after the last of every cluster, ascending;
    the last one equals `entries`. It is empty where the table may be cut anywhere.
    """

    name: str
    entries: int
    cluster_ends: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Content:
    """What was found in one file.

    ROOT: every TTree and RNTuple, by its path in the file. Parquet: one table,
    named "". Bytes: one table, named "", whose entries are the file's bytes.
    `uuid` is the ROOT file's own, else "". `problem` is one line saying why the
    file could not be read as what its name or its first bytes promise, else "".
    """

    format: Format
    tables: tuple[Table, ...] = ()
    uuid: str = ""
    problem: str = ""
