"""Where files are, for all who read them or ask their holders something."""

from __future__ import annotations

from typing import TYPE_CHECKING

from common import wording
from redirector.core.figures import EvictPlan, HolderGroups, LocateColumns
from redirector.core.standing import standing_of
from redirector.core.states import FileState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redirector.core.books import Books


class Lookup:
    """Questions to the index, answered in bulk. Changes nothing."""

    def __init__(self, books: Books) -> None:
        self._books = books

    def locate(self, lfns: Sequence[str], now_s: float, host: str) -> LocateColumns:
        """Where files are; see `LocateColumns`."""
        nodes = self._books.nodes

        def rank(number: int) -> float:
            near = host and nodes.numbered(number).address.host == host
            return -1.0 if near else nodes.reading_rank(number)

        holders, sizes_bytes, more = self._books.index.locate(lfns, rank)
        numbers = sorted({*holders, *(number for _row, number in more)} - {0})
        column = {0: 0} | {number: place for place, number in enumerate(numbers, 1)}
        return LocateColumns(
            [nodes.numbered(number).address for number in numbers],
            [column[number] for number in holders],
            sizes_bytes,
            [(row, column[number]) for row, number in more],
            self._offline(lfns, holders, now_s),
        )

    def group_by_holder(self, lfns: Sequence[str]) -> HolderGroups:
        """Files by the best holder that is in touch."""
        nodes = self._books.nodes
        groups = HolderGroups({}, [])
        for lfn in lfns:
            numbers = [number for number, _size in self._books.index.replicas(lfn)]
            in_touch = [one for one in numbers if nodes.numbered(one).connection is not None]
            if in_touch:
                connection = nodes.numbered(min(in_touch, key=nodes.reading_rank)).connection
                assert connection is not None
                groups.by_connection.setdefault(connection, []).append(lfn)
            else:
                groups.not_online.append(lfn)
        return groups

    def plan_evict(self, lfns: Sequence[str], now_s: float, *, soft: bool) -> EvictPlan:
        """Every holder of an unpinned file; if `soft`, which takes nothing now, of any file."""
        books = self._books
        plan = EvictPlan({}, [])
        for lfn in dict.fromkeys(lfns):
            holders = [books.nodes.numbered(one) for one, _size in books.index.replicas(lfn)]
            pins = [] if soft else books.pins.figures(lfn, now_s)
            silent = [node.name for node in holders if node.connection is None]
            if pins:
                left = wording.duration(pins[0].expires_in_s)
                plan.refused.append((lfn, f"pinned by {pins[0].owner} for another {left}"))
            elif not holders:
                plan.refused.append((lfn, "not online"))
            elif silent:
                plan.refused.append((lfn, f"{silent[0]}, which holds it, is out of touch"))
            else:
                for node in holders:
                    assert node.connection is not None
                    plan.by_connection.setdefault(node.connection, []).append(lfn)
        return plan

    def _offline(
        self, lfns: Sequence[str], holders: Sequence[int], now_s: float
    ) -> list[tuple[int, FileState, str]]:
        """(row, state, reason) of the rows that are neither online nor NEARLINE."""
        if 0 not in holders:
            return []
        rows = (row for row, number in enumerate(holders) if not number)
        standings = ((row, standing_of(self._books, lfns[row], now_s)) for row in rows)
        return [
            (row, standing.state, standing.reason)
            for row, standing in standings
            if standing.state is not FileState.NEARLINE
        ]
