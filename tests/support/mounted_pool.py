"""A data server whose pool is a small file system of its own, in a mount namespace of its own.

Any user can have that where the kernel lets users have namespaces; elsewhere such tests are
skipped.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.data_process import DataProcess

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.data_site import DataSite

_UNSHARE = ("unshare", "--user", "--map-root-user", "--mount")


class MountedPool:
    """The file system, as the server's namespace has it."""

    def __init__(self, site: DataSite, process: DataProcess, options: str) -> None:
        self._pool = site.pool
        self._options = options
        self.process = process

    @property
    def path(self) -> Path:
        """Where it can be looked at from outside."""
        return Path(f"/proc/{self.process.pid}/root{self._pool}")

    def unmount(self) -> None:
        """Takes it away, although it is in use."""
        self._inside("umount", "--lazy", str(self._pool))

    def mount_another(self) -> None:
        """Mounts an empty one."""
        self._inside("mount", "-t", "tmpfs", "-o", self._options, "none", str(self._pool))

    def _inside(self, *argv: str) -> None:
        enter = ["nsenter", "--preserve-credentials", "-U", "-m", "-t", str(self.process.pid)]
        done = subprocess.run([*enter, *argv], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


@contextlib.asynccontextmanager
async def mounted_pool(site: DataSite, options: str) -> AsyncIterator[MountedPool]:
    """A site's data server on a tmpfs with these options; skips where that cannot be."""
    if not await asyncio.to_thread(_can_unshare):
        pytest.skip("users can have no namespaces here")
    script = f'mount -t tmpfs -o {options} none "{site.pool}" && exec "$@"'
    prefix = [*_UNSHARE, "sh", "-c", script, "sh"]
    async with DataProcess.running(site, prefix) as process:
        yield MountedPool(site, process, options)


def _can_unshare() -> bool:
    return not subprocess.run([*_UNSHARE, "true"], capture_output=True, check=False).returncode
