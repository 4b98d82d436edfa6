"""The head node keeps its promises whatever order things happen in.

Hypothesis drives a small site: data servers come, go, crash and fall silent;
recalls end well or badly; clients ask, cancel, pin, write files and make directories; the
head is restarted.
After every step the head's own invariants and the promises that can be seen from
outside are checked; in the end everything is healed, and everything must end.
"""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from common.errors import PackhorseError
from redirector.core import events, instructions
from redirector.core.model import FileFacts, Hint
from redirector.core.queue import ArchiveLimit, Limits, Weights
from redirector.core.settings import HeadSettings
from redirector.core.states import ErrorClass, RequestState
from tests.support.redirector_world import FakeNode, World, settled

LFNS = [f"/store/f{number}" for number in range(8)]
DIRECTORIES = ["/store/a", "/store/a/b", "/store/a/b/c", "/store/f0", "/store/d"]
SETTINGS = HeadSettings(
    lost_after_s=20.0,
    attempts=3,
    backoff_s=1.0,
    backoff_max_s=8.0,
    request_deadline_s=1e6,
    assumed_size_bytes=30,
    failure_memory_s=30.0,
    look_past=3,
    overtaken_limit=2,
    sweep_slice=2,
    forget_node_after_s=300.0,
    priority_step_s=10.0,
    weights=Weights({"prod": 2.0}, {"you": 3.0}),
    limits=Limits(
        recalls=6,
        drives=1,
        archives=(ArchiveLimit("some"), ArchiveLimit("others", recalls=2)),
        archive_of=lambda lfn: int(lfn[-1]) % 2,
        volume_s=10.0,
    ),
    hint_wait_s=3.0,
)

names = st.sampled_from(LFNS)
directories = st.sampled_from(DIRECTORIES)
some_names = st.lists(names, min_size=1, max_size=5)
pick = st.integers(min_value=0, max_value=7)


