"""One command from its start to its certain end, in a thread of its own.

The thread sleeps in one `poll` on all that can happen: output, exit,
cancellation, time. A command is RUNNING until it exits or has to end; then its
group is TERMINATED (SIGTERM), and after its grace KILLED (SIGKILL). It is
reaped only after its group was killed: up to then its number cannot be anybody
else's.
"""

from __future__ import annotations

import logging
import math
import os
import select
import signal
import threading
import time
from enum import Enum
from pathlib import PurePath
from typing import TYPE_CHECKING

from common import wording
from common.command.activity import Activity
from common.command.exit_codes import ErrorClass, Failure, explain_exit
from common.command.growth import Growth
from common.command.launch import launch, launch_failure
from common.command.leftovers import (
    kill_marked,
    signal_group,
    start_time_of,
    wait_until_group_is_gone,
)
from common.command.output import Lines, Tail, as_reason, last_lines
from common.command.spec import CommandResult, Cut
from common.units import write_duration

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    from common.command.spec import CommandSpec

log = logging.getLogger(__name__)

# How often the target is looked at, at least.
LOOK_EVERY_S = 0.25
# How often a command is looked at before it counts as idle.
LOOKS_WHILE_IDLE = 20
# What `poll` takes is bounded.
LONGEST_SLEEP_S = 3600.0
# A process stuck in the kernel (a dead file server) cannot be killed, and is not
# waited for any longer than this.
UNKILLABLE_AFTER_S = 10.0


class Phase(Enum):
    """How far a command is on its way out."""

    RUNNING = "running"
    TERMINATED = "terminated"
    KILLED = "killed"
    STUCK = "stuck"


