"""Logical file names: one spelling for each file, and what the archive calls it.

Every door normalises the names it is given, once, with `normalise`,
`normalise_all` or a `NameMap`; behind the doors a name is a plain key that is
never looked into again. The rules:

- A name starts with `/` and names a file: empty components (`//`), `.`
  components and trailing slashes are dropped.
- Refused are: a `..` component, control characters (NUL, newline and the like,
  which would break lists and terminals), text that is not UTF-8, more than
  4096 bytes, a component of more than 255 bytes (no file system stores it), and
  what would lie in a pool's private directories `.incoming` and `.packhorse`.
- A `%` is an ordinary character. Percent-encoding belongs to URLs, so a door
  that speaks URLs decodes each name once *before* it comes here; `%2F` has then
  become `/` and meets the other spellings of that file.
- Letters are compared as they are: no case folding, no Unicode normalisation,
  because the archives behind us do neither.

Nothing here does I/O: cores may import this module.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from common.errors import NameRefused

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MAX_NAME_BYTES = 4096
MAX_COMPONENT_BYTES = 255
#: Directories at the top of every pool that are the data server's own.
RESERVED_AT_THE_TOP = frozenset({".incoming", ".packhorse"})

#: In names joined by newlines: an empty or dotted component, or a slash at the end.
_ODD = re.compile(r"/[/.\n]")
_SLASHES = re.compile("//+")
_CONTROLS = bytes([*range(0x20), 0x7F])
_SHOWN_CHARACTERS = 120


def normalise(lfn: str) -> str:
    """The one spelling of a logical file name; raises NameRefused."""
    return lfn if _all_clean((lfn,)) else _normalise_slowly(lfn)


def normalise_all(lfns: Sequence[str]) -> Sequence[str]:
    """Many names in their order; the very same sequence if all are clean already.

    Raises NameRefused for the first name that is refused.
    """
    if _all_clean(lfns):
        return lfns
    return [_normalise_slowly(lfn) for lfn in lfns]


def shorten(name: str) -> str:
    """A name as an error message shows it: quoted, escaped, and never long."""
    short = name
    if len(name) > _SHOWN_CHARACTERS:
        half = _SHOWN_CHARACTERS // 2
        short = f"{name[:half]}...{name[-half:]}"
    quoted = repr(short) if short.isprintable() else ascii(short)
    return quoted if short is name else f"{quoted} ({len(name)} characters)"


def _all_clean(lfns: Sequence[str], directories: Sequence[str] = ("/",)) -> bool:
    """Whether every name is spelt as it should be and lies in one of the directories.

    Batches of 10,000 names pass here on the way to every lookup. A few scans
    over one joined text run at the speed of memory, where a look at each name
    would cost more than the lookup itself. Hidden files (`/.x`) and very long
    names are taken for unclean here; the slow path judges them. No directory
    may lie in another one.
    """
    text = "\n".join(("", *lfns, ""))
    if _ODD.search(text):
        return False
    count = len(lfns)
    if sum(text.count("\n" + directory) for directory in directories) != count:
        return False
    try:
        data = text.encode()
    except UnicodeEncodeError:
        return False
    if len(data.translate(None, _CONTROLS)) != len(data) - count - 1:
        return False
    # A character is one byte in ASCII, and at most four in any other text.
    longest = MAX_COMPONENT_BYTES if len(data) == len(text) else MAX_COMPONENT_BYTES // 4
    return max(map(len, lfns), default=0) <= longest


def _normalise_slowly(lfn: str) -> str:
    """Component by component, with a reason for every refusal."""
    try:
        data = lfn.encode()
    except UnicodeEncodeError:
        raise _refusal(lfn, "it is not UTF-8") from None
    if len(data) > MAX_NAME_BYTES:
        raise _refusal(lfn, f"{len(data)} bytes are more than {MAX_NAME_BYTES}")
    if not lfn.startswith("/"):
        raise _refusal(lfn, "it must start with '/'")
    if len(data.translate(None, _CONTROLS)) != len(data):
        raise _refusal(lfn, "it holds a control character, such as NUL or a newline")
    components = [part for part in lfn.split("/") if part not in {"", "."}]
    if not components:
        raise _refusal(lfn, "it names no file")
    if ".." in components:
        raise _refusal(lfn, "it holds a '..' component")
    if components[0] in RESERVED_AT_THE_TOP:
        raise _refusal(lfn, f"'/{components[0]}' is the data servers' own")
    if any(len(part.encode()) > MAX_COMPONENT_BYTES for part in components):
        raise _refusal(lfn, f"one of its components is over {MAX_COMPONENT_BYTES} bytes")
    return "/" + "/".join(components)


def _refusal(lfn: str, why: str) -> NameRefused:
    return NameRefused(f"name {shorten(lfn)} is refused: {why}")


@dataclass(frozen=True)
class NameRule:
    """How the names of one part of the tree are called in the archive.

    Either `prefix` or `regex` is given. A prefix is made of whole components
    (`/store` and `/store/` are the same, and neither covers `/storeX`); what
    follows it is appended to `archive`, with one slash between. A regex must
    match the whole name, and `archive` may use its groups (`\\1`, `\\g<run>`).
    Raises NameRefused or re.error if it cannot be understood.
    """

    archive: str
    prefix: str | None = None
    regex: str | None = None

    def __post_init__(self) -> None:
        if (self.prefix is None) == (self.regex is None):
            raise NameRefused("a name rule needs either a prefix or a regex")
        if self.prefix is not None:
            normalise_prefix(self.prefix)
        else:
            # Substituting in an empty text makes `re` parse the replacement.
            self._pattern.sub(self.archive, "")

    def archive_name(self, lfn: str) -> str | None:
        """The archive's name of a normalised LFN, or None if the rule is not about it."""
        if self.regex is not None:
            match = self._pattern.fullmatch(lfn)
            return match.expand(self.archive) if match else None
        if not lfn.startswith(self.directory):
            return None
        return self.archive.removesuffix("/") + "/" + lfn[len(self.directory) :]

    @cached_property
    def directory(self) -> str:
        """The prefix with a slash at its end; empty for a regex."""
        return "" if self.prefix is None else normalise_prefix(self.prefix)

    @cached_property
    def archive_directory(self) -> str:
        """What the archive calls the directory of a prefix, mostly without a slash at its end."""
        directory = self.archive.removesuffix("/")
        _, is_url, place = directory.partition("://")
        # A mere root, of the file system or of a server, needs its slash.
        if not directory.strip("/") or (is_url and not place.partition("/")[2]):
            return self.archive or "/"
        return directory

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        return re.compile(self.regex or "")

    def __str__(self) -> str:
        kind, pattern = ("regex", self.regex) if self.prefix is None else ("prefix", self.prefix)
        return f"{kind} {pattern!r} -> {self.archive!r}"


