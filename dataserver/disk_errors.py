"""What the disk's errors mean to a client that changes something."""

from __future__ import annotations

import errno
import logging
from typing import TYPE_CHECKING, Final

from common.errors import Damaged, PackhorseError, QuotaExceeded, Refused, TooLarge
from dataserver.disk import is_no_space

if TYPE_CHECKING:
    from collections.abc import Mapping

log = logging.getLogger(__name__)

_WHAT: Final[Mapping[int, type[PackhorseError]]] = {
    errno.EIO: Damaged,
    errno.EFBIG: TooLarge,
    errno.ENAMETOOLONG: Refused,
    errno.ENOTDIR: Refused,
    errno.EISDIR: Refused,
    errno.ELOOP: Refused,
    errno.EROFS: Refused,
    errno.EACCES: Refused,
    errno.EPERM: Refused,
}


def explained(lfn: str, what: str, error: Exception) -> PackhorseError:
    """The error a client is told when something could not be done to a file.

    `what` says what, as in "written". Errors of ours are told as they are; anything the
    disk did not say is a bug of ours, and goes to the log.
    """
    if isinstance(error, PackhorseError):
        return error
    if not isinstance(error, OSError):
        log.error("%s was not %s, in an unexpected way", lfn, what, exc_info=error)
        return PackhorseError(
            f"{lfn} could not be {what}: internal error, see the data server's log"
        )
    if is_no_space(error):
        kind: type[PackhorseError] = QuotaExceeded
    else:
        kind = _WHAT.get(error.errno or 0, PackhorseError)
    return kind(f"{lfn} could not be {what} on this node's disk: {error.strerror or error}")
