"""What happens in the soak: clients stage, read, write and evict; servers are killed meanwhile.

Clients put up with every error that a site in trouble gives, and with nothing else: bytes
that are not the file's are never forgiven.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Final, TypeVar

from common.errors import PackhorseError, TimedOut, Unreachable
from packhorse.values import FileState
from tests.soak.site import NODES, SLOW, SoakedSite, mount
from tests.soak.writing import WriteFailed, write_file
from tests.support.patience import eventually
from tests.support.processes import state_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

#: Between two things that one client does, and between two kills, at most.
PAUSE_S: Final = 0.1
KILL_PAUSE_S: Final = 0.6
#: Requests under way; files that clients write in all, and how large they are.
MOST_REQUESTS: Final = 20
MOST_WRITTEN: Final = 40
WRITTEN_BYTES: Final = 300_000
PATIENCE_S: Final = 180.0


class RoughLife:
    """Clients in threads of their own, and what is done to the servers by the caller's."""

    def __init__(self, soaked: SoakedSite, rng: random.Random) -> None:
        self._soaked = soaked
        self._rng = rng
        self._over = threading.Event()
        self._problems: list[str] = []
        self._done: Counter[str] = Counter()
        #: Files whose writers were told that they are there.
        self._acknowledged: list[str] = []

    def summary(self) -> str:
        """What has been done, in one line."""
        return ", ".join(f"{count} {what}" for what, count in sorted(self._done.items()))

    # --- clients ---------------------------------------------------------------

    @contextlib.contextmanager
    def clients(self) -> Iterator[None]:
        """They are at work while the block lasts; none may have met wrong bytes."""
        doings = [self._stage, self._read, self._read, self._write, self._evict]
        threads = [
            threading.Thread(target=self._keep_doing, args=(doing, random.Random(number)))
            for number, doing in enumerate(doings)
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._over.set()
            for thread in threads:
                thread.join()
        assert not self._problems, self._problems

    def _keep_doing(self, doing: Callable[[random.Random], None], rng: random.Random) -> None:
        try:
            while not self._over.wait(rng.uniform(0, PAUSE_S)):
                try:
                    doing(rng)
                except (PackhorseError, WriteFailed, OSError):
                    self._done["refusals"] += 1
        except Exception as error:  # noqa: BLE001 - told by the thread that waits for us
            self._problems.append(f"{doing.__name__}: {error!r}")

    def _stage(self, rng: random.Random) -> None:
        site = self._soaked.site
        if len(site.requests(active_only=True)) < MOST_REQUESTS:
            site.stage(rng.sample(self._soaked.archived(), 5))
            self._done["requests"] += 1

    def _read(self, rng: random.Random) -> None:
        self._compare(rng.choice([*self._soaked.archived(), *self._acknowledged]))

    def _compare(self, lfn: str) -> None:
        with self._soaked.site.open(lfn, stage=False) as file:
            content = file.read()
        assert content == self._soaked.content(lfn), f"{lfn} has other bytes"
        self._done["reads"] += 1

    def _write(self, _rng: random.Random) -> None:
        if len(self._acknowledged) >= MOST_WRITTEN:
            return
        number = self._done["files begun"]
        self._done["files begun"] += 1
        lfn = f"/store/new/w{number}"
        self._soaked.sizes[lfn] = WRITTEN_BYTES
        asyncio.run(write_file(self._soaked.root_address, lfn, self._soaked.content(lfn)))
        self._acknowledged.append(lfn)
        self._done["files written"] += 1

    def _evict(self, rng: random.Random) -> None:
        evicted = self._soaked.site.evict(rng.sample(self._soaked.archived(), 3))
        self._done["evictions"] += evicted.evicted

    # --- troubles --------------------------------------------------------------

    def kill_at_random(self, times: int) -> None:
        """kill -9 for some server at a random moment, and a new life for it."""
        cluster = self._soaked.cluster
        for number in range(1, times + 1):
            time.sleep(self._rng.uniform(0, KILL_PAUSE_S))
            role = self._rng.choice([*NODES, *NODES, "redirector"])
            cluster.kill(role)
            time.sleep(self._rng.uniform(0, KILL_PAUSE_S))
            cluster.start(role)
            self._done["kills"] += 1
            if number % 20 == 0:
                print(f"{number} kills; {self.summary()}", flush=True)

    def freeze(self, lasts_s: float) -> None:
        """SIGSTOP for a data server that has a command running, for longer than its lease."""
        slow = SLOW[0]
        site = self._soaked.site
        request = self._persist(lambda: site.stage(slow))
        node = eventually(lambda: self._soaked.runs(slow), PATIENCE_S)[-1]
        process = self._soaked.cluster.processes[node]
        process.send_signal(signal.SIGSTOP)
        eventually(lambda: state_of(process.pid) == "T")
        time.sleep(lasts_s)
        # The other one has got it, and the command here has ended before.
        eventually(lambda: self._soaked.runs(slow)[-1] != node, PATIENCE_S)
        process.send_signal(signal.SIGCONT)
        self._soaked.until_all_joined()
        self._persist(lambda: site.cancel(request.request_id))
        eventually(lambda: not self._is_running(slow), PATIENCE_S)
        self._done["freezes"] += 1

    def _persist(self, action: Callable[[], T]) -> T:
        """Does something until the site, which has just been killed, takes it."""

        def attempt() -> list[T]:
            with contextlib.suppress(Unreachable, TimedOut, OSError):
                return [action()]
            return []

        return eventually(attempt, PATIENCE_S)[0]

    def _is_running(self, lfn: str) -> bool:
        running = self._soaked.cluster.commands().values()
        return any(lfn.rpartition("/")[2] in command for command in running)

    def fill_the_disk(self) -> None:
        """Others fill the disk of a data server, which is killed in the midst of it."""
        ballast = self._soaked.cluster.pool("n1") / ".packhorse" / "ballast"
        with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(1 << 16))
        eventually(lambda: self._trouble("n1"), PATIENCE_S)
        self._soaked.cluster.kill("n1")
        ballast.unlink()
        self._soaked.cluster.start("n1")
        self._soaked.until_all_joined()
        eventually(lambda: not self._trouble("n1"), PATIENCE_S)
        self._done["full disks"] += 1

    def _trouble(self, name: str) -> str:
        (node,) = (one for one in self._soaked.site.nodes() if one.address.node == name)
        return node.load.trouble

    def go_read_only(self) -> None:
        """A data server finds its pool mounted read-only: it refuses, and others serve."""
        cluster = self._soaked.cluster
        cluster.kill("n2")
        mount(cluster.pool("n2"), "remount", "ro")
        refused = cluster.run("dataserver", "--name", "n2")
        assert refused.returncode != 0
        assert "Traceback" not in refused.stderr, refused.stderr
        mount(cluster.pool("n2"), "remount", "rw")
        cluster.start("n2")
        self._soaked.until_all_joined()
        self._done["read-only starts"] += 1

    # --- the end ---------------------------------------------------------------

    def check_served(self) -> None:
        """Every request ends, and every file that is said to be online has its bytes."""
        site = self._soaked.site
        eventually(lambda: not site.requests(active_only=True), PATIENCE_S)
        eventually(lambda: site.status().recalls_running == 0, PATIENCE_S)
        self._soaked.until_all_joined()
        locations = site.locate(sorted(self._soaked.sizes))
        online = {one.lfn for one in locations if one.state is FileState.ONLINE}
        lost = set(self._acknowledged) - online
        assert not lost, f"written, and lost: {sorted(lost)}"
        assert online
        # Nothing of all this proves much if the site did nothing.
        assert self._acknowledged
        assert self._done["reads"]
        assert self._done["evictions"]
        for lfn in sorted(online):
            self._persist(lambda lfn=lfn: self._compare(lfn))  # type: ignore[misc]
        self._done["files online at the end"] = len(online)
