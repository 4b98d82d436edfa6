"""Every entry exactly once, or named: whatever workers, disks, servers and restarts do.

A disk that keeps commits in order, workers that merge what they did into results, and
a packetizer's core between them. Results are not numbers here but the very list of
entries that went into them, so at the end it can be seen whether each entry was
counted once: the results that stand on the disk, and the ranges named as missing,
must together hold every entry of every file exactly once.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from packetizer.core import events as ev
from packetizer.core.desk import Tuning
from packetizer.core.events import FailureKind, Offline
from packetizer.core.figures import SessionState
from packetizer.core.files import FileSpec
from tests.support.packetizer_desk import SESSION, TREE, DeskWorld, lfn, two_nodes

if TYPE_CHECKING:
    from packetizer.core.instructions import BadRange, KeepCommit
    from packetizer.core.leases import Lease

FILES = 3
ENTRIES = 30
Entries = list[tuple[str, int]]


def entries_of(leases: list[Lease]) -> Entries:
    return [(lease.file.lfn, entry) for lease in leases for entry in range(lease.start, lease.stop)]


@dataclass
class Disk:
    """What survives a restart: commits with their ranges, standing results, bad ranges."""

    ranges: list[tuple[str, int, int]] = field(default_factory=list)
    results: dict[tuple[str, int], Entries] = field(default_factory=dict)
    bad: list[BadRange] = field(default_factory=list)

    def keep(self, commit: KeepCommit, result: Entries) -> None:
        self.ranges += [(lease.file.lfn, lease.start, lease.stop) for lease in commit.leases]
        for number in commit.supersedes:
            del self.results[commit.worker, number]
        self.results[commit.worker, commit.commit_id] = result


@dataclass
class ModelWorker:
    """A worker as ours is: it merges, it commits, and drops what was refused."""

    name: str
    host: str
    done: list[Lease] = field(default_factory=list)
    next_commit: int = 1
    #: Commit id -> what its result holds, for commits that were accepted and stand.
    standing: dict[int, Entries] = field(default_factory=dict)
    #: Commits that wait for their answer: id -> (event, replaced ids, result).
    offered: dict[int, tuple[ev.CommitOffered, tuple[int, ...], Entries]] = field(
        default_factory=dict
    )
    last: ev.CommitOffered | None = None


class SessionMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.disk = Disk()
        self.epoch = 0
        self.names = 0
        self.workers: dict[str, ModelWorker] = {}
        self.online: dict[int, tuple[str, ...]] = dict.fromkeys(range(FILES), ("n1",))
        self.now_s = 1000.0
        self.start()

    # --- the packetizer's process --------------------------------------------------

    def start(self) -> None:
        """A packetizer starts, with what the disk has."""
        self.epoch += 1
        world = self.world = DeskWorld(
            Tuning(attempts=2, lease_s=10.0), self.epoch, keeps_at_once=False, now_s=self.now_s
        )
        self.answered = 0
        world.nodes(*two_nodes())
        world.send(ev.SpaceSeen(100_000, 100_000))
        commits: dict[str, list[int]] = {}
        for worker, number in self.disk.results:
            commits.setdefault(worker, []).append(number)
        spec = ev.SessionSpec("d", packet_entries=5, created_s=1000.0)
        missing = tuple(bad.missing for bad in self.disk.bad)
        files = [self.spec_of(number) for number in range(FILES)]
        progress = ev.Progress(packets_done=len(self.disk.ranges))
        world.send(ev.SessionOpened(SESSION, spec, files, progress, missing, commits))
        for number, nodes in self.online.items():
            if nodes:
                world.online(number, *nodes, entries=ENTRIES, clusters=ENTRIES)
        world.send(ev.FilesSurveyed(SESSION))
        self.look()

    def spec_of(self, number: int) -> FileSpec:
        name = lfn(number)
        committed = [(a, b) for where, a, b in self.disk.ranges if where == name]
        bad = [each.missing for each in self.disk.bad if each.missing.lfn == name]
        known = ENTRIES if committed or bad else -1
        return FileSpec(
            name,
            TREE,
            1000,
            known,
            tuple(committed),
            tuple((m.start, m.stop) for m in bad),
        )

    def look(self) -> None:
        """Takes note of what the desk answered and had written down."""
        self.disk.bad += self.world.bad
        self.world.bad.clear()
        for answer in self.world.answers[self.answered :]:
            worker = self.workers.get(answer.worker)
            offer = worker.offered.pop(answer.commit_id, None) if worker is not None else None
            if worker is None or offer is None:
                continue
            _, replaced, result = offer
            if answer.accepted:
                for number in replaced:
                    del worker.standing[number]
                worker.standing[answer.commit_id] = result
        self.answered = len(self.world.answers)
        self.now_s = self.world.now_s

    @property
    def is_over(self) -> bool:
        return SESSION in self.world.ends

    @rule(kept=st.integers(0, 5))
    def packetizer_is_killed(self, kept: int) -> None:
        for commit in self.world.writing[:kept]:
            self.disk.keep(commit, commit.payload)  # type: ignore[arg-type]
        known = list(self.workers.values())
        self.start()
        for worker in known:
            worker.done.clear()
            self.world.join(worker.name, worker.host, pid=1)
            for event, _, _ in list(worker.offered.values()):
                self.send(worker, 0, event)

    # --- workers ---------------------------------------------------------------------

    def send(self, worker: ModelWorker, want: int, commit: ev.CommitOffered | None) -> None:
        stream = self.world.stream(worker.name)
        self.world.send(ev.WorkerReported(worker.name, stream, want, commit))
        self.look()

    def pick(self, data: st.DataObject) -> ModelWorker:
        return self.workers[data.draw(st.sampled_from(sorted(self.workers)))]

    @precondition(lambda self: len(self.workers) < 4)
    @rule(host=st.sampled_from(("h1", "h2", "h3")), want=st.integers(0, 3))
    def worker_joins(self, host: str, want: int) -> None:
        self.names += 1
        name = f"w{self.names}"
        self.workers[name] = ModelWorker(name, host)
        self.world.join(name, host, want=want, pid=1)
        self.look()

    @precondition(lambda self: self.workers)
    @rule(data=st.data(), want=st.integers(0, 3))
    def worker_asks(self, data: st.DataObject, want: int) -> None:
        self.send(self.pick(data), want, None)

    @precondition(lambda self: self.workers)
    @rule(data=st.data(), packets=st.integers(1, 4))
    def worker_does_packets(self, data: st.DataObject, packets: int) -> None:
        worker = self.pick(data)
        hand = self.world.hands[worker.name]
        worker.done += hand[:packets]
        del hand[:packets]

    @precondition(lambda self: self.workers)
    @rule(data=st.data(), want=st.integers(0, 3), merges=st.booleans())
    def worker_commits(self, data: st.DataObject, want: int, merges: bool) -> None:
        self.commit(self.pick(data), want, merges=merges)

    def commit(self, worker: ModelWorker, want: int, *, merges: bool) -> None:
        replaced = tuple(worker.standing) if merges and not worker.offered else ()
        done, worker.done = worker.done, []
        result = entries_of(done) + [e for number in replaced for e in worker.standing[number]]
        event = ev.CommitOffered(
            worker.next_commit,
            SESSION,
            [lease.lease_id for lease in done],
            [0.1] * len(done),
            0,
            replaced,
            result,
        )
        worker.offered[worker.next_commit] = (event, replaced, result)
        worker.last = event
        worker.next_commit += 1
        self.send(worker, want, event)

    @precondition(lambda self: any(worker.last for worker in self.workers.values()))
    @rule(data=st.data())
    def worker_repeats_itself(self, data: st.DataObject) -> None:
        names = sorted(w.name for w in self.workers.values() if w.last is not None)
        worker = self.workers[data.draw(st.sampled_from(names))]
        self.send(worker, 0, worker.last)

    @precondition(lambda self: len(self.workers) > 1)
    @rule(data=st.data())
    def worker_commits_what_is_not_its_own(self, data: st.DataObject) -> None:
        worker, other = self.pick(data), self.pick(data)
        theirs = other.done + self.world.hands[other.name]
        if worker is not other and theirs:
            worker.done.append(theirs[0])
            self.commit(worker, 0, merges=False)

    @precondition(lambda self: any(worker.last for worker in self.workers.values()))
    @rule(data=st.data())
    def worker_says_the_same_under_another_number(self, data: st.DataObject) -> None:
        names = sorted(w.name for w in self.workers.values() if w.last is not None)
        worker = self.workers[data.draw(st.sampled_from(names))]
        assert worker.last is not None
        number = worker.next_commit
        worker.next_commit += 1
        event = replace(worker.last, commit_id=number)
        if not event.lease_ids and not event.supersedes:
            return  # such a commit says nothing, and may be said as often as one likes
        worker.offered[number] = (event, tuple(event.supersedes), event.payload)  # type: ignore[assignment]
        self.send(worker, 0, event)

    @precondition(lambda self: self.workers)
    @rule(data=st.data())
    def worker_replaces_what_does_not_stand(self, data: st.DataObject) -> None:
        worker = self.pick(data)
        gone = [n for n in range(1, worker.next_commit) if n not in worker.standing]
        if gone:
            number = worker.next_commit
            worker.next_commit += 1
            replaced = (data.draw(st.sampled_from(gone)),)
            event = ev.CommitOffered(number, SESSION, [], [], 0, replaced, [("nonsense", 0)])
            self.send(worker, 0, event)
            assert self.is_over or not self.world.answers[-1].accepted

    @precondition(lambda self: self.workers)
    @rule(data=st.data())
    def a_stream_that_was_replaced_speaks_up(self, data: st.DataObject) -> None:
        worker = self.pick(data)
        hand = self.world.hands[worker.name]
        if hand:
            event = ev.CommitOffered(999, SESSION, [hand[0].lease_id], [0.1], 0, (), [("late", 0)])
            stale = ev.WorkerReported(worker.name, self.world.stream(worker.name) - 1, 3, event)
            self.world.send(stale)
            self.look()

    @precondition(lambda self: self.workers)
    @rule(data=st.data(), kind=st.sampled_from(FailureKind))
    def worker_fails(self, data: st.DataObject, kind: FailureKind) -> None:
        worker = self.pick(data)
        if self.world.hands[worker.name]:
            self.world.fail(worker.name, kind)
            self.look()

    @precondition(lambda self: self.workers)
    @rule(data=st.data())
    def worker_dies(self, data: st.DataObject) -> None:
        worker = self.pick(data)
        del self.workers[worker.name]
        self.world.die(worker.name)
        self.look()

    @precondition(lambda self: self.workers)
    @rule(data=st.data())
    def worker_reconnects(self, data: st.DataObject) -> None:
        worker = self.pick(data)
        worker.done.clear()
        self.world.join(worker.name, worker.host, pid=1)
        for event, _, _ in list(worker.offered.values()):
            self.send(worker, 0, event)

    # --- the world -------------------------------------------------------------------

    @rule()
    def disk_keeps_the_next_commit(self) -> None:
        if self.world.writing:
            commit = self.world.writing.pop(0)
            self.disk.keep(commit, commit.payload)  # type: ignore[arg-type]
            self.world.send(ev.CommitKept(SESSION, commit.worker, commit.commit_id))
            self.look()

    @rule(seconds=st.sampled_from((0.3, 2.5, 7.0, 11.0)), alive=st.booleans())
    def time_passes(self, seconds: float, alive: bool) -> None:
        self.world.now_s += seconds
        for name in self.workers if alive else ():
            self.world.beat(name)
        self.world.send(ev.Tick())
        for closed in self.world.closed:
            for name in list(self.workers):
                if self.world.stream(name) == closed.stream:
                    del self.workers[name]
        self.look()

    @rule(
        number=st.integers(0, FILES - 1),
        nodes=st.sampled_from(((), ("n1",), ("n2",), ("n1", "n2"))),
    )
    def replicas_come_and_go(self, number: int, nodes: tuple[str, ...]) -> None:
        self.online[number] = nodes
        if nodes:
            self.world.online(number, *nodes, entries=ENTRIES, clusters=ENTRIES)
        else:
            self.world.offline(number, Offline.NEARLINE)
        self.look()

    # --- the end ---------------------------------------------------------------------

    def teardown(self) -> None:
        """One good worker is left, every file comes online: the session must end, and right."""
        for number in range(FILES):
            self.replicas_come_and_go(number, ("n1",))
        for name in list(self.workers):
            del self.workers[name]
            self.world.die(name)
        self.names += 1
        last = ModelWorker(f"w{self.names}", "h1")
        self.workers[last.name] = last
        self.world.join(last.name, want=2, pid=1)
        for _ in range(400):
            while self.world.writing:
                self.disk_keeps_the_next_commit()
            if self.is_over:
                break
            self.time_passes(1.0, alive=True)
            hand = self.world.hands[last.name]
            last.done += hand
            hand.clear()
            self.commit(last, 2, merges=True)
        figures = self.world.figures()
        assert figures.state is SessionState.DONE, self.world.desk.sessions[SESSION].books.story
        counted = Counter(entry for result in self.disk.results.values() for entry in result)
        named = Counter((m.lfn, entry) for m in figures.missing for entry in range(m.start, m.stop))
        everything = Counter((lfn(n), e) for n in range(FILES) for e in range(ENTRIES))
        assert counted + named == everything
        assert sum(counted.values()) == figures.entries_done
        assert sum(named.values()) == figures.entries_bad
        in_ranges = Counter((w, e) for w, a, b in self.disk.ranges for e in range(a, b))
        assert in_ranges == counted
        assert sorted(m.lfn for m in figures.missing) == sorted(
            each.missing.lfn for each in self.disk.bad
        )


TestSession = SessionMachine.TestCase
TestSession.settings = settings(max_examples=200, stateful_step_count=50, deadline=None)
