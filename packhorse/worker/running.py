"""Running the user's function on one packet, and saying what went wrong if it did."""

from __future__ import annotations

import time
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from common.errors import Damaged, PackhorseError
from packhorse.packet import OpenFile, Packet
from packhorse.replica import Channels, Replica, ReplicaError
from packhorse.values import NodeAddress
from packhorse.values.files import format_name
from protos.packhorse.v1.packetizer_pb2 import PacketFailure, PacketRecord

if TYPE_CHECKING:
    from collections.abc import Collection
    from types import TracebackType

    from packhorse.functions import Function
    from protos.packhorse.v1 import packetizer_pb2 as pb

    # A replica: the node's name and address, and the file.
    Key = tuple[str, str, str]

_MAX_TRACEBACK_CHARACTERS = 8000
_MAX_REASON_CHARACTERS = 1000


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a packet gave: its record and value, or its failure."""

    record: PacketRecord
    value: Any = None
    failure: PacketFailure | None = None


class Runner:
    """Opens replicas and calls functions. One thread uses it.

    An open file is kept for the packets that follow on it, since opening a ROOT file
    costs more than reading a small packet. But an open file cannot be purged: `keep`
    closes every one that is not needed soon.
    """

    def __init__(self, host: str) -> None:
        self._host = host
        self._channels = Channels()
        self._files: dict[Key, OpenFile] = {}

    def run(self, packet: pb.Packet, function: Function) -> Outcome:
        """Calls the function on a packet. Only a request to stop the process escapes."""
        began_s = time.perf_counter()
        record = PacketRecord(lease_id=packet.lease_id)
        given: Packet | None = None
        try:
            file = self._open(packet)
            given = Packet(packet.lfn, packet.tree, packet.start, packet.stop, file)
            record.open_s = time.perf_counter() - began_s
            value = function(given)
        except Exception as error:  # noqa: BLE001 - a user's function may raise anything
            return Outcome(record, failure=self._failure(packet, error))
        except SystemExit as error:
            return Outcome(record, failure=self._failure(packet, error))
        finally:
            if given is not None:
                given.close()
        whole_s = time.perf_counter() - began_s
        record.open_s += given.open_s
        record.read_s = given.read_s
        record.compute_s = max(0.0, whole_s - record.open_s - given.read_s)
        record.bytes_read = given.bytes_read
        return Outcome(record, value)

    def keep(self, keys: Collection[Key]) -> None:
        """Closes every file but these."""
        for key in [key for key in self._files if key not in keys]:
            self._files.pop(key).close()

    def close(self) -> None:
        """Closes everything."""
        self.keep(())
        self._channels.close()

    def _open(self, packet: pb.Packet) -> OpenFile:
        key = key_of(packet)
        file = self._files.get(key)
        if file is None:
            node = NodeAddress.of(getattr(packet, "from"))
            replica = Replica(self._channels, node, packet.lfn, self._host)
            file = OpenFile(replica, format_name(packet.format))
            self._files[key] = file
        return file

    def _failure(self, packet: pb.Packet, error: BaseException) -> PacketFailure:
        """What to tell the packetizer. A file that made trouble is opened anew the next time."""
        trouble = _trouble_below(error)
        if trouble is None:
            return failure(
                packet.lease_id,
                PacketFailure.KIND_FUNCTION,
                describe_error(error),
                _users_traceback(error),
            )
        file = self._files.pop(key_of(packet), None)
        if file is not None:
            file.close()
        damaged = isinstance(trouble, Damaged) or getattr(trouble, "damaged", False)
        kind = PacketFailure.KIND_CORRUPT if damaged else PacketFailure.KIND_OPEN
        return failure(packet.lease_id, kind, str(trouble))


def key_of(packet: pb.Packet) -> Key:
    """The replica that a packet is to be read from."""
    node = getattr(packet, "from")
    return node.node, node.address, packet.lfn


def failure(
    lease_id: int, kind: PacketFailure.Kind.ValueType, reason: str, trace: str = ""
) -> PacketFailure:
    """A packet's failure, its reason cut to one line of bearable length."""
    line = " ".join(reason.split())
    if len(line) > _MAX_REASON_CHARACTERS:
        line = f"{line[:_MAX_REASON_CHARACTERS]} […]"
    return PacketFailure(
        lease_id=lease_id, kind=kind, reason=line, traceback=trace[-_MAX_TRACEBACK_CHARACTERS:]
    )


def describe_error(error: BaseException) -> str:
    """`KeyError: 'px'`."""
    return traceback.format_exception_only(error)[-1].strip()


def _trouble_below(error: BaseException) -> BaseException | None:
    """The trouble with a replica that an error came from, if it did."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        if isinstance(cause, ReplicaError | PackhorseError):
            return cause
        seen.add(id(cause))
        cause = cause.__cause__ or cause.__context__
    return None


def _users_traceback(error: BaseException) -> str:
    """The traceback below our own call of the function."""
    below: TracebackType | None = error.__traceback__
    while below is not None and below.tb_frame.f_code.co_filename == __file__:
        below = below.tb_next
    lines = traceback.format_exception(type(error), error, below)
    return "".join(lines)
