"""Datasets: named lists of files, and what registering one does to it.

A dataset is a name, the tree its files hold, the group whose quota it counts
against, and its files. The files of one dataset have different names; what is
known of each (size, checksum, entries) is filled in by whoever registers it or
by verifying. Nothing here keeps datasets: the store does. This module says what
a registration makes of the files there are and the files that are given, and
whether the group's quota allows it.

Quota counts registered bytes. A file of unknown size counts what a recall of it
would reserve (`assumed_size` in the configuration) until its size is known, so
that leaving the sizes out is no way around a quota. Verifying never fails for
quota: it may show that a group holds more than it may, and then nothing more
can be registered until something is removed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from common import wording
from common.errors import AlreadyExists, QuotaExceeded, TooLarge, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from redirector.core.model import Checksum
    from redirector.core.states import FileState

#: Ten times the size of what is normal. A registration is merged in memory, so it has a limit.
MAX_FILES = 1_000_000
MAX_NAME_LENGTH = 255
MAX_LABEL_LENGTH = 1024

# Room for the names experiments use (/ZMM/Summer11/RECO, user.me:my.set#2);
# none for blanks and for what shell patterns are made of.
_NAME = re.compile(r"[A-Za-z0-9/_][A-Za-z0-9/_.:#@+=,~-]*")


class Mode(Enum):
    """What a registration does to a dataset that exists. All make one that does not."""

    NEW = "new"  # it is refused
    REPLACE = "replace"  # the files given, and no others
    UPDATE = "update"  # the files given, besides those there are


class DatasetFile(NamedTuple):
    """One file of a dataset.

    `tree` is "" where the dataset's own is meant; what is unknown is None.
    `state` and `reason` are as last verified; None if that never happened.
    """

    lfn: str
    tree: str = ""
    size_bytes: int | None = None
    checksum: Checksum | None = None
    entries: int | None = None
    state: FileState | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class DatasetHeader:
    """What a dataset is, besides its files. `group` is "" where none is meant."""

    name: str
    tree: str = ""
    group: str = ""
    owner: str = ""
    title: str = ""


@dataclass(frozen=True, slots=True)
class Volume:
    """How much some files hold, as far as is known."""

    files: int
    bytes_known: int
    files_of_unknown_size: int

    def counted_bytes(self, assumed_bytes: int) -> int:
        """What this counts against a quota, where a file of unknown size counts `assumed_bytes`."""
        return self.bytes_known + self.files_of_unknown_size * assumed_bytes


@dataclass(frozen=True, slots=True)
class Registration:
    """What a registration makes of a dataset.

    `changed` are the rows to write: new files, and old ones of which more is
    known now. With `replaces`, every file that is not among them goes.
    """

    changed: tuple[DatasetFile, ...]
    replaces: bool
    added: int
    duplicates: int
    volume: Volume


def check_header(header: DatasetHeader, groups: Iterable[str]) -> None:
    """Refuses a dataset whose name, labels or group are no good.

    `groups` are those the site has configured. Where there are any, a dataset
    must name one of them or none; otherwise a misspelt one would have no quota.

    Raises:
        UsageError: with what is wrong and what is allowed.
    """
    if not header.name:
        raise UsageError("a dataset needs a name")
    if len(header.name) > MAX_NAME_LENGTH or not _NAME.fullmatch(header.name):
        raise UsageError(
            f"dataset name {_shortened(header.name)!r}: letters, digits and any of /_.:#@+=,~- are "
            f"allowed, {MAX_NAME_LENGTH} of them at most, and the first is a letter, a digit, / or _"
        )
    for what, text in (("tree", header.tree), ("owner", header.owner), ("title", header.title)):
        _check_label(f"dataset {header.name}: {what}", text)
    known = sorted(groups)
    if header.group and known and header.group not in known:
        raise UsageError(
            f"dataset {header.name}: there is no group {_shortened(header.group)!r}; "
            f"the configuration has {', '.join(known)}"
        )
    _check_label(f"dataset {header.name}: group", header.group)


def plan_registration(
    name: str,
    mode: Mode,
    existing: Mapping[str, DatasetFile] | None,
    given: Iterable[DatasetFile],
) -> Registration:
    """What registering `given` makes of a dataset.

    `existing` holds the files there are by name, and is None where the dataset
    does not exist. Names are expected normalised.

    Raises:
        AlreadyExists: mode is NEW and the dataset exists.
        UsageError: no file was given, or one was given twice with contradictions.
        TooLarge: more than `MAX_FILES` files.
    """
    if mode is Mode.NEW and existing is not None:
        raise AlreadyExists(
            f"dataset {name} exists already; replace or update it, or choose another name"
        )
    different, duplicates = _without_duplicates(name, given)
    if not different:
        raise UsageError(f"dataset {name}: no file was given, and a dataset cannot be empty")
    old = existing if mode is Mode.UPDATE and existing is not None else {}
    changed = []
    added = 0
    for lfn, file in different.items():
        before = old.get(lfn)
        if before is None:
            added += 1
            changed.append(file)
        elif (after := updated(before, file)) != before:
            changed.append(after)
    result = {**old, **{file.lfn: file for file in changed}} if old else different
    if len(result) > MAX_FILES:
        raise TooLarge(
            f"dataset {name}: {len(result):,} files are more than the {MAX_FILES:,} a dataset may "
            "have; split it"
        )
    return Registration(
        changed=tuple(changed),
        replaces=mode is not Mode.UPDATE,
        added=added,
        duplicates=duplicates,
        volume=volume_of(result.values()),
    )


def updated(before: DatasetFile, given: DatasetFile) -> DatasetFile:
    """A file of which more is known now.

    What is given replaces what was known. A file whose size, checksum or tree
    is another one now has not been verified.
    """
    merged = DatasetFile(
        lfn=before.lfn,
        tree=given.tree or before.tree,
        size_bytes=before.size_bytes if given.size_bytes is None else given.size_bytes,
        checksum=given.checksum or before.checksum,
        entries=before.entries if given.entries is None else given.entries,
        state=before.state,
        reason=before.reason,
    )
    if merged == before:
        return before
    return merged._replace(state=None, reason="")


def check_quota(
    header: DatasetHeader,
    volume: Volume,
    *,
    others_bytes: int,
    quota_bytes: int,
    assumed_bytes: int,
) -> None:
    """Refuses a registration that would take a group beyond its quota.

    Args:
        header: of the dataset that is registered.
        volume: of the dataset as the registration would leave it.
        others_bytes: what the group's other datasets count.
        quota_bytes: the group's; 0 means that it has none.
        assumed_bytes: what a file of unknown size counts.

    Raises:
        QuotaExceeded: with what is used, asked for and allowed.
    """
    asked_bytes = volume.counted_bytes(assumed_bytes)
    if not quota_bytes or others_bytes + asked_bytes <= quota_bytes:
        return
    unknown = ""
    if volume.files_of_unknown_size:
        unknown = (
            f" (files of unknown size: {volume.files_of_unknown_size:,}, "
            f"counted as {wording.size(assumed_bytes)} each)"
        )
    raise QuotaExceeded(
        f"dataset {header.name}: group {header.group} may register {wording.size(quota_bytes)} and "
        f"its other datasets use {wording.size(others_bytes)}; "
        f"this one would be {wording.size(asked_bytes)}{unknown}"
    )


def volume_of(files: Iterable[DatasetFile]) -> Volume:
    """Counts files and their bytes."""
    count = bytes_known = unknown = 0
    for file in files:
        count += 1
        if file.size_bytes is None:
            unknown += 1
        else:
            bytes_known += file.size_bytes
    return Volume(count, bytes_known, unknown)


def _without_duplicates(
    name: str, given: Iterable[DatasetFile]
) -> tuple[dict[str, DatasetFile], int]:
    different: dict[str, DatasetFile] = {}
    duplicates = 0
    for file in given:
        first = different.setdefault(file.lfn, file)
        if first is not file:
            duplicates += 1
            different[file.lfn] = _joined(name, first, file)
    return different, duplicates


def _joined(name: str, first: DatasetFile, again: DatasetFile) -> DatasetFile:
    """One file out of two rows for it, each of which may know what the other does not."""
    for what, one, other in (
        ("tree", first.tree or None, again.tree or None),
        ("size", first.size_bytes, again.size_bytes),
        ("checksum", first.checksum, again.checksum),
        ("number of entries", first.entries, again.entries),
    ):
        if one is not None and other is not None and one != other:
            raise UsageError(
                f"dataset {name}: {first.lfn} was given twice, with different {what}: "
                f"{one} and {other}"
            )
    return updated(first, again)


def _check_label(what: str, text: str) -> None:
    if len(text) > MAX_LABEL_LENGTH or not (text.isprintable() or not text):
        raise UsageError(
            f"{what} {_shortened(text)!r}: {MAX_LABEL_LENGTH} printable characters at most"
        )


def _shortened(text: str) -> str:
    return text if len(text) <= 60 else text[:60] + "…"
