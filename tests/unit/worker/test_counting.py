"""Whatever is refused, lost or broken off: what the packetizer keeps is what it counted."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from packhorse.functions import Work, dump_work
from packhorse.worker.engine import Engine
from packhorse.worker.running import Outcome
from protos.packhorse.v1 import packetizer_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Collection

    from packhorse.functions import Function
    from packhorse.worker.running import Key


class WorkerAndPacketizer(RuleBasedStateMachine):
    """One worker; a packetizer that keeps to the contract; a network that does not."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self.connected = False
        self.leases = 0
        self.held: set[int] = set()
        self.on_the_way: list[pb.WorkerReport] = []
        self.answers: list[pb.CommitAnswer] = []
        self.results: dict[int, list[int]] = {}
        self.counted: list[int] = []
        self.engine = Engine(
            self,
            lambda _: dump_work(Work(len)),  # type: ignore[arg-type]
            self.on_the_way.append,
            clock=lambda: self.now_s,
        )

    # --- the worker's runner: each packet's value is its lease, in a list -----------

    def run(self, packet: pb.Packet, function: Function) -> Outcome:
        self.now_s += 0.01
        return Outcome(pb.PacketRecord(lease_id=packet.lease_id), [packet.lease_id])

    def keep(self, keys: Collection[Key]) -> None:
        pass

    # --- what may happen -------------------------------------------------------------

    @initialize()
    def begin(self) -> None:
        self.connect()

    @rule()
    @precondition(lambda self: not self.connected)
    def reconnect(self) -> None:
        self.connect()

    def connect(self) -> None:
        self.connected = True
        self.engine.connected(pb.WorkerWelcome(heartbeat_s=1.0, commit_s=0.05))

    @rule()
    @precondition(lambda self: self.connected)
    def lose_the_connection(self) -> None:
        """What is on its way in either direction is lost, and all leases end."""
        self.connected = False
        self.on_the_way.clear()
        self.answers.clear()
        self.held.clear()
        self.engine.disconnected()

    @rule(number=st.integers(1, 4), soon=st.booleans())
    @precondition(lambda self: self.connected)
    def give_packets(self, number: int, soon: bool) -> None:
        leases = range(self.leases + 1, self.leases + number + 1)
        self.leases += number
        self.held.update(leases)
        packets = [pb.Packet(lease_id=lease, session_id="s", lfn="/a") for lease in leases]
        self.engine.take(pb.Packets(packets=packets, commit_soon=soon))

    @rule()
    @precondition(lambda self: self.engine.has_work)
    def run_a_packet(self) -> None:
        self.engine.run_next()

    @rule(waited_s=st.sampled_from([0.0, 0.1, 2.0]))
    def settle(self, waited_s: float) -> None:
        self.now_s += waited_s
        self.engine.settle()

    @rule(refuse=st.booleans())
    @precondition(lambda self: self.on_the_way)
    def a_report_arrives(self, refuse: bool) -> None:
        report = self.on_the_way.pop(0)
        for failure in report.failures:
            self.held.discard(failure.lease_id)
        if report.HasField("commit"):
            self._decide(report.commit, refuse=refuse)

    @rule()
    @precondition(lambda self: self.answers)
    def an_answer_arrives(self) -> None:
        self.engine.answered(self.answers.pop(0))

    @rule(lease=st.data())
    @precondition(lambda self: self.held)
    def a_lease_expires(self, lease: st.DataObject) -> None:
        self.held.discard(lease.draw(st.sampled_from(sorted(self.held))))

    def _decide(self, commit: pb.Commit, *, refuse: bool) -> None:
        leases = [record.lease_id for record in commit.packets]
        accepted = not refuse and self.held.issuperset(leases)
        self.held.difference_update(leases)
        if accepted:
            for replaced in commit.supersedes:
                del self.results[replaced]  # a KeyError here is a broken promise
            self.results[commit.commit_id] = pickle.loads(commit.result)
            self.counted += leases
        self.answers.append(pb.CommitAnswer(commit_id=commit.commit_id, accepted=accepted))

    # --- what must hold ----------------------------------------------------------------

    @invariant()
    def what_is_kept_is_what_was_counted(self) -> None:
        kept = [lease for result in self.results.values() for lease in result]
        assert sorted(kept) == sorted(self.counted)
        assert len(set(self.counted)) == len(self.counted)


WorkerAndPacketizer.TestCase.settings = settings(
    max_examples=60, stateful_step_count=60, deadline=None
)
TestCounting = WorkerAndPacketizer.TestCase
