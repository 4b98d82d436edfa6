"""What a client does while it is measured: all its requests, made before the clock starts."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from benchmarks.root.raw_client import Address, Connection, Lane, Work, open_file
from xroot.protocol import OpenFlag, Status
from xroot.requests import Chunk, Locate, Open, PgRead, Read, ReadV

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.root.raw_client import Encodable

#: As xrdcp opens a file to read it.
AS_XRDCP = OpenFlag.READ | OpenFlag.ASYNC | OpenFlag.RETSTAT
#: Where random reads begin, a multiple of this: as events do not, but pages do.
ALIGNED_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Asking:
    """Asks a redirector for names that are on some disk, `count` times; 0: for each one once."""

    address: Address
    how: Literal["open", "locate"]
    names: tuple[str, ...]
    count: int
    connections: int
    window: int

    #: How many bytes of files come back.
    content_bytes = 0

    def lanes(self) -> list[Lane]:
        """Logged-in connections with their requests."""
        wanted = Status.REDIRECT if self.how == "open" else Status.OK
        return [
            Lane(Connection(self.address), Work.of(self._messages(number)), wanted)
            for number in range(self.connections)
        ]

    def _messages(self, number: int) -> Iterator[Encodable]:
        chosen = random.Random(number).choices(self.names, k=self.count // self.connections)
        for name in chosen if self.count else self.names:
            yield Open(name, options=AS_XRDCP) if self.how == "open" else Locate(name)


@dataclass(frozen=True, slots=True)
class Reading:
    """Reads one file: from its beginning to its end, or `count` times somewhere.

    `length_bytes` of each read; or of each chunk if a read is a vector of `chunks`.
    """

    address: Address
    path: str
    file_bytes: int
    length_bytes: int
    count: int = 0
    connections: int = 1
    window: int = 1
    chunks: int = 0
    pages: bool = False

    @property
    def reads(self) -> int:
        """How many requests that are."""
        if self.count:
            return self.count // self.connections * self.connections
        return self.file_bytes // self.length_bytes

    @property
    def content_bytes(self) -> int:
        """How many bytes of files come back."""
        return self.reads * self.length_bytes * max(1, self.chunks)

    def lanes(self) -> list[Lane]:
        """Connections that have the file open, with their requests."""
        wanted = Status.STATUS if self.pages else Status.OK
        lanes = []
        for number in range(self.connections):
            connection, handle = open_file(self.address, self.path)
            lanes.append(Lane(connection, Work.of(self._messages(handle, number)), wanted))
        return lanes

    def _messages(self, handle: bytes, number: int) -> Iterator[Encodable]:
        rng = random.Random(number)
        for index in range(self.reads // self.connections):
            if self.chunks:
                # Sorted and never the same one twice, as XRootD's own client has them.
                offsets = sorted(rng.sample(range(self._places()), self.chunks))
                yield ReadV(
                    tuple(Chunk(handle, self.length_bytes, at) for at in map(_aligned, offsets))
                )
                continue
            offset = (
                _aligned(rng.randrange(self._places())) if self.count else index * self.length_bytes
            )
            kind = PgRead if self.pages else Read
            yield kind(handle, offset, self.length_bytes)

    def _places(self) -> int:
        return (self.file_bytes - self.length_bytes) // ALIGNED_BYTES + 1


Job = Asking | Reading


def _aligned(place: int) -> int:
    return place * ALIGNED_BYTES