def normalise_prefix(prefix: str) -> str:
    """A prefix with exactly one slash at its end, so that it matches whole components."""
    if prefix.startswith("/") and {"", "."}.issuperset(prefix.split("/")):
        return "/"
    return normalise(prefix) + "/"


class NameMap:
    """Which names the site exports, and what its archive calls them.

    Regex rules go first, in the order they were written, because they are the
    exceptions; then prefixes, the longest first.
    """

    def __init__(self, rules: Iterable[NameRule], exports: Iterable[str]) -> None:
        given = list(rules)
        prefixes = [rule for rule in given if rule.prefix is not None]
        self.rules: tuple[NameRule, ...] = (
            *(rule for rule in given if rule.regex is not None),
            *sorted(prefixes, key=lambda rule: len(rule.directory), reverse=True),
        )
        self.exports: tuple[str, ...] = _outermost(map(normalise_prefix, exports))

    def check(self, lfn: str) -> str:
        """The name normalised; raises NameRefused if malformed or not exported."""
        name = normalise(lfn)
        if not name.startswith(self.exports):
            raise _refusal(lfn, f"it is not under what this site exports ({self._exported()})")
        return name

    def check_all(self, lfns: Sequence[str]) -> Sequence[str]:
        """Many names, as `check`; raises NameRefused for the first that is refused."""
        if _all_clean(lfns, self.exports):
            return lfns
        return [self.check(lfn) for lfn in lfns]

    def check_written(self, path: str) -> str:
        """The LFN of what a client wrote: a name, or the archive's own URL of a file.

        Raises NameRefused.
        """
        try:
            return self.check(path)
        except NameRefused:
            lfn = self.lfn_of(path)
            if lfn is None:
                raise
            return self.check(lfn)

    def check_directory(self, lfn: str) -> str:
        """A directory's name normalised, "/" for the top of the name space.

        It is an export, lies within one or leads to one; raises NameRefused otherwise.
        """
        inside = normalise_prefix(lfn)
        name = inside.removesuffix("/") or "/"
        if inside.startswith(self.exports) or self.leads_to_exports(name):
            return name
        raise _refusal(lfn, f"it is not under what this site exports ({self._exported()})")

    def leads_to_exports(self, directory: str) -> bool:
        """Whether a normalised directory is an export, or has one below it."""
        inside = directory.removesuffix("/") + "/"
        return any(export.startswith(inside) for export in self.exports)

    def explain(self, lfn: str) -> tuple[NameRule, str]:
        """The rule that decides, and the archive's name; raises NameRefused."""
        name = self.check(lfn)
        for rule in self.rules:
            archive_name = rule.archive_name(name)
            if archive_name is not None:
                return rule, archive_name
        raise _refusal(lfn, "no rule of [mss] names says what the archive calls it")

    def archive_name(self, lfn: str) -> str:
        """What the archive calls the file; raises NameRefused."""
        return self.explain(lfn)[1]

    def lfn_of(self, written: str) -> str | None:
        """The LFN of what somebody has written as the archive's own URL; None if it is none.

        Only the URLs of prefix rules can be taken back. Such a URL comes as a path, as in
        `root://head//root://old//store/a`, with as many slashes as were left on the way,
        so runs of slashes are compared as one. A directory of the archive is taken as well.
        """
        url = _as_path(written) + "/"
        for rule, directory in self._urls:
            if not url.startswith(directory):
                continue
            try:
                lfn = normalise_prefix(rule.directory + url[len(directory) :])
                if lfn == rule.directory or self.explain(lfn)[0] is rule:
                    return lfn.removesuffix("/") or "/"
            except NameRefused:
                continue
        return None

    @cached_property
    def _urls(self) -> list[tuple[NameRule, str]]:
        """The rules whose archive is a URL, as it is compared, the longest first."""
        urls = [
            (rule, _as_path(rule.archive) + "/")
            for rule in self.rules
            if rule.prefix is not None and "://" in rule.archive
        ]
        return sorted(urls, key=lambda one: len(one[1]), reverse=True)

    def _exported(self) -> str:
        shown = ", ".join(self.exports[:5]) or "nothing"
        return f"{shown}, ..." if len(self.exports) > 5 else shown


def _as_path(url: str) -> str:
    """A URL that may have been written as a path: one slash where there are several."""
    return _SLASHES.sub("/", url).strip("/")


def _outermost(directories: Iterable[str]) -> tuple[str, ...]:
    """Without those that lie inside others, so that a name is under at most one."""
    kept: list[str] = []
    for directory in sorted(directories):
        if not kept or not directory.startswith(kept[-1]):
            kept.append(directory)
    return tuple(kept)
