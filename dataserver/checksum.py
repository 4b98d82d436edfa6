"""Checksums: computing them, and understanding the ways people write them.

A checksum has one spelling inside Packhorse: the algorithm in lower case without
punctuation (`adler32`, `crc32c`, `md5`), the value in lower-case hexadecimal,
zero-padded to the algorithm's full width. `canonical` and `parse` turn every
other spelling into that one, so two checksums are compared with `==`.
"""

from __future__ import annotations

import hashlib
import os
import re
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

import google_crc32c

from common.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

READ_BYTES: Final = 1 << 20
"""How much is read, and fed to a digest, at a time."""


@dataclass(frozen=True, slots=True)
class Checksum:
    """An algorithm and its value, both in the one spelling of this module."""

    algorithm: str
    value: str

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.value}"


class Digest(Protocol):
    """What accumulates the checksum of bytes fed to it in order."""

    def update(self, data: bytes, /) -> None: ...

    def hexdigest(self) -> str: ...


class _Adler32:
    __slots__ = ("_value",)

    def __init__(self) -> None:
        self._value = 1

    def update(self, data: bytes, /) -> None:
        self._value = zlib.adler32(data, self._value)

    def hexdigest(self) -> str:
        return f"{self._value:08x}"


class _Crc32c:
    __slots__ = ("_value",)

    def __init__(self) -> None:
        self._value = 0

    def update(self, data: bytes, /) -> None:
        self._value = google_crc32c.extend(self._value, data)

    def hexdigest(self) -> str:
        return f"{self._value:08x}"


@dataclass(frozen=True, slots=True)
class _Algorithm:
    make: Callable[[], Digest]
    width: int


_ALGORITHMS: Final[Mapping[str, _Algorithm]] = {
    "adler32": _Algorithm(_Adler32, 8),
    "crc32c": _Algorithm(_Crc32c, 8),
    "md5": _Algorithm(lambda: hashlib.md5(usedforsecurity=False), 32),
}

ALGORITHMS: Final = tuple(_ALGORITHMS)
"""The algorithms Packhorse computes, cheapest first."""


def algorithm_of(written: str) -> str | None:
    """The algorithm that someone wrote in whatever case and punctuation; None if unknown."""
    name = re.sub(r"[-_\s]", "", written).lower()
    return name if name in _ALGORITHMS else None


def canonical(algorithm: str, value: str) -> Checksum:
    """The checksum that someone wrote as `algorithm` and `value`.

    Understood are any letter case, `-`, `_` and spaces in the algorithm's name,
    `0x` before the value, and leading zeros left out or added. Raises
    UsageError for an unknown algorithm or a value that cannot be one of its.
    """
    name = algorithm_of(algorithm)
    if name is None:
        raise UsageError(
            f"checksum algorithm {algorithm!r} is not known; it may be one of {', '.join(ALGORITHMS)}"
        )
    width = _ALGORITHMS[name].width
    digits = value.strip().lower().removeprefix("0x")
    if not re.fullmatch(r"[0-9a-f]+", digits) or len(digits.lstrip("0")) > width:
        raise UsageError(
            f"{value!r} is not a checksum of {name}, which has {width} hexadecimal digits"
        )
    return Checksum(name, digits.lstrip("0").zfill(width))


def parse(written: str) -> Checksum:
    """The checksum written as `ALGORITHM:VALUE` (`=` or a space will do as well).

    Raises UsageError as `canonical` does.
    """
    parts = re.split(r"[:=\s]\s*", written.strip(), maxsplit=1)
    if len(parts) != 2:
        raise UsageError(
            f"checksum {written!r} is not written ALGORITHM:VALUE, as in adler32:07a6c902"
        )
    return canonical(parts[0], parts[1])


def new_digest(algorithm: str) -> Digest:
    """An empty digest of one of ALGORITHMS."""
    return _ALGORITHMS[algorithm].make()


def of_bytes(data: bytes, algorithm: str) -> Checksum:
    """The checksum of some bytes."""
    digest = new_digest(algorithm)
    digest.update(data)
    return Checksum(algorithm, digest.hexdigest())


def of_fd(fd: int, algorithm: str, keep_on: Callable[[], bool] | None = None) -> Checksum | None:
    """The checksum of a whole open file, wherever its position is; blocks.

    `keep_on` is asked before every read; None comes back once it says no.
    Raises OSError.
    """
    digest = new_digest(algorithm)
    offset = 0
    while keep_on is None or keep_on():
        data = os.pread(fd, READ_BYTES, offset)
        if not data:
            return Checksum(algorithm, digest.hexdigest())
        digest.update(data)
        offset += len(data)
    return None
