"""What fsspec's file system for root:// finds and does: a line a call.

Called with HOST:PORT, a directory to write in, and "read" or "write".
"""

import sys
import zlib

import fsspec

HOST, DIRECTORY, STEP = sys.argv[1:]
URL = f"root://{HOST}/"


def tell(what, call):
    try:
        found = call()
    except OSError as error:
        # What else it says are the server's own words.
        found = type(error).__name__
    if isinstance(found, bytes):
        found = (len(found), zlib.crc32(found))
    print(what, found)


def described(entry):
    return entry["name"], entry["type"], entry["size"] if entry["type"] == "file" else ""


def read(system):
    tell("protocol", lambda: fsspec.get_filesystem_class("root").protocol)
    tell("ls", lambda: sorted(map(described, system.ls("/store/run", detail=True))))
    tell("ls names", lambda: sorted(system.ls("/store/run/sub", detail=False)))
    tell("ls none", lambda: system.ls("/store/run/none"))
    for name in ("small", "empty", "sub", "none"):
        tell(f"info {name}", lambda name=name: described(system.info(f"/store/run/{name}")))
        tell(f"exists {name}", lambda name=name: system.exists(f"/store/run/{name}"))
        tell(f"isdir {name}", lambda name=name: system.isdir(f"/store/run/{name}"))
    tell("size", lambda: system.size("/store/run/medium"))
    tell("cat_file", lambda: system.cat_file("/store/run/lines", None, None))
    tell("cat_file part", lambda: system.cat_file("/store/run/medium", 1000, 2_000_000))
    tell("cat_file none", lambda: system.cat_file("/store/run/none", None, None))
    starts = [number * 9000 for number in range(1100)]
    ranges = [["/store/run/medium"] * len(starts), starts, [start + 100 for start in starts]]
    tell("cat_ranges", lambda: b"".join(map(bytes, system.cat_ranges(*ranges))))
    tell("glob", lambda: sorted(system.glob("/store/run/s*")))
    tell("glob below", lambda: sorted(system.glob("/store/run/**/t*")))
    tell("find", lambda: sorted(system.find("/store/run")))
    tell(
        "walk", lambda: sorted((at, sorted(d), sorted(f)) for at, d, f in system.walk("/store/run"))
    )
    tell("du", lambda: system.du("/store/run"))
    with system.open("/store/run/lines") as file:
        tell("read", lambda: file.read(13))
        tell("readline", file.readline)
        tell("seek", lambda: file.seek(-5, 2))
        tell("read", file.read)
    with fsspec.open(f"{URL}/store/run/lines", "rt") as file:
        tell("text", lambda: sum(1 for _ in file))
    files = ["/store/run/sub/one", "/store/run/sub/two"]
    tell("get", lambda: system.get(files, "got/"))


def write(system):
    tell("makedirs", lambda: system.makedirs(DIRECTORY + "/a/b", exist_ok=True))
    with system.open(DIRECTORY + "/opened", "wb") as file:
        tell("write", lambda: file.write(b"0123456789" * 1000))
    tell("opened", lambda: system.cat_file(DIRECTORY + "/opened", None, None))
    tell("touch", lambda: system.touch(DIRECTORY + "/touched"))
    tell("checksum", lambda: system.checksum(DIRECTORY + "/opened"))
    system.invalidate_cache()
    tell("mv", lambda: system.mv(DIRECTORY + "/opened", DIRECTORY + "/a/b/moved"))
    system.invalidate_cache()
    tell("find", lambda: sorted(system.find(DIRECTORY)))
    tell("get", lambda: system.get_file(DIRECTORY + "/a/b/moved", "moved"))
    tell("rm", lambda: system.rm(DIRECTORY + "/a/b/moved"))
    tell("rm none", lambda: system.rm_file(DIRECTORY + "/a/b/moved"))
    tell("rmdir", lambda: system.rmdir(DIRECTORY + "/a/b"))
    system.invalidate_cache()
    tell("find", lambda: sorted(system.find(DIRECTORY)))


{"read": read, "write": write}[STEP](fsspec.filesystem("root", hostid=HOST))
