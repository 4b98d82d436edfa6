"""Names and messages of every bad kind: one clear line to whoever sent them, and no harm.

They come through the command line, the Python API and raw gRPC. After each test another
client has a file staged as if nothing had been.
"""

from __future__ import annotations

import itertools
import random
import socket
import threading
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from common.errors import NameRefused, TooLarge
from packhorse.cli.main import main
from packhorse.values import NodeState
from protos.packhorse.v1 import packetizer_pb2_grpc, redirector_pb2_grpc, types_pb2
from protos.packhorse.v1 import redirector_pb2 as pb
from protos.packhorse.v1.packetizer_pb2 import (
    Commit,
    PacketRecord,
    WorkerHello,
    WorkerMessage,
    WorkerReport,
)
from tests.support.cluster import Cluster, Node, running, until_joined
from tests.support.raw_grpc import RawClient, empty, methods, nonsense

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from google.protobuf.message import Message

    import packhorse
    from tests.support.raw_grpc import Outcome

PATIENCE_S = 30.0
SEED = 11
NONSENSE_MESSAGES = 150

REDIRECTOR = methods("Files", "Datasets", "Cluster")
DATASERVER = methods("DataServer")
PACKETIZER = methods("Packetizer")
METHODS = {**REDIRECTOR, **DATASERVER, **PACKETIZER}

BAD_NAMES = {
    "outside": ("/elsewhere/a.root", "it is not under what this site exports (/store/)"),
    "climbing": ("/store/../../etc/passwd", "'..'"),
    "long": ("/store/" + "x" * 5000, "5007 bytes are more than 4096"),
    "long component": ("/store/" + "x" * 300, "one of its components is over 255 bytes"),
    "newline": ("/store/a\nb.root", "control character"),
    "relative": ("store/a.root", "it must start with '/'"),
    "nothing": ("/", "it names no file"),
    "private": ("/.packhorse/catalogue.sqlite", "is the data servers' own"),
}
#: Methods that names are given to, and where.
NAMED = {
    "Files.Locate": "lfns",
    "Files.Describe": "lfns",
    "Files.Stage": "lfns",
    "Files.Watch": "lfns",
    "Files.Evict": "lfns",
    "Files.Explain": "lfn",
    "DataServer.Open": "lfn",
    "DataServer.Read": "lfn",
}
#: Methods that a message without any field is enough for.
CONTENT_WITH_NOTHING = {
    "Files.Locate",
    "Files.Describe",
    "Files.ListRequests",
    "Files.Evict",
    "Datasets.List",
    "Cluster.Status",
    "Cluster.PlanPurge",
    "Cluster.ListRecalls",
    "Cluster.ListStores",
    "Cluster.StoreNow",
    "Packetizer.ListSessions",
}


def hello(name: str = "ghost", **changes: Any) -> pb.NodeMessage:
    """What a data server says first."""
    address = types_pb2.NodeAddress(node=name, address="127.0.0.1:9", host="ghost")
    usual: Any = {"boot_epoch": "b1", "pool_id": f"pool of {name}", "quota_bytes": 1}
    return pb.NodeMessage(hello=pb.Hello(address=address, recall_slots=1, **{**usual, **changes}))


#: What streams begin with, before the nonsense.
BEGINNINGS: dict[str, Message] = {
    "Cluster.Join": hello(),
    "Datasets.Register": pb.RegisterRequest(header=pb.RegisterHeader(name="nonsense", files=2)),
    "Packetizer.Work": WorkerMessage(hello=WorkerHello(worker="nobody", host="nowhere")),
}


@dataclass
class Desk:
    """The site, and raw connections to its doors."""

    cluster: Cluster
    site: packhorse.Site
    doors: Sequence[tuple[RawClient, Collection[str]]]
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def send(self, method: str, *messages: Message | bytes) -> Outcome:
        """Sends messages to `Service.Method` of the server that has it."""
        client = next(client for client, names in self.doors if method in names)
        raw = [one if isinstance(one, bytes) else one.SerializeToString() for one in messages]
        return client.send(METHODS[method], *raw)

    def is_well(self) -> None:
        """Another client has a new file staged and read, and everything is up."""
        lfn = f"/store/well/{next(self.numbers)}.txt"
        self.cluster.write(lfn, lfn.encode())
        with self.cluster.connect() as other:
            other.stage(lfn).wait(PATIENCE_S)
            with other.open(lfn) as file:
                assert file.read() == lfn.encode()
            states = {one.address.node: one.state for one in other.nodes()}
        assert states["n1"] is NodeState.UP
        assert all(process.poll() is None for process in self.cluster.processes.values())


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    cluster = Cluster(tmp_path_factory.mktemp("site"), [Node("n1", "10MB")])
    with ExitStack() as stack:
        stack.enter_context(running(cluster))
        site = stack.enter_context(cluster.connect())
        until_joined(site, 1)
        (node,) = site.nodes()
        doors = {
            cluster.redirector_address: REDIRECTOR,
            node.address.address: DATASERVER,
            cluster.packetizer_address: PACKETIZER,
        }
        clients = [(stack.enter_context(RawClient(one)), names) for one, names in doors.items()]
        yield Desk(cluster, site, clients)


