"""Errors of ours as clients of root:// are told them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import escape

from common.errors import (
    AlreadyExists,
    BeingWritten,
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
from xroot.protocol import (
    MAX_ATTRIBUTE_NAME_BYTES,
    MAX_ATTRIBUTE_VALUE_BYTES,
    MAX_CHUNK_BYTES,
    MAX_CHUNKS,
    MAX_PATHS,
    Code,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from common.errors import PackhorseError


#: The checksums that data servers can tell, the usual one first.
CHECKSUMS: Final = ("adler32", "crc32c", "md5")


class RootError(Exception):
    """What goes wrong in a way that only this protocol has a name for: one of its codes."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code


_CODES: tuple[tuple[type[PackhorseError], Code], ...] = (
    (NameRefused, Code.NOT_AUTHORIZED),
    (UsageError, Code.ARG_INVALID),
    (NotFound, Code.NOT_FOUND),
    (AlreadyExists, Code.ITEM_EXISTS),
    (BeingWritten, Code.FILE_LOCKED),
    (Refused, Code.NOT_AUTHORIZED),
    (QuotaExceeded, Code.NO_SPACE),
    (StageFailed, Code.FS_ERROR),
    (TimedOut, Code.TIMED_OUT),
    (TooLarge, Code.ARG_TOO_LONG),
    (Unreachable, Code.OVERLOADED),
    (Damaged, Code.IO_ERROR),
)


def error_code(error: PackhorseError | RootError) -> Code:
    """What kind of error it is in the protocol's terms."""
    if isinstance(error, RootError):
        return error.code
    return next((code for kind, code in _CODES if isinstance(error, kind)), Code.SERVER_ERROR)


def configuration(asked: str, *, role: str, version: str) -> str:
    """What a query of the configuration is told: for each word its value, or the word itself."""
    values = {
        "bind_max": str(MAX_PATHS),
        "chksum": ",".join(f"{number}:{name}" for number, name in enumerate(CHECKSUMS)),
        "fattr": f"{MAX_ATTRIBUTE_NAME_BYTES} {MAX_ATTRIBUTE_VALUE_BYTES}",
        "readv_ior_max": str(MAX_CHUNK_BYTES),
        "readv_iov_max": str(MAX_CHUNKS),
        "role": role,
        "sitename": "packhorse",
        "tpc": "0",
        "tpcdlg": "0",
        "version": f"packhorse-{version}",
        "xattr": "1",
    }
    return "".join(f"{values.get(word, word)}\n" for word in asked.split())


def statistics(of: str, figures: Mapping[str, int], *, now_s: float, version: str) -> str:
    """A few figures in the frame that XRootD's monitoring tools read. `now_s` is Unix time."""
    inner = "".join(f"<{name}>{value}</{name}>" for name, value in figures.items())
    return (
        f'<statistics tod="{int(now_s)}" ver="packhorse-{escape(version)}" pgm="packhorse">'
        f'<stats id="{of}">{inner}</stats></statistics>'
    )
