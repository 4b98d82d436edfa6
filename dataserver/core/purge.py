"""Purging: a policy proposes victims one by one, the mechanism may veto each.

Proposals come from a generator. It is sent back None when its proposal was taken, and the
reason in words when it was vetoed: open, pinned, on its way out, or not safe in the archive.
So a policy can be replaced without being able to do harm, and the rules that protect a
replica stand in one place, `Books.veto`.

Nothing is removed here: `choose` only looks, the caller evicts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataserver.core.books import Books
    from dataserver.core.candidates import Proposal, Proposals


@dataclass(frozen=True, slots=True)
class Goal:
    """How much has to go."""

    files: int
    size_bytes: int

    def __bool__(self) -> bool:
        return self.files > 0 or self.size_bytes > 0


def choose(
    books: Books, proposals: Proposals, goal: Goal, now_s: float, max_files: int | None = None
) -> list[Proposal]:
    """Victims that reach `goal`, or as many as the proposals and the vetoes allow.

    Stops after `max_files` victims. O(log n) or better for each proposal.
    """
    victims: list[Proposal] = []
    taken: set[str] = set()
    files, size_bytes = goal.files, goal.size_bytes
    veto: str | None = None
    started = False
    while (files > 0 or size_bytes > 0) and (max_files is None or len(victims) < max_files):
        try:
            proposal = proposals.send(veto) if started else next(proposals)
        except StopIteration:
            break
        started = True
        lfn = proposal.lfn
        veto = "proposed twice" if lfn in taken else books.veto(lfn, now_s)
        if veto is None:
            replica = books.get(lfn)
            assert replica is not None, lfn
            taken.add(lfn)
            victims.append(proposal)
            files -= 1
            size_bytes -= replica.size_bytes
    proposals.close()
    return victims
