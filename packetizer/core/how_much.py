"""How many entries the next packet has: the policy of *how much*.

A packet is a time, not a number: `packet_time_s` at the worker's own measured
rate. Towards the end packets shrink with the work that remains, so that all
workers finish together: a packet takes at most `remaining / (SHARE * workers)` of
time, whatever the speed of the worker. It never shrinks below a small part of
`packet_time_s`, where the cost of handing a packet over would show; and it is at
least one cluster, which is up to the cuts, not to this policy.

The first packets of a worker serve to learn its speed: they are small.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from packetizer.core.files import WorkFile
    from packetizer.core.workers import Crew, Seat

#: A packet is at most this part of one worker's share of the remaining work. Two
#: packets may be in its hands, the one at work and the one prefetched, so that a
#: half of its share is in nobody's hands yet.
_SHARE = 4
#: The shortest packet, in packet times.
_SHORTEST = 0.05
#: The first packet of a worker, as long as nobody's speed is known: so many bytes,
#: and of a small file a part, because few bytes may be much work.
_FIRST_BYTES = 1 << 18
_FIRST_PART = 16
#: The same, if others of the session were measured: in packet times at their speed.
_FIRST = 0.1


class HowMuch(Protocol):
    """The policy."""

    #: Whether a last piece of a file, if it is short, goes with the packet before it.
    takes_tail: bool

    def entries(self, seat: Seat, file: WorkFile, crew: Crew, remaining: float) -> int:
        """About how many entries of this file to lease.

        `remaining` are the entries of the session that nobody works on yet, those
        of files not described yet estimated.
        """
        ...


class ByTime:
    """The policy described above."""

    takes_tail = True

    def __init__(self, packet_time_s: float) -> None:
        self._packet_time_s = packet_time_s

    def entries(self, seat: Seat, file: WorkFile, crew: Crew, remaining: float) -> int:
        """See `HowMuch`."""
        rate = seat.rate.per_s
        time_s = self._packet_time_s
        if not rate:
            typical = crew.typical_rate
            if not typical:
                return _first_entries(file)
            return int(typical * _FIRST * time_s)
        time_s = min(time_s, remaining / (crew.total_rate * _SHARE))
        return int(rate * max(time_s, _SHORTEST * self._packet_time_s))


class Fixed:
    """Always the same number, for measuring."""

    takes_tail = False

    def __init__(self, entries: int) -> None:
        self._entries = entries

    def entries(self, seat: Seat, file: WorkFile, crew: Crew, remaining: float) -> int:  # noqa: ARG002
        """See `HowMuch`."""
        return self._entries


def _first_entries(file: WorkFile) -> int:
    return min(
        file.entries // _FIRST_PART,
        file.entries * _FIRST_BYTES // max(file.size_bytes, 1),
    )