@pytest.fixture
def desk(shared: Desk) -> Iterator[Desk]:
    yield shared
    shared.is_well()


def request_with(method: str, field_name: str, name: str) -> Message:
    """A request of a method that names one file."""
    request: Message = empty(METHODS[method].input_type)
    if field_name == "lfns":
        getattr(request, field_name).append(name)
    else:
        setattr(request, field_name, name)
    return request


# --- names -----------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [["locate"], ["stage"], ["pin"], ["evict"], ["explain"]])
@pytest.mark.parametrize("kind", BAD_NAMES)
def test_a_bad_name_is_refused_by_the_command_line_in_one_line(
    shared: Desk, capsys: pytest.CaptureFixture[str], command: list[str], kind: str
) -> None:
    name, reason = BAD_NAMES[kind]
    assert main([*command, "--config", str(shared.cluster.config), "--", name]) == 4
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("packhorse: error: ")
    assert reason in line
    assert len(line) < 400


@pytest.mark.parametrize("command", ["locate", "stage", "cp"])
def test_a_name_that_is_not_utf8_is_refused_by_the_command_line(desk: Desk, command: str) -> None:
    destination = ["/dev/null"] if command == "cp" else []
    done = desk.cluster.run(command, b"/store/caf\xe9.root", *destination)
    assert done.returncode in {2, 4}
    (line,) = done.stderr.splitlines()
    assert "UTF-8" in line


@pytest.mark.parametrize("kind", BAD_NAMES)
@pytest.mark.parametrize("method", NAMED)
def test_a_bad_name_is_refused_by_every_method(shared: Desk, method: str, kind: str) -> None:
    name, _ = BAD_NAMES[kind]
    outcome = shared.send(method, request_with(method, NAMED[method], name))
    if method in DATASERVER and kind == "outside":
        # A data server knows its own files only, and has no opinion on others' names.
        assert (outcome.status, outcome.code) == (grpc.StatusCode.NOT_FOUND, "not-found")
    else:
        assert (outcome.status, outcome.code) == (grpc.StatusCode.INVALID_ARGUMENT, "name")
    assert len(outcome.details) < 400


@pytest.mark.parametrize("method", NAMED)
def test_a_name_that_is_not_utf8_is_refused_by_every_method(desk: Desk, method: str) -> None:
    good = request_with(method, NAMED[method], "/store/cafe.root").SerializeToString()
    outcome = desk.send(method, good.replace(b"cafe", b"caf\xe9"))
    assert (outcome.status, outcome.code) == (grpc.StatusCode.INVALID_ARGUMENT, "usage")
    assert "malformed" in outcome.details


def test_one_bad_name_among_many_refuses_the_whole_request_and_leaves_nothing(desk: Desk) -> None:
    before = len(desk.site.requests())
    with pytest.raises(NameRefused, match=r"\.\."):
        desk.site.stage([f"/store/many/{number}.root" for number in range(50)] + ["/store/../x"])
    assert len(desk.site.requests()) == before


def test_all_spellings_of_a_name_mean_one_file(desk: Desk) -> None:
    desk.cluster.write("/store/one.txt", b"one")
    spellings = [
        "/store/one.txt",
        "//store//one.txt",
        "/store/./one.txt/",
        "file:///store/o%6ee.txt",
    ]
    desk.site.stage(spellings).wait(PATIENCE_S)
    assert {found.lfn for found in desk.site.locate(spellings)} == {"/store/one.txt"}
    assert desk.site.status().replicas == len(set(_all_replicas(desk.cluster)))


# --- messages --------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_a_message_without_any_field_is_served_or_refused_clearly(desk: Desk, method: str) -> None:
    outcome = desk.send(method, b"")
    expected = grpc.StatusCode.INVALID_ARGUMENT
    if method in CONTENT_WITH_NOTHING:
        expected = grpc.StatusCode.OK
    assert outcome.status is expected, outcome
    assert outcome.is_clear


