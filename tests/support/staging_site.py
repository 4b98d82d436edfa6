"""A site of three nodes with a stage script that a test can hold back and count."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.cluster import Cluster, Node, install, running, until_joined
from tests.support.patience import eventually
from tests.support.processes import is_alive

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import packhorse

SCRIPTS = Path(__file__).parents[1] / "integration" / "scripts"
NODES = ("n1", "n2", "n3")


def asking_archive(if_missing: int = 1) -> list[str]:
    """A statcmd: asks the mounted archive for the size, so that room is reserved to the byte.

    Of a missing file it says so with 66, or else only that something is wrong.
    """
    look = f"""[ ! -d "$0" ] || exec echo '{{{{"type": "dir"}}}}'
    stat --printf '{{{{"size": %s}}}}' "$0" || exit {if_missing}"""
    return ["sh", "-c", look, "{source}"]


STATCMD = asking_archive()


@dataclass
class StagingSite:
    """A running site, a client of it, and the hand on its stage script."""

    cluster: Cluster
    site: packhorse.Site

    # --- the archive and its script -----------------------------------------

    def archived(self, *names: str, size_bytes: int = 1000) -> list[str]:
        """Puts files into the archive, each with bytes of its own; their LFNs."""
        lfns = [f"/store/{name}" for name in names]
        for lfn in lfns:
            self.cluster.write(lfn, content_of(lfn, size_bytes))
        return lfns

    def hold(self, *lfns: str) -> None:
        """Runs for these files wait from now on."""
        for lfn in lfns:
            self._gate(lfn).touch()

    def release(self, *lfns: str) -> None:
        """Runs for these files (all by default) go on."""
        gates = [self._gate(lfn) for lfn in lfns] or self._gates.iterdir()
        for gate in list(gates):
            gate.unlink()

    def ran_on(self, lfn: str) -> list[str]:
        """The node of every run of the script for a file."""
        pools = self.cluster.folder / "pools"
        return [Path(local).relative_to(pools).parts[0] for local, _ in self._runs(lfn)]

    def running(self, *lfns: str) -> set[int]:
        """The processes of the script that run for these files."""
        return {int(pid) for lfn in lfns for _, pid in self._runs(lfn) if is_alive(int(pid))}

    def until_running(self, *lfns: str) -> None:
        """Waits until the script runs for each of these files."""
        for lfn in lfns:
            eventually(lambda lfn=lfn: self.ran_on(lfn))  # type: ignore[misc]

    def _runs(self, lfn: str) -> list[list[str]]:
        """What the script noted of its runs for a file: the path to write, its process."""
        noted = self.cluster.folder / "runs.log"
        lines = noted.read_text().splitlines() if noted.exists() else []
        runs = [line.split(" ") for line in lines]
        return [run[1:] for run in runs if run[0].endswith(lfn)]

    @property
    def _gates(self) -> Path:
        return self.cluster.folder / "gates"

    def _gate(self, lfn: str) -> Path:
        return self._gates / lfn.rpartition("/")[2]

    # --- nodes ----------------------------------------------------------------

    def only_on(self, node: str) -> contextlib.AbstractContextManager[None]:
        """New recalls go to this node alone while the block lasts."""
        return self._without(*(other for other in NODES if other != node))

    @contextlib.contextmanager
    def _without(self, *nodes: str) -> Iterator[None]:
        for node in nodes:
            self.site.drain(node)
        try:
            yield
        finally:
            for node in nodes:
                self.site.drain(node, undo=True)

    # --- between tests ----------------------------------------------------------

    def tidy(self) -> None:
        """Ends all requests, takes all pins back, and empties the pools."""
        self.release()
        for request in self.site.requests(active_only=True):
            self.site.cancel(request.request_id)
        eventually(lambda: self.site.status().recalls_running == 0)
        for node in self.site.nodes():
            if node.draining:
                self.site.drain(node.address.node, undo=True)
        for lfn in self._held():
            for pin in self.site.explain(lfn).pins:
                self.site.unpin(lfn, owner=pin.owner)
        eventually(self._is_emptied)

    def _is_emptied(self) -> bool:
        """Evicts what is still held; what went before is not asked for again."""
        held = self._held()
        return not held or not self.site.evict(held).refused

    def _held(self) -> list[str]:
        return [lfn for node in NODES for lfn in replicas(self.cluster.pool(node))]


def content_of(lfn: str, size_bytes: int) -> bytes:
    """Bytes that tell one file from another."""
    return (lfn.encode() * (size_bytes // len(lfn) + 1))[:size_bytes]


def replicas(pool: Path) -> list[str]:
    """The LFNs of the files that lie in a pool."""
    found = (path for path in (pool / "store").rglob("*") if path.is_file())
    return [f"/{path.relative_to(pool)}" for path in found]


@contextlib.contextmanager
def staging_site(
    folder: Path,
    quota: str = "2MB",
    statcmd: list[str] | None = STATCMD,
    packetizer: Mapping[str, object] | None = None,
    root: Mapping[str, object] | None = None,
    listcmd: list[str] | None = None,
    **redirector: object,
) -> Iterator[StagingSite]:
    """Runs such a site, with a packetizer if it is told how; nothing of it is left at the end."""
    script = install(SCRIPTS, folder) / "xrootd-stage.sh"
    (folder / "gates").mkdir()
    cluster = Cluster(
        folder,
        [Node(name, quota) for name in NODES],
        stagecmd=[str(script)],
        statcmd=statcmd,
        mss={} if listcmd is None else {"listcmd": listcmd},
        redirector={"attempts": 3, "backoff": "50ms", **redirector},
        packetizer=packetizer,
        root=root or {},
    )
    with running(cluster), cluster.connect() as site:
        until_joined(site, len(NODES))
        yield StagingSite(cluster, site)
