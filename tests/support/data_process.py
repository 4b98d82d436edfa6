"""The data server of a `DataSite` as a process of its own, to be killed and started again."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from tests.support.data_site import DataSite

START_TIMEOUT_S = 60.0


class DataProcess:
    """One run of `packhorse dataserver`."""

    def __init__(self, site: DataSite, prefix: Sequence[str] = ()) -> None:
        """`prefix` are the words of a command that runs it, as in another namespace."""
        self._site = site
        self._prefix = prefix
        self._config = site.folder / "site.toml"
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Starts it and waits until it has joined the redirector."""
        self._config.write_text(_toml(self._site))
        with (self._site.folder / "log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._prefix,
                *(sys.executable, "-m", "packhorse", "dataserver"),
                *("--config", str(self._config)),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        assert self._process.stdout is not None
        async with asyncio.timeout(START_TIMEOUT_S):
            line = await self._process.stdout.readline()
        assert line, self.log()
        assert json.loads(line)["ready"] == "disk1"
        await self._site.redirector.joined("disk1")

    def log(self) -> str:
        """What it has said so far, over all its runs."""
        return (self._site.folder / "log").read_text()

    def reload(self, text: str = "") -> None:
        """Writes the file anew, as `text` or as the site is now, and has it read again."""
        self._config.write_text(text or _toml(self._site))
        self.send(signal.SIGHUP)

    def send(self, number: signal.Signals) -> None:
        """Sends it a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    async def stopped(self) -> int:
        """Waits until it has ended; the exit code."""
        process, self._process = self._process, None
        assert process is not None
        async with asyncio.timeout(START_TIMEOUT_S):
            return await process.wait()

    async def kill(self) -> None:
        """kill -9."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> int:
        """SIGTERM; the exit code."""
        return await self._end(signal.SIGTERM)

    async def _end(self, number: signal.Signals) -> int:
        with contextlib.suppress(ProcessLookupError):
            self.send(number)
        return await self.stopped()

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._process is not None
        return self._process.pid

    @classmethod
    @contextlib.asynccontextmanager
    async def running(
        cls, site: DataSite, prefix: Sequence[str] = ()
    ) -> AsyncIterator[DataProcess]:
        """A run that is ended whatever happens."""
        process = cls(site, prefix)
        try:
            await process.start()
            yield process
        finally:
            if process._process is not None:
                await process.kill()


def _toml(site: DataSite) -> str:
    server = site.config().dataservers["disk1"]
    tables = {
        "mss": {
            "stagecmd": site.stagecmd,
            "names": [{"prefix": "/store/", "archive": str(site.archive / "store")}],
            **site.mss,
        },
        "dataserver.disk1": {
            "pool": str(server.pool),
            "quota": server.quota,
            "host": server.host,
            "redirector": server.redirector,
            **site.node,
        },
        "root": site.root,
    }
    return "\n".join(
        f"[{name}]\n" + "\n".join(f"{key} = {_value(value)}" for key, value in table.items())
        for name, table in tables.items()
    )


def _value(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_value(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    return json.dumps(value)
