"""What is on the head's disk: the records that its durable instructions keep."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from redirector.core import events as ev
from redirector.core import instructions as do

if TYPE_CHECKING:
    from redirector.core.model import NodeRecord, PinRecord, RequestFile, RequestRecord
    from redirector.core.states import RequestState


@dataclass
class Database:
    """What is on the head's disk."""

    requests: dict[str, RequestRecord] = field(default_factory=dict)
    request_files: dict[str, dict[str, RequestFile]] = field(default_factory=dict)
    ended: dict[str, RequestState] = field(default_factory=dict)
    pins: dict[tuple[str, str], PinRecord] = field(default_factory=dict)
    nodes: dict[str, NodeRecord] = field(default_factory=dict)
    directories: set[str] = field(default_factory=set)

    def write(self, instruction: do.Durable) -> None:
        """Carries out one durable instruction."""
        match instruction:
            case do.SaveRequest(record=record, files=files):
                self.requests[record.request_id] = record
                self.request_files[record.request_id] = {one.lfn: one for one in files}
            case do.SaveRequestFiles(request_id=request_id, files=files):
                self.request_files[request_id].update((one.lfn, one) for one in files)
            case do.EndRequest(request_id=request_id, state=state):
                self.ended[request_id] = state
            case do.SavePins(pins=pins):
                self.pins.update(((pin.lfn, pin.owner), pin) for pin in pins)
            case do.RemovePins(keys=keys):
                for key in keys:
                    self.pins.pop(key, None)
            case do.SaveDirectories(lfns=lfns):
                self.directories.update(lfns)
            case do.RemoveDirectory(lfn=lfn):
                self.directories.discard(lfn)
            case do.SaveNode(record=record):
                self.nodes[record.node] = record
            case do.RemoveNode(node=node):
                self.nodes.pop(node, None)
            case do.SaveRecall():
                pass

    def restored(self) -> ev.Restored:
        """What a starting head reads."""
        return ev.Restored(
            nodes=tuple(self.nodes.values()),
            requests=tuple(
                ev.RestoredRequest(record, tuple(self.request_files[request_id].values()))
                for request_id, record in self.requests.items()
                if request_id not in self.ended
            ),
            pins=tuple(self.pins.values()),
            directories=tuple(sorted(self.directories)),
            idempotency_keys={
                record.idempotency_key: request_id
                for request_id, record in self.requests.items()
                if request_id in self.ended and record.idempotency_key
            },
        )
