"""Playing the access log of a pool again, once for every policy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from common.errors import Refused
from dataserver import access_log
from dataserver.core.policies import POLICIES
from dataserver.core.replay import Outcome, as_it_was, held_before, replay
from dataserver.core.replica import Limits
from dataserver.shares import groups_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from common.config.model import DataServerConfig, GroupConfig
    from dataserver.core.access import Access


@dataclass(frozen=True, slots=True)
class Replay:
    """What the log tells, and what each policy would have made of it."""

    lines: int
    from_unix_s: float
    to_unix_s: float
    quota_bytes: int
    max_files: int
    as_it_was: Outcome
    outcomes: dict[str, Outcome]


class _Counted:
    """Lines as they pass by: how many there are, and from when."""

    def __init__(self, log: Iterator[Access]) -> None:
        self.lines = 0
        self.from_unix_s = 0.0
        self.to_unix_s = 0.0
        self._log = log

    def __iter__(self) -> Iterator[Access]:
        for access in self._log:
            if not self.lines:
                self.from_unix_s = access.unix_s
            self.lines += 1
            self.to_unix_s = access.unix_s
            yield access


def replay_log(
    folder: Path,
    server: DataServerConfig,
    groups: Mapping[str, GroupConfig],
    policies: Sequence[str],
    *,
    quota_bytes: int,
    max_files: int,
) -> Replay | None:
    """Plays the log in `folder` again, with the server's watermarks; None if there is no log.

    `policies` are names of `core.policies.POLICIES`. Raises Refused if it cannot be read.
    """
    try:
        return _replay(folder, server, groups, policies, quota_bytes, max_files)
    except OSError as error:
        raise Refused(
            f"the access log cannot be read: {error.filename or folder}: {error.strerror}; "
            "it belongs to the data server's user"
        ) from None


def _replay(
    folder: Path,
    server: DataServerConfig,
    groups: Mapping[str, GroupConfig],
    policies: Sequence[str],
    quota_bytes: int,
    max_files: int,
) -> Replay | None:
    files = access_log.files_of(folder)
    log = _Counted(access_log.read(files))
    was = as_it_was(log)
    if not log.lines:
        return None
    found = held_before(access_log.read(files))
    limits = Limits.of(quota_bytes, max_files, server.high_watermark, server.low_watermark)
    outcomes = {
        name: replay(
            access_log.read(files), limits, POLICIES[name], groups_of(groups, limits), found
        )
        for name in policies
    }
    return Replay(log.lines, log.from_unix_s, log.to_unix_s, quota_bytes, max_files, was, outcomes)
