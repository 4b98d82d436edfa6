"""The crash sweep: a scenario is run once, and then again for every effect that it has.

An effect is anything that outlives a process or that others see: an operation of a disk, a
commit of a database, a message, a command that starts or ends. In run k the host that has
effect k crashes right after it, by kill -9 (its disk keeps all) or by a power cut (its disk
keeps what was synced), and is started again. Every promise is checked after every step
and at the end, and what the scenario is about must come about all the same.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from dataserver.core.replica import Limits
from redirector.core import events as head_ev
from redirector.core.states import RequestState
from tests.simulation.broken import PromiseBroken
from tests.simulation.cluster.archive import Run, Tape
from tests.simulation.cluster.clock import HostClock
from tests.simulation.cluster.site import MB
from tests.simulation.cluster.world import Crashed, World
from tests.simulation.laboratory import Laboratory, told

if TYPE_CHECKING:
    from collections.abc import Callable

#: How long a crashed host is down. A data server is back before its lease is over.
DOWN_S: Final = 0.7
#: A scenario that is not through by then never will be.
LIMIT_S: Final = 300.0
SETTLING_S: Final = 3.0
SEED: Final = 1
NEW: Final = "/store/new"


@dataclass(frozen=True, slots=True)
class Scenario:
    """What happens: `begin` starts it, and returns what tells whether it is through."""

    begin: Callable[[Laboratory], Callable[[], bool]]
    nodes: int = 2
    quota_mb: int = 100
    files: int = 4
    stores: bool = False

    @property
    def name(self) -> str:
        """For the tests' names."""
        return self.begin.__name__


@dataclass(frozen=True, slots=True)
class Effect:
    """What some host has done."""

    host: str
    what: str


def effects_of(scenario: Scenario) -> list[Effect]:
    """Runs a scenario without a crash, and counts."""
    effects: list[Effect] = []
    _run(scenario, lambda host, what: effects.append(Effect(host, what)))
    return effects


def crash_after(scenario: Scenario, number: int, *, power: bool) -> Effect | None:
    """Runs a scenario with a crash after its effect `number` (from 0); which one that was."""
    count = 0
    crashed: Effect | None = None

    def on_effect(host: str, what: str) -> None:
        nonlocal count, crashed
        count += 1
        if count == number + 1:
            crashed = Effect(host, what)
            raise Crashed(lambda: _crash(laboratory, host, power))

    laboratory = _make(scenario, on_effect)
    _play(scenario, laboratory)
    return crashed


def _run(scenario: Scenario, on_effect: Callable[[str, str], None]) -> None:
    _play(scenario, _make(scenario, on_effect))


def _make(scenario: Scenario, on_effect: Callable[[str, str], None]) -> Laboratory:
    world = World(SEED)
    tapes = [
        Tape(f"/store/f{number}", (12 + number) * MB, entries=40, volume=number % 2)
        for number in range(4)
    ]
    # One whose first run fails, and one of which the archive tells no size.
    tapes[1] = replace(tapes[1], runs=(Run.BROKEN,))
    tapes[2] = replace(tapes[2], tells_size=False)
    del tapes[scenario.files :]
    limits = [Limits.of(scenario.quota_mb * MB, 0, 0.95, 0.9)] * scenario.nodes
    laboratory = Laboratory(
        world,
        tapes,
        limits,
        clocks=lambda: HostClock(world),
        store_looks=True if scenario.stores else None,
    )
    # Everybody has met before it begins.
    world.run(until_s=2.0)
    world.on_effect = on_effect
    return laboratory


def _play(scenario: Scenario, laboratory: Laboratory) -> None:
    def plot() -> None:
        through = scenario.begin(laboratory)
        laboratory.world.run(until_s=LIMIT_S, enough=through)
        if not through():
            raise PromiseBroken(4, f"{scenario.name} does not come to its end")
        laboratory.world.on_effect = lambda _host, _what: None
        laboratory.come_to_peace(lambda: laboratory.all_is_over, SETTLING_S)

    told(laboratory, plot)


def _crash(laboratory: Laboratory, host: str, power: bool) -> None:
    """Kills a host's process, or cuts its power, and starts it again a moment later."""
    world, site, desk = laboratory.world, laboratory.site, laboratory.desk
    if host.startswith("worker"):
        laboratory.workers[int(host.removeprefix("worker"))].kill()
        return
    servers = {one.name: one for one in (site.head, *site.nodes)}
    server = desk if desk is not None and host == desk.name else servers[host]
    server.kill(power=power)
    world.after(DOWN_S, server.start)


# --- the scenarios ------------------------------------------------------------------


def _ended(laboratory: Laboratory, key: str) -> Callable[[], bool]:
    """Whether the request that was made with this key has ended on disk, and well."""
    database = laboratory.site.head.database

    def has_ended() -> bool:
        for request_id, record in database.requests.items():
            if record.idempotency_key == key and request_id in database.ended:
                state = database.ended[request_id]
                if state is not RequestState.DONE:
                    raise PromiseBroken(4, f"{request_id} has ended {state.name}", request_id)
                return True
        return False

    return has_ended


