"""Whether other programs have replicas open: for pools that a stock XRootD serves.

What is open there is not in this server's books, and must not be purged all the same. So
the kernel is asked, by a *write lease* (fcntl(2), F_SETLEASE): it is granted only while
nobody else has the file open, and while it is held, whoever comes to open the file has
to wait. Held over the unlinking, it leaves no gap: the file goes while nobody has it.
(Who found its name in that very moment gets the file nevertheless, and can read it to
its end.)

Some file systems grant no leases, and the kernel grants none on the files of another
user. Then the open files of all processes are looked through in /proc. That is second
best: files of processes that this user may not look into (another user's, or another
container's) are not seen, nor are those that are mapped but closed, and somebody may
open a file between the look and its end.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import signal
from collections import defaultdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_PROC: Final = Path("/proc")
#: What fcntl says where leases cannot be had, or not on this file.
_NO_LEASES: Final = frozenset(
    {errno.EINVAL, errno.EACCES, errno.EPERM, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS}
)


class OpenElsewhereError(OSError):
    """Another program has the file open."""

    def __init__(self) -> None:
        super().__init__(errno.EBUSY, "open by another program")


class Openers:
    """Looks out for other programs that have replicas of a pool open; all of it blocks.

    `private` is a directory in the file system of the pool, where nobody opens anything.
    """

    def __init__(self, private: Path) -> None:
        self.knows_leases = _leases_are_granted(private / "lease.probe")

    def look(self) -> Look:
        """A look at who has what open, to be used soon."""
        return Look(with_leases=self.knows_leases)


class Look:
    """One look: at each file by a lease, or else, once for all of them, through /proc."""

    def __init__(self, *, with_leases: bool) -> None:
        self._with_leases = with_leases

    @contextlib.contextmanager
    def alone(self, fd: int) -> Iterator[None]:
        """Within this, nobody else has the file open, as far as can be known.

        `fd` must be open for reading only. Raises OpenElsewhereError if somebody has the
        file open, OSError if that cannot be found out.
        """
        if self._with_leases and _lease(fd):
            try:
                yield
            finally:
                # Somebody who had to wait for too long may have broken it.
                with contextlib.suppress(OSError):
                    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
            return
        if self._is_open_elsewhere(fd):
            raise OpenElsewhereError
        yield

    def _is_open_elsewhere(self, fd: int) -> bool:
        try:
            name = (_PROC / f"self/fd/{fd}").readlink().name
            links = self._links.get(name, ())
        except OSError as error:
            reason = f"who has it open cannot be found out: {error.strerror}"
            raise OSError(errno.EIO, reason) from error
        return any(_is_same(fd, link) for link in links)

    @cached_property
    def _links(self) -> Mapping[str, Sequence[Path]]:
        """The open files of other processes, by the last part of their names.

        Only names are looked at: to ask about the files themselves could hang, if one
        of them lies on a server that does not answer.
        """
        found: dict[str, list[Path]] = defaultdict(list)
        for process in _PROC.iterdir():
            if not process.name.isdigit() or process.name == str(os.getpid()):
                continue
            # It may have ended, or be none of our business.
            with contextlib.suppress(OSError):
                for link in (process / "fd").iterdir():
                    with contextlib.suppress(OSError):
                        found[link.readlink().name].append(link)
        return found


def _lease(fd: int) -> bool:
    """Takes a write lease; False if leases cannot be had. Raises OpenElsewhereError."""
    try:
        # Somebody who comes to open the file has the kernel tell us so with a signal: by
        # default with SIGIO, which would end the process. SIGURG is ignored.
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    except OSError as error:
        if error.errno == errno.EAGAIN:
            raise OpenElsewhereError from None
        if error.errno in _NO_LEASES:
            return False
        raise
    return True


def _leases_are_granted(probe: Path) -> bool:
    """Whether the file system grants a lease on a file that nobody else can have open.

    Over a network, "somebody has it open" may be all it ever says.
    """
    try:
        fd = os.open(probe, os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError:
        return False
    try:
        probe.unlink()
        return _lease(fd)
    except OSError:
        return False
    finally:
        os.close(fd)


def _is_same(fd: int, link: Path) -> bool:
    """Whether a process's open file is this one."""
    try:
        return os.path.samestat(os.fstat(fd), link.stat())
    except OSError:
        return False
