"""Many clients at one redirector, some of them waiting for files in the archive.

The stage script of the site is held back by the tests, so they decide when a file comes.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.support.cluster import free_port
from tests.support.patience import eventually
from tests.support.root_peer import Peer, said
from tests.support.staging_site import NODES, StagingSite, staging_site
from xroot import requests
from xroot.protocol import Code, OpenFlag, Status
from xroot.responses import text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from packhorse.values import SiteStatus

CLIENTS = 300
WAITING = 30
FILES = 10
#: Of one client, waiting or not; it is about 6 KiB, and Python takes memory in larger pieces.
CLIENT_BYTES = 64 << 10


@dataclass
class Desk:
    """A site, and the address of its redirector's root:// door."""

    site: StagingSite
    address: str

    @property
    def redirector(self) -> psutil.Process:
        """Its redirector's process."""
        return psutil.Process(self.site.cluster.processes["redirector"].pid)

    async def until(self, so: Callable[[SiteStatus], bool]) -> None:
        """Waits until something is true of the site's figures."""
        await asyncio.to_thread(eventually, lambda: so(self.site.site.status()))

    async def until_wished(self, count: int) -> None:
        """Waits until so many wishes for files are open."""
        await self.until(lambda status: status.requests_active == count)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    address = f"127.0.0.1:{free_port()}"
    with staging_site(tmp_path_factory.mktemp("site"), root_listen=address) as site:
        yield Desk(site, address)


@pytest.fixture
def desk(shared: Desk) -> Iterator[Desk]:
    yield shared
    shared.site.tidy()


def open_to_read(lfn: str) -> requests.Open:
    return requests.Open(lfn, options=OpenFlag.READ)


async def many(stack: AsyncExitStack, desk: Desk, count: int, *, waits: bool = True) -> list[Peer]:
    """So many clients, logged in."""
    return [
        await stack.enter_async_context(await Peer.logged_in(desk.address, waits=waits))
        for _ in range(count)
    ]


async def test_all_are_served_while_some_wait_and_all_of_these_are_called_back(desk: Desk) -> None:
    (held,) = desk.site.archived("held.root")
    desk.site.site.stage(held).wait(30)
    cold = desk.site.archived(*(f"cold{number}.root" for number in range(FILES)))
    desk.site.hold(*cold)
    async with AsyncExitStack() as stack:
        before_bytes = desk.redirector.memory_info().rss
        peers = await many(stack, desk, CLIENTS)
        waiting, others = peers[:WAITING], peers[WAITING:]
        for number, peer in enumerate(waiting):
            await peer.say(open_to_read(cold[number % FILES]))
            assert (await peer.hear()).status == Status.WAITRESP
        await desk.until_wished(WAITING)

        for _ in range(3):
            await asyncio.gather(*(peer.say(open_to_read(held)) for peer in others))
            answers = [await peer.answer() for peer in others]
            assert {answer.status for answer in answers} == {Status.REDIRECT}
        grown_bytes = desk.redirector.memory_info().rss - before_bytes
        assert grown_bytes < CLIENTS * CLIENT_BYTES

        desk.site.release()
        for peer in waiting:
            answer = await peer.answer()
            assert answer.status == Status.REDIRECT
            assert text_of(answer.body).rpartition("ph.via=")[2] in NODES
    assert [len(desk.site.ran_on(lfn)) for lfn in cold] == [1] * FILES
    await desk.until_wished(0)


async def test_a_failure_is_told_to_all_that_wait_for_it(desk: Desk) -> None:
    (lfn,) = desk.site.archived("broken.root")
    desk.site.hold(lfn)
    async with AsyncExitStack() as stack:
        peers = await many(stack, desk, WAITING)
        for peer in peers:
            await peer.say(open_to_read(lfn))
            assert (await peer.hear()).status == Status.WAITRESP
        await desk.until_wished(WAITING)
        await asyncio.to_thread(desk.site.until_running, lfn)
        (desk.site.cluster.archive / lfn.lstrip("/")).unlink()
        desk.site.release()
        told = {said(await peer.answer()) for peer in peers}
        assert len(told) == 1
        ((code, text),) = told
        assert code in (Code.FS_ERROR, Code.NOT_FOUND)
        assert text.startswith(f"{lfn}: ")


async def test_clients_that_go_take_along_what_was_not_begun(desk: Desk) -> None:
    # More than all nodes together bring at a time.
    cold = desk.site.archived(*(f"unwanted{number}.root" for number in range(5 * FILES)))
    desk.site.hold(*cold)
    ways = [Peer.close, Peer.vanish, Peer.hang_up_half]
    async with AsyncExitStack() as stack:
        peers = await many(stack, desk, WAITING)
        for peer in peers:
            await peer.say(*map(open_to_read, cold))
        await desk.until_wished(WAITING * len(cold))
        for number, peer in enumerate(peers):
            ways[number % len(ways)](peer)
        # What is being brought already is brought to its end.
        await desk.until(
            lambda status: (
                status.requests_active == WAITING * status.recalls_running
                and not status.recalls_queued
            )
        )
        running = desk.site.site.status().recalls_running
        assert 0 < running < len(cold)
        desk.site.release()
        await desk.until_wished(0)
    assert len([lfn for lfn in cold if desk.site.ran_on(lfn)]) == running


async def test_a_redirector_that_stops_while_clients_wait_stops_at_once(desk: Desk) -> None:
    (lfn,) = desk.site.archived("late.root")
    desk.site.hold(lfn)
    async with AsyncExitStack() as stack:
        peers = await many(stack, desk, WAITING)
        for peer in peers:
            await peer.say(open_to_read(lfn))
            assert (await peer.hear()).status == Status.WAITRESP
        await desk.until_wished(WAITING)
        await asyncio.to_thread(desk.site.cluster.stop, "redirector")
        for peer in peers:
            await peer.until_hung_up()
    await asyncio.to_thread(desk.site.cluster.start, "redirector")
    desk.site.release()
    # Whoever comes back finds what it has asked for.
    async with await Peer.logged_in(desk.address) as peer:
        assert (await peer.ask(open_to_read(lfn))).status == Status.REDIRECT
