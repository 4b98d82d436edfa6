"""What only ours does: clients wait for files that are in the archive, and are called back."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from packhorse.scripts.kinds import PUBLISHED
from tests.support.cluster import Cluster, Node, free_port, running, until_joined
from tests.support.patience import eventually
from tests.support.root_client import RootClient, open_to_read, redirect_of
from tests.support.side_by_side import IMPATIENT
from tests.support.staging_site import StagingSite, asking_archive, content_of, staging_site
from tests.support.stock_daemons import lacking
from tests.support.stock_xrootd import WritableXrootd
from xroot import requests
from xroot.protocol import Status

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(shutil.which("xrdcp") is None, reason="xrdcp is not installed")

TIMEOUT_S = 60.0
LISTCMD = [sys.executable, str(PUBLISHED / "mounted_archive.py"), "list", "{source}"]


@dataclass
class Clients:
    """XRootD's own commands, as clients of one site."""

    host: str
    folder: Path

    def url(self, lfn: str) -> str:
        """A file, as xrdcp is told it."""
        return f"root://{self.host}/{lfn}"

    def copying(self, lfn: str, name: str, log: str = "Error") -> subprocess.Popen[str]:
        """An xrdcp that is under way."""
        return subprocess.Popen(
            ["xrdcp", "--silent", self.url(lfn), str(self.folder / name)],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **IMPATIENT, "XRD_LOGLEVEL": log},
        )

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Any command, run to its end."""
        return subprocess.run(
            words,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            cwd=self.folder,
            env={**os.environ, **IMPATIENT},
        )

    def xrdfs(self, *words: str) -> str:
        """What an xrdfs says that ends well."""
        done = self.run("xrdfs", self.host, *words)
        assert done.returncode == 0, done
        return done.stdout

    def fetch(self, lfn: str, *options: str) -> bytes:
        """A file's bytes, by an xrdcp that ends well."""
        done = self.run("xrdcp", "--silent", "--force", *options, self.url(lfn), "fetched")
        assert done.returncode == 0, done
        return (self.folder / "fetched").read_bytes()

    def told(self, request_id: str, *lfns: str) -> list[dict[str, object]]:
        """How the files of a prepare stand."""
        said = json.loads(self.xrdfs("query", "prepare", request_id, *lfns))
        assert said["request_id"] == request_id
        return list(said["responses"])


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StagingSite]:
    listen = f"127.0.0.1:{free_port()}"
    folder = tmp_path_factory.mktemp("site")
    with staging_site(
        folder, statcmd=asking_archive(if_missing=66), listcmd=LISTCMD, root_listen=listen
    ) as made:
        yield made


@pytest.fixture
def desk(shared: StagingSite) -> Iterator[StagingSite]:
    yield shared
    shared.tidy()


@pytest.fixture
def clients(shared: StagingSite, tmp_path: Path) -> Clients:
    return Clients(str(shared.cluster.redirector["root_listen"]), tmp_path)


# --- opening -------------------------------------------------------------------------------


def test_a_client_waits_for_its_file_and_is_called_back(
    desk: StagingSite, clients: Clients
) -> None:
    (lfn,) = desk.archived("cold.root")
    desk.hold(lfn)
    copy = clients.copying(lfn, "got", log="Dump")
    desk.until_running(lfn)
    assert copy.poll() is None
    desk.release(lfn)
    _, log = copy.communicate(timeout=TIMEOUT_S)
    assert copy.returncode == 0
    assert (clients.folder / "got").read_bytes() == content_of(lfn, 1000)
    # It was never told to come back later.
    assert "Got kXR_waitresp" in log
    assert "Got kXR_wait " not in log


def test_all_clients_of_a_file_wait_for_one_recall(desk: StagingSite, clients: Clients) -> None:
    (lfn,) = desk.archived("wanted.root")
    desk.hold(lfn)
    copies = [clients.copying(lfn, f"got{number}") for number in range(5)]
    waiting = lambda: desk.site.requests(active_only=True)
    eventually(lambda: len(waiting()) == len(copies))
    desk.release(lfn)
    for copy in copies:
        copy.communicate(timeout=TIMEOUT_S)
        assert copy.returncode == 0
    assert len(desk.ran_on(lfn)) == 1


