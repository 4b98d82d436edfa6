"""Services start, stop, and never live on as half of themselves."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from common.errors import ConfigError
from common.service import SIDE_TASK_DIED, NamedTasks, serve, set_up_logging

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine


class Toy:
    """A service that keeps a diary."""

    def __init__(
        self,
        name: str = "toy",
        diary: list[str] | None = None,
        background: Callable[[], Coroutine] | None = None,
        error: Exception | None = None,
    ) -> None:
        self.name = name
        self.address = f"127.0.0.1:{len(name)}"
        self.diary = [] if diary is None else diary
        self._background = background
        self._error = error

    async def start(self, tasks: NamedTasks) -> None:
        self.diary.append(f"start {self.name}")
        if self._background:
            tasks.spawn("background", self._background(), endless=True)
        if self._error:
            raise self._error

    async def stop(self, grace_s: float) -> None:
        self.diary.append(f"stop {self.name}")


async def serve_until_up(*services: Toy, grace_s: float = 10.0) -> int:
    """Serves, and says stop as soon as all are up."""
    stop = asyncio.Event()
    return await serve(*services, stop=stop, grace_s=grace_s, when_ready=lambda _: stop.set())


async def test_a_service_told_to_stop_stops_with_code_0() -> None:
    toy = Toy()
    assert await serve_until_up(toy) == 0
    assert toy.diary == ["start toy", "stop toy"]


async def test_background_work_is_cancelled_after_stop() -> None:
    diary: list[str] = []

    async def background() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            diary.append("background ended")

    class Slow(Toy):
        async def start(self, tasks: NamedTasks) -> None:
            await super().start(tasks)
            await asyncio.sleep(0)

    assert await serve_until_up(Slow("toy", diary, background)) == 0
    assert diary == ["start toy", "stop toy", "background ended"]


async def raising() -> None:
    raise ZeroDivisionError("the cause")


async def returning() -> None:
    pass


@pytest.mark.parametrize("background", [raising, returning])
async def test_a_dead_background_task_stops_the_service_loudly(
    background: Callable[[], Coroutine], caplog: pytest.LogCaptureFixture
) -> None:
    toy = Toy(background=background)
    assert await asyncio.wait_for(serve(toy, stop=asyncio.Event()), 10) == SIDE_TASK_DIED
    assert toy.diary == ["start toy", "stop toy"]
    critical = [record for record in caplog.records if record.levelno == logging.CRITICAL]
    assert "'background'" in critical[0].message
    if background is raising:
        assert "ZeroDivisionError: the cause" in caplog.text


async def test_a_task_that_has_done_its_work_is_no_death() -> None:
    tasks = NamedTasks()
    done = tasks.spawn("short", returning())
    cancelled = tasks.spawn("cancelled", asyncio.sleep(60), endless=True)
    cancelled.cancel()
    await asyncio.gather(done, cancelled, return_exceptions=True)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(tasks.death(), 0.01)
    await tasks.cancel()


async def test_a_failed_start_is_raised_after_stopping() -> None:
    toy = Toy(error=ConfigError("the port is taken"))
    with pytest.raises(ConfigError, match="the port is taken"):
        await serve(toy, stop=asyncio.Event())
    assert toy.diary == ["start toy", "stop toy"]


async def test_a_start_that_takes_long_can_be_stopped() -> None:
    starting = asyncio.Event()

    class Stuck(Toy):
        async def start(self, tasks: NamedTasks) -> None:
            starting.set()
            await asyncio.Event().wait()

    stop = asyncio.Event()
    serving = asyncio.create_task(serve(Stuck(), stop=stop))
    await asyncio.wait_for(starting.wait(), 10)
    stop.set()
    assert await asyncio.wait_for(serving, 10) == 0


async def test_a_stop_that_hangs_or_raises_keeps_nothing_alive(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("common.service.LATE_S", 0.01)

    class Hanging(Toy):
        async def stop(self, grace_s: float) -> None:
            await asyncio.Event().wait()

    class Failing(Toy):
        async def stop(self, grace_s: float) -> None:
            raise OSError("no")

    first = Toy("first")
    stopped = serve_until_up(first, Hanging("second"), Failing("third"), grace_s=0.01)
    assert await asyncio.wait_for(stopped, 10) == 0
    assert "second: did not stop in time" in caplog.text
    assert "third: stopping failed" in caplog.text
    assert first.diary == ["start first", "stop first"]


async def test_several_services_start_in_order_and_stop_in_the_reverse() -> None:
    diary: list[str] = []
    assert await serve_until_up(*(Toy(name, diary) for name in ("a", "b", "c"))) == 0
    assert diary == ["start a", "start b", "start c", "stop c", "stop b", "stop a"]


async def test_when_one_of_several_does_not_start_those_before_it_are_stopped() -> None:
    diary: list[str] = []
    parts = Toy("a", diary), Toy("b", diary, error=ConfigError("no")), Toy("c", diary)
    with pytest.raises(ConfigError):
        await serve(*parts, stop=asyncio.Event())
    assert diary == ["start a", "start b", "stop b", "stop a"]


def test_an_unknown_log_level_is_a_configuration_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PACKHORSE_LOG", "loud")
    with pytest.raises(ConfigError, match="PACKHORSE_LOG='LOUD' is no level"):
        set_up_logging()


# --- real processes ---------------------------------------------------------------

PROGRAM = """
import asyncio, logging, os, sys
from common.service import run_service

