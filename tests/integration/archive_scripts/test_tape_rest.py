"""The Tape REST API's client, against servers of three dialects: the same end with each."""

from __future__ import annotations

import itertools
import json
import signal
import subprocess
import sys
import threading
import zlib
from typing import TYPE_CHECKING

import pytest

from packhorse.scripts import find_kind
from tests.support.archive_scripts import TapeRest, certificates, run_script
from tests.support.tape_rest_server import DIALECTS, TapeRestServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CONTENT = b"what the detector saw" * 1000
DAMAGED, NOT_FOUND, UNAVAILABLE, LATER, NOT_PERMITTED, SET_UP_WRONGLY = 65, 66, 69, 75, 77, 78


@pytest.fixture(params=DIALECTS, ids=lambda dialect: dialect.name)
def server(request: pytest.FixtureRequest) -> Iterator[TapeRestServer]:
    """One of each dialect, with a file on tape."""
    with TapeRestServer(request.param) as server:
        server.put("/store/a", CONTENT)
        yield server


@pytest.fixture
def eos() -> Iterator[TapeRestServer]:
    """One that serves its files itself."""
    with TapeRestServer(DIALECTS[1]) as server:
        server.put("/store/a", CONTENT)
        yield server


def stage(
    server: TapeRestServer, target: Path, name: str = "/store/a", *options: str, **env: str
) -> subprocess.CompletedProcess[str]:
    world = TapeRest(server, *options)
    words = ("stage", *world.options, world.name(name), str(target))
    return run_script(world.kind, *words, env={**world.env, **env})


def test_a_file_is_staged_polled_for_copied_and_released(
    server: TapeRestServer, tmp_path: Path
) -> None:
    done = stage(server, tmp_path / "a", "//store///a", "--lifetime", "PT1H", "--metadata", "k=v")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a").read_bytes() == CONTENT
    sent = next(content for method, path, content, _ in server.asked if path.endswith("/stage"))
    file = {"path": "/store/a", "diskLifetime": "PT1H"}
    assert sent == {"files": [{**file, "targetedMetadata": {"test-site": {"k": "v"}}}]}
    assert server.count("GET", "/stage/id%2F1") == server.polls_needed + 1
    (released,) = (content for _, path, content, _ in server.asked if "/release/id%2F1" in path)
    assert released == {"paths": ["/store/a"]}
    assert server.on_disk == set()


def test_why_a_file_cannot_be_staged_decides_the_exit_code(
    server: TapeRestServer, tmp_path: Path
) -> None:
    server.put("/store/lost", CONTENT)
    server.lost.add("/store/lost")
    for name, code, said in (("none", NOT_FOUND, "no such file"), ("lost", DAMAGED, "torn")):
        done = stage(server, tmp_path / "a", f"/store/{name}")
        assert done.returncode == code, done.stderr
        assert said in done.stderr
        assert len(done.stderr.splitlines()) == 1
    # Nothing stays requested that nobody waits for.
    assert server.requests == {}
    assert list(tmp_path.iterdir()) == []


def test_a_request_that_somebody_cancels_is_tried_again(
    server: TapeRestServer, tmp_path: Path
) -> None:
    def cancel(_method: str, path: str) -> None:
        if "/stage/" in path and server.dialect.form == "state":
            server.requests["id/1"].cancelled = True
        elif "/stage/" in path:
            server.requests.pop("id/1", None)

    server.on_request = cancel
    assert stage(server, tmp_path / "a").returncode == LATER


def test_a_busy_server_is_left_alone_as_long_as_it_says(
    eos: TapeRestServer, tmp_path: Path
) -> None:
    long_ago = "Wed, 25 Nov 2020 10:00:00 GMT"
    eos.busy = [{"Retry-After": "0"}, {"Retry-After": long_ago}]
    assert stage(eos, tmp_path / "a").returncode == 0
    eos.busy = [{}]
    done = stage(eos, tmp_path / "b")
    assert (done.returncode, "429" in done.stderr) == (LATER, True)


