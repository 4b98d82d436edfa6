"""Starting a server, keeping it up, and stopping it well.

Every command that serves hands its `Service`, or several of them, to
`run_service`. The rules:

- The first SIGTERM or SIGINT stops the service gracefully; the handlers are
  gone by then, so a second one kills it at once. State is durable, so that
  costs no more than a restart.
- SIGHUP has the configuration read again, where the command can do that. From a
  terminal that is closed it stops the service instead.
- What a service does in the background runs in named tasks. One that dies
  takes the service down, loudly, with exit code 70: half a server is worse
  than none, because nobody restarts it.
- `stop` is always called, also after a start that failed half-way.
- When all is up, stdout gets one JSON line for each service, and nothing else
  ever: `{"ready": NAME, "address": "HOST:PORT", "pid": N}`. Logs go to stderr.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import resource
import signal
import stat
import sys
from typing import TYPE_CHECKING, Any, Protocol

from common.errors import ConfigError
from common.text import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Sequence

log = logging.getLogger(__name__)

# sysexits' EX_SOFTWARE.
SIDE_TASK_DIED = 70
DEFAULT_GRACE_S = 10.0
# How long after its grace a service may take before it is left behind.
LATE_S = 5.0
# Every data server, worker and open file is a connection; 1,024 would be few.
MOST_OPEN_FILES = 65536


class Service(Protocol):
    """Something that is started, serves for as long as it is let, and is stopped."""

    name: str

    @property
    def address(self) -> str:
        """HOST:PORT of its door, once it has started."""

    async def start(self, tasks: NamedTasks) -> None:
        """Returns when the service can be used; its background work goes into `tasks`."""

    async def stop(self, grace_s: float) -> None:
        """Ends what is under way, within about `grace_s`. Its tasks are cancelled after it."""


class DeadTaskError(Exception):
    """A service's background work ended, which it must not while the service runs."""


class NamedTasks:
    """The background tasks of a service, known by name."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._death: asyncio.Future[DeadTaskError] = asyncio.get_running_loop().create_future()
        self._stopping = False

    def spawn(
        self, name: str, work: Coroutine[Any, Any, Any], *, endless: bool = False
    ) -> asyncio.Task[Any]:
        """Starts a task. It must not raise, nor return at all if `endless`; cancelling it is fine."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(lambda ended: self._note_end(ended, endless=endless))
        return task

    async def death(self) -> DeadTaskError:
        """Waits for the first task that dies."""
        return await asyncio.shield(self._death)

    async def cancel(self) -> None:
        """Cancels all that still run, and waits until they have ended."""
        self._stopping = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _note_end(self, task: asyncio.Task[Any], *, endless: bool) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is None and (not endless or self._stopping):
            return
        what = "raised" if error else "ended by itself"
        log.critical("the task %r %s", task.get_name(), what, exc_info=error)
        if not self._death.done():
            death = DeadTaskError(f"the task {task.get_name()!r} {what}")
            death.__cause__ = error
            self._death.set_result(death)


def run_service(
    *services: Service,
    grace_s: float = DEFAULT_GRACE_S,
    exit_with_parent: bool | None = None,
    reload: Callable[[], None] | None = None,
) -> int:
    """Runs services until told to stop; returns the process's exit code.

    Several start in the order given and stop in the reverse. `exit_with_parent`
    (default: whether PACKHORSE_EXIT_WITH_PARENT is set) also stops them when
    standard input ends: whoever holds the other end of that pipe and dies, even
    by kill -9, takes them along. `reload` is called on SIGHUP, which stops the
    services if there is none. Raises what a `start` raises.
    """
    set_up_logging()
    _allow_many_connections()
    if exit_with_parent is None:
        exit_with_parent = bool(os.environ.get("PACKHORSE_EXIT_WITH_PARENT"))

    async def main() -> int:
        stop = asyncio.Event()
        with (
            _stopping_on_signals(stop, reload),
            _stopping_with_parent(stop, wanted=exit_with_parent),
        ):
            return await serve(*services, stop=stop, grace_s=grace_s, when_ready=_announce)

    return asyncio.run(main())


