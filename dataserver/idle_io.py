"""Reading only while nobody else wants to, where the kernel can do that."""

from __future__ import annotations

import ctypes
import logging
import os
import platform
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

log = logging.getLogger(__name__)

#: The number of the system call `ioprio_set`, which the C library does not offer
#: (linux: arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/asm-generic/unistd.h).
_SYSCALLS: Final[Mapping[str, int]] = {"x86_64": 251, "aarch64": 30, "riscv64": 30}
_WHO_THREAD: Final = 1
_CLASS_IDLE: Final = 3
_CLASS_SHIFT: Final = 13


def be_idle() -> bool:
    """Gives the calling thread the lowest priority at its disks; whether that was possible.

    Only some of the kernel's schedulers heed it (BFQ, mq-deadline); the others do no harm.
    """
    number = _SYSCALLS.get(platform.machine())
    if number is None:
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(number, _WHO_THREAD, 0, _CLASS_IDLE << _CLASS_SHIFT) == 0:
        return True
    log.info("reads have no idle priority here: %s", os.strerror(ctypes.get_errno()))
    return False
