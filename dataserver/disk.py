"""The pool on disk: every path is walked from its root, and nothing leads out of it.

A replica lies at `<pool>/<lfn>`. The data server's own things lie in two directories
at the top, which no LFN can name: `.incoming/<recall>/` holds what is being staged,
`.packhorse/` the catalogue, the lock and the pool's identity.

* Directories are opened one after the other, each relative to the one before and
  never through a symbolic link, so a link that somebody puts into the pool is an
  error and not a way out. Every call names its file relative to such a directory.
* What is published is on the disk: the file was synced by `sync_incoming`, and its
  name is by `publish`, before either is reported.

All of this blocks; the shell calls it in the pool's own threads: `readers` and `writers` for
clients, `senders` for what goes to them straight from the disk, `checkers` for what reads
whole files, `probers` for what finds out how the disk is, `threads` for everything else, which
is quick. So nothing quick has to wait until a large file was read, and a disk that is only busy
is not taken for one that hangs.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import shutil
import stat
from typing import TYPE_CHECKING, Final, NamedTuple

from common.errors import ConfigError, DiskAway
from dataserver import quarantine
from dataserver.descriptors import CREATE, DIRECTORY, NotAFileError, open_regular, opened
from dataserver.sync import sync_file_system
from dataserver.threads import Threads
from dataserver.walking import Odd, look

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from dataserver.walking import FileOnDisk

INCOMING: Final = ".incoming"
PRIVATE: Final = ".packhorse"

#: Calls under way at a time; more than that only make each other slow.
THREADS: Final = 8
READERS: Final = 32
SENDERS: Final = 32
WRITERS: Final = 16
PROBERS: Final = 2

_SAFE_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}")
# An empty directory may be removed by a purge between being made and being used.
_TRIES: Final = 10
#: What opening a link, a socket or a device without a driver ends with.
_NO_FILE: Final = frozenset({errno.ELOOP, errno.ENXIO, errno.ENODEV})
#: What opening a pool ends with whose disk is not there.
_AWAY: Final = frozenset(
    {errno.ENOENT, errno.EIO, errno.EROFS, errno.ENODEV, errno.ENXIO, errno.ESTALE, errno.ENOTCONN}
)
_NO_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


#: The components of a directory's path below the root.
Parts = tuple[str, ...]


class NotSyncedError(OSError):
    """A file is at its place, but a crash may bring back what was there before."""


class Publication(NamedTuple):
    """A file in a recall's or an upload's directory, and the name it is to have."""

    recall_id: str
    lfn: str
    #: There is a file of that name, whose place it takes.
    replaces: bool = False


def is_no_space(error: OSError) -> bool:
    """Whether the error says that the disk, or the user's share of it, is full."""
    return error.errno in _NO_SPACE


def incoming_name(recall_id: str) -> str:
    """The name of a recall's directory; any id makes one that is safe."""
    if _SAFE_NAME.fullmatch(recall_id):
        return recall_id
    return "id-" + hashlib.sha256(recall_id.encode(errors="surrogateescape")).hexdigest()


