"""Calls of the operating system that fail."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def failing(number: int) -> Callable[..., Any]:
    """What fails with this `errno`, whatever it is called with."""

    def fail(*_args: object, **_more: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail
