"""The directories of the pools' name space: which names lie where, without walking all names.

The index says of each name where it is; here stands only which names there are in a
directory. A directory lists its names, eight bytes each: the strings are those of the
index. A name that goes stays in the list as *stale*; if it comes again, it is listed anew,
and the earlier of the two is the stale one. Once an eighth of the list is stale, every
further name that goes has the oldest piece of the list looked through: so no name costs
more than a piece, and a large directory that is purged and filled for ever neither grows
nor halts anybody. Pieces are tuples, which the garbage collector need not look into, as it
would into lists.

A directory is in the tree for as long as it was made by a client, or any name or directory
lies in it; with its last one it goes, and with it those above that have nothing else.
Only the names of directories are kept, not their paths, but for those with files: a very
deep directory costs what its name costs.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Names in one piece of a list.
_PIECE = 128
#: Of so many names in a list, one may be stale.
_STALE_ONE_IN = 8


class DirectoryListing(NamedTuple):
    """What lies in one directory, in no particular order, as it is at one moment.

    `pieces` are the LFNs of its files, a few at a time; some may be gone already, or stand
    there twice. `directories` are names within the directory.
    """

    pieces: list[tuple[str, ...]]
    directories: list[str]


class Directory:
    """One directory of the tree."""

    __slots__ = (
        "gone",
        "is_made",
        "latest",
        "name",
        "parent",
        "pieces",
        "stale",
        "subdirectories",
    )

    def __init__(self, name: str, parent: Directory | None) -> None:
        self.name = name
        self.parent = parent
        self.is_made = False  # by a client
        # Whole names, those listed first going first.
        self.pieces: list[tuple[str, ...]] = []
        self.latest: list[str] = []
        # How many of a name's places in the list are stale, and of all names'.
        self.gone: dict[str, int] = {}
        self.stale = 0
        self.subdirectories: dict[str, Directory] = {}

    @property
    def listed(self) -> int:
        """How many names its list has, the stale ones among them."""
        return _PIECE * len(self.pieces) + len(self.latest)

    @property
    def is_empty(self) -> bool:
        """Whether nothing at all lies in it."""
        return not (self.latest or self.pieces or self.subdirectories)

    def names(self) -> Iterable[str]:
        """The names in it, each once, some of them stale."""
        listed = chain(*self.pieces, self.latest)
        return dict.fromkeys(listed) if self.stale else listed

    def snapshot(self) -> list[tuple[str, ...]]:
        """The list as it is now, piece by piece: some names stale, and some of them twice."""
        return [*self.pieces, tuple(self.latest)] if self.latest else list(self.pieces)

    def add(self, lfn: str) -> None:
        """Lists a name."""
        latest = self.latest
        latest.append(lfn)
        if len(latest) == _PIECE:
            self.pieces.append(tuple(latest))
            latest.clear()

    def remove(self, lfn: str) -> None:
        """A name goes: the earliest place it has in the list is stale."""
        self.gone[lfn] = self.gone.get(lfn, 0) + 1
        self.stale += 1
        if self.stale == self.listed:
            self.pieces, self.latest, self.gone, self.stale = [], [], {}, 0
        elif _STALE_ONE_IN * self.stale > self.listed:
            self._look_through_oldest()

    def _look_through_oldest(self) -> None:
        """Takes the stale names out of the oldest piece of the list; the others go to its end."""
        if self.pieces:
            oldest: Iterable[str] = self.pieces.pop(0)
        else:
            oldest, self.latest = self.latest, []
        gone = self.gone
        for lfn in oldest:
            times = gone.get(lfn, 0)
            if not times:
                self.add(lfn)
                continue
            self.stale -= 1
            if times == 1:
                del gone[lfn]
            else:
                gone[lfn] = times - 1

    def check(self) -> list[str]:
        """Asserts that its list makes sense; returns the names that are not stale."""
        gone = dict(self.gone)
        not_stale = []
        for lfn in chain(*self.pieces, self.latest):
            if gone.get(lfn):
                gone[lfn] -= 1
            else:
                not_stale.append(lfn)
        assert not any(gone.values())
        assert all(self.gone.values())
        assert self.stale == sum(self.gone.values()) == self.listed - len(not_stale)
        assert all(len(piece) == _PIECE for piece in self.pieces)
        assert self.stale <= self.listed / _STALE_ONE_IN + len(self.pieces) + _PIECE
        return not_stale


class Directories:
    """The tree of all directories. Paths are LFNs; "/" is the top, which is always there."""

    def __init__(self) -> None:
        self._top = Directory("", None)
        # By path, without the slash at the end of "/": where names are put.
        self._with_files: dict[str, Directory] = {}
        self.made_count = 0

    # --- names ---

    def add(self, lfn: str) -> None:
        """A name is held now that was not."""
        path = lfn[: lfn.rindex("/")]
        directory = self._with_files.get(path)
        if directory is None:
            directory = self._with_files[path] = self._grow(path)
        directory.add(lfn)

    def remove(self, lfn: str) -> None:
        """A name is held no longer."""
        path = lfn[: lfn.rindex("/")]
        directory = self._with_files[path]
        directory.remove(lfn)
        if not directory.listed:
            del self._with_files[path]
            _prune(directory)

    # --- directories that clients make ---

    def make(self, path: str) -> None:
        """A client has made a directory; making it again changes nothing."""
        directory = self._grow(path)
        self.made_count += not directory.is_made
        directory.is_made = True

    def unmake(self, path: str) -> None:
        """A directory that was made is there only as long as anything lies in it."""
        directory = self.find(path)
        assert directory is not None
        assert directory.is_made, f"{path} was not made"
        directory.is_made = False
        self.made_count -= 1
        _prune(directory)

    def find(self, path: str) -> Directory | None:
        """The directory of this path, if it is in the tree."""
        directory: Directory | None = self._top
        for name in _components(path):
            assert directory is not None
            directory = directory.subdirectories.get(name)
            if directory is None:
                return None
        return directory

    def check(self, held: Iterable[str]) -> None:
        """Asserts that all names `held` are listed, as these very strings, and no others."""
        not_listed = {lfn: lfn for lfn in held}
        made = with_files = 0
        waiting = [("", self._top)]
        while waiting:
            path, directory = waiting.pop()
            made += directory.is_made
            with_files += directory.listed > 0
            assert self._with_files.get(path) is (directory if directory.listed else None), path
            for lfn in directory.check():
                assert lfn.rpartition("/")[0] == path
                assert not_listed.pop(lfn) is lfn, f"two strings of {lfn}"
            for name, child in directory.subdirectories.items():
                assert (child.name, child.parent) == (name, directory)
                assert child.is_made or not child.is_empty, f"{path}/{name} is there for nothing"
                waiting.append((f"{path}/{name}", child))
        assert (made, with_files) == (self.made_count, len(self._with_files))
        assert not not_listed

    # --- inside ---

    def _grow(self, path: str) -> Directory:
        """The directory of this path, with those above it that there are not yet."""
        directory = self._top
        for name in _components(path):
            child = directory.subdirectories.get(name)
            if child is None:
                child = directory.subdirectories[name] = Directory(name, directory)
            directory = child
        return directory


def _components(path: str) -> list[str]:
    return path.split("/")[1:] if len(path) > 1 else []


def _prune(directory: Directory) -> None:
    """Takes a directory out of the tree if it is there for nothing, and then those above."""
    while directory.parent is not None and directory.is_empty and not directory.is_made:
        del directory.parent.subdirectories[directory.name]
        directory = directory.parent
