"""The tables of the head node, and what it has decided so far about one event.

`Books` is what the head's parts share: each part works on the tables and writes
what shall be done into the `Outbox`, which `Head.handle` empties at the end.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from redirector.core.claims import Claims
from redirector.core.index import ReplicaIndex
from redirector.core.instructions import EndRequest, PublishFiles, SaveRequestFiles, SendToNode
from redirector.core.model import FileEvent, RequestFile
from redirector.core.nodes import Nodes
from redirector.core.pins import Pins
from redirector.core.recalls import Recalls
from redirector.core.requests import Requests
from redirector.core.stories import Stories
from redirector.core.vacancies import Vacancies

if TYPE_CHECKING:
    import random

    from redirector.core.instructions import Answer, Instruction, NodeCommand
    from redirector.core.node import Node
    from redirector.core.requests import Request
    from redirector.core.settings import HeadSettings
    from redirector.core.states import FileEventKind, FileState, RequestFileState


@dataclass(slots=True)
class Outbox:
    """Instructions of one event, in order; what comes in many small parts is joined."""

    _instructions: list[Instruction] = field(default_factory=list)
    _files_settled: dict[str, list[RequestFile]] = field(default_factory=dict)
    _requests_ended: list[EndRequest] = field(default_factory=list)
    _file_events: list[FileEvent] = field(default_factory=list)
    _answers: list[Answer] = field(default_factory=list)

    def add(self, instruction: Instruction) -> None:
        """Says that something shall be done."""
        self._instructions.append(instruction)

    def answer(self, answer: Answer) -> None:
        """Answers whoever asked; goes last."""
        self._answers.append(answer)

    def send(self, node: Node, command: NodeCommand) -> None:
        """Sends a node a command, if it is connected: else its next hello will sort it out."""
        if node.connection is not None:
            self._instructions.append(SendToNode(node.connection, command))

    def settled(self, request: Request, lfn: str, state: RequestFileState, reason: str) -> None:
        """Says that a file of a request has ended."""
        files = self._files_settled.setdefault(request.request_id, [])
        files.append(RequestFile(lfn, state, reason))

    def ended(self, request: Request) -> None:
        """Says that a request has ended."""
        self._requests_ended.append(EndRequest(request.request_id, request.state, request.ended_s))

    def file_event(
        self,
        lfn: str,
        state: FileState,
        kind: FileEventKind,
        node: str = "",
        size_bytes: int = 0,
        reason: str = "",
    ) -> None:
        """Tells those who watch what happened to a file."""
        self._file_events.append(FileEvent(lfn, state, kind, node, size_bytes, reason))

    def empty(self) -> list[Instruction]:
        """All that was said, and nothing is left."""
        out = self._instructions
        out += [SaveRequestFiles(key, tuple(f)) for key, f in self._files_settled.items()]
        out += self._requests_ended
        if self._file_events:
            out.append(PublishFiles(tuple(self._file_events)))
        out += self._answers
        self._instructions, self._files_settled = [], {}
        self._requests_ended, self._file_events, self._answers = [], [], []
        return out


class Books:
    """The tables, and the outbox of the event that is being handled."""

    def __init__(
        self, settings: HeadSettings, epoch: str, rng: random.Random, now_s: float
    ) -> None:
        self.settings = settings
        self.epoch = epoch
        self.rng = rng
        self.started_s = now_s
        self.root_address = ""  # of the redirector's own root:// door
        self.index = ReplicaIndex()
        self.nodes = Nodes(settings, now_s)
        self.stories = Stories(settings.stories_remembered)
        self.recalls = Recalls(settings, self.stories)
        self.requests = Requests(settings.ended_requests_remembered)
        self.pins = Pins()
        self.claims = Claims()
        self.vacancies = Vacancies()
        self.out = Outbox()
        # Since recalls were last placed: has the queue grown, has a node changed?
        self.queue_grown = False
        self.nodes_changed: dict[Node, None] = {}
        # What is online nowhere any more since its last replica was found to be damaged.
        self.damaged: dict[str, None] = {}

    def reconfigure(self, settings: HeadSettings) -> None:
        """Other settings hold from here on, in every table."""
        assert settings.heartbeat_s == self.settings.heartbeat_s
        assert settings.lost_after_s == self.settings.lost_after_s
        self.settings = settings
        self.nodes.settings = settings
        self.recalls.settings = settings
        self.recalls.queue.reconfigure(settings)

    def check(self) -> None:
        """Asserts what must hold within and between the tables."""
        self.index.check()
        self.nodes.check()
        self.recalls.check()
        self.requests.check()
        self.pins.check()
        self.claims.check()
        self._check_claims()
        waited_for = {lfn for request in self.requests.active() for lfn in request.waiting()}
        for lfn, recall in self.recalls.live.items():
            wanted = lfn in waited_for
            assert wanted or recall.state.value == "cancelling", f"nobody waits for {lfn}"
            assert not self.index.online(lfn) or recall.state.value == "cancelling"
        assert waited_for <= self.recalls.live.keys(), "a request waits for no recall"
        node_slots = [slot for node in self.nodes for slot in node.slots]
        assert self.index.total == sum(map(self.index.count, node_slots))

    def _check_claims(self) -> None:
        """No recall runs, or may start, of a file that is being written."""
        assert len(self.claims) == sum(len(node.claims) for node in self.nodes)
        for lfn, recall in self.recalls.live.items():
            if lfn in self.claims:
                assert recall.state.value in ("held", "retry-wait", "cancelling"), lfn
            else:
                assert recall.state.value != "held", f"nobody writes {lfn}"
