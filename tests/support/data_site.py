"""One data server with an archive and a fake redirector, inside the test's own process."""

from __future__ import annotations

import asyncio
import contextlib
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from common.config.model import DataServerConfig, GroupConfig, MssConfig, SiteConfig
from common.config.root import RootConfig
from common.service import NamedTasks
from dataserver.service import DataServerService

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from tests.support.fake_redirector import FakeRedirector


def adler32(content: bytes) -> str:
    """The checksum as Packhorse writes it."""
    return f"{zlib.adler32(content):08x}"


@dataclass
class DataSite:
    """An archive, a pool, and what serves them. `node` changes keys of the server's table.

    Clients may write in `/store/my/`.
    """

    folder: Path
    redirector: FakeRedirector
    stagecmd: str | Sequence[str] = "builtin"
    mss: dict[str, Any] = field(default_factory=dict)
    node: dict[str, Any] = field(default_factory=dict)
    root: dict[str, Any] = field(default_factory=lambda: {"writable": ["/store/my"]})
    name: str = "disk1"
    groups: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.archive = self.folder / "archive"
        self.pool = self.folder / "pool"
        for directory in (self.archive, self.pool):
            directory.mkdir(parents=True, exist_ok=True)

    def write(self, lfn: str, content: bytes) -> Path:
        """Puts a file into the archive."""
        path = self.archive / lfn.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    def replica(self, lfn: str) -> Path:
        """Where a replica lies."""
        return self.pool / lfn.lstrip("/")

    def incoming(self) -> list[Path]:
        """All that lies in the incoming directory."""
        return list((self.pool / ".incoming").iterdir())

    def script(self, text: str) -> list[str]:
        """A stage command that runs a shell script with source and target."""
        return ["/bin/sh", "-c", text, "stage", "{source}", "{target}"]

    def config(self) -> SiteConfig:
        """The site's configuration; Python defaults where a test says nothing."""
        names = [{"prefix": "/store/", "archive": str(self.archive / "store")}]
        mss = MssConfig.model_validate({"stagecmd": self.stagecmd, "names": names, **self.mss})
        table = {
            "name": self.name,
            "pool": str(self.pool),
            "quota": "100MB",
            "host": "label1",
            "redirector": self.redirector.address,
            **self.node,
        }
        server = DataServerConfig.model_validate(table)
        return SiteConfig(
            mss=mss,
            redirector=None,
            dataservers={self.name: server},
            packetizer=None,
            root=RootConfig.model_validate(self.root),
        )

    def service(self) -> DataServerService:
        """The data server, not started."""
        site = self.config()
        return DataServerService(
            site.dataservers[self.name],
            site.mss,
            site.name_map(),
            root=site.root,
            groups={name: GroupConfig.model_validate(one) for name, one in self.groups.items()},
        )

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[DataServerService]:
        """The data server, started and joined; stopped well at the end."""
        service = self.service()
        tasks = NamedTasks()
        try:
            await service.start(tasks)
            joined = asyncio.create_task(self.redirector.joined(self.name))
            death = asyncio.create_task(tasks.death())
            done, _ = await asyncio.wait({joined, death}, return_when=asyncio.FIRST_COMPLETED)
            assert joined in done, death.result()
            yield service
            assert not death.done(), death.result()
            death.cancel()
        finally:
            await service.stop(10.0)
            await tasks.cancel()
        service.node.check()
