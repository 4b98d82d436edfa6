"""Directories of the name space, as far as the rules and the exports tell of them.

There is a directory where something exported lies below. Above the exports that is all
there is: `/` has `store` if `/store/run7/` is exported, whatever else the archive has.
At and below an export, the prefix rule that covers the directory says which directory of
the archive has the rest; where a longer prefix begins further down, the way to it is there
as well, and what the shorter rule's archive has of that name is not. Regular expressions
cannot be turned round, so nothing tells which names they cover.

Nothing here does I/O: cores may import this module.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from common.errors import NameRefused
from common.names import normalise, normalise_prefix, shorten

if TYPE_CHECKING:
    from common.names import NameMap, NameRule


@dataclass(frozen=True, slots=True)
class Directory:
    """One directory; `prefix` is its LFN with a slash at its end.

    `is_given` says that it is there whatever the archive has, as its `children` are, the
    names in it on the way to something given. `is_complete` says that they are all there
    is in it. If they are not, `rule` says what the archive calls the directory that has the
    rest; None where only regular expressions could tell.
    """

    names: NameMap
    prefix: str
    is_given: bool
    is_complete: bool
    children: frozenset[str]
    rule: NameRule | None

    @property
    def lfn(self) -> str:
        """Its name; `/` is the top."""
        return self.prefix.removesuffix("/") or "/"

    @property
    def archive_name(self) -> str:
        """What the archive calls the directory; only where there is a rule."""
        assert self.rule is not None, self.prefix
        if self.prefix == self.rule.directory:
            return self.rule.archive_directory
        name = self.rule.archive_name(self.lfn)
        assert name is not None, self.prefix
        return name

    def has(self, name: str, *, is_directory: bool) -> bool:
        """Whether an entry of the rule's archive directory is one of this directory's.

        It is not if its name is refused, or belongs to another rule.
        """
        if "/" in name or name in {"", ".", ".."} or name in self.children:
            return False
        try:
            if is_directory:
                normalise(self.prefix + name)
                return True
            return self.names.explain(self.prefix + name)[0] is self.rule
        except NameRefused:
            return False


def directory_of(names: NameMap, lfn: str) -> Directory:
    """What is known of a directory; `/` is the top. Raises NameRefused if it cannot be one."""
    prefix = normalise_prefix(lfn)
    if not prefix.startswith(names.exports):
        children = _steps(prefix, names.exports)
        if not children and prefix != "/":
            raise NameRefused(f"directory {shorten(lfn)} is not under what this site exports")
        return Directory(names, prefix, True, True, children, None)
    rules = [rule for rule in names.rules if rule.prefix is not None]
    given = (*names.exports, *(rule.directory for rule in rules))
    children = _steps(prefix, given)
    is_given = prefix == "/" or prefix in given or bool(children)
    rule = next((rule for rule in rules if prefix.startswith(rule.directory)), None)
    is_complete = rule is None and len(rules) == len(names.rules)
    if is_complete and not is_given:
        raise NameRefused(
            f"directory {shorten(lfn)} is refused: no rule of [mss] names is about what is in it"
        )
    return Directory(names, prefix, is_given, is_complete, children, rule)


def _steps(prefix: str, directories: tuple[str, ...]) -> frozenset[str]:
    """The first step from a directory to each of those that lie below it."""
    below = (one[len(prefix) :] for one in directories if one.startswith(prefix))
    return frozenset(rest.partition("/")[0] for rest in below if rest)