class HeadMachine(RuleBasedStateMachine):
    """Random histories of a site."""

    @initialize(
        seed=st.integers(0, 2**16),
        quotas=st.lists(st.integers(50, 120), min_size=1, max_size=3),
        sizes=st.lists(st.integers(1, 50), min_size=len(LFNS), max_size=len(LFNS)),
        absent=st.sets(names, max_size=2),
        joined=st.sampled_from([0, 3, 3]),
        settled_in=st.sampled_from([True, True, False]),
        wanted=st.lists(names, max_size=6),
    )
    def begin(
        self,
        seed: int,
        quotas: list[int],
        sizes: list[int],
        absent: set[str],
        joined: int,
        settled_in: bool,
        wanted: list[str],
    ) -> None:
        self.world = World(SETTINGS, seed)
        self.asked = 0
        self.world.archive = {
            lfn: size for lfn, size in zip(LFNS, sizes, strict=True) if lfn not in absent
        }
        for number, quota in enumerate(quotas):
            node = FakeNode(f"disk{number}", quota, slots=1 + number % 2)
            self.world.nodes[node.name] = node
            if number < joined:
                self.world.connect(node)
        if settled_in:
            self.world.pass_time(1.0)
        if wanted:
            self.stage(wanted, 0, 0.0, True, "")
            self.deliver(0, 0, True)

    def node(self, number: int) -> FakeNode:
        nodes = list(self.world.nodes.values())
        return nodes[number % len(nodes)]

    # --- clients ---

    @rule(
        lfns=some_names,
        priority=st.integers(-1, 2),
        pin_s=st.sampled_from([0.0, 0.0, 15.0]),
        sized=st.sampled_from([True, True, True, False]),
        key=st.sampled_from(["", "", "one", "two"]),
        owner=st.sampled_from(["me", "you"]),
        activity=st.sampled_from(["", "prod"]),
    )
    def stage(
        self,
        lfns: list[str],
        priority: int,
        pin_s: float,
        sized: bool,
        key: str,
        owner: str = "me",
        activity: str = "",
    ) -> None:
        self.asked += 1
        known = {kept.record.idempotency_key: name for name, kept in self.world.requests.items()}
        archive = self.world.archive
        self.world.guessed = self.world.guessed or not sized or not archive.keys() >= set(lfns)
        facts = {lfn: FileFacts(archive[lfn]) for lfn in lfns if sized and lfn in archive}
        request_id = f"request{self.asked}"
        done = self.world.give(
            events.StageAsked(
                request_id,
                lfns,
                owner,
                priority,
                pin_s,
                idempotency_key=key,
                activity=activity,
                facts=facts,
            )
        )
        (answer,) = [one for one in done if isinstance(one, instructions.AnswerStage)]
        active = known.get(key) if key else None
        if active is not None and self.world.requests[active].state is RequestState.ACTIVE:
            assert answer.request_id == active
        if answer.request_id == request_id:
            assert answer.files == len(set(lfns))
            assert request_id in self.world.requests, "accepted means durable"

    @precondition(lambda self: self.world.requests)
    @rule(number=pick, lfns=st.one_of(st.just([]), some_names))
    def cancel(self, number: int, lfns: list[str]) -> None:
        known = [figures.record.request_id for figures in self.world.head.requests()]
        if known:
            request_id = known[number % len(known)]
            self.world.give(events.CancelAsked(request_id, lfns))
            if not lfns:
                assert self.world.requests[request_id].state is not RequestState.ACTIVE

    @rule(lfns=some_names, lifetime_s=st.sampled_from([None, 0.5, 5.0, 100.0]))
    def pin_or_unpin(self, lfns: list[str], lifetime_s: float | None) -> None:
        if lifetime_s is None:
            self.world.give(events.UnpinAsked("pinner", lfns))
        else:
            self.world.give(events.PinAsked(lfns, "pinner", lifetime_s))

    # --- clients that read and write by root:// ---

    @rule(lfn=names, on=pick, avoid=st.sets(st.sampled_from(["disk0", "disk1"]), max_size=2))
    def open_to_read(self, lfn: str, on: int, avoid: set[str]) -> None:
        head, host = self.world.head, self.node(on).name
        holders = [one for one in head.holders(lfn) if one.node not in avoid]
        reader = head.choose_reader(lfn, host, avoid)
        assert (reader is None) == (not holders)
        if reader is not None:
            assert reader in holders
            assert reader.host == host or host not in [one.host for one in holders]

    @rule(lfn=names, on=pick, size_bytes=st.sampled_from([0, 5, 40, 200]))
    def open_to_write(self, lfn: str, on: int, size_bytes: int) -> None:
        world = self.world
        host = self.node(on).name
        try:
            address = world.head.choose_writer(lfn, size_bytes, host, (), world.now_s)
        except PackhorseError:
            return
        world.begin_write(world.nodes[address.node], lfn)

    @rule(lfn=names, number=pick, contested=st.booleans())
    def write_on(self, lfn: str, number: int, contested: bool) -> None:
        nodes = self.world.nodes.values()
        taken = [lfn for node in nodes for lfn in node.writes]
        taken += [run.lfn for node in nodes for run in node.runs.values()]
        if contested and taken:
            lfn = taken[number % len(taken)]
        for node in nodes if contested else [self.node(number)]:
            self.world.begin_write(node, lfn)

    @precondition(lambda self: any(node.writes for node in self.world.nodes.values()))
    @rule(which=pick, size_bytes=st.sampled_from([None, 3, 30]))
    def end_write(self, which: int, size_bytes: int | None) -> None:
        writes = [(node, lfn) for node in self.world.nodes.values() for lfn in node.writes]
        node, lfn = writes[which % len(writes)]
        self.world.end_write(node, lfn, size_bytes)

    @rule(lfn=directories, parents=st.booleans())
    def make_directory(self, lfn: str, parents: bool) -> None:
        if self.world.ask(events.MakeDirectoryAsked(lfn, parents)) is not None:
            assert lfn in self.world.directories, "accepted means durable"

    @rule(lfn=directories)
    def remove_directory(self, lfn: str) -> None:
        if self.world.ask(events.RemoveDirectoryAsked(lfn)) is not None:
            assert lfn not in self.world.directories

    # --- data servers ---

    @rule(number=pick, limit=st.integers(1, 10), everywhere=st.booleans())
    def deliver(self, number: int, limit: int, everywhere: bool) -> None:
        if everywhere:
            for node in self.world.nodes.values():
                self.world.deliver(node)
        else:
            self.world.deliver(self.node(number), limit)

    @precondition(lambda self: any(node.runs for node in self.world.nodes.values()))
    @rule(which=pick, outcome=st.sampled_from(["finish", "finish", *ErrorClass]))
    def end_run(self, which: int, outcome: str | ErrorClass) -> None:
        runs = [(node, run) for node in self.world.nodes.values() for run in node.runs.values()]
        node, run = runs[which % len(runs)]
        if isinstance(outcome, ErrorClass):
            self.world.fail(node, run, outcome)
        else:
            self.world.finish(node, run)

    @precondition(lambda self: any(one.connection is None for one in self.world.nodes.values()))
    @rule(which=pick)
    def connect(self, which: int) -> None:
        away = [node for node in self.world.nodes.values() if node.connection is None]
        self.world.connect(away[which % len(away)])

    @precondition(lambda self: any(node.connection for node in self.world.nodes.values()))
    @rule(which=pick, trouble=st.sampled_from(["disconnect", "cut", "crash", "lose changes"]))
    def trouble(self, which: int, trouble: str) -> None:
        connected = [node for node in self.world.nodes.values() if node.connection is not None]
        busy = [node for node in connected if node.runs or node.writes]
        node = (busy or connected)[which % len(busy or connected)]
        if trouble == "disconnect":
            self.world.disconnect(node)
        elif trouble == "cut":
            node.cut = True
        elif trouble == "crash":
            self.world.crash(node)
        else:
            self.world.lose_changes(node)

    @rule(number=pick, lfn=names)
    def purge_or_find(self, number: int, lfn: str) -> None:
        """A node drops a replica, or finds one on its disk that no recall brought."""
        node = self.node(number)
        running = lfn in node.writes or any(run.lfn == lfn for run in node.runs.values())
        if lfn in node.files:
            if node.pins.get(lfn, 0.0) <= self.world.now_s:
                self.world.drop(node, lfn)
        elif lfn in self.world.archive and not running:
            self.world.adopt_file(node, lfn)

    @rule(number=pick, undo=st.booleans())
    def drain(self, number: int, undo: bool) -> None:
        name = self.node(number).name
        if any(figures.address.node == name for figures in self.world.head.nodes(self.world.now_s)):
            self.world.give(events.DrainAsked(name, undo))

    # --- the head, and time ---

    @precondition(lambda self: self.world.now_s > self.world.head_started_s + 3.0)
    @rule(back=st.sets(pick, max_size=2))
    def restart_head(self, back: set[int]) -> None:
        """Some nodes are back at once, others are awaited."""
        self.world.boot_head()
        for node in {self.node(number).name: self.node(number) for number in back}.values():
            self.world.connect(node)
            self.world.deliver(node)

    @precondition(lambda self: self.world.hints_asked)
    @rule(
        places=st.lists(
            st.builds(Hint, st.sampled_from(["", "V1", "V2"]), st.integers(0, 3), st.just(0))
        ),
        answered=st.booleans(),
    )
    def tell_hints(self, places: list[Hint], answered: bool) -> None:
        """The site's command answers, for some files, or fails."""
        asked = self.world.hints_asked.pop(0)
        hints = dict(zip(asked.lfns, places, strict=False))
        unanswered = [] if answered else [lfn for lfn in asked.lfns if lfn not in hints]
        self.world.give(events.HintsTold(asked.lfns, hints, unanswered))

    @rule(which=st.integers(0, 2**16))
    def hear_an_old_message(self, which: int) -> None:
        live = {node.connection for node in self.world.nodes.values()}
        old = [
            one
            for one in self.world.past_events
            if isinstance(one, events.NodeReport) and one.connection not in live
        ]
        if old:
            before = self.world.head.status(self.world.now_s)
            done = self.world.head.handle(old[which % len(old)], self.world.now_s)
            assert done == []
            assert self.world.head.status(self.world.now_s) == before

    @rule(
        duration_s=st.sampled_from([0.3, 1.0, 5.0, 10.0, 14.0, 30.0]),
        quiet=st.booleans(),
        finishing=st.sampled_from([0.0, 0.0, 0.2]),
    )
    def pass_time(self, duration_s: float, quiet: bool, finishing: float) -> None:
        self.world.pass_time(duration_s, quiet=quiet and duration_s < 10.0, finishing=finishing)

    @invariant()
    def promises_hold(self) -> None:
        if hasattr(self, "world"):
            self.world.check()

    def teardown(self) -> None:
        if hasattr(self, "world"):
            for name in self.world.nodes:
                known = [one.address.node for one in self.world.head.nodes(self.world.now_s)]
                if name in known:
                    self.world.give(events.DrainAsked(name, undo=True))
            assert settled(self.world, 3_000.0), "a request never ended"


TestHead = HeadMachine.TestCase
TestHead.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
