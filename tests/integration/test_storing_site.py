"""A whole site stores what clients write, and tells of it; with removals through the head."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.cluster import Cluster, Node, free_port, running, until_joined
from tests.support.patience import eventually
from tests.support.root_client import RootClient, redirect_of
from xroot import requests
from xroot.protocol import OpenFlag, Status

if TYPE_CHECKING:
    from pathlib import Path

    import packhorse
    from xroot.requests import Message
    from xroot.responses import Response

LFN, KEPT = "/store/my/a", "/store/my/scratch/b"
CONTENT = b"events " * 1000


def make_site(folder: Path, door: str) -> Cluster:
    mss = {
        "storecmd": "builtin",
        "removecmd": "builtin",
        "store_delay": "1h",
        "notmigratable": ["/store/my/scratch"],
    }
    cluster = Cluster(
        folder,
        [Node("disk1", extra={"inspect": False})],
        mss=mss,
        redirector={"root_listen": door},
        root={"writable": ["/store/my"]},
        packetizer=None,
    )
    # An archive that is empty is taken for one that is not mounted.
    cluster.write("/store/.archive", b"")
    return cluster


async def ask(door: str, message: Message) -> Response:
    """The answer of whom the head sends the client to."""
    async with RootClient(door) as client:
        answer = await client.ask(message)
    if answer.status != Status.REDIRECT:
        return answer
    async with RootClient(redirect_of(answer).address) as client:
        return await client.ask(message)


async def write(door: str, lfn: str, content: bytes = CONTENT, how: int = OpenFlag.NEW) -> None:
    message = requests.Open(lfn, "", how | OpenFlag.UPDATE)
    async with RootClient(door) as client:
        sent = await client.sent_to(message)
    async with RootClient(sent.address) as client:
        handle = (await client.ask(message)).body[:4]
        assert (
            await client.ask(requests.Write(handle, 0, len(content)), content)
        ).status == Status.OK
        assert (await client.ask(requests.Close(handle))).status == Status.OK


def stuck(site: packhorse.Site) -> str:
    return "\n".join(site.status().stuck)


async def test_what_is_written_is_shown_stored_evicted_and_removed(tmp_path: Path) -> None:
    door = f"127.0.0.1:{free_port()}"
    cluster = make_site(tmp_path, door)
    archived = cluster.archive / LFN.lstrip("/")
    with running(cluster), cluster.connect() as site:
        until_joined(site, 1)
        await write(door, LFN)
        await write(door, KEPT)
        # It waits for its delay, and only disk1 has it.
        (line,) = site.explain(LFN).stores
        assert line.startswith("only on disk1, to be stored in the archive: waiting")
        (line,) = site.explain(KEPT).stores
        assert "only on disk1, not in the archive: it is not migratable" in line
        ((node,),) = [site.stores()]
        assert [(one.lfn, one.state) for one in node.stores] == [(LFN, "waiting")]
        assert "only copy" in site.evict(LFN).refused[0].reason
        eventually(lambda: site.nodes()[0].load.unarchived_files == 2)
        # Somebody else's file is in its way.
        cluster.write(LFN, b"other")
        assert site.store([LFN]).taken == (LFN,)
        eventually(lambda: [one.state for one in site.stores()[0].stores] == ["failed"])
        eventually(lambda: "1 file cannot be stored" in stuck(site))
        archived.unlink()
        # Without a name, all that failed.
        assert site.store(all_failed=True).taken == (LFN,)
        eventually(lambda: site.stores()[0].stores == ())
        assert archived.read_bytes() == CONTENT
        assert site.store([KEPT]).refused[0].reason == "it is not migratable: it stays in the pool"
        assert site.store(["/store/my/none"]).refused[0].reason == "not online"
        assert site.explain(LFN).stores == ()
        # New content takes the old one's place in the archive too.
        await write(door, LFN, b"new", OpenFlag.DELETE)
        assert not archived.exists()
        assert site.store([LFN]).taken == (LFN,)
        eventually(lambda: site.stores()[0].stores == ())
        assert archived.read_bytes() == b"new"
        # A replica that is safe may go; and then the archive's copy, through any node.
        assert site.evict(LFN).evicted == 1
        eventually(lambda: cluster.holders(LFN) == [])
        assert (await ask(door, requests.Rm(LFN))).status == Status.OK
        assert not archived.exists()
        assert (await ask(door, requests.Rm(LFN))).status == Status.ERROR
        report = site.drain("disk1")
        assert report.unarchived_files == 1
