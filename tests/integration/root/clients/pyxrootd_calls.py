"""Calls of XRootD's Python bindings, and what came of each: a line a call.

Called with HOST:PORT, a directory to write in and the name of a step, by any Python that
has the bindings.
"""

import sys
import zlib
from pathlib import Path

import XRootD.client
from XRootD.client import CopyProcess, File, FileSystem
from XRootD.client.flags import (
    DirListFlags,
    MkDirFlags,
    OpenFlags,
    PrepareFlags,
    QueryCode,
    StatInfoFlags,
)

HOST, DIRECTORY, STEP = sys.argv[1:]
URL = f"root://{HOST}/"
#: What names in lists are given as: 5.5 dies of text, and later ones take nothing else.
TEXT = str.encode if XRootD.client.__version__.startswith("5.") else str


def tell(what, status, value=None):
    """A call and what came of it: statuses as numbers, for the words are each server's own."""
    outcome = "ok" if status.ok else f"{status.code} {status.errno}"
    if isinstance(value, bytes):
        value = (len(value), zlib.crc32(value), value[:20])
    print(what, outcome, value if status.ok and value is not None else "")


def tell_refused(what, status):
    """The same of a call that makes no sense, about which every server has an error."""
    print(what, "ok" if status.ok else "refused")


def told_of(info):
    """What stat says that is the same everywhere: ours says what clients may write, XRootD's
    servers what they may themselves; and what size directories have is up to file systems.
    """
    size = "" if info.flags & StatInfoFlags.IS_DIR else info.size
    kept = StatInfoFlags.IS_DIR | StatInfoFlags.IS_READABLE | StatInfoFlags.X_BIT_SET
    return size, info.flags & kept


def opened(path, *flags):
    file = File()
    status, _ = file.open(URL + path, *flags)
    tell(f"open {path.rpartition('/')[2]} {flags}", status)
    return file


def read_in_all_ways():
    with File() as file:
        tell("open", file.open(URL + "/store/run/lines")[0])
        tell("stat", *with_stat(file.stat()))
        tell("stat again", *with_stat(file.stat(force=True)))
        tell("read", *file.read())
        tell("read 10 at 5", *file.read(5, 10))
        tell("read at the end", *file.read(8885, 100))
        tell("read past the end", *file.read(100_000, 10))
        # Bytes or text, as the bindings think fit.
        print("readline", repr(file.readline()).lstrip("b"), len(file.readline(chunksize=7)))
        print("readchunks", [len(chunk) for chunk in file.readchunks(chunksize=4000)])
        tell("fcntl", file.fcntl("anything")[0])
        tell_refused("write", file.write(b"no")[0])
        tell_refused("truncate", file.truncate(5)[0])
        tell("sync", file.sync()[0])
    file = opened("/store/run/lines")
    print("readlines", len(file.readlines()))
    tell("close", file.close()[0])
    file = File()
    tell("close what is not open", file.close()[0])


def with_stat(answer):
    status, info = answer
    return status, told_of(info) if status.ok else None


def read_vectors():
    file = opened("/store/run/medium", OpenFlags.READ)
    for name, chunks in {
        "one": [(0, 10)],
        "some": [(0, 10), (100, 1000), (5_000_000, 20_000)],
        "most": [(number * 9000, 512) for number in range(1024)],
        "large": [(0, 2_000_000), (2_000_000, 2_000_000)],
        "overlapping": [(10, 100), (50, 100), (10, 100)],
        "backwards": [(9_000_000, 10), (10, 10)],
    }.items():
        status, vector = file.vector_read(chunks)
        found = [(chunk.offset, chunk.length) for chunk in vector.chunks] if status.ok else None
        bytes_read = b"".join(bytes(chunk.buffer) for chunk in vector.chunks) if status.ok else b""
        tell(f"vector_read {name}", status, (len(found or ()), zlib.crc32(bytes_read)))
        assert not status.ok or found == chunks, found
    tell_refused("vector_read past the end", file.vector_read([(0, 10), (9_999_995, 10)])[0])
    tell("close", file.close()[0])


