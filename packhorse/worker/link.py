"""The worker's connection: one stream to the packetizer, kept up in a background thread.

The thread passes on what arrives as events, and what `send` is given as messages.
Between them it sends heartbeats, so that a worker whose function takes long is known
to be alive. When the stream breaks, it asks the redirector where the packetizer is
now and connects again, for ever, or until `patience_s` has passed.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from typing import TYPE_CHECKING

from common.errors import PackhorseError, Unreachable
from common.grpc_client import answers_from
from packhorse.replica import open_sync_channel
from protos.packhorse.v1 import packetizer_pb2 as pb
from protos.packhorse.v1.packetizer_pb2_grpc import PacketizerStub
from protos.packhorse.v1.redirector_pb2 import StatusRequest
from protos.packhorse.v1.redirector_pb2_grpc import ClusterStub

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import grpc

    from packhorse.worker.options import WorkerOptions

log = logging.getLogger(__name__)

# gRPC's own limit; the packetizer refuses what is too large for it.
_MAX_MESSAGE_BYTES = (1 << 31) - 1
_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 5.0
_CALL_TIMEOUT_S = 30.0


class Disconnected:
    """The stream is lost, and every lease with it."""


class GaveUp:
    """The packetizer has been out of touch for longer than the worker's patience."""


Event = pb.WorkerCommand | Disconnected | GaveUp


class Link:
    """Keeps the stream up. `on_event` is called in its thread."""

    def __init__(
        self,
        options: WorkerOptions,
        on_event: Callable[[Event], None],
        lease_at_work: Callable[[], int],
    ) -> None:
        self._options = options
        self._on_event = on_event
        self._lease_at_work = lease_at_work
        self._last_address = options.packetizer
        self._heartbeat_s = 1.0
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._outbox: queue.SimpleQueue[pb.WorkerMessage | None] | None = None
        self._channel: grpc.Channel | None = None
        self._thread = threading.Thread(target=self._keep_up, name="link", daemon=True)

    def start(self) -> None:
        """Begins to connect."""
        self._thread.start()

    def send(self, report: pb.WorkerReport) -> None:
        """Sends a report; it is dropped if there is no connection, as its leases are."""
        with self._lock:
            if self._outbox is not None:
                self._outbox.put(pb.WorkerMessage(report=report))

    def fetch_function(self, session_id: str) -> bytes:
        """A session's function. Raises NotFound for a session that is gone, Unreachable."""
        with self._lock:
            channel = self._channel
        if channel is None:
            raise Unreachable("the packetizer is out of touch")
        with answers_from("the packetizer"):
            request = pb.GetFunctionRequest(session_id=session_id)
            reply = PacketizerStub(channel).GetFunction(request, timeout=_CALL_TIMEOUT_S)
        return reply.function

    def close(self) -> None:
        """Sends what was given to `send`, and hangs up."""
        self._closed.set()
        with self._lock:
            if self._outbox is not None:
                self._outbox.put(None)
        self._thread.join(_LONGEST_PAUSE_S)

    def _keep_up(self) -> None:
        pause_s = _FIRST_PAUSE_S
        heard_s = time.monotonic()
        while not self._closed.is_set():
            try:
                was_welcome = self._serve(self._find_packetizer())
            except PackhorseError as error:
                was_welcome = False
                problem = error.message
            else:
                problem = f"the packetizer at {self._last_address} hung up"
            if was_welcome:
                heard_s, pause_s = time.monotonic(), _FIRST_PAUSE_S
                self._on_event(Disconnected())
            if self._closed.is_set():
                return
            away_s = time.monotonic() - heard_s
            if self._options.patience_s and away_s > self._options.patience_s:
                log.error("%s; giving up after %.0f s", problem, away_s)
                self._on_event(GaveUp())
                return
            log.warning("%s; trying again in %.1f s", problem, pause_s)
            self._closed.wait(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _find_packetizer(self) -> str:
        """Where the packetizer is now; what was known before, if the redirector cannot tell."""
        try:
            self._last_address = self._ask_redirector()
        except PackhorseError:
            if not self._last_address:
                raise
        return self._last_address

    def _ask_redirector(self) -> str:
        peer = f"the redirector at {self._options.redirector}"
        with open_sync_channel(self._options.redirector) as channel, answers_from(peer):
            status = ClusterStub(channel).Status(StatusRequest(), timeout=_CALL_TIMEOUT_S)
        if not status.packetizers:
            raise Unreachable(f"no packetizer has announced itself to {peer} yet")
        return status.packetizers[0]

    def _serve(self, address: str) -> bool:
        """One life of the stream; returns, or raises, once it is over.

        Returns whether the packetizer had welcomed us.
        """
        outbox: queue.SimpleQueue[pb.WorkerMessage | None] = queue.SimpleQueue()
        was_welcome = False
        with open_sync_channel(address, _MAX_MESSAGE_BYTES) as channel:
            commands = PacketizerStub(channel).Work(self._messages(outbox))
            with self._lock:
                self._outbox, self._channel = outbox, channel
            try:
                with answers_from(f"the packetizer at {address}"):
                    for command in commands:
                        if command.HasField("welcome"):
                            was_welcome = True
                            self._heartbeat_s = command.welcome.heartbeat_s or self._heartbeat_s
                        self._on_event(command)
            except PackhorseError as error:
                if not was_welcome:
                    raise
                log.warning("%s", error.message)
            finally:
                with self._lock:
                    self._outbox = self._channel = None
                outbox.put(None)
        return was_welcome

    def _messages(
        self, outbox: queue.SimpleQueue[pb.WorkerMessage | None]
    ) -> Iterator[pb.WorkerMessage]:
        """The hello, then what is sent, then heartbeats whenever that is nothing for a while."""
        options = self._options
        yield pb.WorkerMessage(
            hello=pb.WorkerHello(
                worker=options.name,
                host=options.host,
                rack=options.rack,
                site=options.site,
                session_id=options.session_id,
                pid=os.getpid(),
            )
        )
        while True:
            try:
                message = outbox.get(timeout=self._heartbeat_s)
            except queue.Empty:
                heartbeat = pb.WorkerHeartbeat(lease_id=self._lease_at_work())
                message = pb.WorkerMessage(heartbeat=heartbeat)
            if message is None:
                return
            yield message
