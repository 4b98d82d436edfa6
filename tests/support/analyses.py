"""Functions for packets, good and bad, as users write them."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from packhorse import Packet


def count(packet: Packet) -> int:
    """How many entries there are."""
    return packet.entries


def sums(packet: Packet) -> dict[str, Any]:
    """Sums of one column of a ROOT file, as analysts keep them: in a dict."""
    values = packet.arrays("x", library="np")["x"]
    return {"entries": len(values), "sum": float(values.sum()), "parts": np.array([1, len(values)])}


def total_of_bytes(packet: Packet) -> int:
    """The sum of a packet's bytes."""
    return sum(packet.bytes())


def read_through_file(packet: Packet) -> int:
    """The same, read through a file object."""
    with packet.open() as file:
        file.seek(packet.start)
        return sum(file.read(packet.entries))


def raises_at_0(packet: Packet) -> int:
    """A bug that one packet shows."""
    if packet.start == 0:
        return [1, 2, 3][packet.entries]
    return packet.entries


def exits_at_0(packet: Packet) -> int:
    """Takes its process down, the hard way."""
    if packet.start == 0:
        os._exit(3)
    return packet.entries


def quits_at_0(packet: Packet) -> int:
    """Raises SystemExit."""
    if packet.start == 0:
        raise SystemExit("enough")
    return packet.entries


def dies_once(packet: Packet) -> int:
    """Takes its process down the first time it sees the first packet."""
    mark = Path(os.environ["PACKHORSE_TEST_MARK"])
    if packet.start == 0 and not mark.exists():
        mark.touch()
        os._exit(3)
    return packet.entries


def text_at_900(packet: Packet) -> Any:
    """Returns something else for one packet."""
    return "text" if packet.start == 900 else packet.entries


def unpicklable(packet: Packet) -> Any:
    """Returns what cannot leave its process."""
    return threading.Lock()


def greedy(packet: Packet) -> int:
    """Uses up memory on one packet."""
    if packet.start == 0:
        return len(bytearray(64 << 30))
    return packet.entries


def large(packet: Packet) -> bytes:
    """Returns more than a packetizer takes."""
    return bytes(100_000)


def slow(packet: Packet) -> int:
    """Takes its time."""
    time.sleep(0.3)
    return packet.entries


def hangs(packet: Packet) -> int:
    """Never returns, once it has said that it was called."""
    Path(os.environ["PACKHORSE_TEST_MARK"]).write_text(str(os.getpid()))
    threading.Event().wait()
    return 0


def asks_for_a_column_that_is_not_there(packet: Packet) -> Any:
    """A typo."""
    return packet.arrays("y")