def _is_shown(laboratory: Laboratory, lfn: str) -> bool:
    return any(node.alive and node.node.is_visible(lfn) for node in laboratory.site.nodes)


def _write(laboratory: Laboratory, lfn: str) -> None:
    """A client writes a file, and begins anew if it was not told of its end."""

    def again() -> None:
        if not _is_shown(laboratory, lfn):
            laboratory.clients.write(lfn, 3 * MB)
            laboratory.world.after(10.0, again)

    again()


def recall(laboratory: Laboratory) -> Callable[[], bool]:
    """Files are staged: a good one, one that fails once, one of unknown size."""
    lfns = ["/store/f0", "/store/f1", "/store/f2"]
    return _ended(laboratory, laboratory.clients.stage(lfns, pin_s=5.0))


def upload(laboratory: Laboratory) -> Callable[[], bool]:
    """A client writes a new file: its name is claimed, and it is published."""
    _write(laboratory, NEW)
    return lambda: _is_shown(laboratory, NEW)


def storing(laboratory: Laboratory) -> Callable[[], bool]:
    """What a client has written is stored in the archive."""
    _write(laboratory, NEW)
    return lambda: any(
        row is not None and row.archived
        for row in (node.row_of(NEW) for node in laboratory.site.nodes)
    )


def replacement(laboratory: Laboratory) -> Callable[[], bool]:
    """A client writes over a file that it has written."""
    clients, world = laboratory.clients, laboratory.world
    world.on_effect, counted = (lambda _host, _what: None), world.on_effect
    _write(laboratory, NEW)
    world.run(until_s=LIMIT_S, enough=lambda: bool(clients.kept) and not clients.changing)
    world.on_effect = counted
    began_s = world.now_s
    clients.write(NEW, 2 * MB)
    return lambda: (
        world.now_s > began_s + 12.0 and not laboratory.is_busy and _is_shown(laboratory, NEW)
    )


def removal(laboratory: Laboratory) -> Callable[[], bool]:
    """A client removes a file that it has written."""
    clients, world = laboratory.clients, laboratory.world
    world.on_effect, counted = (lambda _host, _what: None), world.on_effect
    _write(laboratory, NEW)
    world.run(until_s=LIMIT_S, enough=lambda: bool(clients.kept) and not clients.changing)
    world.on_effect = counted

    def again() -> None:
        for node in laboratory.site.nodes:
            if node.alive and node.node.is_visible(NEW):
                clients.kept.pop((node.name, NEW), None)
                clients.changing.add((node.name, NEW))
                node.remove(NEW)
        world.after(2.0, again)

    again()
    return lambda: not _is_shown(laboratory, NEW) and not laboratory.is_busy


def purge(laboratory: Laboratory) -> Callable[[], bool]:
    """A pool that is full of files makes room for another one."""
    world, clients = laboratory.world, laboratory.clients
    world.on_effect, counted = (lambda _host, _what: None), world.on_effect
    first = _ended(laboratory, clients.stage(["/store/f0", "/store/f1", "/store/f2"]))
    world.run(until_s=LIMIT_S, enough=first)
    world.on_effect = counted
    return _ended(laboratory, clients.stage(["/store/f3"]))


def eviction(laboratory: Laboratory) -> Callable[[], bool]:
    """Somebody has a staged file evicted."""
    world, clients = laboratory.world, laboratory.clients
    world.on_effect, counted = (lambda _host, _what: None), world.on_effect
    world.run(until_s=LIMIT_S, enough=_ended(laboratory, clients.stage(["/store/f0"])))
    world.on_effect = counted

    def again() -> None:
        for node in laboratory.site.nodes:
            node.evict("/store/f0")
        world.after(2.0, again)

    again()
    return lambda: not _is_shown(laboratory, "/store/f0") and not laboratory.is_busy


def cancellation(laboratory: Laboratory) -> Callable[[], bool]:
    """A request is accepted, and cancelled while its files are on their way."""
    site, world = laboratory.site, laboratory.world
    key = laboratory.clients.stage(["/store/f0", "/store/f3"])
    done = False

    def cancelled(_: object) -> None:
        nonlocal done
        done = True

    def cancel() -> None:
        if not done:
            for request_id in site.head.unfinished():
                site.head.ask(head_ev.CancelAsked(request_id), cancelled)
            world.after(1.0, cancel)

    world.after(0.3, cancel)
    database = site.head.database
    return lambda: any(
        record.idempotency_key == key and request_id in database.ended
        for request_id, record in database.requests.items()
    )


def session(laboratory: Laboratory) -> Callable[[], bool]:
    """Two workers go through a dataset, and commit what they have."""
    world = laboratory.world
    world.on_effect, counted = (lambda _host, _what: None), world.on_effect
    desk = laboratory.open_session(workers=2)
    world.on_effect = counted
    return lambda: desk.disk.end is not None


SCENARIOS: Final = (
    Scenario(recall),
    Scenario(upload),
    Scenario(storing, nodes=1, stores=True),
    Scenario(replacement, nodes=1),
    Scenario(removal, nodes=1),
    Scenario(purge, nodes=1, quota_mb=45),
    Scenario(eviction, nodes=1),
    Scenario(cancellation),
    Scenario(session, files=2),
)
