"""The head node's one door: `Head.handle` takes an event, returns instructions."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

    from redirector.core.events import Event
    from redirector.core.figures import (
        EvictPlan,
        Explanation,
        FileStanding,
        HolderGroups,
        LocateColumns,
        NodeFigures,
        RequestFigures,
        StatusFigures,
    )
    from redirector.core.instructions import Instruction
    from redirector.core.model import RequestFile
    from redirector.core.settings import HeadSettings


class Head:
    """Where every file is, who stages the next one, and why.

    One thread calls it. `now_s` is Unix seconds that never jump and never go back.
    The first event is `Restored`. Queries change nothing and may be called at any time.
    """

    def __init__(
        self, settings: HeadSettings, epoch: str, rng: random.Random, now_s: float
    ) -> None:
        """`epoch` is new at every start of the head; `rng` makes the jitter of retries."""
        raise NotImplementedError

    def handle(self, event: Event, now_s: float) -> list[Instruction]:
        """Takes in what happened, returns what is to be done about it, in order.

        Raises NotFound or Refused, having changed nothing, for what clients ask in vain;
        IllegalMove for a bug of ours. What nodes send never raises.
        """
        raise NotImplementedError

    def tick(self, now_s: float) -> list[Instruction]:
        """The same as handling `Tick`: whatever is due by now."""
        raise NotImplementedError

    def next_wakeup_s(self) -> float:
        """When `tick` has something to do next; may lie in the past, is never infinite."""
        raise NotImplementedError

    # --- queries ---

    def locate(self, lfns: Sequence[str], now_s: float, host: str = "") -> LocateColumns:
        """Where files are, about 1 µs a name; a replica on `host` is the best one there is."""
        raise NotImplementedError

    def standing(self, lfns: Sequence[str], now_s: float) -> list[FileStanding]:
        """How files stand, a row each (for snapshots; slower than `locate`)."""
        raise NotImplementedError

    def group_by_holder(self, lfns: Sequence[str]) -> HolderGroups:
        """Whom to ask about these files (Describe): the best holder that is in touch."""
        raise NotImplementedError

    def plan_evict(self, lfns: Sequence[str], now_s: float) -> EvictPlan:
        """Whom to ask to evict these files; every holder of an unpinned file."""
        raise NotImplementedError

    def explain(self, lfn: str, now_s: float) -> Explanation:
        """The story of a file."""
        raise NotImplementedError

    def status(self, now_s: float) -> StatusFigures:
        """The site at a glance."""
        raise NotImplementedError

    def stuck(self, now_s: float) -> list[str]:
        """What makes no progress, a line each; empty if all is well."""
        raise NotImplementedError

    def nodes(self, now_s: float) -> list[NodeFigures]:
        """Every data server heard of, by name."""
        raise NotImplementedError

    def node(self, name: str, now_s: float) -> NodeFigures:
        """One data server. Raises NotFound."""
        raise NotImplementedError

    def requests(self, *, active_only: bool = False) -> list[RequestFigures]:
        """Stage requests in memory, newest first: all active ones, and the latest ended."""
        raise NotImplementedError

    def request(self, request_id: str) -> RequestFigures:
        """One stage request. Raises NotFound if it is not in memory (it may be on disk)."""
        raise NotImplementedError

    def request_files(self, request_id: str) -> list[RequestFile]:
        """The files of an active request. Raises NotFound if it has ended or never was."""
        raise NotImplementedError

    def check(self) -> None:
        """Asserts every invariant; for tests, after every step."""
        raise NotImplementedError
