"""Which checks are made, and in which order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dataserver.selftest.asking import check_hints, check_list, check_stat
from dataserver.selftest.batches import check_batch
from dataserver.selftest.finding import Subject
from dataserver.selftest.keeping import check_keeping
from dataserver.selftest.orders import Orders, check_orders, give_back
from dataserver.selftest.staging import check_stage

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Collection, Sequence

    from common.config.mss import MssConfig
    from dataserver.selftest.bench import Bench
    from dataserver.selftest.finding import Finding

#: What can be checked; "submit" are all four commands about orders, "store" removing as well.
KINDS: Final = ("stat", "list", "hint", "submit", "stage", "store")


def kinds_of(config: MssConfig) -> list[str]:
    """What a site has and what can be tried without writing to its archive."""
    is_builtin = isinstance(config.stagecmd, str)
    there = {
        "stat": is_builtin or config.statcmd is not None,
        "list": is_builtin or config.listcmd is not None,
        "hint": config.hintcmd is not None,
        "submit": config.submitcmd is not None,
        "stage": True,
        "store": False,
    }
    return [kind for kind in KINDS if there[kind]]


async def check_commands(
    bench: Bench, lfns: Sequence[str], kinds: Collection[str]
) -> AsyncGenerator[Finding, None]:
    """Every finding, as soon as it is there. `lfns` are files that the archive has.

    Raises NameRefused for a name that no rule maps.
    """
    for lfn in lfns:
        bench.names.archive_name(lfn)
    for lfn in lfns:
        if "stat" in kinds:
            if bench.archive.can_examine:
                async for finding in check_stat(bench, lfn):
                    yield finding
            else:
                yield Subject("stat", lfn).skipped("knows the file", "there is no statcmd")
        if "list" in kinds:
            async for finding in check_list(bench, lfn):
                yield finding
    if "hint" in kinds:
        async for finding in check_hints(bench, lfns):
            yield finding
    async for finding in _check_bringing(bench, lfns, kinds):
        yield finding
    if "store" in kinds:
        async for finding in check_keeping(bench, lfns[0]):
            yield finding


async def _check_bringing(
    bench: Bench, lfns: Sequence[str], kinds: Collection[str]
) -> AsyncIterator[Finding]:
    """Orders where the archive takes them, and copies what is ready then."""
    if bench.config.submitcmd is None:
        if "submit" in kinds:
            yield Subject("submit", lfns[0]).skipped("takes an order", "there is no submitcmd")
        if "stage" in kinds:
            async for finding in _check_staging(bench, lfns):
                yield finding
    elif {"submit", "stage"} & set(kinds):
        placed: list[Orders] = []
        try:
            async for finding in _check_ordered(bench, lfns, placed, copies="stage" in kinds):
                yield finding
        finally:
            for orders in placed:
                await orders.abandon()


async def _check_ordered(
    bench: Bench, lfns: Sequence[str], placed: list[Orders], *, copies: bool
) -> AsyncIterator[Finding]:
    ready = []
    for lfn in lfns:
        orders = Orders(bench)
        placed.append(orders)
        async for finding in check_orders(bench, orders, lfn):
            yield finding
        if orders.ready is not None:
            ready.append(lfn)
        elif copies:
            yield Subject("stage", lfn).skipped("brings the file", "it was not made ready")
    if copies:
        async for finding in _check_staging(bench, ready):
            yield finding
    for orders in placed:
        async for finding in give_back(orders):
            yield finding


async def _check_staging(bench: Bench, lfns: Sequence[str]) -> AsyncIterator[Finding]:
    if bench.config.contract == "batch" and lfns:
        async for finding in check_batch(bench, lfns):
            yield finding
        return
    for lfn in lfns:
        async for finding in check_stage(bench, lfn):
            yield finding
