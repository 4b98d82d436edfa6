"""Functions of packets for sessions at real sites: totals, and misbehaviour of every kind."""

from __future__ import annotations

import ctypes
import os
import threading
import time
from typing import TYPE_CHECKING, Any

import awkward as ak
import numpy as np

if TYPE_CHECKING:
    from packhorse import Packet

#: The packet, of each file, on which functions misbehave.
BAD_START = 500


def total_x(packet: Packet) -> dict[str, int]:
    """How many entries there are, and the sum of their numbers."""
    x = packet.arrays(["x"], library="np")["x"]
    return {"entries": len(x), "sum": int(x.sum())}


def slowly_total_x(packet: Packet) -> dict[str, int]:
    """The same, leaving time for things to happen meanwhile."""
    time.sleep(0.05)
    return total_x(packet)


def total_bytes(packet: Packet) -> dict[str, int]:
    """How many bytes there are, and their sum."""
    content = np.frombuffer(packet.bytes(), dtype=np.uint8)
    return {"entries": len(content), "sum": int(content.sum())}


def totals_of(arrays: Any, columns: list[str]) -> dict[str, float]:
    """The sum of each column, however deep its lists are, and the number of entries."""
    sums = {column: float(ak.sum(ak.values_astype(arrays[column], float))) for column in columns}
    return {"entries": len(arrays), **sums}


def _misbehaving(packet: Packet) -> bool:
    return packet.start == BAD_START


def raises(packet: Packet) -> int:
    """A bug that shows once in a file."""
    if _misbehaving(packet):
        raise ValueError("a muon of negative mass")
    return packet.entries


def recurses(packet: Packet) -> int:
    """Never finds its end."""
    return recurses(packet) if _misbehaving(packet) else packet.entries


def exits(packet: Packet) -> int:
    """Takes its process down, the hard way."""
    if _misbehaving(packet):
        os._exit(3)
    return packet.entries


def quits(packet: Packet) -> int:
    """Takes its process down, the soft way."""
    if _misbehaving(packet):
        raise SystemExit("I have seen enough")
    return packet.entries


def crashes(packet: Packet) -> int:
    """Reads memory that is not there."""
    if _misbehaving(packet):
        ctypes.string_at(0)
    return packet.entries


def hoards(packet: Packet) -> int:
    """Wants more memory than a worker may have."""
    if _misbehaving(packet):
        return len(bytearray(8 << 30))
    return packet.entries


def does_not_merge(packet: Packet) -> Any:
    """Returns something else once in a file."""
    return ["a list"] if _misbehaving(packet) else packet.entries


def cannot_be_sent(packet: Packet) -> Any:
    """Returns what cannot leave its process."""
    return threading.Lock() if _misbehaving(packet) else packet.entries


def is_noisy(packet: Packet) -> int:
    """Prints, changes directory, forgets files, and counts all the same."""
    print("muon!", packet)
    os.chdir("/")
    packet.open().read(10)
    return packet.entries
