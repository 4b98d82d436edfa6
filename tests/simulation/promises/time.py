"""Promise 11: old messages, and clocks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.simulation.promises.promise import Promise

if TYPE_CHECKING:
    from tests.simulation.laboratory import Laboratory


#: Of what a late message has changed.
TOLD_CHARACTERS = 500


class OldMessagesAreIgnored(Promise):
    """Messages of an older epoch are ignored; no decision compares two hosts' clocks.

    What comes late, by a connection that its node has replaced or lost, changes nothing in
    the head. That clocks do not matter is not seen after a step: every host's clock here is
    wrong by up to an hour, and test_clocks tells that setting them otherwise changes no line
    of a story.
    """

    number = 11

    def __init__(self, laboratory: Laboratory) -> None:
        super().__init__(laboratory)
        self._before: tuple[object, ...] | None = None
        self.late = 0
        self.site.head.before_late = self._before_late
        self.site.head.after_late = self._after_late

    def _before_late(self, connection: int) -> None:
        """A stream that was cut is some node's present one until the head is told."""
        figures = self._figures()
        present = {one.connection for one in self.site.head.head.nodes(self.site.head.now_s())}
        self._before = None if connection in present else figures

    def _after_late(self, connection: int) -> None:
        if self._before is not None:
            self.late += 1
            after = self._figures()
            if after != self._before:
                changed = [
                    now for now, then in zip(after, self._before, strict=True) if now != then
                ]
                told = str(changed)[:TOLD_CHARACTERS]
                raise self.broken(f"connection {connection} is over, and has changed {told}")

    def _figures(self) -> tuple[object, ...]:
        """All that a node's message could change."""
        head = self.site.head
        now_s = head.now_s()
        lfns = sorted({*self.site.archive.tapes, *(lfn for _, lfn in self.clients.kept)})
        return (
            head.head.status(now_s),
            head.head.nodes(now_s),
            head.head.locate(lfns, now_s),
            head.head.standing(lfns, now_s),
        )
