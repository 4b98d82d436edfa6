"""The head node's durations and limits, handed in by the shell."""

from __future__ import annotations

from dataclasses import dataclass, field

from redirector.core.queue.limits import Limits
from redirector.core.queue.shares import Weights


@dataclass(frozen=True, slots=True)
class HeadSettings:
    """How patient the head is, and how much it remembers."""

    heartbeat_s: float = 1.0
    #: Without a word for this long, a node gets no new recalls.
    suspect_after_s: float = 5.0
    #: Without a word for this long, a node is dropped and its recalls go to others.
    lost_after_s: float = 60.0
    #: Runs of one recall before it fails for good.
    attempts: int = 5
    #: The wait after a recall's first failure; it doubles up to the maximum.
    backoff_s: float = 2.0
    backoff_max_s: float = 300.0
    #: A stage request's patience where the client named none.
    request_deadline_s: float = 7 * 86400.0
    #: What is reserved for a file of unknown size.
    assumed_size_bytes: int = 2_000_000_000
    #: A staging rate for nodes before any node has measured one, in bytes per second.
    assumed_rate: float = 100e6
    #: What every recall costs a node beyond its bytes; so load counts on an idle one too.
    recall_start_s: float = 1.0
    #: What a wholly full pool costs in the choice of a node, next to an empty one.
    full_pool_cost_s: float = 10.0
    #: What one step of priority counts: as if it had been wished for so much earlier.
    priority_step_s: float = 3600.0
    #: Who gets more than others, and what may run at a time.
    weights: Weights = field(default_factory=Weights)
    limits: Limits = field(default_factory=Limits)
    #: Where files lie on tape is asked for, and waited for this long at most; 0: nobody knows.
    hint_wait_s: float = 0.0
    #: How many recalls that do not fit anywhere are looked past for one that does.
    look_past: int = 64
    #: Overtaken this often, a recall gets a node kept free for it.
    overtaken_limit: int = 16
    #: Without progress for this long, something is reported as stuck.
    stuck_after_s: float = 900.0
    #: How long a final failure is told to those who look a file up.
    failure_memory_s: float = 3600.0
    failures_remembered: int = 100_000
    stories_remembered: int = 20_000
    ended_requests_remembered: int = 10_000
    #: A node gone for this long is forgotten.
    forget_node_after_s: float = 7 * 86400.0
    #: Directories that clients may make in all.
    made_directories: int = 1_000_000
    #: Files that are given up in one go because the time of their requests is over.
    overdue_slice: int = 2_000
    #: Replicas of lost nodes swept out of the index in one go.
    sweep_slice: int = 2_000
