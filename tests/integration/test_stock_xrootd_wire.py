"""XRootD's own clients and server: what they say is understood, and what we say is."""

from __future__ import annotations

import socket
import subprocess
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support import root_wire
from tests.support.recorded_xrootd import Recorder
from tests.support.stock_daemons import lacking
from tests.support.stock_xrootd import WritableXrootd
from xroot import pages, requests, responses, texts
from xroot.decoder import Handshake, ResponseDecoder
from xroot.protocol import (
    MKDIR_PARENTS,
    PAGES_AGAIN,
    STAT_VFS,
    AttributeAction,
    Code,
    DirListFlag,
    OpenFlag,
    PrepareFlag,
    QueryType,
    StatFlag,
    Status,
)
from xroot.requests import (
    Bind,
    Chmod,
    Chunk,
    Close,
    DirList,
    EndSession,
    FAttr,
    Locate,
    Login,
    MkDir,
    Mv,
    Open,
    PgRead,
    PgWrite,
    Ping,
    Prepare,
    Protocol,
    Query,
    Read,
    ReadV,
    Rm,
    RmDir,
    Set,
    Stat,
    Statx,
    Sync,
    Truncate,
    Write,
    WriteV,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xroot.requests import Message
    from xroot.responses import Response

pytestmark = pytest.mark.skipif(
    bool(missing := lacking("xrootd", "xrdcp", "xrdfs")), reason=f"not installed: {missing}"
)

SMALL = bytes(range(256)) * 50 + b"the end"
LARGE = zlib.compress(b"") + bytes(range(251)) * 80_000  # 20 MB: several requests
NO_PAGES = {"XRD_CPUSEPGWRTRD": "0"}

#: Everything xrdfs can ask for that a server of this kind answers.
BROWSING = """\
stat /store/small.root
ls /store
ls -l /store
ls -C /store
statvfs /store
spaceinfo /store
locate /store/small.root
locate -d /store/small.root
mkdir -p /store/new/deep
mv /store/small.root /store/new/renamed.root
chmod /store/new/renamed.root rwxr--r--
truncate /store/new/renamed.root 100
query checksum /store/large.root
query config version
query space /store
query xattr /store/large.root
prepare -s -p 2 /store/large.root /store/new/renamed.root
prepare -e /store/large.root
xattr /store/large.root set colour=red
xattr /store/large.root get colour
xattr /store/large.root list
xattr /store/large.root del colour
cat /store/new/renamed.root
rm /store/new/renamed.root
rmdir /store/new/deep
"""

PYTHON = """\
import sys
from XRootD import client
from XRootD.client.flags import DirListFlags, MkDirFlags, OpenFlags

def done(result):
    assert result[0].ok, result[0].message

url = sys.argv[1]
with client.File() as file:
    done(file.open(url + "/store/large.root"))
    done(file.stat())
    done(file.read(10, 100))
    done(file.vector_read([(0, 10), (100, 20), (5000, 5000)]))
with client.File() as file:
    done(file.open(url + "/store/python.root", OpenFlags.DELETE | OpenFlags.MAKEPATH))
    done(file.write(b"x" * 9000, offset=10))
    done(file.sync())
    done(file.truncate(5000))
system = client.FileSystem(url)
done(system.ping())
done(system.protocol())
done(system.mkdir("/store/python", MkDirFlags.MAKEPATH))
done(system.dirlist("/store", DirListFlags.STAT))
done(system.locate("/store/large.root", OpenFlags.REFRESH))
done(system.sendinfo("an analysis"))
"""


@pytest.fixture(scope="module")
def server() -> Iterator[WritableXrootd]:
    with WritableXrootd() as stock:
        stock.write("/store/large.root", LARGE)
        yield stock


@pytest.fixture
def recorder(server: WritableXrootd) -> Iterator[Recorder]:
    server.write("/store/small.root", SMALL)
    with Recorder(server.port) as recorder:
        yield recorder


def said_by_client(recorder: Recorder) -> set[type]:
    """Everything said was understood, on both sides; the kinds of requests."""
    kinds = set()
    for said in recorder.conversations:
        root_wire.check_retelling(said.client)
        root_wire.answered(said.server)
        kinds |= {type(message) for message in root_wire.messages(root_wire.heard(said.client))}
    return kinds - {Handshake, Protocol, Login}


def test_xrdcp_down_and_up(recorder: Recorder, server: WritableXrootd, tmp_path: Path) -> None:
    copy = tmp_path / "copy.root"
    recorder.run(["xrdcp", f"{recorder.url}/store/small.root", str(copy)])
    assert copy.read_bytes() == SMALL
    recorder.run(["xrdcp", "--posc", str(copy), f"{recorder.url}/store/up.root"])
    assert (server.data / "store/up.root").read_bytes() == SMALL
    assert said_by_client(recorder) == {Open, PgRead, Close, Stat, PgWrite}


def test_xrdcp_without_pages(recorder: Recorder, server: WritableXrootd, tmp_path: Path) -> None:
    copy = tmp_path / "copy.root"
    recorder.run(["xrdcp", f"{recorder.url}/store/small.root", str(copy)], **NO_PAGES)
    recorder.run(["xrdcp", str(copy), f"{recorder.url}/store/up2.root"], **NO_PAGES)
    assert (server.data / "store/up2.root").read_bytes() == SMALL
    assert said_by_client(recorder) == {Open, Read, Close, Stat, Write}


def test_xrdcp_by_several_connections_with_a_checksum(recorder: Recorder, tmp_path: Path) -> None:
    copy = tmp_path / "copy.root"
    options = ["-S", "2", "--cksum", "adler32:source"]
    recorder.run(["xrdcp", *options, f"{recorder.url}/store/large.root", str(copy)])
    assert copy.read_bytes() == LARGE
    assert said_by_client(recorder) == {Open, PgRead, Query, Close, Bind}


def test_xrdfs(recorder: Recorder) -> None:
    recorder.run(["xrdfs", recorder.url], BROWSING)
    expected = {Stat, DirList, Locate, Query, MkDir, Mv, Chmod, Truncate, Prepare, FAttr}
    assert said_by_client(recorder) == expected | {Open, PgRead, Close, Rm, RmDir}


def test_pyxrootd(recorder: Recorder) -> None:
    python = _python_with_bindings()
    recorder.run([python, "-c", PYTHON, recorder.url])
    expected = {Open, Read, ReadV, Write, Sync, Truncate, Close, Ping, Set}
    assert said_by_client(recorder) == expected | {MkDir, DirList, Locate}


def _python_with_bindings() -> str:
    """A Python that has XRootD's bindings; they are packaged for the system's own."""
    python = "/usr/bin/python3"
    if Path(python).exists():
        found = subprocess.run([python, "-c", "import XRootD"], capture_output=True, check=False)
        if found.returncode == 0:
            return python
    pytest.skip("XRootD's Python bindings are not installed here")


# --- our requests at its server -----------------------------------------------------


class Ours:
    """A client made of nothing but `xroot` and a socket."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self._decoder = ResponseDecoder()
        self._answers: list[Response] = []
        self._socket.sendall(requests.handshake())
        assert self._next().status == Status.OK
        self.protocol = self.done(Protocol())

    def log_in(self) -> bytes:
        """Says who we are; the session's id."""
        return self.done(Login(1, "packhors", capability=0x85))

    def ask(self, message: Message, data: bytes = b"") -> Response:
        """The whole answer to one request; a promised one is waited for."""
        assert not isinstance(message, requests.Unknown)
        self._socket.sendall(message.encode(b"\1\2") + data)
        body = b""
        while True:
            answer = self._next()
            if answer.status == Status.ATTN:
                answer = responses.promised(answer.body)
            assert answer.stream_id == b"\1\2"
            if answer.status == Status.OKSOFAR:
                body += answer.body
            elif answer.status != Status.WAITRESP:
                return answer._replace(body=body + answer.body)

    def done(self, message: Message, data: bytes = b"") -> bytes:
        """The body of an answer that says yes."""
        answer = self.ask(message, data)
        assert answer.status in (Status.OK, Status.STATUS), responses.text_of(answer.body)
        return answer.body

    def text(self, message: Message) -> str:
        """The same of one whose body is text."""
        return self.done(message).decode().rstrip("\0")

    def refused(self, message: Message) -> int:
        """The code of an answer that says no."""
        answer = self.ask(message)
        assert answer.status == Status.ERROR
        assert responses.text_of(answer.body)
        return responses.number_of(answer.body)

    def close(self) -> None:
        self._socket.close()

    def _next(self) -> Response:
        while not self._answers:
            received = self._socket.recv(1 << 16)
            assert received, "the server has hung up"
            self._answers = self._decoder.feed(received)
        return self._answers.pop(0)


@pytest.fixture
def ours(server: WritableXrootd) -> Iterator[Ours]:
    server.write("/store/small.root", SMALL)
    client = Ours(server.port)
    client.log_in()
    yield client
    client.close()


def test_our_requests_about_names(ours: Ours) -> None:
    ours.done(Ping())
    ours.done(Set("monitor info an analysis"))
    ours.done(MkDir("/store/ours/deep", options=MKDIR_PARENTS, mode=0o750))
    about = texts.read_stat(ours.text(Stat("/store/ours", "why=because")))
    assert about.is_directory
    about = texts.read_stat(ours.text(Stat("/store/small.root")))
    assert about.size_bytes == len(SMALL)
    assert str(about) == ours.text(Stat("/store/small.root"))
    assert len(ours.text(Stat("/store", options=STAT_VFS)).split()) == 6
    assert ours.done(Statx(("/store/small.root", "/store/ours")))[1] & StatFlag.DIRECTORY
    names = dict(texts.read_listing(ours.text(DirList("/store"))))
    told = ours.text(DirList("/store", options=DirListFlag.STAT))
    listed = dict(texts.read_listing(told))
    assert listed["small.root"] == about
    assert names.keys() == listed.keys()
    assert texts.listing(listed.items()) == told
    summed = dict(texts.read_listing(ours.text(DirList("/store", options=DirListFlag.CHECKSUM))))
    assert summed == listed
    assert texts.read_listing(ours.text(DirList("/store/ours/deep", options=2))) == []
    located = ours.text(Locate("/store/small.root"))
    (here,) = texts.read_locations(located)
    assert str(here) == located
    assert here.can_write
    ours.done(Mv("/store/small.root", "/store/ours/a b"))
    ours.done(Chmod("/store/ours/a b", 0o600))
    ours.done(Truncate(bytes(4), 10, "/store/ours/a b"))
    assert texts.read_stat(ours.text(Stat("/store/ours/a b"))).size_bytes == 10
    ours.done(Rm("/store/ours/a b"))
    ours.done(RmDir("/store/ours/deep"))
    assert ours.refused(Stat("/store/ours/deep")) == Code.NOT_FOUND
    ours.done(EndSession(bytes(16)))


def test_our_questions(ours: Ours) -> None:
    adler32 = f"adler32 {zlib.adler32(SMALL):08x}"
    asked = "/store/small.root?cks.type=adler32"
    assert ours.text(Query(QueryType.CHECKSUM, asked)) == adler32
    space = texts.cgi_values(ours.text(Query(QueryType.SPACE, "/store")))
    made = texts.space(total_bytes=1, free_bytes=1, largest_bytes=1, used_bytes=1)
    assert space.keys() == texts.cgi_values(made).keys()
    assert ours.text(Query(QueryType.CONFIG, "readv_iov_max")) == "1024\n"
    assert ours.text(Prepare(("/store/small.root",), PrepareFlag.STAGE, 1))
    ours.done(Prepare(("/store/small.root",), option_x=PrepareFlag.EVICT))


def test_our_attributes(ours: Ours) -> None:
    lfn = "/store/small.root"
    names, values = (b"colour", b"form"), (b"red", b"")
    for action in (AttributeAction.SET, AttributeAction.GET):
        told = ours.done(FAttr(action, lfn, "", names, values if action == 3 else ()))
        assert told.startswith(b"\0\2" + b"\0\0colour\0" + b"\0\0form\0")
    handle = ours.done(Open(lfn, options=OpenFlag.READ))[:4]
    assert b"colour\0" in ours.done(FAttr(AttributeAction.LIST, "", handle=handle))
    assert ours.done(FAttr(AttributeAction.DELETE, lfn, "", names))[0] == 0


def test_our_requests_about_files(ours: Ours, server: WritableXrootd) -> None:
    opened = ours.done(Open("/store/small.root", options=OpenFlag.READ | OpenFlag.RETSTAT))
    handle = opened[:4]
    assert texts.read_stat(opened[12:].decode()).size_bytes == len(SMALL)
    assert texts.read_stat(ours.text(Stat("", handle=handle))).size_bytes == len(SMALL)
    assert ours.done(Read(handle, 100, 50)) == SMALL[100:150]
    assert ours.done(Read(handle, len(SMALL), 50)) == b""
    chunks = (Chunk(handle, 10, 0), Chunk(handle, 20, 1000))
    expected = b"".join(
        responses.chunk(of) + SMALL[of.offset : of.offset + of.length] for of in chunks
    )
    assert ours.done(ReadV(chunks)) == expected
    told = ours.done(PgRead(handle, 1000, 5000))
    data = told[24:]
    assert data == pages.with_checksums(SMALL[1000:6000], 1000)
    assert (
        responses.pages(b"\1\2", 3030, 1000, len(data))
        == responses.header(b"\1\2", 24, Status.STATUS) + told[:24]
    )
    ours.done(Close(handle))
    assert ours.refused(Close(handle)) == Code.FILE_NOT_OPEN


def test_our_writes(ours: Ours, server: WritableXrootd) -> None:
    options = OpenFlag.NEW | OpenFlag.UPDATE | OpenFlag.DELETE | OpenFlag.MKPATH
    handle = ours.done(Open("/store/ours/written", options=options, mode=0o644))[:4]
    ours.done(Write(handle, 0, 10), b"0123456789")
    ours.done(WriteV((Chunk(handle, 3, 10), Chunk(handle, 2, 20))), b"abcde")
    data = pages.with_checksums(SMALL[:9000], 100)
    told = ours.done(PgWrite(handle, 100, len(data)), data)
    assert told == responses.pages(b"\1\2", 3026, 100, 0)[8:]
    ours.done(Sync(handle))
    ours.done(Truncate(handle, 9000))
    ours.done(Close(handle))
    expected = bytearray(9000)
    expected[:13] = b"0123456789abc"
    expected[20:22] = b"de"
    expected[100:] = SMALL[:8900]
    assert (server.data / "store/ours/written").read_bytes() == expected


def test_bad_pages_are_named_and_sent_again(ours: Ours, server: WritableXrootd) -> None:
    handle = ours.done(Open("/store/ours-pages", options=OpenFlag.NEW | OpenFlag.DELETE))[:4]
    good = pages.with_checksums(SMALL[:9000], 1000)
    spoilt = bytearray(good)
    spoilt[0] ^= 1  # of the first, short page
    spoilt[-1] ^= 1  # of the last
    told = ours.done(PgWrite(handle, 1000, len(spoilt)), bytes(spoilt))
    read = pages.PageReader(1000, len(spoilt)).feed(bytes(spoilt))
    bad = [(page.offset, len(page.data)) for page in read if not page.is_good]
    assert told[24:] == pages.bad_pages(bad)
    assert told[:24] == responses.pages(b"\1\2", 3026, 1000, len(told) - 24)[8:]
    again = pages.read_bad_pages(told[24:])
    assert again == bad == [(1000, 3096), (8192, 1808)]
    for offset, length in again:
        data = pages.with_checksums(SMALL[offset - 1000 : offset - 1000 + length], offset)
        ours.done(PgWrite(handle, offset, len(data), flags=PAGES_AGAIN), data)
    ours.done(Close(handle))
    assert (server.data / "store/ours-pages").read_bytes()[1000:] == SMALL[:9000]


def test_our_second_connection(server: WritableXrootd) -> None:
    first, second = Ours(server.port), Ours(server.port)
    session_id = first.log_in()
    first.done(Ping())  # it answers a login a moment before it has noted it
    path_id = second.done(Bind(session_id))
    assert len(path_id) == 1
    handle = first.done(Open("/store/large.root", options=OpenFlag.READ))[:4]
    first._socket.sendall(Read(handle, 5, 1000, path_id[0]).encode(b"\7\7"))
    answer = second._next()
    assert answer.stream_id == b"\7\7"
    assert answer.body == LARGE[5:1005]
    first.close()
    second.close()
