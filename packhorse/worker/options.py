"""What a worker process is told when it is started."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from packhorse.labels import host_label

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """One worker: where it finds work, what it bears as labels, what it may use."""

    redirector: str
    name: str  # for people; each life of the process makes it unique
    host: str
    rack: str = ""
    site: str = ""
    session_id: str = ""  # serve this session only, and end with it; "": any
    packetizer: str = ""  # where to look if the redirector cannot tell
    memory_bytes: int = 0  # the most it may use; 0: no limit
    patience_s: float = 0.0  # give up when out of touch for so long; 0: never
    leave_after_s: float = 10.0  # how long a function may outlive its session


def worker_options(
    redirector: str,
    *,
    workers: int = 1,
    hosts: Sequence[str] = (),
    rack: str = "",
    site: str = "",
    session_id: str = "",
    packetizer: str = "",
    memory_bytes: int = 0,
    patience_s: float = 0.0,
) -> list[WorkerOptions]:
    """Options for a number of workers; `hosts` are their host labels, dealt out in turn."""
    labels = list(hosts) or [host_label()]
    return [
        WorkerOptions(
            redirector=redirector,
            name=f"{labels[number % len(labels)]}-{number + 1}",
            host=labels[number % len(labels)],
            rack=rack,
            site=site,
            session_id=session_id,
            packetizer=packetizer,
            memory_bytes=memory_bytes,
            patience_s=patience_s,
        )
        for number in range(workers)
    ]


def to_argument(options: Sequence[WorkerOptions]) -> str:
    """The options as one argument of a command line."""
    return json.dumps([asdict(option) for option in options])


def from_argument(argument: str) -> list[WorkerOptions]:
    """The options that `to_argument` wrote."""
    return [WorkerOptions(**fields) for fields in json.loads(argument)]
