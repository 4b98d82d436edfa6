"""Commands of every bad kind: how they end is told, and nothing of them stays."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from common.command import (
    CommandResult,
    CommandSpec,
    Credentials,
    Cut,
    ErrorClass,
    kill_leftover,
    kill_leftovers,
    run_command,
)
from common.command.environment import ID_VARIABLE
from common.command.leftovers import wait_until_group_is_gone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

OWNER = f"test-{os.getpid()}"


@pytest.fixture(autouse=True)
def nothing_stays() -> Iterator[None]:
    """After every test: no process, no zombie, no open file more than before."""
    before = psutil.Process().num_fds()
    yield
    assert kill_leftovers(OWNER) == []
    assert psutil.Process().children(recursive=True) == []
    gc.collect()
    assert psutil.Process().num_fds() <= before


def spec(*argv: str, deadline_s: float = 30.0, **options: Any) -> CommandSpec:
    return CommandSpec(argv=argv, deadline_s=deadline_s, owner=OWNER, **options)


def sh(script: str, *args: str, **options: Any) -> CommandSpec:
    return spec("/bin/sh", "-c", textwrap.dedent(script), "script", *args, **options)


def run(spec: CommandSpec, grace_s: float = 5.0, **options: Any) -> CommandResult:
    return asyncio.run(asyncio.wait_for(run_command(spec, grace_s=grace_s, **options), 60))


def alive(pid: int) -> bool:
    """Whether a process lives; a zombie does not."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def pid_in(path: Path, timeout_s: float = 10.0) -> int:
    """The process id that a script writes to a file."""
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        if path.exists() and (text := path.read_text()).endswith("\n"):
            return int(text)
        threading.Event().wait(0.005)
    raise AssertionError(f"nothing in {path}")


# --- the ordinary ways --------------------------------------------------------------


def test_a_command_that_does_its_work() -> None:
    result = run(sh("echo out; echo err >&2"))
    assert result.failure is None
    assert result.exit_code == 0
    assert result.stdout == b"out\n"
    assert result.stdout_complete
    assert result.output_tail == "err"
    assert 0 < result.duration_s < 10


def test_words_are_never_given_to_a_shell(tmp_path: Path) -> None:
    words = [
        "a b",
        "; touch x",
        "$(touch x)",
        "`touch x`",
        "*",
        "-n",
        "'\"",
        "two\nlines",
        "é µ",
        "",
    ]
    result = run(spec("/usr/bin/printf", "%s\\0", *words, cwd=tmp_path))
    assert result.stdout.decode().split("\0")[:-1] == words
    assert list(tmp_path.iterdir()) == []


def test_names_that_are_not_utf8_pass_unharmed() -> None:
    result = run(spec("/usr/bin/printf", "%s", os.fsdecode(b"/store/\xff\xfe")))
    assert result.stdout == b"/store/\xff\xfe"


def test_it_runs_in_a_session_and_group_of_its_own() -> None:
    program = "import os; print(os.getpid() == os.getsid(0) == os.getpgid(0))"
    assert run(spec(sys.executable, "-c", program)).stdout == b"True\n"


def test_its_standard_input_is_empty() -> None:
    assert run(spec("/bin/cat")).stdout == b""


def test_its_environment_is_short_and_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "of another program")
    command = spec("/usr/bin/env", env={"STAGE_POOL": "hot"})
    variables = dict(line.split("=", 1) for line in run(command).stdout.decode().splitlines())
    assert variables["STAGE_POOL"] == "hot"
    assert variables[ID_VARIABLE] == command.command_id
    assert "SECRET" not in variables


def test_what_it_shall_read_is_given_to_it() -> None:
    content = os.urandom(300_000)
    result = run(spec("/bin/cat", stdin=content, output_limit_bytes=1 << 20))
    assert result.stdout == content


def test_a_command_that_reads_nothing_of_its_input_is_no_trouble() -> None:
    assert run(spec("/bin/true", stdin=b"x" * (1 << 20))).failure is None


