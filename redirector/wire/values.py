"""The values that several messages share, and the checks all messages need."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from common.errors import UsageError
from common.names import shorten
from common.units import MAX_DURATION_S, MAX_SIZE_BYTES
from protos.packhorse.v1 import types_pb2
from redirector.core.model import Checksum, Hint, NodeAddress

if TYPE_CHECKING:
    from protos.packhorse.v1 import redirector_pb2 as pb
    from redirector.core.states import FileState

#: What people write about themselves: owners, reasons, titles.
MAX_LABEL_CHARACTERS = 1024


def checked_size(what: str, size_bytes: int) -> int:
    """A size that a database can hold; raises UsageError."""
    if size_bytes > MAX_SIZE_BYTES:
        raise UsageError(f"{what}: {size_bytes} bytes cannot be")
    return size_bytes


def checked_duration(what: str, duration_s: float) -> float:
    """A duration of 0 s or more; raises UsageError."""
    if not 0 <= duration_s <= MAX_DURATION_S:
        raise UsageError(f"{what}: {duration_s} s is no duration between 0 and a century")
    return duration_s


def checked_number(what: str, number: float) -> float:
    """A finite number of 0 or more; raises UsageError."""
    if not (math.isfinite(number) and number >= 0):
        raise UsageError(f"{what}: {number} is not a number of 0 or more")
    return number


def checked_label(what: str, text: str) -> str:
    """A short printable text; raises UsageError."""
    if len(text) > MAX_LABEL_CHARACTERS or not text.isprintable():
        raise UsageError(
            f"{what}: {shorten(text)} is not a text of at most {MAX_LABEL_CHARACTERS} "
            "printable characters"
        )
    return text


def required(what: str, text: str) -> str:
    """A text that must be there; raises UsageError."""
    if not text:
        raise UsageError(f"{what} is missing")
    return text


def checksum_of(message: types_pb2.Checksum) -> Checksum | None:
    """The checksum in a message, None if it holds none; raises UsageError."""
    if not message.algorithm and not message.value:
        return None
    if not (message.algorithm.isalnum() and message.value.isalnum()):
        raise UsageError(
            f"checksum {shorten(message.algorithm)}:{shorten(message.value)}: an algorithm and a "
            "hexadecimal value are needed"
        )
    return Checksum(message.algorithm.lower(), message.value.lower())


def checksum_message(checksum: Checksum | None) -> types_pb2.Checksum | None:
    """The message of a checksum, None for None."""
    if checksum is None:
        return None
    return types_pb2.Checksum(algorithm=checksum.algorithm, value=checksum.value)


def address_message(address: NodeAddress) -> types_pb2.NodeAddress:
    """The message of a data server's address."""
    return types_pb2.NodeAddress(
        node=address.node,
        address=address.address,
        host=address.host,
        rack=address.rack,
        site=address.site,
        root_address=address.root_address,
    )


def hint_of(message: pb.ArchiveFile) -> Hint:
    """Where a file lies on tape; sizes and positions beyond all bounds are cut."""
    return Hint(
        message.volume,
        min(message.position, MAX_SIZE_BYTES),
        message.size_bytes if message.size_bytes <= MAX_SIZE_BYTES else 0,
    )


def state_value(state: FileState | None) -> types_pb2.FileState.ValueType:
    """A file's state on the wire; None is UNSPECIFIED."""
    return types_pb2.FileState.ValueType(state or 0)