class Supervisor:
    """Runs `spec` once. A byte to read at `cancel_fd` ends it early."""

    def __init__(
        self,
        spec: CommandSpec,
        grace_s: float,
        cancel_fd: int,
        on_start: Callable[[int, float], None] | None,
        on_progress: Callable[[int], None] | None,
        on_line: Callable[[bytes], bool] | None = None,
    ) -> None:
        self._spec = spec
        self._grace_s = grace_s
        self._cancel_fd = cancel_fd
        self._on_start = on_start
        self._on_progress = on_progress
        self._on_line = on_line
        self._started_s = time.monotonic()
        # When it last said something that counts as progress.
        self._spoke_s = self._started_s
        self._growth = Growth(spec.watch, self._started_s) if spec.watch else None
        self._activity = Activity(self._started_s) if spec.idle_s is not None else None
        self._phase = Phase.RUNNING
        # When the next thing is due in this phase.
        self._due_s = self._next_look_s(self._started_s)
        self._cut: Cut | None = None
        self._cancelled = False

    def run(self) -> CommandResult:
        """Blocks until the command has ended and is reaped."""
        try:
            process = launch(self._spec)
        except (OSError, ValueError) as error:
            failure = launch_failure(self._spec, error)
            return CommandResult(failure=failure, exit_code=None, cut=None, duration_s=0.0)
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            with process.stdout, process.stderr:
                feed = None if self._on_line is None else Lines(self._hear).feed
                out = Tail(process.stdout.fileno(), self._spec.output_limit_bytes, feed)
                err = Tail(process.stderr.fileno(), self._spec.output_limit_bytes)
                if self._on_start is not None:
                    self._on_start(process.pid, start_time_of(process.pid))
                self._wait_for_exit(process.pid, out, err)
                if self._phase is not Phase.STUCK:
                    self._end_the_rest(process)
                # Some of the last words may still be in the pipes.
                out.read_rest()
                err.read_rest()
        finally:
            if process.returncode is None:
                self._abandon(process)
        return self._result(process.returncode, out, err)

    # --- until it exits ---------------------------------------------------------

    def _wait_for_exit(self, pid: int, out: Tail, err: Tail) -> None:
        """Returns when the command has exited, and is not reaped yet; or is stuck."""
        tails = {out.fd: out, err.fd: err}
        exit_fd = os.pidfd_open(pid)
        try:
            poll = select.poll()
            for fd in (exit_fd, self._cancel_fd, *tails):
                poll.register(fd, select.POLLIN)
            while self._phase is not Phase.STUCK:
                for fd, _ in poll.poll(self._sleep_ms()):
                    if fd == exit_fd:
                        return
                    if fd == self._cancel_fd:
                        self._cancelled = True
                        poll.unregister(fd)
                    elif not tails[fd].read_some() and tails[fd].ended:
                        poll.unregister(fd)
                self._do_what_is_due(pid, time.monotonic())
        finally:
            os.close(exit_fd)

    def _sleep_ms(self) -> int:
        left_s = self._due_s - time.monotonic()
        return max(0, math.ceil(min(left_s, LONGEST_SLEEP_S) * 1000))

    def _do_what_is_due(self, pid: int, now_s: float) -> None:
        if self._phase is Phase.RUNNING:
            if now_s >= self._due_s:
                self._look(pid, now_s)
            if self._cancelled or self._cut:
                signal_group(pid, signal.SIGTERM)
                # A stopped process would never see the other signal.
                signal_group(pid, signal.SIGCONT)
                self._phase, self._due_s = Phase.TERMINATED, now_s + self._grace_s
        elif now_s < self._due_s:
            return
        elif self._phase is Phase.TERMINATED:
            log.warning("%s ignores SIGTERM: killing it", self._spec.argv[0])
            signal_group(pid, signal.SIGKILL)
            self._phase, self._due_s = Phase.KILLED, now_s + UNKILLABLE_AFTER_S
        elif self._phase is Phase.KILLED:
            self._phase = Phase.STUCK

    def _next_look_s(self, now_s: float) -> float:
        due_s = self._started_s + self._spec.deadline_s
        if self._growth is not None:
            due_s = min(due_s, now_s + LOOK_EVERY_S)
            if self._spec.stall_s is not None:
                due_s = min(due_s, self._moved_s(self._growth) + self._spec.stall_s)
        if self._activity is not None and self._spec.idle_s is not None:
            # Finding a group's processes costs a look at all there are.
            due_s = min(due_s, now_s + max(LOOK_EVERY_S, self._spec.idle_s / LOOKS_WHILE_IDLE))
        return due_s

    def _look(self, pid: int, now_s: float) -> None:
        """Sees whether a limit was passed."""
        if self._activity is not None and self._spec.idle_s is not None:
            self._activity.look(pid, now_s)
            if now_s >= self._activity.changed_s + self._spec.idle_s:
                self._cut = self._cut or Cut.IDLE
        if self._growth is not None:
            self._look_at_target(self._growth, now_s)
            stall_s = self._spec.stall_s
            if stall_s is not None and now_s >= self._moved_s(self._growth) + stall_s:
                self._cut = self._cut or Cut.STALL
        if now_s >= self._started_s + self._spec.deadline_s:
            self._cut = self._cut or Cut.DEADLINE
        self._due_s = self._next_look_s(now_s)

    def _moved_s(self, growth: Growth) -> float:
        return max(growth.changed_s, self._spoke_s)

    def _hear(self, line: bytes) -> None:
        assert self._on_line is not None
        if self._on_line(line):
            self._spoke_s = time.monotonic()

    def _look_at_target(self, growth: Growth, now_s: float) -> None:
        if growth.look(now_s) and self._on_progress is not None:
            self._on_progress(growth.size_bytes)
        limit_bytes = self._spec.size_limit_bytes
        if limit_bytes is not None and growth.size_bytes > limit_bytes:
            self._cut = Cut.OVERSIZE

    # --- after its exit ----------------------------------------------------------

    def _end_the_rest(self, process: subprocess.Popen[bytes]) -> None:
        """Kills what is left of the group, then reaps the leader."""
        signal_group(process.pid, signal.SIGKILL)
        process.wait()
        wait_until_group_is_gone(process.pid)
        if self._phase is not Phase.RUNNING:
            # What has left the group must end as well if the command had to.
            kill_marked(lambda mark: mark == self._spec.command_id)
        if self._growth is not None:
            self._look_at_target(self._growth, time.monotonic())

    def _abandon(self, process: subprocess.Popen[bytes]) -> None:
        """Kills without waiting; a thread reaps the process whenever it does end."""
        log.error("process %d of %s does not end when killed", process.pid, self._spec.argv[0])
        signal_group(process.pid, signal.SIGKILL)
        threading.Thread(target=process.wait, name="reaper", daemon=True).start()

    def _result(self, exit_code: int | None, out: Tail, err: Tail) -> CommandResult:
        stdout, stdout_complete = out.content()
        stderr, _ = err.content()
        tail = last_lines(stderr) or last_lines(stdout)
        error_class, what_happened = self._explain(exit_code)
        failure = None
        if error_class is not None:
            name = PurePath(self._spec.argv[0]).name
            failure = Failure(error_class, as_reason(f"{name}: {what_happened}", tail))
        return CommandResult(
            failure=failure,
            exit_code=exit_code,
            cut=self._cut,
            duration_s=time.monotonic() - self._started_s,
            stdout=stdout,
            stdout_complete=stdout_complete,
            output_tail=tail,
        )

    def _explain(self, exit_code: int | None) -> tuple[ErrorClass | None, str]:
        if exit_code is None:
            stuck = "cannot be killed, it is stuck in the kernel; does a file system hang?"
            return ErrorClass.TRANSIENT, stuck
        spec = self._spec
        match self._cut:
            case Cut.DEADLINE:
                after = write_duration(spec.deadline_s)
                return ErrorClass.TRANSIENT, f"killed at its deadline, after {after}"
            case Cut.STALL:
                stall = write_duration(spec.stall_s or 0.0)
                return ErrorClass.TRANSIENT, f"killed, for it wrote nothing for {stall}"
            case Cut.IDLE:
                idle = write_duration(spec.idle_s or 0.0)
                return ErrorClass.TRANSIENT, f"killed, for it read and wrote nothing for {idle}"
            case Cut.OVERSIZE:
                limit = wording.size(spec.size_limit_bytes or 0)
                return ErrorClass.TRANSIENT, f"wrote more than the {limit} it may"
        return explain_exit(exit_code)