def test_its_working_directory_can_be_chosen(tmp_path: Path) -> None:
    assert run(spec("/bin/pwd", cwd=tmp_path)).stdout.decode().strip() == str(tmp_path)


def test_its_start_and_its_progress_are_told_in_the_event_loop(tmp_path: Path) -> None:
    threads, sizes, starts = set(), [], []

    def on_start(pid: int, start_time_s: float) -> None:
        threads.add(threading.current_thread())
        starts.append((pid, start_time_s))

    def on_progress(size_bytes: int) -> None:
        threads.add(threading.current_thread())
        sizes.append(size_bytes)

    command = sh("echo $$; printf 12345 >$1", str(tmp_path / "target"), watch=tmp_path / "target")
    result = run(command, on_start=on_start, on_progress=on_progress)
    ((pid, start_time_s),) = starts
    assert pid == int(result.stdout)
    assert abs(start_time_s - time.time()) < 60
    assert sizes[-1] == 5
    assert threads == {threading.main_thread()}


# --- commands that fail -------------------------------------------------------------


@pytest.mark.parametrize(
    ("exit_code", "error_class"),
    [
        (1, ErrorClass.TRANSIENT),
        (35, ErrorClass.PERMANENT),
        (41, ErrorClass.NO_SPACE),
        (66, ErrorClass.NOT_FOUND),
        (75, ErrorClass.TRANSIENT),
    ],
)
def test_its_exit_code_says_how_bad_it_is(exit_code: int, error_class: ErrorClass) -> None:
    result = run(sh(f"echo progress; echo first >&2; echo the reason >&2; exit {exit_code}"))
    assert result.exit_code == exit_code
    assert result.failure is not None
    assert result.failure.error_class is error_class
    assert result.failure.reason.startswith(f"sh: exit code {exit_code}")
    assert result.failure.reason.endswith(": first | the reason")
    assert result.cut is None


def test_the_reason_is_on_stdout_if_stderr_is_silent() -> None:
    result = run(sh("echo it is broken; exit 1"))
    assert result.failure is not None
    assert result.failure.reason == "sh: exit code 1: it is broken"


def test_a_command_killed_by_somebody_else_is_transient() -> None:
    result = run(sh("kill -SEGV $$"))
    assert result.exit_code == -signal.SIGSEGV
    assert result.failure is not None
    assert result.failure.error_class is ErrorClass.TRANSIENT
    assert "killed by SIGSEGV" in result.failure.reason


def script(path: Path, text: str, mode: int = 0o755) -> str:
    path.write_text(text)
    path.chmod(mode)
    return str(path)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda d: "/no/such/program", "cannot be run: No such file or directory"),
        (
            lambda d: "no-such-program",
            "no-such-program cannot be run: no such program in PATH that may be executed",
        ),
        (lambda d: script(d / "x", "#!/bin/sh\n", 0o644), "is it executable (chmod +x)?"),
        (lambda d: script(d / "x", "#!/no/such/shell\n"), "its first line (#!)"),
        (lambda d: script(d / "x", "echo no first line\n"), "it is no program"),
        (lambda d: script(d / "x", ""), "it is no program"),
        (str, "is it executable"),
    ],
    ids=["path", "name", "mode", "interpreter", "first line", "empty", "directory"],
)
def test_a_command_that_cannot_be_run_says_why(
    tmp_path: Path, make: Callable[[Path], str], reason: str
) -> None:
    result = run(spec(make(tmp_path)))
    assert result.exit_code is None
    assert result.failure is not None
    assert result.failure.error_class is ErrorClass.PERMANENT
    assert reason in result.failure.reason


@pytest.mark.parametrize("word", ["a\0b", "\ud800", "x" * (1 << 21)])
def test_a_word_that_no_program_can_be_given_is_a_permanent_failure(word: str) -> None:
    result = run(spec("/bin/echo", word))
    assert result.failure is not None
    assert result.failure.error_class is ErrorClass.PERMANENT
    assert "/bin/echo cannot be run" in result.failure.reason


def test_a_vanished_working_directory_is_this_nodes_trouble(tmp_path: Path) -> None:
    result = run(spec("/bin/true", cwd=tmp_path / "gone"))
    assert result.failure is not None
    assert result.failure.error_class is ErrorClass.TRANSIENT
    assert "no directory" in result.failure.reason


def test_a_program_that_is_being_replaced_is_tried_again(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(Path("/bin/true").read_bytes())
    program.chmod(0o755)
    with program.open("r+b"):
        result = run(spec(str(program)))
    assert result.failure is not None
    assert result.failure.error_class is ErrorClass.TRANSIENT


# --- output -------------------------------------------------------------------------


def test_a_flood_on_both_outputs_blocks_nothing_and_fills_no_memory() -> None:
    before_kib = psutil.Process().memory_info().rss // 1024
    result = run(
        sh(
            """
            head -c 100000000 /dev/zero &
            head -c 100000000 /dev/zero | tr '\\0' 'x' >&2
            wait
            echo >&2
            echo last words >&2
            """,
            output_limit_bytes=1000,
        )
    )
    assert result.failure is None
    assert len(result.stdout) == 1000
    assert not result.stdout_complete
    assert result.output_tail.endswith("\nlast words")
    assert psutil.Process().memory_info().rss // 1024 - before_kib < 50_000


def test_binary_output_is_made_printable() -> None:
    result = run(sh(r"printf '\033[31mred\033[0m \377\000\007 caf\303\251\n' >&2; exit 1"))
    assert result.output_tail == "red \\xff café"
    assert result.failure is not None
    assert result.failure.reason.endswith("red \\xff café")


def test_closing_its_outputs_is_not_the_end_of_it(tmp_path: Path) -> None:
    result = run(sh("exec >&- 2>&-; sleep 0.3; echo done >$1", str(tmp_path / "late")))
    assert result.failure is None
    assert (tmp_path / "late").read_text() == "done\n"


# --- commands that do not end by themselves ------------------------------------------


def test_at_its_deadline_it_may_clean_up_and_must_go(tmp_path: Path) -> None:
    result = run(
        sh(
            """
            trap 'rm $1; echo cleaned up >&2; exit 1' TERM
            touch $1; echo hanging >&2; sleep 1000 & wait
            """,
            str(tmp_path / "temporary"),
            deadline_s=0.3,
        )
    )
    assert result.cut is Cut.DEADLINE
    assert result.failure is not None
    assert result.failure.error_class is ErrorClass.TRANSIENT
    assert "killed at its deadline, after 300ms" in result.failure.reason
    assert result.output_tail == "hanging\ncleaned up"
    assert list(tmp_path.iterdir()) == []


def test_ignoring_sigterm_does_not_help() -> None:
    started_s = time.monotonic()
    result = run(sh("trap '' TERM; while :; do sleep 1000; done", deadline_s=0.1), grace_s=0.3)
    assert result.exit_code == -signal.SIGKILL
    assert result.cut is Cut.DEADLINE
    assert 0.4 <= time.monotonic() - started_s < 10


def test_a_flood_while_it_is_asked_to_go_does_not_block_it() -> None:
    result = run(
        sh(
            """
            trap 'head -c 10000000 /dev/zero; echo flushed >&2; exit 3' TERM
            sleep 1000 & wait
            """,
            deadline_s=0.1,
        ),
    )
    assert result.exit_code == 3
    assert result.output_tail == "flushed"


def test_a_stopped_command_can_be_ended() -> None:
    result = run(sh("kill -STOP $$", deadline_s=0.2), grace_s=30.0)
    assert result.exit_code == -signal.SIGTERM


@pytest.mark.parametrize("before", ["", "printf begun >$1"])
def test_it_is_killed_when_nothing_grows(tmp_path: Path, before: str) -> None:
    target = tmp_path / "target"
    result = run(sh(f"{before}\nsleep 1000", str(target), watch=target, stall_s=0.3))
    assert result.cut is Cut.STALL
    assert result.failure is not None
    assert result.failure.error_class is ErrorClass.TRANSIENT
    assert "it wrote nothing for" in result.failure.reason


def test_it_is_not_stalled_while_it_tells_of_its_progress(tmp_path: Path) -> None:
    heard: list[bytes] = []

    def hear(line: bytes) -> bool:
        heard.append(line)
        return line.startswith(b"progress")

    # Each says something every 0.1 s, for three times as long as it may be silent.
    talking = 'for i in 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14; do echo "$1: $i"; sleep 0.1; done'
    options: dict[str, Any] = {"watch": tmp_path / "target", "stall_s": 0.5}
    assert run(sh(talking, "progress", **options), on_line=hear).failure is None
    assert heard == [b"progress: %d" % number for number in range(15)]
    assert run(sh(talking, "chatter", **options), on_line=hear).cut is Cut.STALL


def test_it_reads_what_is_written_while_it_runs() -> None:
    read_fd, write_fd = os.pipe()

    def hear(line: bytes) -> bool:
        # What it says makes us say the next word, and then no more.
        if line == b"first":
            os.write(write_fd, b"second\n")
        else:
            os.close(write_fd)
        return True

    os.write(write_fd, b"first\n")
    result = run(spec("/bin/cat", stdin_fd=read_fd), on_line=hear)
    os.close(read_fd)
    assert result.stdout == b"first\nsecond\n"


def test_a_credential_is_handed_over_as_it_is_when_it_starts(tmp_path: Path) -> None:
    token = tmp_path / "token"
    told = sh("echo $TOKEN", credentials=Credentials(contents={"TOKEN": token}))
    for content in ("first", "renewed"):
        token.write_text(content)
        assert run(told).stdout == f"{content}\n".encode()
    token.unlink()
    failure = run(told).failure
    assert failure is not None
    assert failure.error_class is ErrorClass.TRANSIENT
    assert failure.reason.startswith("/bin/sh is not run: the credential TOKEN")


@pytest.mark.parametrize("write", ["printf x >>$1", "printf x >>$1.part", "touch $1"])
def test_it_is_not_stalled_while_anything_beside_the_target_changes(
    tmp_path: Path, write: str
) -> None:
    target = tmp_path / "target"
    growing = f"for i in 1 2 3 4 5 6 7 8; do {write}; sleep 0.1; done"
    result = run(sh(growing, str(target), watch=target, stall_s=0.6))
    assert result.failure is None


def test_it_is_killed_when_none_of_its_processes_reads_or_writes() -> None:
    result = run(sh("sleep 1000 & sleep 1000", idle_s=0.4))
    assert result.cut is Cut.IDLE
    assert result.failure is not None
    assert result.failure.error_class is ErrorClass.TRANSIENT
    assert "it read and wrote nothing for" in result.failure.reason


@pytest.mark.parametrize("work", ["echo x >>$1", "read x </dev/zero & kill $!", "echo at it"])
def test_it_is_not_idle_while_it_works_anywhere(tmp_path: Path, work: str) -> None:
    working = f"for i in 1 2 3 4 5 6 7 8; do {work}; sleep 0.1; done"
    assert run(sh(working, str(tmp_path / "elsewhere"), idle_s=0.6)).failure is None


def test_it_is_killed_when_it_writes_too_much(tmp_path: Path) -> None:
    target = tmp_path / "target"
    endless = "while :; do head -c 1000000 /dev/zero >>$1; sleep 0.01; done"
    result = run(sh(endless, str(target), watch=target, size_limit_bytes=2_000_000))
    assert result.cut is Cut.OVERSIZE
    assert result.failure is not None
    assert "wrote more than the 2 MB it may" in result.failure.reason


def test_a_quick_command_that_wrote_too_much_is_found_out(tmp_path: Path) -> None:
    target = tmp_path / "target"
    result = run(sh("printf 123456 >$1", str(target), watch=target, size_limit_bytes=5))
    assert (result.exit_code, result.cut) == (0, Cut.OVERSIZE)
    result = run(sh("printf 12345 >$1", str(target), watch=target, size_limit_bytes=5))
    assert result.failure is None


def test_the_kernel_stops_what_grows_too_fast_to_be_seen(tmp_path: Path) -> None:
    target = tmp_path / "target"
    leap = "import sys; open(sys.argv[1], 'wb').truncate(3 << 30)"
    command = spec(sys.executable, "-c", leap, str(target), watch=target, size_limit_bytes=2 << 30)
    result = run(command)
    assert result.exit_code != 0
    assert result.cut is Cut.OVERSIZE or target.stat().st_size <= (2 << 30) + 1


def test_a_command_that_cannot_be_limited_runs_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr("resource.prlimit", refuse)
    result = run(sh("echo done", watch=tmp_path / "target", size_limit_bytes=1))
    assert result.failure is None


# --- what it leaves behind ------------------------------------------------------------


@pytest.mark.parametrize("end", ["exit 0", "exit 1", "kill -KILL $$", "sleep 1000"])
def test_a_grandchild_in_its_group_ends_with_it(tmp_path: Path, end: str) -> None:
    script = f"(trap '' TERM; exec sleep 1000) & echo $! >$1; {end}"
    run(sh(script, str(tmp_path / "pid"), deadline_s=0.5), grace_s=0.1)
    assert not alive(pid_in(tmp_path / "pid"))


def test_a_background_process_that_holds_the_pipes_delays_nothing() -> None:
    started_s = time.monotonic()
    result = run(sh("sleep 1000 & echo done"))
    assert result.stdout == b"done\n"
    assert result.failure is None
    assert time.monotonic() - started_s < 10


def test_a_daemon_it_started_outlives_an_ordinary_end_without_delaying_it(tmp_path: Path) -> None:
    daemon = (
        "setsid sh -c 'echo $$ >$0; exec sleep 1000' $1 & until [ -s $1 ]; do :; done; echo done"
    )
    result = run(sh(daemon, str(tmp_path / "pid")))
    assert result.stdout == b"done\n"
    pid = pid_in(tmp_path / "pid")
    assert alive(pid)
    assert kill_leftovers(OWNER) == [pid]
    assert not alive(pid)


def test_a_daemon_it_started_does_not_outlive_its_being_killed(tmp_path: Path) -> None:
    daemon = "setsid setsid sh -c 'echo $$ >$0; exec sleep 1000' $1 & sleep 1000"
    result = run(sh(daemon, str(tmp_path / "pid"), deadline_s=0.5))
    assert result.cut is Cut.DEADLINE
    assert not alive(pid_in(tmp_path / "pid"))


@pytest.mark.parametrize("times", [1, 3])
def test_cancelling_ends_it_and_all_its_processes_first(tmp_path: Path, times: int) -> None:
    async def cancel_it() -> None:
        started = asyncio.Event()
        script = "trap '' TERM; sleep 1000 & echo $! >$1; wait"
        command = sh(script, str(tmp_path / "pid"))
        running = asyncio.create_task(
            run_command(command, grace_s=0.2, on_start=lambda *_: started.set())
        )
        await asyncio.wait_for(started.wait(), 10)
        await asyncio.to_thread(pid_in, tmp_path / "pid")
        for _ in range(times):
            running.cancel()
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await running
        assert not alive(pid_in(tmp_path / "pid"))
        assert psutil.Process().children() == []

    asyncio.run(asyncio.wait_for(cancel_it(), 30))


def test_a_process_that_cannot_be_killed_is_not_waited_for_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def powerless(group: int, number: signal.Signals) -> bool:
        return True

    monkeypatch.setattr("common.command.supervise.signal_group", powerless)
    monkeypatch.setattr("common.command.supervise.UNKILLABLE_AFTER_S", 0.1)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    result = run(sh("read line <$1", str(fifo), deadline_s=0.1), grace_s=0.1)
    assert result.exit_code is None
    assert result.failure is not None
    assert result.failure.error_class is ErrorClass.TRANSIENT
    assert "stuck in the kernel" in result.failure.reason
    # Once it does end, it is reaped.
    fifo.write_text("go\n")
    for thread in threading.enumerate():
        if thread.name == "reaper":
            thread.join(10)
            assert not thread.is_alive()


# --- after kill -9 of the server --------------------------------------------------------

SERVER = """
import asyncio, json, sys
from common.command import CommandSpec, run_command
async def main():
    owner, *argv = sys.argv[1:]
    spec = CommandSpec(argv=argv, deadline_s=1000, owner=owner)
    tell = lambda pid, start_time_s: print(json.dumps([pid, start_time_s]), flush=True)
    await run_command(spec, on_start=tell)
asyncio.run(main())
"""


def left_by_a_killed_server(*argv: str) -> tuple[int, float]:
    """Runs a command in a server that is killed; the command's record."""
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, OWNER, *argv], stdout=subprocess.PIPE, text=True
    )
    with server:
        assert server.stdout is not None
        pid, start_time_s = json.loads(server.stdout.readline())
        server.kill()
    return pid, start_time_s


