"""The name space as a tree: what lies in a directory, and directories that clients make.

A directory exists if a client made it, or any online file or made directory lies below
it. What the archive has besides is for the doors to ask. Directories that were made are
kept on disk: an empty one is nowhere else.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from common.errors import AlreadyExists, NotFound, Refused
from redirector.core.directories import DirectoryListing
from redirector.core.instructions import AnswerDirectory, RemoveDirectory, SaveDirectories

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from redirector.core.books import Books
    from redirector.core.directories import Directory
    from redirector.core.events import MakeDirectoryAsked, RemoveDirectoryAsked

#: Where nodes were lost, a directory may have only files that are on their way out of the
#: index; so many are looked at before it is taken to have others.
_LOOKED_AT = 100_000


class Browsing:
    """Lists, makes and removes directories."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._tree = books.index.directories

    # --- queries ---

    def list(self, path: str) -> DirectoryListing:
        """What lies in a directory; nothing if there is no such one."""
        directory = self._tree.find(path)
        if directory is None:
            return DirectoryListing([], [])
        directories = [child.name for child in self._living(directory)]
        return DirectoryListing(directory.snapshot(), directories)

    def has_entries(self, path: str) -> bool:
        """Whether anything lies in a directory."""
        directory = self._tree.find(path)
        return directory is not None and self._has_something(directory)

    def is_directory(self, path: str) -> bool:
        """Whether there is a directory of this path; "/" is always there."""
        directory = self._tree.find(path)
        return directory is not None and (directory.parent is None or self._lives(directory))

    def refuse_as_file(self, lfn: str) -> None:
        """Raises if no file can have this name, for there is a directory of it, or a file
        where one of its directories would be: AlreadyExists or Refused."""
        if self.is_directory(lfn):
            raise AlreadyExists(f"{lfn} is a directory")
        self._refuse_below_files(_above(lfn))

    # --- events ---

    def make(self, event: MakeDirectoryAsked) -> None:
        """A client makes a directory, with those above it that are missing if it may."""
        books = self._books
        lfn = event.lfn
        if self.is_directory(lfn):
            raise AlreadyExists(f"{lfn} exists already")
        if books.index.online(lfn) or lfn in books.claims:
            raise AlreadyExists(f"{lfn} is a file")
        missing = [path for path in _above(lfn) if not self.is_directory(path)]
        self._refuse_below_files(missing)
        if missing and not event.parents:
            raise NotFound(f"{lfn} cannot be made: there is no directory {missing[-1]}")
        made = (*missing, lfn)
        most = books.settings.made_directories
        if self._tree.made_count + len(made) > most:
            raise Refused(f"{lfn} cannot be made: {most:,} directories are the most there may be")
        for path in made:
            self._tree.make(path)
        books.out.add(SaveDirectories(made))
        books.out.answer(AnswerDirectory(len(made)))

    def remove(self, event: RemoveDirectoryAsked) -> None:
        """A client removes an empty directory."""
        books = self._books
        lfn = event.lfn
        directory = self._tree.find(lfn)
        if directory is None or not self.is_directory(lfn):
            raise NotFound(f"there is no directory {lfn}")
        if directory.parent is None:
            raise Refused("the top directory cannot be removed")
        if (
            not directory.is_made
            or self._has_something(directory)
            or books.claims.has_any_below(lfn)
        ):
            raise Refused(f"{lfn} is not empty")
        self._tree.unmake(lfn)
        books.out.add(RemoveDirectory(lfn))
        books.out.answer(AnswerDirectory(1))

    # --- inside ---

    def _living(self, directory: Directory) -> Iterator[Directory]:
        return (child for child in directory.subdirectories.values() if self._lives(child))

    def _lives(self, directory: Directory) -> bool:
        """Whether a directory of the tree exists: was made, or has something that does."""
        return directory.is_made or self._has_something(directory)

    def _has_something(self, directory: Directory) -> bool:
        """Whether any online file or made directory lies below.

        While nothing is on its way out of the index, all that is in the tree is there.
        """
        if not self._books.index.sweeping:
            return not directory.is_empty
        left = _LOOKED_AT
        waiting = [directory]
        while waiting and left > 0:
            one = waiting.pop()
            if one.is_made and one is not directory:
                return True
            names = list(islice(one.names(), left))
            if any(True for _online in self._books.index.sizes_of(names)):
                return True
            children = list(islice(one.subdirectories.values(), left))
            waiting += children
            left -= len(names) + len(children)
        return left <= 0

    def _refuse_below_files(self, paths: Iterable[str]) -> None:
        for path in paths:
            if self._books.index.online(path):
                raise Refused(f"{path} is a file: nothing can lie in it")


def _above(lfn: str) -> list[str]:
    """The directories that a name lies in, from the top, without the top itself."""
    places = [place for place, character in enumerate(lfn) if character == "/"]
    return [lfn[:place] for place in places[1:]]
