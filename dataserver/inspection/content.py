"""What a file holds, as plain values, and as the line a child process sends."""

from __future__ import annotations

import json
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


def plain_bytes(size_bytes: int, problem: str = "") -> Content:
    """The content of a file of which nothing more is known than its size."""
    return Content(Format.BYTES, (Table("", size_bytes),), problem=problem)


def encode(content: Content) -> bytes:
    """The content as one line of JSON, with its newline."""
    fields = {
        "format": content.format.value,
        "tables": [[table.name, table.entries, table.cluster_ends] for table in content.tables],
        "uuid": content.uuid,
        "problem": content.problem,
    }
    return json.dumps(fields, separators=(",", ":")).encode() + b"\n"


def decode(line: bytes) -> Content:
    """The content that `encode` wrote. Raises ValueError for anything else."""
    try:
        fields = json.loads(line)
        return Content(
            Format(fields["format"]),
            tuple(Table(name, entries, tuple(ends)) for name, entries, ends in fields["tables"]),
            fields["uuid"],
            fields["problem"],
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"not an inspection's answer: {line[:80]!r}") from error