def test_leftovers_of_a_killed_server_are_found_and_killed() -> None:
    pid, _ = left_by_a_killed_server("/bin/sleep", "1000")
    assert alive(pid)
    assert kill_leftovers("somebody-else") == []
    assert kill_leftovers(OWNER) == [pid]
    assert not alive(pid)


def test_a_recorded_leftover_is_killed_though_it_cleans_its_environment() -> None:
    pid, start_time_s = left_by_a_killed_server("/usr/bin/env", "-i", "/bin/sleep", "1000")
    assert not kill_leftover(pid, start_time_s - 100, OWNER), "the number is somebody else's now"
    assert alive(pid)
    assert kill_leftover(pid, start_time_s, OWNER)
    assert not alive(pid)
    assert not kill_leftover(pid, start_time_s, OWNER)


def test_a_recorded_group_is_killed_though_its_leader_is_gone(tmp_path: Path) -> None:
    leader = subprocess.Popen(
        ["/bin/sh", "-c", "sleep 1000 & echo $! >$0", tmp_path / "pid"],
        env={ID_VARIABLE: f"{OWNER}/1"},
        start_new_session=True,
    )
    start_time_s = psutil.Process(leader.pid).create_time()
    member = pid_in(tmp_path / "pid")
    leader.wait(10)
    assert not kill_leftover(leader.pid, start_time_s, "somebody-else")
    assert alive(member)
    assert kill_leftover(leader.pid, start_time_s, OWNER)
    assert not alive(member)


def test_waiting_for_a_group_returns_when_its_last_member_has_ended() -> None:
    member = subprocess.Popen(["/bin/sleep", "1000"], start_new_session=True)
    killing = threading.Timer(0.2, member.kill)
    killing.start()
    wait_until_group_is_gone(member.pid)
    assert not alive(member.pid)
    killing.join()
    member.wait(10)
    wait_until_group_is_gone(member.pid)


def test_a_server_itself_is_never_its_own_leftover(monkeypatch: pytest.MonkeyPatch) -> None:
    nested = f"from common.command import kill_leftovers; print(kill_leftovers({OWNER!r}))"
    result = run(spec(sys.executable, "-c", nested, env={"PYTHONPATH": str(Path.cwd())}))
    assert result.stdout == b"[]\n"


# --- many --------------------------------------------------------------------------------


def test_many_at_a_time_are_all_told_apart() -> None:
    async def run_all() -> list[CommandResult]:
        return await asyncio.gather(*(run_command(sh(f"echo {n}; exit {n}")) for n in range(100)))

    results = asyncio.run(run_all())
    assert [(result.stdout, result.exit_code) for result in results] == [
        (b"%d\n" % n, n) for n in range(100)
    ]
