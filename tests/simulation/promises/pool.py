"""Promises 6 and 7: what purging must not take, and what a pool may hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dataserver.core import instructions as do
from tests.simulation.promises.promise import Promise

if TYPE_CHECKING:
    from tests.simulation.cluster.disk_node import DiskNode
    from tests.simulation.laboratory import Laboratory


class PurgeSparesWhatIsNeeded(Promise):
    """Purge never takes a file that is open, pinned, in flight, or not yet safe in the archive.

    Held against what readers have open, what the head has told this server of pins, and
    what is in the archive: not against the pool's own books. What is removed by force is
    damaged or lost, or a client wanted it gone.
    """

    number = 6

    def __init__(self, laboratory: Laboratory) -> None:
        super().__init__(laboratory)
        for node in self.site.nodes:
            node.observers.append(self._observe)

    def _observe(self, node: DiskNode, instruction: do.Instruction) -> None:
        if isinstance(instruction, do.RemoveFiles):
            for lfn in instruction.lfns:
                reason = (
                    self._why_not_by_force(node, lfn)
                    if instruction.by_force
                    else self._why_not(node, lfn)
                )
                if reason:
                    raise self.broken(f"{node.name} removes {lfn}, which is {reason}", lfn)

    def _why_not(self, node: DiskNode, lfn: str) -> str:
        if node.reading.readers[lfn]:
            return "open"
        owners = node.link.pinned_by(lfn)
        if owners:
            return f"pinned by {', '.join(owners)}"
        if node.node.staging.is_staging(lfn) or lfn in node.written():
            return "in flight"
        file, tape = node.disk.files.get(lfn), node.archive.find(lfn)
        if file is None or file.content in node.archive.halves:
            return ""
        if tape is None or file.content != tape.content:
            return "not in the archive"
        return ""

    def _why_not_by_force(self, node: DiskNode, lfn: str) -> str:
        if lfn in node.spoilt or (node.name, lfn) in self.clients.changing:
            return ""
        return "neither lost nor a client's to remove"


class QuotaHolds(Promise):
    """Used + reserved never passes the quota, in bytes and in files.

    In the books, and on the disk: there a command that writes more than it may is counted
    with what it may, until it is ended, and what a bad disk refuses to remove is not. A pool
    that was too full when it was started may shrink, and not grow.
    """

    number = 7

    def check(self) -> None:
        """Adds up books and disk."""
        for node in self.touched():
            pool, limits = node.node.pool, node.limits
            most_bytes = max(limits.quota_bytes, node.found_bytes)
            taken_bytes = pool.used_bytes + pool.reserved_bytes
            if taken_bytes > most_bytes:
                raise self.broken(f"{node.name} has {taken_bytes} of {most_bytes} bytes", node.name)
            if limits.max_files and pool.files > max(limits.max_files, node.found_files):
                raise self.broken(f"{node.name} has {pool.files} files", node.name)
            on_disk = self._on_disk_bytes(node)
            if on_disk > most_bytes:
                raise self.broken(f"{on_disk} bytes lie on {node.name}", node.name)

    def _on_disk_bytes(self, node: DiskNode) -> int:
        pool = node.node.pool
        files = node.disk.files
        known = sum(file.size_bytes for lfn, file in files.items() if lfn not in node.strays)
        incoming = sum(
            min(file.size_bytes, pool.reserved_for(holder))
            for holder, file in node.disk.incoming.items()
            if holder not in node.left_over
        )
        return known + incoming
