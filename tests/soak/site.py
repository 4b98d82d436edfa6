"""The site of the soak: two small pools on file systems of their own, and a watched archive."""

from __future__ import annotations

import contextlib
import random
import sqlite3
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from common.errors import Unreachable
from packhorse.values import NodeState
from tests.support.cluster import Cluster, Node, free_port, running
from tests.support.patience import eventually
from tests.support.staging_site import asking_archive

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import packhorse

NODES: Final = ("n1", "n2")
POOL_MB: Final = 64  # of the file system
QUOTA_BYTES: Final = 58_000_000
LARGEST_BYTES: Final = 3_000_000
#: A run of the stage command for one of these takes longer than any lease.
SLOW: Final = tuple(f"/store/slow{number}" for number in range(2))

#: Brings a file, and writes down if another run for it is going on anywhere on this machine.
STAGE: Final = """#!/bin/sh
exec 9>"{folder}/locks/$(basename "$1")"
flock --nonblock 9 || echo "$1" >> "{folder}/doubles"
echo "$1 $2" >> "{folder}/runs"
[ -e "$1" ] || exit 66
cp "$1" "$2" || exit 75
case $1 in */slow*) exec sleep 600 ;; esac
sleep 0.1
"""


@dataclass
class SoakedSite:
    """A running site, its archive, and what may be told of its files."""

    cluster: Cluster
    site: packhorse.Site
    sizes: dict[str, int]
    root_address: str

    def archived(self) -> list[str]:
        """What a client may ask for."""
        return [lfn for lfn in self.sizes if lfn not in SLOW]

    def content(self, lfn: str) -> bytes:
        """The bytes that a file has, wherever it is."""
        return random.Random(lfn).randbytes(self.sizes[lfn])

    def runs(self, lfn: str) -> list[str]:
        """The nodes of the runs of the stage command for a file."""
        noted = self.cluster.folder / "runs"
        lines = noted.read_text().splitlines() if noted.exists() else []
        pools = str(self.cluster.folder / "pools") + "/"
        return [
            target.removeprefix(pools).split("/")[0]
            for source, target in (line.split(" ") for line in lines)
            if source.endswith(lfn)
        ]

    def until_all_joined(self) -> None:
        """Waits until every data server is up."""

        def all_up() -> bool:
            with contextlib.suppress(Unreachable):
                return [one.state for one in self.site.nodes()] == [NodeState.UP] * len(NODES)
            return False

        eventually(all_up, 60.0)

    def check_left(self) -> None:
        """What lies on the disks of the stopped site: nothing double, nothing that strays."""
        doubles = self.cluster.folder / "doubles"
        assert not doubles.exists(), f"recalled twice at a time: {doubles.read_text()}"
        for node in NODES:
            pool = self.cluster.pool(node)
            on_disk = {
                f"/{path.relative_to(pool)}": path.stat().st_size
                for path in (pool / "store").rglob("*")
                if path.is_file()
            }
            assert sum(on_disk.values()) <= QUOTA_BYTES, f"{node} is over its quota"
            assert list((pool / ".incoming").iterdir()) == []
            with contextlib.closing(sqlite3.connect(pool / ".packhorse/catalogue.sqlite")) as rows:
                known = dict(rows.execute("SELECT lfn, size_bytes FROM replica"))
            assert known == on_disk, f"{node}: rows and files are not the same"
            for lfn in on_disk:
                assert (pool / lfn.lstrip("/")).read_bytes() == self.content(lfn), lfn


def mount(pool: Path, *options: str) -> None:
    """Mounts, or with "remount" changes, a pool's file system."""
    argv = ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(pool)]
    subprocess.run(argv, check=True)


@contextlib.contextmanager
def soaked_site(
    folder: Path, lease_s: float, files: int, rng: random.Random
) -> Iterator[SoakedSite]:
    """Starts it; stops it at the end, when nothing of it may run any more, or lie about."""
    (folder / "locks").mkdir()
    script = folder / "stage.sh"
    script.write_text(STAGE.format(folder=folder))
    script.chmod(0o755)
    root_address = f"127.0.0.1:{free_port()}"
    nodes = [Node(name, str(QUOTA_BYTES), {"slots": 3}) for name in NODES]
    cluster = Cluster(
        folder,
        nodes,
        stagecmd=[str(script), "{source}", "{target}"],
        statcmd=asking_archive(if_missing=66),
        redirector={
            "heartbeat": "200ms",
            "suspect_after": "1s",
            "lost_after": f"{lease_s:g}s",
            "backoff": "100ms",
            "backoff_max": "1s",
            "root_listen": root_address,
        },
        root={"writable": ["/store/new"]},
        packetizer=None,
    )
    sizes = {f"/store/f{number}": rng.randint(1, LARGEST_BYTES) for number in range(files)}
    sizes.update(dict.fromkeys(SLOW, 100_000))
    for lfn, size_bytes in sizes.items():
        cluster.write(lfn, random.Random(lfn).randbytes(size_bytes))
    with contextlib.ExitStack() as mounts:
        for node in NODES:
            mount(cluster.pool(node), f"size={POOL_MB}m", "mode=755")
            mounts.callback(subprocess.run, ["umount", str(cluster.pool(node))], check=True)
        with running(cluster), cluster.connect() as site:
            soaked = SoakedSite(cluster, site, sizes, root_address)
            soaked.until_all_joined()
            yield soaked
        soaked.check_left()