def open_in_all_ways():
    name = DIRECTORY + "/modes"
    tell("make", opened(name, OpenFlags.NEW | OpenFlags.MAKEPATH).write(b"x" * 100)[0])
    for flags in (
        OpenFlags.READ,
        OpenFlags.UPDATE,
        OpenFlags.NEW,
        OpenFlags.DELETE,
        OpenFlags.READ | OpenFlags.REFRESH,
        OpenFlags.WRITE,
        OpenFlags.DELETE | OpenFlags.NEW,
    ):
        file = opened(name, flags)
        if file.is_open():
            tell_as = tell if flags & ~(OpenFlags.READ | OpenFlags.REFRESH) else tell_refused
            tell_as("write", file.write(b"12345", 2)[0])
            if not flags & OpenFlags.WRITE:
                # Ours reads what is open for writing only, too.
                tell("read", *file.read(0, 10))
            tell("close", file.close()[0])
        file = opened(name)
        tell("now", *with_stat(file.stat()))
        tell("close", file.close()[0])
    opened(DIRECTORY + "/none", OpenFlags.UPDATE)
    opened(DIRECTORY + "/none", OpenFlags.READ)
    opened(DIRECTORY, OpenFlags.READ)


def write_in_all_ways():
    file = opened(DIRECTORY + "/written", OpenFlags.NEW | OpenFlags.MAKEPATH)
    tell("write", file.write(b"hello world")[0])
    tell("write at", file.write(b"W", 6)[0])
    tell("write behind", file.write(b"end", 20)[0])
    tell("write some", file.write(b"abcdef", 30, 3)[0])
    tell("read back", *file.read())
    tell("sync", file.sync()[0])
    tell("stat", *with_size(file.stat(force=True)))
    tell("truncate", file.truncate(25)[0])
    tell("stat", *with_size(file.stat(force=True)))
    tell("close", file.close()[0])
    file = opened(DIRECTORY + "/written", OpenFlags.UPDATE)
    tell("read", *file.read())
    tell("append", file.write(b"!" * 10_000, 25)[0])
    tell("close", file.close()[0])
    file = opened(DIRECTORY + "/written")
    tell("read", *file.read())
    tell("close", file.close()[0])
    file = opened(DIRECTORY + "/written", OpenFlags.DELETE)
    tell("close", file.close()[0])
    file = opened(DIRECTORY + "/written")
    tell("read what was emptied", *file.read())
    tell("close", file.close()[0])


def with_size(answer):
    status, info = answer
    return status, info.size if status.ok else None


def ask_of_names():
    system = FileSystem(URL)
    tell("ping", system.ping()[0])
    tell("sendinfo", system.sendinfo("a test")[0])
    status, info = system.protocol()
    tell("protocol", status, hex(info.version) if status.ok else None)
    for path in ("/store/run/small", "/store/run", "/store/run/none", "/elsewhere"):
        tell(f"stat {path}", *with_stat(system.stat(path)))
    opened("/elsewhere/a", OpenFlags.READ)
    # Without LOCATE a manager of XRootD lists its own directory, which is empty.
    tell_listed("/store/run", DirListFlags.LOCATE)
    tell_listed("/store/run", DirListFlags.LOCATE | DirListFlags.STAT)
    for locate in (system.locate, system.deeplocate):
        status, found = locate("/store/run/small", OpenFlags.REFRESH)
        tell("locate", status, [(one.type, one.is_server, one.is_manager) for one in found])
    tell("locate", system.locate("/store/run/none", 0)[0])
    tell("query", *system.query(QueryCode.CONFIG, "readv_iov_max"))
    tell("query", *system.query(QueryCode.CHECKSUM, "/store/run/small"))
    for path in ("/store/run/small", "//store//run/small"):
        status, answer = system.query(QueryCode.XATTR, path)
        tell("query", status, b"oss.used=1000&" in (answer or b""))
    tell("query", system.query(QueryCode.OPAQUE, "x")[0])
    tell("statvfs", system.statvfs("/store")[0])


def tell_listed(path, flags):
    status, listed = FileSystem(URL).dirlist(path, flags)
    entries = [
        (entry.name, told_of(entry.statinfo) if entry.statinfo else None) for entry in listed or ()
    ]
    if flags & DirListFlags.LOCATE:
        # XRootD's client names a directory once for every server that has it.
        entries = set(entries)
    tell(f"dirlist {flags}", status, sorted(entries))


def list_directories():
    for name in ("a", "b", "sub/c", "sub/deep/d"):
        file = opened(f"{DIRECTORY}/{name}", OpenFlags.NEW | OpenFlags.MAKEPATH)
        tell("write", file.write(name)[0])
        tell("close", file.close()[0])
    for flags in (
        DirListFlags.NONE,
        DirListFlags.STAT,
        DirListFlags.STAT | DirListFlags.LOCATE,
        DirListFlags.STAT | DirListFlags.RECURSIVE,
    ):
        tell_listed(DIRECTORY, flags)
    tell_listed(DIRECTORY + "/none", DirListFlags.NONE)
    tell_refused("dirlist", FileSystem(URL).dirlist(DIRECTORY + "/a")[0])