@pytest.mark.parametrize("method", METHODS)
def test_bytes_that_are_no_message_are_refused_clearly(shared: Desk, method: str) -> None:
    outcome = shared.send(method, b"\xff" * 100)
    assert (outcome.status, outcome.code) == (grpc.StatusCode.INVALID_ARGUMENT, "usage")
    assert "malformed" in outcome.details


@pytest.mark.parametrize("method", METHODS)
def test_nonsense_in_every_field_is_served_or_refused_clearly(desk: Desk, method: str) -> None:
    chance = random.Random(f"{SEED} {method}")
    kind = METHODS[method].input_type
    count = 10 if METHODS[method].server_streaming else NONSENSE_MESSAGES
    for _ in range(count):
        messages = [nonsense(kind, chance)]
        if METHODS[method].client_streaming:
            messages += [nonsense(kind, chance) for _ in range(3)]
        outcome = desk.send(method, *messages)
        assert outcome.is_clear, (outcome, messages)


@pytest.mark.parametrize("method", BEGINNINGS)
def test_nonsense_after_a_good_beginning_is_served_or_refused_clearly(
    desk: Desk, method: str
) -> None:
    chance = random.Random(f"{SEED} after {method}")
    kind = METHODS[method].input_type
    for _ in range(NONSENSE_MESSAGES):
        messages = [BEGINNINGS[method], *(nonsense(kind, chance) for _ in range(5))]
        outcome = desk.send(method, *messages)
        assert outcome.is_clear, (outcome, messages)


@pytest.mark.parametrize("method", ["Files.Locate", "Files.Stage", "Datasets.Register"])
def test_a_message_that_is_too_large_is_refused(desk: Desk, method: str) -> None:
    request = pb.LocateRequest(lfns=["/store/" + "x" * 200] * 100_000)
    outcome = desk.send(method, request)
    assert outcome.status is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "larger than max" in outcome.details


def test_the_api_says_that_something_is_too_large(desk: Desk) -> None:
    with pytest.raises(TooLarge):
        desk.site.pin("/store/a.txt", lifetime_s=60, reason="x" * (20 << 20))


@pytest.mark.parametrize("method", ["Files.Locate", "Files.Describe", "Files.Evict", "Files.Pin"])
def test_more_names_than_a_call_may_have_are_refused(desk: Desk, method: str) -> None:
    request = empty(METHODS[method].input_type)
    request.lfns.extend(f"/store/{number}" for number in range(10_001))
    if method == "Files.Pin":
        request.owner, request.lifetime_s = "me", 60.0
    outcome = desk.send(method, request)
    assert (outcome.status, outcome.code) == (grpc.StatusCode.INVALID_ARGUMENT, "usage")
    assert "10,001 names are more than 10,000" in outcome.details


def test_the_api_takes_any_number_of_names_of_any_length(desk: Desk) -> None:
    many = [f"/store/many/{number}.root" for number in range(25_000)]
    assert len(desk.site.locate(many)) == 25_000
    long = [f"/store/{'/'.join(['d' * 200] * 18)}/{number}" for number in range(6_000)]
    assert len(desk.site.locate(long)) == 6_000


# --- data servers that are none ------------------------------------------------------------------


NAN = float("nan")
BAD_SPEECHES = {
    "no hello": [pb.NodeMessage(heartbeat=pb.Heartbeat())],
    "an empty message": [hello(), pb.NodeMessage()],
    "a hello without a name": [hello("")],
    "a hello without a pool": [hello(pool_id="")],
    "a hello without an epoch": [hello(boot_epoch="")],
    "a hello without a quota": [hello(quota_bytes=0)],
    "two hellos": [hello(), hello()],
    "columns of two lengths": [
        hello(),
        pb.NodeMessage(inventory=pb.Inventory(lfns=["/store/a", "/store/b"], size_bytes=[1])),
    ],
    "a replica outside": [
        hello(),
        pb.NodeMessage(inventory=pb.Inventory(lfns=["/../a"], size_bytes=[1], last=True)),
    ],
    "a load that is no number": [hello(), pb.NodeMessage(heartbeat=pb.Heartbeat(cpu_percent=NAN))],
    "the end of no recall": [hello(), pb.NodeMessage(recall_ended=pb.RecallEnded())],
    "a failure of no class": [
        hello(),
        pb.NodeMessage(
            recall_ended=pb.RecallEnded(recall_id="r", lfn="/store/a", failure=types_pb2.Failure())
        ),
    ],
}


@pytest.mark.parametrize("speech", BAD_SPEECHES)
def test_a_data_server_that_talks_nonsense_is_sent_away(desk: Desk, speech: str) -> None:
    outcome = desk.send("Cluster.Join", *BAD_SPEECHES[speech])
    assert outcome.status in {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.FAILED_PRECONDITION,
    }, outcome
    assert outcome.is_clear


