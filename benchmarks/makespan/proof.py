"""Where PROOF's adaptive packetizer sends a worker whose file is used up, by its second strategy.

From the description of ROOT's TPacketizerAdaptive.cxx (`GetNextUnAlloc` and `GetNextPacket`),
without its defects: a worker stays at home unless home has so little left for its rate, or so
many helpers, that it will be done long before the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from benchmarks.makespan.chunks import State
    from benchmarks.makespan.places import Place, Stock
    from benchmarks.makespan.running import Worker

_BASE_PREFERENCE: Final = 1.2


class SecondStrategy:
    """Local if that pays."""

    def choose(self, worker: Worker, stock: Stock, state: State, /) -> Place | None:
        """See `places.Rule`."""
        here = stock.present(worker)
        if here is not None:
            return here
        others = [h for h, left in enumerate(stock.left_at) if left and h != worker.host]
        # Fewest readers first, and of those the one with most left.
        best = min(others, key=lambda h: (stock.readers[h], -stock.left_at[h]), default=None)
        if stock.left_at[worker.host] and (best is None or self._stays(worker, stock, state, best)):
            return stock.at(worker.host, fresh_first=True)
        return stock.at(best, fresh_first=True) if best is not None else None

    def _stays(self, worker: Worker, stock: Stock, state: State, best: int) -> bool:
        home = worker.host
        if stock.guests[home]:
            return True
        # Every host has workers here, so no data are on hosts without any.
        left_here = stock.left_at[home] / (stock.readers[home] + 1)
        left_there = stock.left_at[best] / (stock.readers[best] + 1)
        if left_there < left_here * _BASE_PREFERENCE:
            return True
        mine = state.measured[worker.number].per_s
        left_each = stock.left / state.workers
        if not mine:
            return (
                left_here * _BASE_PREFERENCE > left_each
                or stock.guests[best] > 1
                or not stock.readers[best]
            )
        busy_s = sum(one.busy_s for one in state.measured.values())
        return left_here / mine * _BASE_PREFERENCE > left_each / (state.done / busy_s)
