"""The short form of the soak; `make soak` runs the long one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

#: Of its own: pools are mounted in it, and vanish with it.
NAMESPACE = ["unshare", "--user", "--map-root-user", "--mount"]


def _can_mount() -> bool:
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*NAMESPACE, "true"], capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not _can_mount(), reason="a user may not make mount namespaces here")
def test_a_site_that_is_killed_again_and_again_keeps_its_promises() -> None:
    argv = ["-m", "tests.soak", "--kills", "8", "--lease", "4", "--freeze", "5", "--files", "50"]
    ran = subprocess.run(
        [*NAMESPACE, sys.executable, *argv],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": "."},
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "in order: " in ran.stdout
