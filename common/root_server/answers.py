"""Errors of ours as clients of root:// are told them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.errors import (
    AlreadyExists,
    Damaged,
    NameRefused,
    NotFound,
    QuotaExceeded,
    Refused,
    StageFailed,
    TimedOut,
    TooLarge,
    Unreachable,
    UsageError,
)
from xroot.protocol import Code

if TYPE_CHECKING:
    from common.errors import PackhorseError

_CODES: tuple[tuple[type[PackhorseError], Code], ...] = (
    (NameRefused, Code.NOT_AUTHORIZED),
    (UsageError, Code.ARG_INVALID),
    (NotFound, Code.NOT_FOUND),
    (AlreadyExists, Code.ITEM_EXISTS),
    (Refused, Code.NOT_AUTHORIZED),
    (QuotaExceeded, Code.NO_SPACE),
    (StageFailed, Code.FS_ERROR),
    (TimedOut, Code.TIMED_OUT),
    (TooLarge, Code.ARG_TOO_LONG),
    (Unreachable, Code.OVERLOADED),
    (Damaged, Code.IO_ERROR),
)


def error_code(error: PackhorseError) -> Code:
    """What kind of error it is in the protocol's terms."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), Code.SERVER_ERROR)