class PoolDisk:
    """One pool's directory tree."""

    def __init__(self, root: Path) -> None:
        """Opens the pool and makes its private directories; raises ConfigError, DiskAway."""
        self.root = root
        self.threads = Threads(f"{root.name} disk", THREADS)
        self.checkers = Threads(f"{root.name} checkers", THREADS)
        self.readers = Threads(f"{root.name} readers", READERS)
        self.senders = Threads(f"{root.name} senders", SENDERS)
        self.writers = Threads(f"{root.name} writers", WRITERS)
        self.probers = Threads(f"{root.name} probers", PROBERS)
        try:
            self._root_fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            for name in (INCOMING, PRIVATE):
                with contextlib.suppress(FileExistsError):
                    os.mkdir(name, 0o755, dir_fd=self._root_fd)
            self._incoming_fd = os.open(INCOMING, DIRECTORY, dir_fd=self._root_fd)
        except OSError as error:
            message = f"pool {root} cannot be used: {error.strerror}"
            if isinstance(error, FileNotFoundError):
                message = f"pool {root} cannot be used: no such directory; is its disk mounted?"
            if error.errno in _AWAY:
                raise DiskAway(message) from error
            raise ConfigError(message) from error
        if os.fstatvfs(self._root_fd).f_flag & os.ST_RDONLY:
            raise DiskAway(f"pool {root} cannot be used: its disk is read-only")
        if not os.access(root, os.W_OK | os.X_OK):
            raise ConfigError(f"pool {root} cannot be used: it is not writable")

    def close(self) -> None:
        """Lets go of the directories."""
        for threads in (
            self.threads,
            self.checkers,
            self.readers,
            self.senders,
            self.writers,
            self.probers,
        ):
            threads.close()
        os.close(self._incoming_fd)
        os.close(self._root_fd)

    def sync(self) -> None:
        """Syncs all that lies in the pool, whoever has put it there. Raises OSError."""
        sync_file_system(self._root_fd)

    @property
    def private(self) -> Path:
        """Where the catalogue, the lock and the pool's identity are."""
        return self.root / PRIVATE

    def path(self, lfn: str) -> Path:
        """Where a replica lies, for those who must be told a path."""
        return self.root / lfn.lstrip("/")

    def is_at_its_path(self) -> bool:
        """Whether the pool's path leads to this very directory still. Raises OSError."""
        return os.path.samestat(self.root.stat(), os.fstat(self._root_fd))

    def read_private(self, name: str) -> bytes:
        """A small file of the private directory, wherever the path leads. Raises OSError."""
        with opened(PRIVATE, self._root_fd) as directory:
            fd = open_regular(name, directory)
        try:
            return os.read(fd, 4096)
        finally:
            os.close(fd)

    def create_probe(self) -> int:
        """An empty file of no use, open for writing. Raises OSError."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        with opened(PRIVATE, self._root_fd) as directory:
            return os.open("probe", flags, 0o644, dir_fd=directory)

    def free_bytes(self) -> int:
        """What the file system still has for us."""
        figures = os.fstatvfs(self._root_fd)
        return figures.f_bavail * figures.f_frsize

    def total_bytes(self) -> int:
        """How large the file system is."""
        figures = os.fstatvfs(self._root_fd)
        return figures.f_blocks * figures.f_frsize

    # --- incoming -----------------------------------------------------------

    def make_incoming(self, recall_id: str, lfn: str) -> Path:
        """An empty directory of a recall's own; the path its file is to have in it."""
        name = incoming_name(recall_id)
        try:
            os.mkdir(name, 0o755, dir_fd=self._incoming_fd)
        except FileExistsError:
            self.remove_incoming(recall_id)
            os.mkdir(name, 0o755, dir_fd=self._incoming_fd)
        return self.root / INCOMING / name / _basename(lfn)

    def create_incoming(self, upload_id: str, lfn: str, mode: int) -> int:
        """An empty file in a directory of an upload's own, open for reading and writing."""
        self.make_incoming(upload_id, lfn)
        with opened(incoming_name(upload_id), self._incoming_fd) as directory:
            fd = os.open(_basename(lfn), CREATE, 0o600, dir_fd=directory)
        try:
            os.fchmod(fd, mode)
        except OSError:
            os.close(fd)
            raise
        return fd

    def remove_incoming(self, recall_id: str) -> None:
        """Removes all that lies in a recall's directory, and the directory."""
        self._remove_tree(incoming_name(recall_id))

    def incoming_names(self) -> list[str]:
        """The names of all that lies in the incoming directory."""
        with os.scandir(self._incoming_fd) as entries:
            return sorted(entry.name for entry in entries)

    def remove_leftover(self, name: str) -> None:
        """Removes something that lies in the incoming directory. Raises OSError."""
        self._remove_tree(name)

    def sweep_incoming(self) -> int:
        """Removes everything that an earlier life left in the incoming directory."""
        names = self.incoming_names()
        for name in names:
            self._remove_tree(name)
        return len(names)

    def open_incoming(self, recall_id: str, lfn: str) -> int:
        """A descriptor of what a recall has staged. Raises OSError, NotAFileError."""
        with opened(incoming_name(recall_id), self._incoming_fd) as fd:
            return open_regular(_basename(lfn), fd)

    # --- replicas -----------------------------------------------------------

    def publish(self, batch: Sequence[Publication]) -> dict[str, OSError]:
        """Moves staged files to their places, and syncs the directories they are in now.

        Each directory is synced once for the whole batch. Returns, by recall, the
        errors of those that are not at their places; nothing of them is left. What has
        replaced a file stays at its place in any case: see NotSyncedError.
        """
        errors: dict[str, OSError] = {}
        changed: set[Parts] = set()
        for one in batch:
            try:
                self._move_in(one, changed)
            except OSError as error:
                errors[one.recall_id] = error
        for parts in changed:
            try:
                self._sync(parts)
            except OSError as error:
                unsure = [one for one in batch if _parents(one.lfn)[: len(parts)] == parts]
                for one in unsure:
                    if one.replaces:
                        not_synced = NotSyncedError(error.errno, error.strerror)
                        errors.setdefault(one.recall_id, not_synced)
                    elif errors.setdefault(one.recall_id, error) is error:
                        with contextlib.suppress(OSError):
                            self.unlink(one.lfn)
        for one in batch:
            # It is empty, unless the stage command left more than was asked for.
            with contextlib.suppress(OSError):
                self.remove_incoming(one.recall_id)
        return errors

    def open_replica(self, lfn: str) -> int:
        """A descriptor of a replica. Raises OSError, NotAFileError."""
        with self._directory(_parents(lfn)) as fd:
            return open_regular(_basename(lfn), fd)

    def unlink(
        self, lfn: str, alone: Callable[[int], AbstractContextManager[None]] | None = None
    ) -> None:
        """Removes a replica, and the directories that are empty then; fine if it is gone.

        With `alone`, the file is removed within what that makes of its descriptor, which
        may raise OSError instead.
        """
        parents = _parents(lfn)
        with contextlib.suppress(FileNotFoundError), self._directory(parents) as fd:
            if alone is None:
                os.unlink(_basename(lfn), dir_fd=fd)
            else:
                _unlink_alone(_basename(lfn), fd, alone)
        self._remove_empty(parents)

    def stat(self, lfn: str) -> os.stat_result | None:
        """What lies at a name's place, of whatever kind; None for nothing.

        Raises OSError, NotADirectoryError if one of its directories is a file.
        """
        with contextlib.suppress(FileNotFoundError), self._directory(_parents(lfn)) as fd:
            return os.stat(_basename(lfn), dir_fd=fd, follow_symlinks=False)
        return None

    def rename(self, lfn: str, new_lfn: str) -> None:
        """Moves a replica to another place, where there must be nothing.

        Raises NotSyncedError if it has been moved, but not for sure; any other OSError if
        it has not.
        """
        parents = _parents(lfn)
        changed = {parents}
        with self._directory(parents) as source:
            self._move(source, _basename(lfn), new_lfn, changed)
        try:
            for parts in changed:
                self._sync(parts)
        except OSError as error:
            raise NotSyncedError(error.errno, error.strerror) from error
        finally:
            self._remove_empty(parents)

    def set_apart(self, path: str) -> Path:
        """Moves what lies at a place of the pool into the quarantine; where it is then.

        Raises OSError, FileNotFoundError if there is nothing, as after having moved it.
        """
        parents, name = _parents(path), _basename(path)
        with opened(PRIVATE, self._root_fd) as private, self._directory(parents) as source:
            number = quarantine.keep(private, source, name, path)
        self._remove_empty(parents)
        return self.private / quarantine.QUARANTINE / number / name

    def count_set_apart(self) -> int:
        """How many things are in the quarantine. Raises OSError."""
        with opened(PRIVATE, self._root_fd) as private:
            return quarantine.count(private)

    def walk(self) -> Iterator[FileOnDisk | Odd]:
        """Every regular file outside the private directories, and what is none there."""
        waiting: list[Parts] = [()]
        while waiting:
            parts = waiting.pop()
            above = "".join(f"/{part}" for part in parts)
            try:
                with self._directory(parts) as fd, os.scandir(fd) as entries:
                    for entry in entries:
                        found = look(above, entry)
                        if found is not None:
                            yield found
                        elif parts or entry.name not in {INCOMING, PRIVATE}:
                            waiting.append((*parts, entry.name))
            except OSError as error:
                yield Odd(above, error.strerror or str(error), is_there=False)

    # --- inside -------------------------------------------------------------

    @contextlib.contextmanager
    def _directory(self, parts: Parts) -> Iterator[int]:
        """A descriptor of a directory below the root. Raises OSError."""
        fd = os.dup(self._root_fd)
        try:
            for part in parts:
                below = os.open(part, DIRECTORY, dir_fd=fd)
                os.close(fd)
                fd = below
            yield fd
        finally:
            os.close(fd)

    def _make_directory(self, parts: Parts, changed: set[Parts]) -> None:
        """Makes a directory and those above it; notes those that got a new entry."""
        for depth in range(len(parts)):
            with self._directory(parts[:depth]) as fd, contextlib.suppress(FileExistsError):
                os.mkdir(parts[depth], 0o755, dir_fd=fd)
                changed.add(parts[:depth])

    def _move_in(self, one: Publication, changed: set[Parts]) -> None:
        with opened(incoming_name(one.recall_id), self._incoming_fd) as source:
            self._move(source, _basename(one.lfn), one.lfn, changed)

    def _move(self, source: int, name: str, lfn: str, changed: set[Parts]) -> None:
        parents, basename = _parents(lfn), _basename(lfn)
        for _ in range(_TRIES):
            try:
                with self._directory(parents) as target:
                    os.rename(name, basename, src_dir_fd=source, dst_dir_fd=target)
            except FileNotFoundError:
                os.stat(name, dir_fd=source, follow_symlinks=False)
                # One of them may be removed, being empty, while it is made.
                with contextlib.suppress(FileNotFoundError):
                    self._make_directory(parents, changed)
            else:
                changed.add(parents)
                return
        raise FileNotFoundError(errno.ENOENT, "the directory is removed again and again", lfn)

    def _sync(self, parts: Parts) -> None:
        with self._directory(parts) as fd:
            os.fsync(fd)

    def _remove_empty(self, parts: Parts) -> None:
        """Removes a directory and those above it, as far as they are empty."""
        with contextlib.suppress(OSError):
            for depth in range(len(parts), 0, -1):
                with self._directory(parts[: depth - 1]) as fd:
                    os.rmdir(parts[depth - 1], dir_fd=fd)

    def _remove_tree(self, name: str) -> None:
        try:
            found = os.stat(name, dir_fd=self._incoming_fd, follow_symlinks=False)
            if not stat.S_ISDIR(found.st_mode):
                os.unlink(name, dir_fd=self._incoming_fd)
                return
            try:
                os.rmdir(name, dir_fd=self._incoming_fd)
            except OSError:
                shutil.rmtree(name, dir_fd=self._incoming_fd)
        except FileNotFoundError:
            return


def _unlink_alone(
    name: str, directory: int, alone: Callable[[int], AbstractContextManager[None]]
) -> None:
    with contextlib.ExitStack() as stack:
        try:
            fd = open_regular(name, directory)
        except OSError as error:
            # What is no file is no replica that anybody reads.
            if not isinstance(error, NotAFileError) and error.errno not in _NO_FILE:
                raise
        else:
            stack.callback(os.close, fd)
            stack.enter_context(alone(fd))
        os.unlink(name, dir_fd=directory)


def _parents(lfn: str) -> Parts:
    parts = lfn.split("/")
    assert parts[0] == "", lfn
    assert len(parts) > 1, lfn
    assert not {"", ".", ".."}.intersection(parts[1:]), lfn
    return tuple(parts[1:-1])


def _basename(lfn: str) -> str:
    return lfn.rpartition("/")[2]
