"""Results that are on their way to be counted: merged, committed, answered.

A worker merges the values of its packets as it goes, and commits them together. A
commit is counted as a whole or not at all. To keep what the packetizer holds small,
a commit may carry the total of this worker's earlier commits and name the one it
replaces; that pays as long as the total is not much larger than what is new, as with
histograms. When results grow with the data, what is new is sent alone.

One commit is on its way at a time. As long as it has no answer, nobody knows whether
it was counted, so the next one waits. After a refusal or a lost connection, totals
begin anew: what was counted so far stays counted, and is replaced no more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import cloudpickle

from packhorse.merging import MergeError, merge_values
from protos.packhorse.v1.packetizer_pb2 import Commit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from packhorse.functions import Merge
    from protos.packhorse.v1.packetizer_pb2 import PacketRecord

# A total is sent when it is at most this many times as large as what is new.
_TOTAL_FACTOR = 2


class _Counted(NamedTuple):
    """What a commit holds, to be replaced by a later one."""

    commit_id: int
    value: Any


class Partial:
    """One worker's results for one session, from packet to commit."""

    def __init__(
        self, session_id: str, merge: Merge | None = None, max_result_bytes: int = 0
    ) -> None:
        self._session_id = session_id
        self._merge = merge
        self._max_result_bytes = max_result_bytes
        self._records: list[PacketRecord] = []
        self._new: Any = None
        self._since_s = 0.0
        self._counted: _Counted | None = None
        self._asked: _Counted | None = None

    @property
    def is_empty(self) -> bool:
        """Whether no packet waits to be committed."""
        return not self._records

    @property
    def since_s(self) -> float:
        """When the first packet that waits was done."""
        return self._since_s

    @property
    def is_waiting(self) -> bool:
        """Whether a commit is on its way."""
        return self._asked is not None

    def add(self, record: PacketRecord, value: Any, now_s: float) -> None:
        """Takes in what a packet gave. Raises MergeError, and is then as before."""
        merged = merge_values(self._new, value, self._merge)
        if not self._records:
            self._since_s = now_s
        self._new = merged
        self._records.append(record)

    def commit(self, commit_id: int) -> Commit:
        """The commit of everything that waits; none may be on its way.

        Raises MergeError if the results cannot be merged with those before, cannot be
        pickled, or are too large; then `drop` tells which packets they were of.
        """
        assert self._asked is None, "a commit is on its way already"
        content = _pickled(self._new)
        asked = _Counted(commit_id, self._new)
        replaced: list[int] = []
        if self._counted is not None:
            total = merge_values(self._counted.value, self._new, self._merge)
            total_content = _pickled(total)
            if len(total_content) <= _TOTAL_FACTOR * len(content):
                asked, content = _Counted(commit_id, total), total_content
                replaced = [self._counted.commit_id]
        if self._max_result_bytes and len(content) > self._max_result_bytes:
            raise MergeError(
                f"a result of {len(content)} bytes is larger than the {self._max_result_bytes} "
                "that the packetizer takes (max_result): return less, or write it to files"
            )
        self._asked = asked
        records, self._records, self._new = self._records, [], None
        return Commit(
            commit_id=commit_id,
            session_id=self._session_id,
            packets=records,
            result=content,
            supersedes=replaced,
        )

    def answered(self, commit_id: int, *, accepted: bool) -> None:
        """The packetizer's answer; one to another commit is out of date, and ignored."""
        if self._asked is not None and self._asked.commit_id == commit_id:
            self._counted = self._asked if accepted else None
            self._asked = None

    def drop(self) -> Sequence[PacketRecord]:
        """Gives up what waits; returns the packets it was of."""
        records, self._records, self._new = self._records, [], None
        return records

    def forget(self) -> None:
        """The connection was lost: drops everything, and leaves alone what was counted."""
        self.drop()
        self._counted = self._asked = None


def _pickled(value: Any) -> bytes:
    try:
        content: bytes = cloudpickle.dumps(value, protocol=5)
    except Exception as error:
        text = " ".join(str(error).split())
        raise MergeError(
            f"{type(value).__name__} cannot be pickled: {type(error).__name__}: {text}"
        ) from error
    return content
