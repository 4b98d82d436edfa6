"""Disks and network interfaces that streams share fairly, as a fluid.

Every stream has a rate of its own that it cannot pass (its worker computes no faster) and runs
through some links: the disk it reads from and, if it goes to another host, the interfaces at
both ends. Rates are max-min fair: no stream can have more without another that has no more than
it having less. They are found anew whenever a stream begins, ends or changes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence


@dataclass(eq=False, slots=True)
class Link:
    """A disk, or one direction of a network interface."""

    capacity: float  # bytes a second
    wanted: float = 0.0  # by all streams together, each at its own rate
    streams: set[Stream] = field(default_factory=set)


@dataclass(eq=False, slots=True)
class Stream:
    """So many bytes on their way; `done` is called when they have arrived."""

    links: Sequence[Link]
    own_rate: float
    left_bytes: float
    done: Callable[[], None]
    rate: float = 0.0


class Network:
    """All streams. The caller keeps the time, and calls `advance` when something happens."""

    def __init__(self) -> None:
        self._streams: set[Stream] = set()
        self._now_s = 0.0
        self._is_stale = False

    def begin(self, stream: Stream) -> None:
        """A stream begins now."""
        self._streams.add(stream)
        self._change(stream, stream.own_rate)
        for link in stream.links:
            link.streams.add(stream)

    def end(self, stream: Stream) -> None:
        """A stream ends now, at its end or before."""
        self._streams.discard(stream)
        self._change(stream, -stream.own_rate)
        for link in stream.links:
            link.streams.discard(stream)

    def set_own_rate(self, stream: Stream, rate: float) -> None:
        """A stream's own rate is another from now on."""
        self._change(stream, rate - stream.own_rate)
        stream.own_rate = rate

    def _change(self, stream: Stream, more: float) -> None:
        for link in stream.links:
            link.wanted += more
        self._is_stale = True

    def next_end_s(self) -> float:
        """When the next stream ends if nothing else happens; `inf` without streams."""
        if self._is_stale:
            self._is_stale = False
            _share(self._streams)
        ends_in_s = (one.left_bytes / one.rate for one in self._streams if one.rate)
        return self._now_s + max(0.0, min(ends_in_s, default=inf))

    def advance(self, now_s: float) -> list[Stream]:
        """Lets time pass; the streams that have arrived, which are ended."""
        passed_s = now_s - self._now_s
        self._now_s = now_s
        arrived = []
        for stream in self._streams:
            stream.left_bytes -= stream.rate * passed_s
            # Less than a byte is rounding.
            if stream.left_bytes < 1.0:
                arrived.append(stream)
        for stream in arrived:
            self.end(stream)
        return arrived


def _share(streams: Iterable[Stream]) -> None:
    """Gives every stream its fair rate."""
    squeezed: list[Stream] = []
    for stream in streams:
        stream.rate = stream.own_rate
        if any(link.wanted > link.capacity for link in stream.links):
            squeezed.append(stream)
    if squeezed:
        _fill(squeezed)


def _fill(streams: list[Stream]) -> None:
    """Progressive filling: all rates grow together, and stop where a link is full."""
    left: dict[Link, float] = {}
    users: dict[Link, int] = {}
    inside = set(streams)
    for stream in streams:
        for link in stream.links:
            if link not in left:
                outside = sum(one.rate for one in link.streams if one not in inside)
                left[link] = link.capacity - outside
                users[link] = 0
            users[link] += 1
    waiting = sorted(streams, key=lambda one: one.own_rate, reverse=True)
    open_ones = set(streams)
    while open_ones:
        tightest = min(left, key=lambda link: left[link] / users[link] if users[link] else inf)
        level = left[tightest] / users[tightest]
        while waiting and waiting[-1] not in open_ones:
            waiting.pop()
        if waiting[-1].own_rate <= level:
            stopped = [waiting.pop()]
            rate = stopped[0].own_rate
        else:
            stopped = [one for one in tightest.streams if one in open_ones]
            rate = max(0.0, level)
        for stream in stopped:
            open_ones.discard(stream)
            stream.rate = rate
            for link in stream.links:
                left[link] -= rate
                users[link] -= 1
