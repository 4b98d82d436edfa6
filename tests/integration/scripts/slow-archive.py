#!/usr/bin/env python3
"""An archive that is asked for files and makes them ready in its own time: a directory.

    slow-archive.py DIRECTORY submit|poll|cancel|release        told of many, JSON lines in and out
    slow-archive.py DIRECTORY submit KEY SOURCE                 told of one, answers with a word
    slow-archive.py DIRECTORY poll|cancel|release ID

What is done is noted in DIRECTORY/VERB, a line for each file. An order is a file of
DIRECTORY/orders with what its state is, which the test writes; until then it waits. Files in
DIRECTORY say what goes wrong: `down` (no command works), `deaf` (a poll says nothing),
`slow-submit` (a submit waits for the test to remove it).
"""

import json
import os
import sys
import time
from pathlib import Path

home, verb, *words = Path(sys.argv[1]), *sys.argv[2:]
orders = home / "orders"
orders.mkdir(exist_ok=True)


def note(text: str) -> None:
    with (home / verb).open("a") as file:
        file.write(f"{text}\n")


def submit(key: str, source: str) -> dict:
    if "refused" in source:
        return {"state": "failed", "reason": f"not on tape: {source}", "error": "not found"}
    if "nonsense" in source:
        return {"id": ["no", "id"]}
    # One that is asked twice under a key gives the order that it has.
    order = f"req-{key}"
    note(f"{order} {source}")
    if not (orders / order).exists():
        (orders / order).write_text("waiting on its way\n")
    return {"id": order}


def poll(order: str) -> dict:
    note(order)
    if (home / "deaf").exists():
        return {}
    if not (orders / order).exists():
        return {"state": "unknown"}
    state, _, more = (orders / order).read_text().strip().partition(" ")
    kind = "reason" if state == "failed" else "note"
    return {"state": state, kind: more}


def end(order: str) -> dict:
    note(order)
    (orders / order).unlink(missing_ok=True)
    return {}


def done(file: dict) -> dict:
    if verb == "submit":
        return submit(file["key"], file["source"])
    return poll(file["id"]) if verb == "poll" else end(file["id"])


if (home / "down").exists():
    print("the robot is on strike", file=sys.stderr)
    sys.exit(69)
if verb == "submit" and (home / "slow-submit").exists():
    note("begun")
    deadline_s = time.monotonic() + 120
    while (home / "slow-submit").exists() and time.monotonic() < deadline_s:
        time.sleep(0.01)
if not words:
    note(f"run {os.getpid()}")
    for line in sys.stdin:
        file = json.loads(line)
        if answer := done(file):
            print(json.dumps({"key": file["key"], **answer}), flush=True)
elif verb == "submit":
    answer = submit(*words)
    if "reason" in answer:
        print(answer["reason"], file=sys.stderr)
        sys.exit(66)
    print(f"placing the order\n{answer['id']}")
else:
    answer = done({"id": words[0]})
    print(answer.get("state", ""), answer.get("note", answer.get("reason", "")))
