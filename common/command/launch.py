"""Starting a command's process, and saying clearly why it could not be started."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import resource
import subprocess
from typing import IO, TYPE_CHECKING, Any

from common.command.credentials import CredentialUnusableError
from common.command.environment import command_environment
from common.command.exit_codes import ErrorClass, Failure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from common.command.spec import CommandSpec

log = logging.getLogger(__name__)

# The kernel's own limit is only a second fence, so it leaves room for a script's
# log file, which may have grown large over the years.
LEAST_FILE_LIMIT_BYTES = 1 << 30

# The machine's trouble of the moment, and none of the command's.
_TRANSIENT = frozenset({errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ETXTBSY})


def launch(spec: CommandSpec) -> subprocess.Popen[bytes]:
    """Starts the command. Raises OSError or ValueError; see `launch_failure`.

    Nothing here may take Python off the quick way of starting a process
    (vfork), which also keeps gRPC's threads safe: no preexec_fn, no user, no group.
    """
    configured = {**spec.credentials.environment(), **spec.env}
    with _standard_input(spec) as stdin:
        process = subprocess.Popen(
            spec.argv,
            cwd=spec.cwd,
            env=command_environment(os.environ, configured, spec.command_id, spec.passes),
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        )
    if spec.size_limit_bytes is not None:
        _limit_files(process.pid, max(spec.size_limit_bytes + 1, LEAST_FILE_LIMIT_BYTES))
    return process


def launch_failure(spec: CommandSpec, error: OSError | ValueError) -> Failure:
    """Why the command could not be started."""
    program = spec.argv[0]
    if isinstance(error, CredentialUnusableError):
        # A file that is being renewed, or whose disk is away, will be there again.
        return Failure(ErrorClass.TRANSIENT, f"{program} is not run: {error}")
    if not isinstance(error, OSError):
        return Failure(ErrorClass.PERMANENT, f"{program} cannot be run: {error}")
    error_class = ErrorClass.TRANSIENT if error.errno in _TRANSIENT else ErrorClass.PERMANENT
    if spec.cwd is not None and not spec.cwd.is_dir():
        return Failure(ErrorClass.TRANSIENT, f"{program}: no directory {spec.cwd} to run it in")
    hint = f": {error.strerror}"
    match error.errno:
        case errno.ENOENT if os.path.lexists(program):
            hint = ": its first line (#!) or its link names a program that does not exist"
        case errno.ENOENT | errno.EACCES if "/" not in program:
            # A directory of PATH that may not be searched makes it "permission denied".
            hint = ": no such program in PATH that may be executed"
        case errno.EACCES:
            hint = ": permission denied; is it executable (chmod +x)?"
        case errno.ENOEXEC:
            hint = ": it is no program; a script needs a first line like #!/bin/sh"
    return Failure(error_class, f"{program} cannot be run{hint}")


@contextlib.contextmanager
def _standard_input(spec: CommandSpec) -> Iterator[int | IO[Any]]:
    """Something to read from that never blocks us, however slowly it is read."""
    if spec.stdin_fd is not None:
        yield spec.stdin_fd
        return
    if not spec.stdin:
        yield subprocess.DEVNULL
        return
    fd = os.memfd_create("stdin", os.MFD_CLOEXEC)
    with open(fd, "r+b", buffering=0) as file:  # noqa: PTH123 - there is no path
        file.write(spec.stdin)
        file.seek(0)
        yield file


def _limit_files(pid: int, limit_bytes: int) -> None:
    """Has the kernel stop files from growing without end between two looks at them."""
    # It may have ended already, or be another user's by now (sudo): then there is no fence.
    with contextlib.suppress(OSError):
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        if hard == resource.RLIM_INFINITY or limit_bytes < hard:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))