def stage():
    system = FileSystem(URL)
    files = [TEXT("/store/run/small"), TEXT("/store/run/lines")]
    status, request = system.prepare(files, PrepareFlags.STAGE, 1)
    tell("prepare", status)
    tell("query", system.query(QueryCode.PREPARE, request.decode().rstrip("\0"))[0])


def change_names():
    system = FileSystem(URL)
    tell("mkdir", system.mkdir(DIRECTORY + "/x/y")[0])
    tell("mkdir", system.mkdir(DIRECTORY + "/x/y", MkDirFlags.MAKEPATH)[0])
    tell("stat", *with_stat(system.stat(DIRECTORY + "/x")))
    for name in ("p", "q"):
        file = opened(f"{DIRECTORY}/{name}", OpenFlags.NEW)
        tell("write", file.write(name * 9)[0])
        tell("close", file.close()[0])
    tell("mv", system.mv(DIRECTORY + "/p", DIRECTORY + "/r")[0])
    tell("mv", system.mv(DIRECTORY + "/none", DIRECTORY + "/s")[0])
    tell("stat", system.stat(DIRECTORY + "/p")[0])
    tell("truncate", system.truncate(DIRECTORY + "/r", 4)[0])
    tell("stat", *with_size(system.stat(DIRECTORY + "/r")))
    tell("chmod", system.chmod(DIRECTORY + "/r", 0o640)[0])
    tell("rm", system.rm(DIRECTORY + "/q")[0])
    tell("rm", system.rm(DIRECTORY + "/q")[0])
    tell("rmdir", system.rmdir(DIRECTORY + "/x")[0])
    tell("rmdir", system.rmdir(DIRECTORY + "/x/y")[0])
    tell("rmdir", system.rmdir(DIRECTORY + "/x")[0])


def note_attributes():
    system = FileSystem(URL)
    name = DIRECTORY + "/noted"
    file = opened(name, OpenFlags.NEW | OpenFlags.MAKEPATH)
    tell("write", file.write(b"x")[0])
    tell("close", file.close()[0])
    tell("set_xattr", *counted(system.set_xattr(name, texts(color="red", weight="7"))))
    tell("get_xattr", *noted(system.get_xattr(name, [TEXT("color"), TEXT("none")])))
    tell("list_xattr", *noted(system.list_xattr(name)))
    tell("del_xattr", *counted(system.del_xattr(name, [TEXT("color"), TEXT("none")])))
    tell("list_xattr", *noted(system.list_xattr(name)))
    file = opened(name, OpenFlags.UPDATE)
    tell("file set_xattr", *counted(file.set_xattr(texts(shape="round"))))
    tell("file get_xattr", *noted(file.get_xattr([TEXT("shape")])))
    tell("file list_xattr", *noted(file.list_xattr()))
    tell("file del_xattr", *counted(file.del_xattr([TEXT("weight")])))
    tell("close", file.close()[0])
    tell("list_xattr", *noted(system.list_xattr(name)))


def texts(**attributes):
    return [(TEXT(name), TEXT(value)) for name, value in attributes.items()]


def noted(answer):
    status, found = answer
    return status, sorted((str(one[0]), str(one[1]), one[-1].get("errno")) for one in found)


def counted(answer):
    status, found = answer
    return status, [(str(one[0]), one[-1].get("errno")) for one in found]


def copy():
    source, target = URL + DIRECTORY + "/source", str(Path("copied").resolve())
    file = opened(DIRECTORY + "/source", OpenFlags.NEW | OpenFlags.MAKEPATH)
    tell("write", file.write(b"12345678" * 100_000)[0])
    tell("close", file.close()[0])
    process = CopyProcess()
    process.add_job(source, target, force=True)
    process.add_job(source, URL + DIRECTORY + "/copied", force=True)
    process.add_job(URL + DIRECTORY + "/none", target + "-not")
    tell("prepare", process.prepare())
    status, results = process.run()
    tell("run", status)
    for result in results:
        tell("job", result["status"])
    system = FileSystem(URL)
    tell("sum", *system.query(QueryCode.CHECKSUM, DIRECTORY + "/copied"))
    tell("copy", system.copy(target, source)[0])
    tell("copy", system.copy(target, source, force=True)[0])
    tell("copy", system.copy(source, target + "-again")[0])


STEPS = {
    step.__name__: step
    for step in (
        read_in_all_ways,
        read_vectors,
        ask_of_names,
        list_directories,
        stage,
        open_in_all_ways,
        write_in_all_ways,
        change_names,
        note_attributes,
        copy,
    )
}
STEPS[STEP]()
