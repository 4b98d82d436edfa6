"""One machine with several disks of unequal size, all served by one process."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from packhorse.values import NodeState
from tests.support.cluster import Cluster, Node, running, until_joined
from tests.support.patience import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import packhorse

SIZE_BYTES = 100_000
FILES = 20
#: The second disk is four times the first one.
QUOTAS = {"disk1": 2_000_000, "disk2": 8_000_000}


class Machine(Cluster):
    """A site whose disks are served by one process."""

    @property
    def roles(self) -> list[str]:
        return ["redirector", "disks"]

    def start(self, *roles: str) -> None:
        """Starts the redirector, and the one process of the disks."""
        super().start("redirector")
        argv = [word for name in QUOTAS for word in ("--name", name)]
        self.processes["disks"] = process = self.spawn("dataserver", *argv, log="disks")
        assert process.stdout is not None
        assert [process.stdout.readline() != "" for _ in QUOTAS] == [True, True], self.logs()


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    nodes = [Node(name, str(quota), {"host": "thishost"}) for name, quota in QUOTAS.items()]
    made = Machine(tmp_path, nodes, packetizer=None)
    for number in range(FILES):
        made.write(f"/store/f{number}", bytes([number]) * SIZE_BYTES)
    with running(made):
        yield made


def _held(machine: Machine, site: packhorse.Site) -> dict[str, int]:
    return {node.address.node: node.load.files for node in site.nodes()}


def test_disks_of_unequal_size_fill_in_proportion_and_fail_alone(machine: Machine) -> None:
    lfns = [f"/store/f{number}" for number in range(FILES)]
    with machine.connect() as site:
        until_joined(site, 2)
        for lfn in lfns:
            # One after the other, so that no slot decides, but only how full the disks are.
            site.stage([lfn]).wait()
        eventually(lambda: sum(_held(machine, site).values()) == FILES)
        held = _held(machine, site)
        shares = {name: held[name] * SIZE_BYTES / QUOTAS[name] for name in QUOTAS}
        assert shares["disk1"] == pytest.approx(shares["disk2"], abs=0.1), held
        on_disk1 = [lfn for lfn in lfns if machine.holders(lfn) == ["disk1"]]

        pool = machine.pool("disk1")
        pool.rename(pool.with_name("unmounted"))
        eventually(
            lambda: any(
                node.address.node == "disk1" and "is its disk mounted?" in node.load.trouble
                for node in site.nodes()
            )
        )
        eventually(lambda: all(row.state != "online" for row in site.locate(on_disk1)))
        on_disk2 = [lfn for lfn in lfns if lfn not in on_disk1]
        assert all(row.state == "online" for row in site.locate(on_disk2))
        # What was on the disk that is away is recalled to the other one.
        site.stage(on_disk1[:2]).wait()
        assert [machine.holders(lfn) for lfn in on_disk1[:2]] == [["disk2"], ["disk2"]]

        pool.with_name("unmounted").rename(pool)
        eventually(lambda: all(row.state == "online" for row in site.locate(lfns)))
        assert {node.state for node in site.nodes()} == {NodeState.UP}
