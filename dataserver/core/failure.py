"""Why a recall failed, and so what is to be done about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class FailureKind(Enum):
    """How bad a failure is; the words are those of the wire contract's ErrorClass."""

    NOT_FOUND = "not found"  # the archive has no such file
    PERMANENT = "permanent"  # it would fail again
    TRANSIENT = "transient"  # it may work later, or elsewhere
    NO_SPACE = "no space"  # not on this node now
    CANCELLED = "cancelled"  # nobody wanted it any more, or this node had to stop it


@dataclass(frozen=True, slots=True)
class Failure:
    """A kind, and one line for people, in the command's own words if it had any."""

    kind: FailureKind
    reason: str
