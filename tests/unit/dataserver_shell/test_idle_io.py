"""The scrubber's thread has the lowest priority at its disks, where the kernel can do that."""

from __future__ import annotations

import ctypes
import platform
import threading

import pytest

from dataserver import idle_io

#: The number of the system call `ioprio_get`, by machine.
GET = {"x86_64": 252, "aarch64": 31, "riscv64": 31}
CLASS_SHIFT = 13


def _class_of_this_thread() -> int:
    return ctypes.CDLL(None).syscall(GET[platform.machine()], 1, 0) >> CLASS_SHIFT


@pytest.mark.skipif(platform.machine() not in GET, reason="the system call's number is not known")
def test_a_thread_becomes_idle_and_no_other_one_does() -> None:
    seen: list[tuple[bool, int]] = []

    def work() -> None:
        seen.append((idle_io.be_idle(), _class_of_this_thread()))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(True, 3)]
    assert _class_of_this_thread() != 3


def test_a_machine_nobody_knows_reads_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "pdp11")
    assert not idle_io.be_idle()
