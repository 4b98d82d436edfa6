"""The worker process itself: connection in the background, function in front.

    python -m packhorse.worker.child OPTIONS

It is started by `packhorse.worker.supervisor`, which starts it anew when it dies: the
user's function may exit, crash or use up memory, and takes only this process along.
"""

from __future__ import annotations

import logging
import os
import queue
import resource
import secrets
import signal
import sys
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

from packhorse.worker.engine import Engine
from packhorse.worker.link import Disconnected, GaveUp, Link
from packhorse.worker.options import from_argument
from packhorse.worker.parent import when_parent_ends
from packhorse.worker.running import Runner, failure
from protos.packhorse.v1 import packetizer_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Callable

    from packhorse.worker.link import Event
    from packhorse.worker.options import WorkerOptions

EXIT_DONE = 0
EXIT_GAVE_UP = 11
EXIT_LEFT_BEHIND = 75

# Packets that come at once are not kept waiting for what is got ready in idle time.
CHORE_AFTER_S = 0.05
# What is done is still committed when the worker is told to stop, but not for longer.
STOP_WITHIN_S = 5.0


class _Stop:
    """Somebody asks the worker to stop."""


class Worker:
    """One worker process."""

    def __init__(self, options: WorkerOptions) -> None:
        self._options = options
        self._inbox: queue.SimpleQueue[Event | _Stop] = queue.SimpleQueue()
        self._link = Link(options, self._arrived, lambda: self._engine.lease_id)
        self._runner = Runner(options.host)
        self._engine = Engine(
            self._runner, self._link.fetch_function, self._link.send, options.session_id
        )
        self._gave_up = False

    def run(self) -> int:
        """Works until there is nothing more to do; returns the exit code."""
        self._link.start()
        try:
            while not self._engine.finished:
                self._work_once()
        finally:
            self._link.close()
            self._runner.close()
        return EXIT_GAVE_UP if self._gave_up else EXIT_DONE

    def stop(self) -> None:
        """Asks for a graceful end: the function that runs now may return."""
        self._inbox.put(_Stop())
        _after(STOP_WITHIN_S, self._break_off)

    def _break_off(self) -> None:
        """Ends the process in the middle of a packet, which is not to blame for it."""
        lease_id = self._engine.lease_id
        if lease_id:
            undone = failure(lease_id, pb.PacketFailure.KIND_UNDONE, "the worker stops")
            self._link.send(pb.WorkerReport(failures=[undone]))
            self._link.close()
        os._exit(EXIT_DONE)

    def _work_once(self) -> None:
        engine = self._engine
        self._handle_events(wait=not engine.has_work)
        if engine.finished:
            return
        if engine.has_work:
            engine.run_next()
            self._handle_events(wait=False)
        elif engine.has_chores:
            engine.do_chore()
        engine.settle()

    def _handle_events(self, *, wait: bool) -> None:
        """Handles all that has arrived; with `wait`, waits until something has or is due."""
        timeout_s = CHORE_AFTER_S if self._engine.has_chores else self._engine.due_in_s()
        while True:
            try:
                event = self._inbox.get(block=wait, timeout=timeout_s)
            except queue.Empty:
                return
            self._handle(event)
            wait = False

    def _handle(self, event: Event | _Stop) -> None:
        if isinstance(event, Disconnected):
            self._engine.disconnected()
        elif isinstance(event, GaveUp):
            self._gave_up = True
            self._engine.finished = True
        elif isinstance(event, _Stop):
            self._engine.stop()
        else:
            self._obey(event)

    def _obey(self, command: pb.WorkerCommand) -> None:
        match command.WhichOneof("command"):
            case "welcome":
                self._engine.connected(command.welcome)
            case "packets":
                self._engine.take(command.packets)
            case "commit_answer":
                self._engine.answered(command.commit_answer)
            case "session_ended":
                self._engine.session_ended(command.session_ended)

    def _arrived(self, event: Event) -> None:
        """Called in the link's thread."""
        self._inbox.put(event)
        if isinstance(event, pb.WorkerCommand) and event.HasField("session_ended"):
            self._leave_behind(event.session_ended.session_id)

    def _leave_behind(self, session_id: str) -> None:
        """Ends the process if the function of an ended session does not return.

        The worker is needed elsewhere, and there is no other way to end a function.
        """
        lease_id = self._engine.lease_id

        def leave() -> None:
            if self._engine.lease_id == lease_id:
                os._exit(EXIT_LEFT_BEHIND)

        if lease_id and self._engine.session_id == session_id:
            _after(self._options.leave_after_s, leave)


def _after(delay_s: float, do: Callable[[], None]) -> None:
    """Does something later, in a thread that keeps nobody from ending."""
    timer = threading.Timer(delay_s, do)
    timer.daemon = True
    timer.start()


def limit_memory(memory_bytes: int) -> None:
    """Makes allocations beyond the limit fail with MemoryError, which can be reported.

    Counted is what the process may write to (RLIMIT_DATA). The whole address space
    would be the wrong measure: libraries map much of it and use little.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    soft = memory_bytes if hard == resource.RLIM_INFINITY else min(memory_bytes, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def main(argument: str) -> int:
    """Runs the worker that the argument describes."""
    (options,) = from_argument(argument)
    # The packetizer must not take this life for an earlier one: commits are counted by name.
    options = replace(options, name=f"{options.name}-{secrets.token_hex(4)}")
    logging.basicConfig(level=logging.WARNING, format=f"{options.name}: %(message)s")
    # Its supervisor ends this process with SIGTERM, or by ending itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    when_parent_ends(lambda: os._exit(EXIT_DONE))
    if options.memory_bytes:
        limit_memory(options.memory_bytes)
    worker = Worker(options)
    signal.signal(signal.SIGTERM, lambda *_: worker.stop())
    return worker.run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
