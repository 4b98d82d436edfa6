"""The figures a node sends once a second."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dataserver.health import MachineLoad
from protos.packhorse.v1 import redirector_pb2 as pb

if TYPE_CHECKING:
    from dataserver.engine import Engine
    from dataserver.health import DiskHealth


class Pulse:
    """Makes heartbeats, numbered from 1 on, for as long as the server lives."""

    def __init__(self, engine: Engine, health: DiskHealth) -> None:
        self._engine = engine
        self._health = health
        self._machine = MachineLoad()
        self._busy = (0.0, 0.0)
        self.number = 0

    def beat(self, *, extra: bool = False) -> pb.Heartbeat:
        """The next heartbeat. Pinned bytes are all that a purge may not take now.

        An `extra` one, out of turn, has the machine's load of the last one in its turn: it
        cannot be measured over so short a time.
        """
        self.number += 1
        if not extra:
            self._busy = self._machine.look()
        cpu_percent, io_wait_percent = self._busy
        load = self._engine.node.load(self._engine.now_s())
        return pb.Heartbeat(
            number=self.number,
            cpu_percent=cpu_percent,
            io_wait_percent=io_wait_percent,
            used_bytes=load.used_bytes,
            reserved_bytes=load.reserved_bytes,
            pinned_bytes=load.protected_bytes,
            files=load.files,
            open_files=load.open_files,
            recalls_running=load.recalls_running,
            recalls_waiting=load.recalls_waiting,
            staging_bytes_left=load.staging_bytes_left,
            staging_rate=load.staging_bytes_per_s,
            peak_used_bytes=load.peak_bytes,
            files_purged=load.files_purged,
            bytes_purged=load.bytes_purged,
            trouble=self._health.trouble(load.staging_bytes_left),
            quota_bytes=load.quota_bytes,
            unarchived_files=load.unarchived_files,
            unarchived_bytes=load.unarchived_bytes,
            stores_waiting=load.stores_waiting,
            stores_waiting_bytes=load.stores_waiting_bytes,
            stores_failed=load.stores_failed,
            stores_oldest_s=load.stores_oldest_s,
            stores_trouble=load.stores_trouble,
            files_stored=load.files_stored,
            bytes_stored=load.bytes_stored,
        )
