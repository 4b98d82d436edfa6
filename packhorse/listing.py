"""Lists of files as people have them, read into one form.

Three kinds are understood, told apart by the name's ending:

- text: a name or URL a line; blank lines and lines that start with `#` are skipped;
- `.def`, the sample definitions of ATLAS FileStager: as text, and `TITLE: …` and
  `FLAGS: GridCopy=1 …` lines;
- `.json`, a coffea fileset: `{dataset: {"files": {url: tree, …}}}`, with a tree or
  `{"object_path": …, "num_entries": …}` for each URL; `{dataset: [url, …]}` too.

A mistake is a `UsageError` that says where it is: file, line, or key path.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.errors import NameRefused, NotFound, PackhorseError, UsageError
from packhorse.urls import lfn_of, lfns_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from os import PathLike

_SHOWN_CHARACTERS = 80


@dataclass(frozen=True, slots=True)
class ListedFile:
    """A file of a list; `tree` "" is the dataset's, `entries` None is unknown."""

    lfn: str
    tree: str = ""
    entries: int | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """The files of one list, in its order, repetitions included."""

    files: tuple[ListedFile, ...]
    title: str = ""
    flags: Mapping[str, str] = field(default_factory=dict)


def read_listing(source: str | PathLike[str], dataset: str = "") -> Listing:
    """Reads a list from a file, or from standard input if `source` is "-".

    `dataset` picks one of a fileset that holds several. Raises UsageError for what
    cannot be understood, NotFound for what is not there.
    """
    name, text = _read_text(source)
    if name.endswith(".json"):
        return pick(parse_fileset(text, name), dataset, name)
    if name.endswith(".def"):
        return parse_definition(text, name)
    return parse_text(text, name)


def read_fileset(source: str | PathLike[str]) -> dict[str, Listing]:
    """Reads a coffea fileset: a listing per dataset."""
    name, text = _read_text(source)
    return parse_fileset(text, name)


def listed_files(files: Listing | Iterable[str | ListedFile]) -> Sequence[ListedFile]:
    """The files of a listing, or of names given in a program; raises NameRefused."""
    if isinstance(files, Listing):
        return files.files
    if isinstance(files, str):
        files = [files]
    given = [file if isinstance(file, ListedFile) else ListedFile(file) for file in files]
    lfns = lfns_of([file.lfn for file in given])
    return [
        file if file.lfn == lfn else ListedFile(lfn, file.tree, file.entries)
        for file, lfn in zip(given, lfns, strict=True)
    ]


def parse_text(text: str, name: str = "the list") -> Listing:
    """A plain list: a name or URL a line."""
    return Listing(tuple(_file(line, name, number) for number, line in _lines(text)))


def parse_definition(text: str, name: str = "the sample definition") -> Listing:
    """An ATLAS FileStager sample definition."""
    files: list[ListedFile] = []
    title = ""
    flags: dict[str, str] = {}
    for number, line in _lines(text):
        keyword, colon, rest = line.partition(":")
        if colon and keyword == "TITLE":
            title = rest.strip()
        elif colon and keyword == "FLAGS":
            flags |= _flags(rest, name, number)
        else:
            files.append(_file(line, name, number))
    return Listing(tuple(files), title, flags)


def parse_fileset(text: str, name: str = "the fileset") -> dict[str, Listing]:
    """A coffea fileset in JSON: a listing per dataset."""
    try:
        fileset = json.loads(text)
    except json.JSONDecodeError as error:
        raise UsageError(f"{name}, line {error.lineno}: not JSON ({error.msg})") from error
    if not isinstance(fileset, dict):
        raise UsageError(f"{name}: a fileset is a JSON object of datasets, not {_kind(fileset)}")
    return {
        dataset: Listing(tuple(_files_of(content, f"{name}: {dataset}")))
        for dataset, content in fileset.items()
    }


def pick(fileset: Mapping[str, Listing], dataset: str, name: str = "the fileset") -> Listing:
    """The named dataset of a fileset, or its only one."""
    if dataset in fileset:
        return fileset[dataset]
    if len(fileset) == 1:
        return next(iter(fileset.values()))
    known = ", ".join(sorted(fileset)) or "none"
    raise UsageError(f"{name} holds {len(fileset)} datasets ({known}), and none is {dataset!r}")


