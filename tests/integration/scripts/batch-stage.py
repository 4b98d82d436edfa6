#!/usr/bin/env python3
"""A batch command of many habits: what a file's directory in the archive is called says which.

It takes its files in the order of their names from the last to the first, so that one sees
that the order is its own. In the directory given as its argument it notes each run, with the
files it was given, and waits there for leave to go on: a file of the name of what it does.
"""

import json
import os
import shutil
import sys
import threading
import time
from pathlib import Path

notes = Path(sys.argv[1])
hears = "--hears" in sys.argv[2:]


def say(key: str, state: str, **more: object) -> None:
    print(json.dumps({"id": key, "state": state, **more}), flush=True)


def note(kind: str, text: str) -> None:
    with (notes / kind).open("a") as file:
        file.write(f"{text}\n")


def wait_for(name: str) -> None:
    """Until the test makes a file; a killed test leaves nobody waiting for ever."""
    deadline_s = time.monotonic() + 120
    while not (notes / name).exists() and time.monotonic() < deadline_s:
        time.sleep(0.01)


def bring(file: dict) -> None:
    key, source, target = file["id"], Path(file["source"]), Path(file["target"])
    way, name = source.parent.name, source.name
    say(key, "started")
    if way == "missing":
        return say(key, "failed", reason=f"no such file: {source}", error="not found")
    if way == "torn":
        return say(key, "failed", reason="the tape is torn", exit_code=65)
    if way == "dies":
        note("died", os.environ["PACKHORSE_COMMAND_ID"])
        sys.exit(66)
    if way == "silent":
        return None
    if way == "empty":
        return say(key, "done")
    if way == "waits":
        say(key, "progress", note=f"waits for {name}")
        target.write_bytes(b"begun")
        note("waiting", name)
        wait_for(f"go-{name}")
    if way == "again":
        shutil.rmtree(target.parent, ignore_errors=True)
        target.parent.mkdir()
    if way == "babbles":
        for number in range(30_000):
            print("chatter", number)
            print(json.dumps({"id": key, "state": "progress", "note": str(number)}))
            print(json.dumps({"id": "nobody", "state": "done"}))
    try:
        shutil.copyfile(source, target)
    except OSError as error:
        return say(key, "failed", reason=str(error))
    note("brought", name)
    say(key, "done")
    if way == "twice":
        say(key, "done")
        say(key, "failed", reason="thought better of it")
    return None


def hear() -> None:
    """Tells of what is cancelled, and lets the file go."""
    for line in sys.stdin:
        told = json.loads(line)
        if told.get("state") == "cancelled":
            note("cancelled", told["id"])
            name = next(Path(one["source"]).name for one in files if one["id"] == told["id"])
            (notes / f"go-{name}").touch()
    note("ended", "input")


if hears:
    # The input stays open, so the last of its files is the one before the empty wait.
    files = []
    wanted = int(sys.argv[sys.argv.index("--hears") + 1])
    while len(files) < wanted:
        files.append(json.loads(sys.stdin.readline()))
    hearing = threading.Thread(target=hear, daemon=True)
    hearing.start()
else:
    files = [json.loads(line) for line in sys.stdin]
note("runs", " ".join(sorted(Path(one["source"]).name for one in files)))
for one in sorted(files, key=lambda one: one["source"], reverse=True):
    bring(one)
if hears:
    hearing.join()
if (notes / "lingers").exists():
    note("lingering", str(os.getpid()))
    wait_for("go-home")
