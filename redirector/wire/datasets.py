"""Datasets in messages, and what data servers say of their files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.errors import UsageError
from protos.packhorse.v1 import redirector_pb2 as pb
from protos.packhorse.v1 import types_pb2
from redirector.core.datasets import DatasetFile, DatasetHeader, Mode
from redirector.core.model import FileFacts
from redirector.core.verdicts import ArchiveCopy, Replica
from redirector.wire.values import (
    checked_label,
    checked_size,
    checksum_message,
    checksum_of,
    state_value,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from redirector.core.verdicts import Tally
    from redirector.store.datasets import Dataset

_MODES = {
    pb.RegisterHeader.MODE_UNSPECIFIED: Mode.NEW,
    pb.RegisterHeader.MODE_NEW: Mode.NEW,
    pb.RegisterHeader.MODE_REPLACE: Mode.REPLACE,
    pb.RegisterHeader.MODE_UPDATE: Mode.UPDATE,
}
_THERE = {
    pb.ArchiveFile.PRESENCE_THERE: True,
    pb.ArchiveFile.PRESENCE_NOT_THERE: False,
}


def header_of(message: pb.RegisterHeader) -> tuple[DatasetHeader, Mode]:
    """What is to be registered, and how; raises UsageError."""
    mode = _MODES.get(message.mode)
    if mode is None:
        raise UsageError(f"dataset {message.name}: mode {message.mode} is unknown")
    header = DatasetHeader(
        name=message.name,
        tree=message.tree,
        group=message.group,
        owner=message.owner,
        title=message.title,
    )
    return header, mode


def file_of(message: pb.DatasetFile, lfn: str) -> DatasetFile:
    """A file as it is given for registration; raises UsageError.

    `lfn` is its name, normalised. What a client says of its state is not taken over.
    """
    return DatasetFile(
        lfn=lfn,
        tree=checked_label(f"{lfn}: tree", message.tree),
        size_bytes=checked_size(lfn, message.size_bytes) or None,
        checksum=checksum_of(message.checksum),
        entries=checked_size(lfn, message.entries) if message.entries_known else None,
    )


def file_message(file: DatasetFile) -> pb.DatasetFile:
    """A file of a dataset."""
    return pb.DatasetFile(
        lfn=file.lfn,
        tree=file.tree,
        size_bytes=file.size_bytes or 0,
        checksum=checksum_message(file.checksum),
        entries=file.entries or 0,
        entries_known=file.entries is not None,
        state=state_value(file.state),
        reason=file.reason,
    )


def summary_message(dataset: Dataset, tally: Tally | None = None) -> pb.DatasetSummary:
    """A dataset without its files, with other counts than its own if given."""
    header = dataset.header
    counts = dataset.tally if tally is None else tally
    return pb.DatasetSummary(
        name=header.name,
        tree=header.tree,
        group=header.group,
        owner=header.owner,
        title=header.title,
        created_unix_s=dataset.created_unix_s,
        verified_unix_s=dataset.verified_unix_s or 0.0,
        files=counts.files,
        online=counts.online,
        staging=counts.staging,
        nearline=counts.nearline,
        missing=counts.missing,
        corrupt=counts.corrupt,
        failed=counts.failed,
        bytes_known=counts.bytes_known,
        files_of_unknown_size=counts.files_of_unknown_size,
        entries_known=counts.entries_known,
        files_of_unknown_entries=counts.files_of_unknown_entries,
    )


def replica_of(info: types_pb2.FileInfo) -> Replica:
    """What a data server says of a file it holds."""
    content = info.content if info.HasField("content") else None
    inspected = content is not None and not content.problem
    return Replica(
        size_bytes=info.size_bytes,
        checksum=checksum_of(info.checksum),
        entries_by_table=(
            {table.name: table.entries for table in content.tables}
            if content is not None and inspected
            else None
        ),
        has_trees=content is None or content.format != types_pb2.Content.FORMAT_PARQUET,
        problem=content.problem if content is not None else "",
    )


def archive_copy_of(message: pb.ArchiveFile) -> ArchiveCopy:
    """What a data server learnt from the archive."""
    there = _THERE.get(message.presence)
    return ArchiveCopy(
        there=there,
        # The archive's 0 means that it did not tell.
        size_bytes=message.size_bytes or None,
        checksum=checksum_of(message.checksum),
        reason=message.reason,
    )


def facts_of(files: Iterable[DatasetFile]) -> dict[str, FileFacts]:
    """What is known of files before they are staged, for those of which anything is."""
    return {
        file.lfn: FileFacts(file.size_bytes or 0, file.checksum)
        for file in files
        if file.size_bytes or file.checksum
    }


def in_pieces(files: Sequence[DatasetFile], piece_files: int) -> Iterable[list[pb.DatasetFile]]:
    """Files as messages, so many at a time."""
    for start in range(0, len(files), piece_files):
        yield [file_message(file) for file in files[start : start + piece_files]]