def _read_text(source: str | PathLike[str]) -> tuple[str, str]:
    """A file's name for messages, and its text."""
    try:
        if source == "-":
            return "standard input", _decode(sys.stdin.buffer.read(), "standard input")
        path = Path(source)
        return str(path), _decode(path.read_bytes(), str(path))
    except FileNotFoundError as error:
        raise NotFound(f"there is no file {source}") from error
    except OSError as error:
        raise UsageError(f"cannot read {source}: {error.strerror}") from error


def _decode(content: bytes, name: str) -> str:
    """UTF-8 text, or an error that tells the line which is not."""
    zero = content.find(b"\0")
    if zero >= 0:
        line = content.count(b"\n", 0, zero) + 1
        raise UsageError(f"{name}, line {line}: a zero byte; this is not a text file")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{name}, line {line}: not UTF-8 text ({error.reason})") from error


def _lines(text: str) -> Iterable[tuple[int, str]]:
    """Numbered lines without those that say nothing."""
    for number, line in enumerate(text.split("\n"), start=1):
        stripped = line.strip()
        if stripped and not stripped.startswith("#"):
            yield number, stripped


def _file(written: str, name: str, number: int) -> ListedFile:
    try:
        return ListedFile(lfn_of(written))
    except NameRefused as error:
        raise UsageError(f"{name}, line {number}: {_hint(written, error)}") from error


def _hint(written: str, error: PackhorseError) -> str:
    """What is wrong with a line; the commonest mistake in plainer words."""
    if "/" in written:
        return error.message
    shown = written if len(written) <= _SHOWN_CHARACTERS else f"{written[:_SHOWN_CHARACTERS]}…"
    return f"{shown!r} is neither a logical file name (/…) nor a URL (root://host//…)"


def _flags(written: str, name: str, number: int) -> dict[str, str]:
    """`GridCopy=1 Other=x`."""
    flags = {}
    for part in written.split():
        flag, equals, value = part.partition("=")
        if not equals or not flag:
            raise UsageError(f"{name}, line {number}: {part!r} is no flag (NAME=VALUE)")
        flags[flag] = value
    return flags


def _files_of(content: Any, where: str) -> Iterable[ListedFile]:
    """The files of one dataset, in any of the forms coffea has had."""
    tree = ""
    if isinstance(content, dict):
        if "files" not in content:
            raise UsageError(f'{where}: has no "files"')
        tree = _text_or_nothing(content.get("treename"), f"{where}.treename")
        content, where = content["files"], f"{where}.files"
    if isinstance(content, str):
        content = [content]
    if isinstance(content, list):
        content = dict.fromkeys(_only_text(content, where), tree)
    if not isinstance(content, dict):
        raise UsageError(f"{where}: expected an object or a list of URLs, not {_kind(content)}")
    for url, specification in content.items():
        yield _fileset_file(url, specification, tree, f"{where}[{url!r}]")


def _fileset_file(url: str, specification: Any, tree: str, where: str) -> ListedFile:
    entries = None
    if isinstance(specification, dict):
        entries = specification.get("num_entries")
        if entries is not None and (not isinstance(entries, int) or entries < 0):
            raise UsageError(f"{where}.num_entries: {entries!r} is not a number of entries")
        specification = specification.get("object_path")
        where_tree = f"{where}.object_path"
    else:
        where_tree = where
    own_tree = _text_or_nothing(specification, where_tree)
    try:
        return ListedFile(lfn_of(url), own_tree or tree, entries)
    except NameRefused as error:
        raise UsageError(f"{where}: {_hint(url, error)}") from error


def _only_text(items: list[Any], where: str) -> list[str]:
    for number, item in enumerate(items):
        if not isinstance(item, str):
            raise UsageError(f"{where}[{number}]: expected a URL, not {_kind(item)}")
    return items


def _text_or_nothing(value: Any, where: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise UsageError(f"{where}: expected a tree's name, not {_kind(value)}")
    return value


def _kind(value: Any) -> str:
    """What JSON calls it."""
    kinds = {dict: "an object", list: "a list", str: "a text", bool: "true or false"}
    return "nothing" if value is None else kinds.get(type(value), "a number")
