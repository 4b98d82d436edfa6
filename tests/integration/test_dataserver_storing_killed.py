"""A data server is killed while it stores, at any moment: nothing is lost, nothing is half there."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from protos.packhorse.v1 import redirector_pb2 as pb
from tests.support.data_process import DataProcess
from tests.support.data_site import DataSite
from tests.support.root_client import RootClient
from tests.support.waiting import becomes_true, text_appears
from xroot import requests
from xroot.protocol import OpenFlag, Status

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.fake_redirector import FakeRedirector

KILLS = 4
SEED = 20_261_125
FILES = 12
#: Writes straight to the name, slowly, in pieces, and notes each run.
SLOWLY = """
echo "$1" >> "$3/runs"
mkdir -p "$(dirname "$2")"
head -c 9000 "$1" > "$2"
sleep 0.05
cp "$1" "$2"
"""


def content_of(number: int) -> bytes:
    return random.Random(number).randbytes(20_000)


def lfn_of(number: int) -> str:
    return f"/store/my/{number:02}"


def make_site(folder: Path, redirector: FakeRedirector, text: str) -> DataSite:
    mss = {
        "storecmd": ["/bin/sh", "-c", text, "store", "{source}", "{target}", str(folder)],
        "store_delay": "0s",
        "store_backoff": "10ms",
    }
    node = {"inspect": False, "store_slots": 3}
    site = DataSite(folder, redirector, mss=mss, node=node)
    # An archive that is empty is taken for one that is not mounted.
    site.write("/store/.archive", b"")
    return site


async def write(door: str, lfn: str, content: bytes) -> None:
    """Writes a file as a client would."""
    async with RootClient(door) as client:
        opened = await client.ask(requests.Open(lfn, "", OpenFlag.NEW | OpenFlag.UPDATE))
        assert opened.status == Status.OK, opened
        handle = opened.body[:4]
        written = await client.ask(requests.Write(handle, 0, len(content)), content)
        assert written.status == Status.OK
        assert (await client.ask(requests.Close(handle))).status == Status.OK


async def evictable(redirector: FakeRedirector, lfns: list[str]) -> list[str]:
    """Those that the data server takes for safe; they are evicted."""
    (answer,) = await redirector.ask("disk1", "evict", pb.EvictFiles(lfns=lfns))
    return list(answer.evicted)


async def test_what_a_killed_server_was_storing_is_stored_by_the_next_one(
    tmp_path: Path, redirector: FakeRedirector
) -> None:
    site = make_site(tmp_path, redirector, SLOWLY)
    lfns = [lfn_of(number) for number in range(FILES)]
    moments = random.Random(SEED)
    async with DataProcess.running(site) as server:
        door = redirector.hellos[-1].address.root_address
        for number, lfn in enumerate(lfns):
            await write(door, lfn, content_of(number))
        for kill in range(KILLS):
            # Killed when one more command has begun, and anything of it may have been done.
            begun = runs(tmp_path)
            await becomes_true(lambda begun=begun: runs(tmp_path) > begun or all_stored(redirector))
            await becomes_true(lambda: moments.random() < 0.3)
            await server.kill()
            await server.start()
            # Whatever may be purged now is in the archive, whole.
            for lfn in await evictable(redirector, lfns):
                assert archived(site, lfn) == content_of(lfns.index(lfn)), (kill, lfn)
        await redirector.until(lambda: all_stored(redirector))
        for number, lfn in enumerate(lfns):
            assert archived(site, lfn) == content_of(number)
        assert len(list((site.archive / "store/my").iterdir())) == FILES


def runs(folder: Path) -> int:
    path = folder / "runs"
    return len(path.read_text().splitlines()) if path.exists() else 0


def all_stored(redirector: FakeRedirector) -> bool:
    node = redirector.nodes.get("disk1")
    return node is not None and node.beats > 0 and node.heartbeat.unarchived_files == 0


def archived(site: DataSite, lfn: str) -> bytes:
    return (site.archive / lfn.lstrip("/")).read_bytes()


async def test_a_file_removed_while_it_is_stored_does_not_come_back_after_a_kill(
    tmp_path: Path, redirector: FakeRedirector
) -> None:
    text = 'mkdir -p "$(dirname "$2")"; cp "$1" "$2"; echo $$ > "$3/pid"; exec sleep 1000'
    site = make_site(tmp_path, redirector, text)
    site.mss["removecmd"] = ["/bin/sh", "-c", "echo $$ > $2/rm; rm $1; sleep 1000", "rm"]
    site.mss["removecmd"] += ["{source}", str(tmp_path)]
    lfn = lfn_of(0)
    async with DataProcess.running(site) as server:
        door = redirector.hellos[-1].address.root_address
        await write(door, lfn, content_of(0))
        await text_appears(tmp_path / "pid")
        async with RootClient(door) as client:
            client.send(requests.Rm(lfn))
            await text_appears(tmp_path / "rm")
            await server.kill()
        # Half-way gone is not gone: the pool has it, and it is stored again.
        site.mss["storecmd"] = "builtin"
        await server.start()
        await redirector.until(lambda: all_stored(redirector))
        assert archived(site, lfn) == content_of(0)
        # Removed for good, it is nowhere, and stays so.
        site.mss["removecmd"] = "builtin"
        await server.kill()
        await server.start()
        async with RootClient(redirector.hellos[-1].address.root_address) as client:
            assert (await client.ask(requests.Rm(lfn))).status == Status.OK
        await server.kill()
        await server.start()
        assert redirector.nodes["disk1"].replicas == {}
        assert list((site.archive / "store/my").iterdir()) == []