def test_news_of_an_older_epoch_changes_nothing(desk: Desk) -> None:
    desk.cluster.write("/store/current.txt", b"current")
    desk.site.stage("/store/current.txt").wait(PATIENCE_S)
    lfn, old = "/store/current.txt", "0123456789ab.1"
    failure = types_pb2.Failure(error_class=types_pb2.ERROR_CLASS_PERMANENT, reason="long ago")
    outcome = desk.send(
        "Cluster.Join",
        hello(running=[pb.RunningRecall(recall_id=old, lfn=lfn, reserved_bytes=1)]),
        pb.NodeMessage(inventory=pb.Inventory(last=True)),
        pb.NodeMessage(recall_progress=pb.RecallProgress(recall_id=old, bytes_done=5)),
        pb.NodeMessage(recall_ended=pb.RecallEnded(recall_id=old, lfn=lfn, failure=failure)),
        pb.NodeMessage(described=pb.Described(query_id=77, not_online=[lfn], last=True)),
        pb.NodeMessage(evicted=pb.Evicted(query_id=78, evicted=[lfn])),
    )
    assert outcome.is_clear
    assert outcome.replies > 0
    (found,) = desk.site.locate(lfn)
    assert [node.node for node in found.nodes] == ["n1"]
    assert desk.site.explain(lfn).next == ""


def test_a_connection_is_over_once_its_node_has_another_one(desk: Desk) -> None:
    address = desk.cluster.redirector_address
    with grpc.insecure_channel(address) as old, grpc.insecure_channel(address) as new:
        said = _Speech(redirector_pb2_grpc.ClusterStub(old).Join, hello("twice"))
        said.reply()
        again = _Speech(redirector_pb2_grpc.ClusterStub(new).Join, hello("twice"))
        again.reply()
        status, words = said.end_status()
        assert status is grpc.StatusCode.FAILED_PRECONDITION
        assert "connected anew" in words
        said.end()
        again.end()


def test_results_for_leases_of_an_older_epoch_are_not_counted(desk: Desk) -> None:
    commit = Commit(commit_id=7, session_id="s-gone", packets=[PacketRecord(lease_id=1)])
    with grpc.insecure_channel(desk.cluster.packetizer_address) as channel:
        said = _Speech(
            packetizer_pb2_grpc.PacketizerStub(channel).Work,
            WorkerMessage(hello=WorkerHello(worker="old", host="somewhere")),
            WorkerMessage(report=WorkerReport(commit=commit)),
        )
        assert said.reply().HasField("welcome")
        answer = said.reply().commit_answer
        assert (answer.commit_id, answer.accepted) == (7, False)
        assert answer.reason
        said.end()


# --- connections that are none ----------------------------------------------------------------


def test_connections_that_say_nothing_or_nonsense_do_no_harm(desk: Desk) -> None:
    host, _, port = desk.cluster.redirector_address.rpartition(":")
    with ExitStack() as stack:
        for said in (b"", b"GET / HTTP/1.1\r\n\r\n", b"\0" * 1000, b"PRI * HTTP/2.0\r\n\r\nSM"):
            for _ in range(20):
                connection = stack.enter_context(socket.create_connection((host, int(port))))
                connection.sendall(said)
        desk.is_well()


def test_watchers_that_vanish_do_no_harm(desk: Desk) -> None:
    for _ in range(5):
        with desk.cluster.connect() as other:
            watching = other.watch(["/store/a.txt", "/store/b.txt"])
            assert {next(watching).lfn, next(watching).lfn} == {"/store/a.txt", "/store/b.txt"}


class _Speech:
    """A stream to a server that says something, and then stays open."""

    def __init__(self, method: Any, *messages: Message) -> None:
        self._over = threading.Event()
        self._call = method(self._say(messages), timeout=PATIENCE_S)

    def reply(self) -> Any:
        """The next message; raises grpc.RpcError when the stream was ended with an error."""
        return next(self._call)

    def end_status(self) -> tuple[grpc.StatusCode, str]:
        """Waits for the end; how the server put it."""
        for _ in range(100):
            try:
                self.reply()
            except grpc.RpcError as error:
                return error.code(), error.details() or ""
        raise AssertionError("it goes on and on")

    def end(self) -> None:
        """Goes away."""
        self._over.set()
        self._call.cancel()

    def _say(self, messages: Sequence[Message]) -> Iterator[Message]:
        yield from messages
        self._over.wait(PATIENCE_S)


def _all_replicas(cluster: Cluster) -> Iterator[str]:
    for path in (cluster.pool("n1") / "store").rglob("*"):
        if path.is_file():
            yield str(path)
