"""How recalls ended, as the redirector is told it: never lost with a connection.

Such a message is kept until a heartbeat sent after it is known to have been seen, and sent
again after the next hello otherwise; the redirector takes the second one for old news.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from protos.packhorse.v1 import redirector_pb2 as pb

#: Kept for a redirector that confirms nothing.
KEPT_ENDS: Final = 10_000


class Ends:
    """How recalls ended: what is still to be told, and what may not have arrived."""

    def __init__(self) -> None:
        #: Set while none is waiting to be told.
        self.told = asyncio.Event()
        self.told.set()
        self._waiting: deque[pb.NodeMessage] = deque(maxlen=KEPT_ENDS)
        self._unconfirmed: deque[tuple[int, pb.NodeMessage]] = deque(maxlen=KEPT_ENDS)

    def add(self, message: pb.NodeMessage) -> None:
        """One more to be told."""
        self._waiting.append(message)
        self.told.clear()

    def take(self, next_beat: int) -> pb.NodeMessage | None:
        """The next to be told; kept until the heartbeat after it is seen."""
        if not self._waiting:
            self.told.set()
            return None
        message = self._waiting.popleft()
        self._unconfirmed.append((next_beat, message))
        return message

    def confirm(self, beat: int) -> None:
        """What was told before this heartbeat has arrived."""
        while self._unconfirmed and self._unconfirmed[0][0] <= beat:
            self._unconfirmed.popleft()

    def begin_anew(self) -> None:
        """On a new stream, what may not have arrived is told again, and first."""
        self._waiting.extendleft(message for _, message in reversed(self._unconfirmed))
        self._unconfirmed.clear()