@pytest.mark.parametrize("env", [{}, {"XRD_CPUSEPGWRTRD": "0"}], ids=["in pages", "plainly"])
def test_files_in_the_archive_are_read_as_any_others(
    desk: StagingSite, clients: Clients, env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    lfns = desk.archived(*(f"{len(env)}/d{number}/f" for number in range(6)))
    assert clients.xrdfs("cat", lfns[0]).encode() == content_of(lfns[0], 1000)
    assert clients.xrdfs("tail", "-c", "9", lfns[1]).encode() == content_of(lfns[1], 1000)[-9:]
    assert clients.fetch(lfns[2], "-S", "3") == content_of(lfns[2], 1000)
    assert clients.fetch(lfns[3], "--cksum", "adler32:source") == content_of(lfns[3], 1000)
    done = clients.run("xrdcp", "--silent", "-r", clients.url(f"/store/{len(env)}"), ".")
    assert done.returncode == 0, done
    for lfn in lfns:
        got = clients.folder / lfn.removeprefix("/store/")
        assert got.read_bytes() == content_of(lfn, 1000)


def test_a_failing_stage_command_is_heard_in_its_own_words(
    desk: StagingSite, clients: Clients
) -> None:
    # Nobody may read what no process has in its memory.
    desk.cluster.write("/store/near-odd", b"").with_name("odd").symlink_to("/proc/self/mem")
    done = clients.run("xrdcp", clients.url("/store/odd"), "got")
    assert done.returncode == 54
    assert "[3005]" in done.stderr
    assert "Input/output error" in done.stderr
    assert len(desk.ran_on("/store/odd")) == 3, "all attempts were in vain"


def test_a_directory_of_the_archive_looks_like_one(desk: StagingSite, clients: Clients) -> None:
    desk.archived("deep/down/file")
    assert "IsDir" in clients.xrdfs("stat", "/store/deep/down")
    assert clients.xrdfs("ls", "/store/deep").split() == ["/store/deep/down"]


def test_what_is_nowhere_is_not_waited_for(desk: StagingSite, clients: Clients) -> None:
    done = clients.run("xrdcp", clients.url("/store/none"), "got")
    assert done.returncode == 54
    assert "[3011]" in done.stderr
    assert desk.ran_on("/store/none") == []


def test_a_replica_that_vanished_is_recalled_unnoticed(desk: StagingSite, clients: Clients) -> None:
    (lfn,) = desk.archived("taken.root")
    assert clients.fetch(lfn) == content_of(lfn, 1000)
    (holder,) = desk.cluster.holders(lfn)
    (desk.cluster.pool(holder) / lfn.lstrip("/")).unlink()
    assert clients.fetch(lfn) == content_of(lfn, 1000)
    assert len(desk.ran_on(lfn)) == 2


# --- what clients see of it ----------------------------------------------------------------


def test_flags_tell_where_a_file_is(desk: StagingSite, clients: Clients) -> None:
    (lfn,) = desk.archived("seen.root")
    desk.hold(lfn)
    flags = "Flags:  152 (Offline|IsReadable|BackUpExists)"
    assert flags in clients.xrdfs("stat", lfn)
    assert clients.xrdfs("stat", "-q", "Offline&BackUpExists", lfn)
    copy = clients.copying(lfn, "got")
    desk.until_running(lfn)
    assert flags in clients.xrdfs("stat", lfn), "it is not there before it is whole"
    assert "ServerPending Read" in clients.xrdfs("locate", lfn)
    desk.release(lfn)
    copy.communicate(timeout=TIMEOUT_S)
    assert "Flags:  144 (IsReadable|BackUpExists)" in clients.xrdfs("stat", lfn)
    assert "Server Read" in clients.xrdfs("locate", lfn)


def test_listings_show_what_is_on_no_disk(desk: StagingSite, clients: Clients) -> None:
    lfns = desk.archived("listed/a", "listed/b", "listed/below/c")
    clients.fetch(lfns[1])
    assert clients.xrdfs("ls", "/store/listed").split() == [
        "/store/listed/a", "/store/listed/b", "/store/listed/below"
    ]  # fmt: skip
    long = clients.xrdfs("ls", "-l", "/store/listed").splitlines()
    assert [line.split()[0] for line in long] == ["-r--r--r--", "-r--r--r--", "dr-xr-xr-x"]
    assert [line.split()[3] for line in long] == ["1000", "1000", "0"]
    assert len(desk.ran_on(lfns[0])) == 0, "nothing is staged by being looked at"


# --- prepare -------------------------------------------------------------------------------


def test_a_prepare_outlives_the_redirector(desk: StagingSite, clients: Clients) -> None:
    lfns = desk.archived("bulk/a", "bulk/b", "bulk/c")
    desk.hold(*lfns)
    request_id = clients.xrdfs("prepare", "-s", *lfns).strip()
    desk.until_running(*lfns)
    for file in clients.told(request_id, *lfns):
        assert (file["path_exists"], file["on_tape"], file["online"]) == (True, True, False)
        assert (file["requested"], file["has_reqid"], file["error_text"]) == (True, True, "")
    desk.cluster.restart("redirector")
    assert [file["requested"] for file in clients.told(request_id, *lfns)] == [True] * 3
    desk.release(*lfns)
    eventually(lambda: all(file["online"] for file in clients.told(request_id, *lfns)))
    assert [len(desk.ran_on(lfn)) for lfn in lfns] == [1, 1, 1]
    desk.cluster.restart("redirector")
    until_joined(desk.site, 3)
    for file in clients.told(request_id, *lfns):
        assert (file["online"], file["requested"], file["has_reqid"]) == (True, False, True)


def test_a_cancel_ends_what_nobody_else_wants(desk: StagingSite, clients: Clients) -> None:
    alone, common = desk.archived("cancelled", "wanted-too")
    desk.hold(alone, common)
    request_id = clients.xrdfs("prepare", "-s", alone, common).strip()
    desk.until_running(alone, common)
    copy = clients.copying(common, "got")
    eventually(lambda: len(desk.site.requests(active_only=True)) == 2)
    clients.xrdfs("prepare", "-a", request_id, alone, common)
    eventually(lambda: not desk.running(alone))
    assert desk.running(common)
    by_path = {file["path"]: file for file in clients.told(request_id, alone, common)}
    assert by_path[alone]["error_text"] == "cancelled"
    desk.release(common)
    copy.communicate(timeout=TIMEOUT_S)
    assert copy.returncode == 0
    assert desk.cluster.holders(alone) == []


def test_a_prepare_tells_of_each_file_what_went_wrong(desk: StagingSite, clients: Clients) -> None:
    (good,) = desk.archived("good")
    request_id = clients.xrdfs("prepare", "-s", good, "/store/none").strip()
    eventually(lambda: not any(file["requested"] for file in clients.told(request_id)))
    found = {file["path"]: file for file in clients.told(request_id, good, "/store/none")}
    assert (found[good]["online"], found[good]["error_text"]) == (True, "")
    assert found["/store/none"]["path_exists"] is False
    assert found["/store/none"]["error_text"]


def test_an_evicted_file_is_in_the_archive_only(desk: StagingSite, clients: Clients) -> None:
    (lfn,) = desk.archived("done-with")
    clients.fetch(lfn)
    clients.xrdfs("prepare", "-e", lfn)
    assert desk.cluster.holders(lfn) == []
    assert "Offline" in clients.xrdfs("stat", lfn)
    assert "evicted by " in desk.site.explain(lfn).story[-1].text
    assert clients.fetch(lfn) == content_of(lfn, 1000)


# --- purging -------------------------------------------------------------------------------

#: Three of these fit into a pool of 2 MB.
LARGE = 600_000


def test_what_clients_read_is_purged_last(desk: StagingSite, clients: Clients) -> None:
    lfns = desk.archived("p1", "p2", "p3", "p4", size_bytes=LARGE)
    with desk.only_on("n1"):
        for lfn in lfns[:3]:
            clients.fetch(lfn)
        clients.fetch(lfns[0])
        clients.fetch(lfns[3])
    held = {lfn for lfn in lfns if desk.cluster.holders(lfn)}
    assert lfns[1] not in held
    assert {lfns[0], lfns[3]} <= held


async def test_what_a_client_has_open_is_never_purged(desk: StagingSite, clients: Clients) -> None:
    lfns = desk.archived("open", "q2", "q3", "q4", "q5", size_bytes=LARGE)
    with desk.only_on("n1"):
        await asyncio.to_thread(clients.fetch, lfns[0])
        async with RootClient(clients.host) as head:
            where = redirect_of(await head.ask(open_to_read(lfns[0])))
        async with RootClient(where.address) as client:
            opened = await client.ask(open_to_read(lfns[0], where.cgi))
            assert opened.status == Status.OK
            handle = opened.body[:4]
            for lfn in lfns[1:]:
                await asyncio.to_thread(clients.fetch, lfn)
            assert desk.cluster.holders(lfns[0]) == ["n1"]
            refused = await asyncio.to_thread(
                clients.run, "xrdfs", clients.host, "prepare", "-e", lfns[0]
            )
            assert "open" in refused.stderr
            data = await client.ask(requests.Read(handle, 0, 100))
            assert data.body == content_of(lfns[0], 100)
            assert (await client.ask(requests.Close(handle))).status == Status.OK
    clients.xrdfs("prepare", "-e", lfns[0])
    assert desk.cluster.holders(lfns[0]) == []


# --- an archive that is an XRootD server itself --------------------------------------------


@pytest.mark.skipif(bool(lacking("xrootd", "xrdcp")), reason="there is no xrootd here")
def test_old_urls_work_behind_the_new_server(tmp_path: Path) -> None:
    """root://gateway//root://old//store/a is /store/a of the gateway, which fetches it there."""
    lfn, content = "/store/old/a.root", b"from the old server"
    with WritableXrootd() as old:
        old.write(lfn, content)
        address = f"127.0.0.1:{old.port}"
        listen = f"127.0.0.1:{free_port()}"
        cluster = Cluster(
            tmp_path,
            [Node("disk1")],
            stagecmd=["xrdcp", "--silent", "{source}", "{target}"],
            mss={"names": [{"prefix": "/store/", "archive": f"root://{address}//store/"}]},
            redirector={"root_listen": listen},
            packetizer=None,
        )
        with running(cluster), cluster.connect() as site:
            until_joined(site, 1)
            clients = Clients(listen, tmp_path)
            assert clients.fetch(f"/root://{address}/{lfn}") == content
            assert cluster.holders(lfn) == ["disk1"]
            assert clients.fetch(lfn) == content
            assert "Size:   19" in clients.xrdfs("stat", f"/root://{address}/{lfn}")
