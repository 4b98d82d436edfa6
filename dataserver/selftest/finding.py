"""What a check has found."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from common.command import Failure


class Verdict(Enum):
    """How a command did in a check."""

    OK = "ok"
    WARNING = "warning"  # it works, and could do better
    FAILED = "failed"  # it breaks its contract
    SKIPPED = "skipped"  # it could not be tried


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: of which command, on which file, and how it went.

    `said` is one line of what was seen; `advice` one of what to do, "" where nothing need be.
    """

    kind: str
    lfn: str
    check: str
    verdict: Verdict
    said: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Subject:
    """What is being checked: makes findings about it."""

    kind: str
    lfn: str

    def ok(self, check: str, said: str) -> Finding:
        """It is as it should be."""
        return Finding(self.kind, self.lfn, check, Verdict.OK, said)

    def warning(self, check: str, said: str, advice: str) -> Finding:
        """It works, and could do better."""
        return Finding(self.kind, self.lfn, check, Verdict.WARNING, said, advice)

    def failed(self, check: str, said: str, advice: str) -> Finding:
        """It breaks its contract."""
        return Finding(self.kind, self.lfn, check, Verdict.FAILED, said, advice)

    def skipped(self, check: str, said: str, advice: str = "") -> Finding:
        """It could not be tried."""
        return Finding(self.kind, self.lfn, check, Verdict.SKIPPED, said, advice)

    def failure(self, check: str, failure: Failure, advice: str) -> Finding:
        """What should have worked has failed."""
        said = f"{failure.reason} ({failure.error_class.value})"
        return self.failed(check, said, advice)
