"""The errors people see.

Every error that can reach a person is a `PackhorseError` with one clear line:
what was wrong, where, and what to do. Its class fixes the exit code of the
command line and the gRPC status on the wire, so both are stable; the table in
`docs/errors.md` is made from this module.
"""

from __future__ import annotations

from typing import ClassVar


class PackhorseError(Exception):
    """Something went wrong that has no better name."""

    code: ClassVar[str] = "error"
    exit_code: ClassVar[int] = 1
    grpc_status: ClassVar[str] = "UNKNOWN"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def __str__(self) -> str:
        return self.message


class UsageError(PackhorseError):
    """What was asked for makes no sense: a bad argument, a bad message."""

    code = "usage"
    exit_code = 2
    grpc_status = "INVALID_ARGUMENT"


class ConfigError(PackhorseError):
    """The configuration holds mistakes; the message names every one of them."""

    code = "config"
    exit_code = 3
    grpc_status = "INVALID_ARGUMENT"


class NameRefused(UsageError):
    """A logical file name that is malformed or outside what the site exports."""

    code = "name"
    exit_code = 4


class NotFound(PackhorseError):
    """A file, dataset, request or session that does not exist."""

    code = "not-found"
    exit_code = 5
    grpc_status = "NOT_FOUND"


class AlreadyExists(PackhorseError):
    """Something of that name exists already."""

    code = "exists"
    exit_code = 6
    grpc_status = "ALREADY_EXISTS"


class Refused(PackhorseError):
    """Understood, but not possible as things stand (pinned, open, draining)."""

    code = "refused"
    exit_code = 7
    grpc_status = "FAILED_PRECONDITION"


class BeingWritten(Refused):
    """A client is writing a file of this name, and no second one can at the same time."""

    code = "being-written"
    exit_code = 17


class QuotaExceeded(PackhorseError):
    """More than a pool or a group may hold."""

    code = "quota"
    exit_code = 8
    grpc_status = "RESOURCE_EXHAUSTED"


class StageFailed(PackhorseError):
    """Files could not be staged; the message has the command's own reason."""

    code = "stage-failed"
    exit_code = 9
    grpc_status = "ABORTED"


class Incomplete(PackhorseError):
    """The work ended, but some of it is missing; what is missing is named."""

    code = "incomplete"
    exit_code = 10
    grpc_status = "ABORTED"


class Unreachable(PackhorseError):
    """A server does not answer."""

    code = "unreachable"
    exit_code = 11
    grpc_status = "UNAVAILABLE"
    retryable = True


class TimedOut(PackhorseError):
    """It took longer than was allowed."""

    code = "timeout"
    exit_code = 12
    grpc_status = "DEADLINE_EXCEEDED"


class TooLarge(PackhorseError):
    """A message or a result beyond the documented limit."""

    code = "too-large"
    exit_code = 13
    grpc_status = "OUT_OF_RANGE"


class Damaged(PackhorseError):
    """Data or state that is not what it should be."""

    code = "damaged"
    exit_code = 14
    grpc_status = "DATA_LOSS"


class StaleEpoch(PackhorseError):
    """A message of an earlier life of the peer; it was ignored."""

    code = "stale"
    exit_code = 15
    grpc_status = "FAILED_PRECONDITION"


class DiskAway(PackhorseError):
    """A pool whose disk is not mounted, or fails."""

    code = "disk-away"
    exit_code = 16
    grpc_status = "UNAVAILABLE"
    retryable = True


class CheckFailed(PackhorseError):
    """Something of the site's own that does not do what it must."""

    code = "check-failed"
    exit_code = 18
    grpc_status = "FAILED_PRECONDITION"


def all_errors() -> dict[str, type[PackhorseError]]:
    """Every class of error by its stable code."""
    found: dict[str, type[PackhorseError]] = {}
    waiting: list[type[PackhorseError]] = [PackhorseError]
    while waiting:
        kind = waiting.pop()
        found[kind.code] = kind
        waiting.extend(kind.__subclasses__())
    return found