def test_a_stage_that_is_ended_cancels_its_request(server: TapeRestServer, tmp_path: Path) -> None:
    server.polls_needed = 10**9
    polled = threading.Event()
    server.on_request = lambda method, path: polled.set() if "/stage/" in path else None
    world = TapeRest(server)
    argv = [sys.executable, str(find_kind("tape-rest").path), "stage", *world.options]
    with subprocess.Popen([*argv, world.name("/store/a"), str(tmp_path / "a")]) as process:
        assert polled.wait(30)
        process.send_signal(signal.SIGTERM)
    assert process.returncode == 128 + signal.SIGTERM
    assert server.requests == {}
    assert list(tmp_path.iterdir()) == []


def test_a_token_goes_to_the_door_alone_and_never_unencrypted(tmp_path: Path) -> None:
    tls, authority = certificates(tmp_path)
    token_file = tmp_path / "token"
    token_file.write_text("secret\n")
    with TapeRestServer(DIALECTS[0], tls) as server:
        server.put("/store/a", CONTENT)
        server.token = "secret"
        options = ("--ca", str(authority))
        for env in ({"BEARER_TOKEN": "secret"}, {"BEARER_TOKEN_FILE": str(token_file)}):
            done = stage(server, tmp_path / "a", "/store/a", *options, **env)
            assert done.returncode == 0, done.stderr
        done = stage(server, tmp_path / "b", "/store/a", *options, BEARER_TOKEN="stale")
        assert (done.returncode, "who are you?" in done.stderr) == (NOT_PERMITTED, True)
        done = stage(server, tmp_path / "b", BEARER_TOKEN="secret")
        assert (done.returncode, "certificate" in done.stderr) == (UNAVAILABLE, True)
    with TapeRestServer(DIALECTS[1]) as server:
        server.put("/store/a", CONTENT)
        assert stage(server, tmp_path / "c", BEARER_TOKEN="secret").returncode == 0
        assert not any("Authorization" in headers for *_, headers in server.asked)


def test_a_certificate_is_shown_where_there_is_no_token(tmp_path: Path) -> None:
    done = run_script(
        "tape-rest", "stat", "https://localhost:1/a", env={"X509_USER_PROXY": "/none"}
    )
    assert (done.returncode, "/none" in done.stderr) == (SET_UP_WRONGLY, True)


def test_a_store_can_wait_until_tape_has_the_file(eos: TapeRestServer, tmp_path: Path) -> None:
    asked = itertools.count()

    def archive(_method: str, path: str) -> None:
        if path.endswith("/archiveinfo") and next(asked) == 1:
            eos.on_tape.add("/store/new")

    eos.on_request = archive
    (tmp_path / "a").write_bytes(CONTENT)
    world = TapeRest(eos, "--until-on-tape")
    name = world.name("/store/new")
    done = run_script(world.kind, "store", *world.options, str(tmp_path / "a"), name)
    assert done.returncode == 0, done.stderr
    assert eos.files["/store/new"] == CONTENT
    assert eos.count("POST", "/archiveinfo") == 3


def test_stat_tells_the_sum_that_the_server_knows(eos: TapeRestServer) -> None:
    world = TapeRest(eos)
    done = run_script(world.kind, "stat", *world.options, world.name("/store/a"))
    told = json.loads(done.stdout)
    assert told == {
        "mtime": 1.7e9,
        "size": len(CONTENT),
        "checksum": f"adler32:{zlib.adler32(CONTENT):08x}",
    }


def test_a_host_without_the_api_is_told_of_as_a_mistake(
    eos: TapeRestServer, tmp_path: Path
) -> None:
    done = stage(eos, tmp_path / "a", "/store/a", "--api", f"{eos.url}/elsewhere")
    assert done.returncode == NOT_FOUND
    assert "404" in done.stderr


def test_nobody_listening_is_told_as_unavailable(tmp_path: Path) -> None:
    server = TapeRestServer()
    server.__enter__()
    server.__exit__()
    done = stage(server, tmp_path / "a")
    assert (done.returncode, "refused" in done.stderr) == (UNAVAILABLE, True)
