"""Clients in processes of their own, that begin at the same moment."""

from __future__ import annotations

import contextlib
import multiprocessing
from typing import TYPE_CHECKING, NamedTuple, Self

from benchmarks.root.raw_client import Refused, drive

if TYPE_CHECKING:
    from collections.abc import Sequence
    from multiprocessing.connection import Connection as Pipe

    from benchmarks.root.jobs import Job

PATIENCE_S = 120.0


class Ran(NamedTuple):
    """When clients began and ended."""

    begun_s: float
    ended_s: float

    @property
    def took_s(self) -> float:
        """From the first request to the last answer."""
        return self.ended_s - self.begun_s


class Clients:
    """A few processes. Enter it to start them, leave it to end them."""

    def __init__(self, count: int = 2) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipes: list[Pipe] = []
        self._processes = []
        for _ in range(count):
            ours, theirs = context.Pipe()
            self._pipes.append(ours)
            self._processes.append(context.Process(target=_serve, args=(theirs,), daemon=True))

    def __enter__(self) -> Self:
        for process in self._processes:
            process.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        for process in self._processes:
            process.kill()
            process.join()

    def get_ready(self, jobs: Sequence[Job]) -> None:
        """Gives one job to each of the first processes, up to the point where the clock starts."""
        for pipe, job in zip(self._pipes, jobs, strict=False):
            pipe.send(job)
        for pipe in self._pipes[: len(jobs)]:
            _take(pipe)

    def go(self, count: int) -> Ran:
        """Has them all do their jobs."""
        pipes = self._pipes[:count]
        for pipe in pipes:
            pipe.send("go")
        ran = [Ran(*_take(pipe)) for pipe in pipes]
        return Ran(min(one.begun_s for one in ran), max(one.ended_s for one in ran))


def _take(pipe: Pipe) -> Sequence[float]:
    if not pipe.poll(PATIENCE_S):
        raise Refused("a client is not done")
    answer: str | Sequence[float] = pipe.recv()
    if isinstance(answer, str):
        raise Refused(answer)
    return answer


def _serve(pipe: Pipe) -> None:
    while True:
        job = pipe.recv()
        try:
            _do(job, pipe)
        except (Refused, OSError) as error:
            pipe.send(f"{job}: {error}")


def _do(job: Job, pipe: Pipe) -> None:
    with contextlib.ExitStack() as connections:
        lanes = job.lanes()
        for lane in lanes:
            connections.enter_context(lane.socket)
        pipe.send(())
        pipe.recv()
        ran = drive(lanes, job.window)
        received = sum(lane.received_bytes for lane in lanes)
        if received < job.content_bytes:
            raise Refused(f"{received} bytes came, of {job.content_bytes}")
        pipe.send(ran)