async def serve(
    *services: Service,
    stop: asyncio.Event,
    grace_s: float = DEFAULT_GRACE_S,
    when_ready: Callable[[Sequence[Service]], None] = lambda _: None,
) -> int:
    """Starts services, waits until `stop` is set or a task of theirs dies, and stops them.

    Returns the exit code: 0, or `SIDE_TASK_DIED`. Raises what a `start` raises.
    `grace_s` is for all of them together.
    """
    tasks = NamedTasks()
    started: list[Service] = []

    async def live() -> None:
        for service in services:
            started.append(service)
            await service.start(tasks)
        when_ready(services)
        raise await tasks.death()

    living = asyncio.create_task(live(), name="services")
    told = asyncio.create_task(stop.wait(), name="until told to stop")
    try:
        await asyncio.wait({living, told}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (living, told):
            task.cancel()
        await asyncio.gather(living, told, return_exceptions=True)
        await _stop_all(started, grace_s)
        await tasks.cancel()
    if living.cancelled():
        return 0
    try:
        living.result()
    except DeadTaskError as death:
        log.critical("stopped, because %s", death)
    return SIDE_TASK_DIED


async def _stop_all(started: list[Service], grace_s: float) -> None:
    """Stops the last one first; one that fails or hangs does not keep the others from it."""
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + grace_s
    for service in reversed(started):
        left_s = max(0.0, deadline_s - loop.time())
        try:
            await asyncio.wait_for(service.stop(left_s), left_s + LATE_S)
            log.info("%s: stopped", service.name)
        except TimeoutError:
            log.error("%s: did not stop in time; left behind", service.name)
        except Exception:
            log.exception("%s: stopping failed", service.name)


def _announce(services: Sequence[Service]) -> None:
    for service in services:
        line = {"ready": service.name, "address": service.address, "pid": os.getpid()}
        # Whoever started us need not listen.
        with contextlib.suppress(OSError):
            print(json.dumps(line), flush=True)  # noqa: T201 - this line is the interface
        log.info("%s: ready at %s", service.name, service.address)


# --- the process: signals, parent, logs, limits ----------------------------------


@contextlib.contextmanager
def _stopping_on_signals(stop: asyncio.Event, reload: Callable[[], None] | None) -> Iterator[None]:
    loop = asyncio.get_running_loop()

    def first(number: signal.Signals) -> None:
        log.info("%s: stopping; a second one ends the process at once", number.name)
        restore()
        stop.set()

    numbers = [signal.SIGINT, signal.SIGTERM]
    if reload is not None and not os.isatty(sys.stderr.fileno()):
        loop.add_signal_handler(signal.SIGHUP, _reloading(reload))
    elif signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        # A closed terminal ends the service, unless it was started with nohup.
        numbers.append(signal.SIGHUP)
        reload = None

    def restore() -> None:
        if reload is not None:
            # Who wants the configuration read again does not want a stop cut short.
            loop.remove_signal_handler(signal.SIGHUP)
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
        for number in numbers:
            loop.remove_signal_handler(number)
            # Not KeyboardInterrupt, which would wait for whatever hangs.
            signal.signal(number, signal.SIG_DFL)

    for number in numbers:
        loop.add_signal_handler(number, first, number)
    try:
        yield
    finally:
        restore()


def _reloading(reload: Callable[[], None]) -> Callable[[], None]:
    """A handler that survives whatever is wrong with a reload."""

    def handle() -> None:
        log.info("SIGHUP: reading the configuration again")
        try:
            reload()
        except Exception:
            log.exception("the configuration was not reloaded")

    return handle


@contextlib.contextmanager
def _stopping_with_parent(stop: asyncio.Event, *, wanted: bool) -> Iterator[None]:
    if not wanted:
        yield
        return
    fd = sys.stdin.fileno()
    kind = os.fstat(fd).st_mode
    if not (stat.S_ISFIFO(kind) or stat.S_ISSOCK(kind)):
        raise ConfigError("to exit with its parent, the server's standard input must be a pipe")
    loop = asyncio.get_running_loop()

    def at_input() -> None:
        if not os.read(fd, 65536):
            log.info("the parent is gone: stopping")
            loop.remove_reader(fd)
            stop.set()

    loop.add_reader(fd, at_input)
    try:
        yield
    finally:
        loop.remove_reader(fd)


class _OneLineMessages(logging.Formatter):
    """Keeps messages to one line, whatever a client's name for a file holds."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        record.message = one_line(record.message)
        return super().formatMessage(record)


def set_up_logging() -> None:
    """Logs to stderr, from the level in PACKHORSE_LOG (INFO) upwards. Raises `ConfigError`."""
    level = os.environ.get("PACKHORSE_LOG", "INFO").upper()
    if level not in logging.getLevelNamesMapping():
        raise ConfigError(f"PACKHORSE_LOG={level!r} is no level: DEBUG, INFO, WARNING, ERROR")
    handler = logging.StreamHandler()
    handler.setFormatter(_OneLineMessages("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=level, handlers=[handler], force=True)


def _allow_many_connections() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
