"""Archives that are asked for many files and told of them later: submit, poll, cancel, release."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from common.command.environment import command_environment
from packhorse.scripts import find_kind
from tests.support.archive_scripts import S3, TapeRest, World, Xrootd, run_script
from tests.support.tape_rest_server import DIALECTS, TapeRestServer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tests.support.archive_scripts import MotoServer
    from tests.support.recorded_xrootd import WritableXrootd

CONTENT = b"what the detector saw" * 1000
USAGE, NOT_FOUND = 64, 66


def order(world: World, action: str, *files: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What the script answers to lines of JSON, by key."""
    done = subprocess.run(
        [sys.executable, str(find_kind(world.kind).path), action, *world.options],
        input="".join(f"{json.dumps(file)}\n" for file in files),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=command_environment({"PATH": "/usr/bin:/bin"}, world.env, "test"),
    )
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    return {answer["key"]: answer for answer in answers}


def wanted(world: World, names: Sequence[str]) -> list[dict[str, Any]]:
    """The lines for files, whose keys are their names."""
    return [
        {"key": name, "source": world.name(f"/store/{name}"), "lfn": f"/store/{name}", "size": None}
        for name in names
    ]


def submitted(world: World, names: Sequence[str]) -> list[dict[str, Any]]:
    """Orders files; the lines for what follows."""
    files = wanted(world, names)
    answers = order(world, "submit", *files)
    return [{**file, "id": answers[file["key"]]["id"]} for file in files]


def states(world: World, orders: Sequence[dict[str, Any]]) -> dict[str, str]:
    return {key: answer["state"] for key, answer in order(world, "poll", *orders).items()}


@pytest.fixture(params=DIALECTS, ids=lambda dialect: dialect.name)
def tape(request: pytest.FixtureRequest) -> Iterator[TapeRest]:
    """A tape storage of each dialect, with three files on tape."""
    with TapeRestServer(request.param) as server:
        for name in "abc":
            server.put(f"/store/{name}", CONTENT)
        yield TapeRest(server)


def test_many_files_are_one_request_of_the_tape_rest_api(tape: TapeRest, tmp_path: Path) -> None:
    orders = submitted(tape, ["a", "b", "none"])
    assert len(tape.server.requests) == 1
    assert states(tape, orders) == {"a": "waiting", "b": "waiting", "none": "waiting"}
    tape.server.polls_needed = 0
    tape.server.requests["id/1"].polls_left = 0
    told = order(tape, "poll", *orders)
    assert (told["a"]["state"], told["b"]["state"]) == ("ready", "ready")
    assert (told["none"]["state"], told["none"]["exit_code"]) == ("failed", NOT_FOUND)
    assert told["none"]["reason"].endswith("no such file, it seems")
    words = ("stage", "--ready", *tape.options, tape.name("/store/a"), str(tmp_path / "a"))
    assert run_script(tape.kind, *words).returncode == 0
    assert (tmp_path / "a").read_bytes() == CONTENT
    assert len(tape.server.requests) == 1
    order(tape, "release", *orders[:2])
    assert tape.server.on_disk == set()


def test_files_of_a_request_are_cancelled_one_by_one(tape: TapeRest) -> None:
    orders = submitted(tape, ["a", "b"])
    order(tape, "cancel", orders[0])
    (cancelled,) = (content for _, path, content, _ in tape.server.asked if "/cancel" in path)
    assert cancelled == {"paths": ["/store/a"]}
    tape.server.requests.clear()
    assert states(tape, orders) == {"a": "unknown", "b": "unknown"}
    for action in ("cancel", "release"):
        order(tape, action, *orders)


def test_a_server_that_refuses_has_failed_each_file(tape: TapeRest) -> None:
    tape.server.token = "secret"
    told = order(tape, "submit", *wanted(tape, ["a", "b"]))
    assert [answer["state"] for answer in told.values()] == ["failed", "failed"]
    assert [answer["exit_code"] for answer in told.values()] == [77, 77]


def test_objects_are_restored_and_asked_about(s3: S3, moto: MotoServer) -> None:
    moto.set_restore_delay(2)
    s3.put("/store/cold", CONTENT, StorageClass="GLACIER")
    s3.put("/store/warm", CONTENT)
    told = order(s3, "submit", *wanted(s3, ["cold", "warm", "none"]))
    assert told["none"]["exit_code"] == NOT_FOUND
    orders = [{**file, "id": file["source"]} for file in wanted(s3, ["cold", "warm"])]
    seen = [states(s3, orders) for _ in range(3)]
    assert {state["warm"] for state in seen} == {"ready"}
    colds = [state["cold"] for state in seen]
    assert colds == sorted(colds, reverse=True)
    assert (colds[0], colds[-1]) == ("waiting", "ready")
    order(s3, "release", *orders)


def test_xrootd_prepares_and_is_asked(xrootd: WritableXrootd) -> None:
    world = Xrootd(xrootd)
    world.put("/store/ordered", CONTENT)
    orders = submitted(world, ["ordered"])
    assert states(world, orders) == {"ordered": "ready"}
    for action in ("cancel", "release"):
        order(world, action, *orders)


@pytest.mark.parametrize(
    ("kind", "line"), [("tape-rest", "hello"), ("tape-rest", '{"key": "a"}'), ("mounted", "{}")]
)
def test_what_is_no_order_is_wrong_usage(kind: str, line: str) -> None:
    argv = [sys.executable, str(find_kind(kind).path), "poll"]
    done = subprocess.run(argv, input=f"{line}\n", capture_output=True, text=True, check=False)
    assert (done.returncode, len(done.stderr.splitlines())) == (USAGE, 1)