class Toy:
    def __init__(self, name):
        self.name, self.address = name, "127.0.0.1:1213"
    async def start(self, tasks):
        logging.getLogger("toy").info("hello\\x1b[2J\\nforged")
    async def stop(self, grace_s):
        if "slow" in sys.argv:
            print("stopping", flush=True)
            await asyncio.sleep(60)
        print("stopped", flush=True)

sys.exit(run_service(Toy("one"), Toy("two"), grace_s=60))
"""


def start(*args: str, **env: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *args],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **env},
    )
    assert process.stdout is not None
    for name in ("one", "two"):
        ready = json.loads(process.stdout.readline())
        assert ready == {"ready": name, "address": "127.0.0.1:1213", "pid": process.pid}
    return process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_the_first_signal_stops_gracefully(number: signal.Signals) -> None:
    process = start()
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0
    assert out == "stopped\nstopped\n"
    assert f"{number.name}: stopping" in err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_second_signal_kills_at_once(number: signal.Signals) -> None:
    process = start("slow")
    process.send_signal(number)
    assert process.stdout is not None
    assert process.stdout.readline() == "stopping\n"
    process.send_signal(number)
    process.communicate(timeout=30)
    assert process.returncode == -number


def test_it_stops_when_the_pipe_from_its_parent_ends() -> None:
    process = start(PACKHORSE_EXIT_WITH_PARENT="1")
    out, err = process.communicate(timeout=30)  # closes its standard input first
    assert process.returncode == 0
    assert out == "stopped\nstopped\n"
    assert "the parent is gone" in err


def test_without_being_asked_to_it_outlives_the_pipe() -> None:
    process = start()
    assert process.stdin is not None
    process.stdin.close()
    process.stdin = None
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.3)
    process.terminate()
    process.communicate(timeout=30)
    assert process.returncode == 0


def test_to_exit_with_the_parent_standard_input_must_be_a_pipe() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        env={**os.environ, "PACKHORSE_EXIT_WITH_PARENT": "1"},
    )
    assert done.returncode == 1
    assert "standard input must be a pipe" in done.stderr


def test_log_messages_are_one_line_and_obey_the_level() -> None:
    process = start(PACKHORSE_LOG="info")
    process.terminate()
    _, err = process.communicate(timeout=30)
    assert "INFO toy: hello\\nforged\n" in err

    process = start(PACKHORSE_LOG="warning")
    process.terminate()
    _, err = process.communicate(timeout=30)
    assert err == ""
