"""What the failure of a command means to the core."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from common.command import ErrorClass
from dataserver.core.failure import Failure, FailureKind

if TYPE_CHECKING:
    from common.command import Failure as CommandFailure

_KINDS: Final = {
    ErrorClass.NOT_FOUND: FailureKind.NOT_FOUND,
    ErrorClass.PERMANENT: FailureKind.PERMANENT,
    ErrorClass.TRANSIENT: FailureKind.TRANSIENT,
    ErrorClass.NO_SPACE: FailureKind.NO_SPACE,
}


def failure_of(failure: CommandFailure) -> Failure:
    """The same failure in the core's words."""
    return Failure(_KINDS[failure.error_class], failure.reason)
