"""A site that answers commands from memory, and notes what it was asked."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Self

from packhorse.values import (
    DatasetSummary,
    NodeAddress,
    NodeLoad,
    NodeState,
    NodeStatus,
    SessionState,
    SessionStatus,
    SiteStatus,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

NODE = NodeAddress("disk1", "127.0.0.1:9", "host1", "", "")
LOAD = NodeLoad(
    cpu_percent=12.0,
    io_wait_percent=1.0,
    used_bytes=300_000_000,
    reserved_bytes=100_000_000,
    pinned_bytes=0,
    quota_bytes=1_000_000_000,
    files=3,
    open_files=1,
    recalls_running=1,
    recalls_waiting=2,
    staging_bytes_left=5,
    staging_rate=0.0,
    peak_used_bytes=1,
    files_purged=0,
    bytes_purged=0,
    trouble="",
)
STATUS = SiteStatus(
    nodes=(NodeStatus(NODE, NodeState.UP, True, LOAD, 0.5, 2.5, "1"),),
    packetizers=("127.0.0.1:8",),
    replicas=3,
    recalls_queued=4,
    recalls_running=1,
    recalls_done=7,
    recalls_failed=2,
    requests_active=1,
    version="1.2",
    uptime_s=65.0,
    quota_bytes=1_000_000_000,
    available_bytes=600_000_000,
    largest_file_bytes=900_000_000,
    stuck=("/store/big waits for room",),
)


def summary(**changes: Any) -> DatasetSummary:
    """A dataset of three files, all online unless changed."""
    given: dict[str, Any] = dict.fromkeys(DatasetSummary.__slots__, 0)
    given |= {"name": "zmumu", "tree": "Events", "group": "", "owner": "me", "title": "Z"}
    given |= {"files": 3, "online": 3, "bytes_known": 3_000_000, "entries_known": 3000}
    return DatasetSummary(**{**given, **changes})


def session(**changes: Any) -> SessionStatus:
    """A session that has ended well unless changed."""
    given: dict[str, Any] = dict.fromkeys(SessionStatus.__slots__, 0)
    given |= {"session_id": "s1", "dataset": "zmumu", "owner": "me", "function_name": "m:f"}
    given |= {"state": SessionState.DONE, "reason": "", "missing": (), "eta_s": -1.0}
    given |= {"files": 3, "files_done": 3, "entries_total": 100, "entries_done": 100}
    return SessionStatus(**{**given, **changes})


class FakeSite:
    """Answers with what a test put into `answers`, by the name of the method.

    An answer that is an exception is raised. `asked` holds every call, as the
    method's name and its arguments.
    """

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.asked: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
        self.datasets = SimpleNamespace(
            **{name: self._method(name) for name in ("register", "verify", "list", "show")},
            files=self._method("files"),
            remove=self._method("remove"),
        )
        names = ("list", "status", "cancel", "resume", "result", "forget")
        self.sessions = SimpleNamespace(
            **{name: self._method(f"session_{name}") for name in names}, watch=self._watch
        )

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return self._method(name)

    def _method(self, name: str) -> Callable[..., Any]:
        async def answer(*given: Any, **options: Any) -> Any:
            self.asked.append((name, given, options))
            if "on_progress" in options and "progress" in self.answers:
                options["on_progress"](self.answers["progress"])
            found = self.answers[name]
            if isinstance(found, Exception):
                raise found
            return found

        return answer

    async def _watch(self, session_id: str) -> AsyncIterator[SessionStatus]:
        self.asked.append(("session_watch", (session_id,), {}))
        for status in self.answers["session_watch"]:
            yield status

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass
