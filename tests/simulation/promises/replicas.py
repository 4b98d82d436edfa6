"""Promises 2 and 8: what is visible is safe, and what is held can be read."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from dataserver.core import instructions as do
from dataserver.core.replica import Standing
from tests.simulation.promises.promise import Promise

if TYPE_CHECKING:
    from tests.simulation.cluster.disk_node import DiskNode
    from tests.simulation.laboratory import Laboratory

#: A replica that has been visible for so long has been told to the head.
TOLD_S = 1.0


def is_right(node: DiskNode, lfn: str, content: str) -> bool:
    """Whether a content is the archive's, or was, or is what a client has written whole."""
    tape = node.archive.find(lfn)
    if (tape is not None and content == tape.content) or content in node.archive.halves:
        return True
    return content.startswith(f"{lfn} by ")


class ReadableWhateverElse(Promise):
    """A file with a verified replica can be read, whatever else happens to it.

    The file of every visible replica is there, unless somebody deleted it or its disk
    fails. A replica leaves only by a removal that was decided. The head names a holder for
    a file that a server in touch has, also while a recall of it runs.
    """

    number = 2

    def __init__(self, laboratory: Laboratory) -> None:
        super().__init__(laboratory)
        #: Node → LFN → since when this life has shown it.
        self._shown: dict[str, dict[str, float]] = defaultdict(dict)
        self._lives: dict[str, str] = {}
        self._leaving: dict[str, set[str]] = defaultdict(set)
        for node in self.site.nodes:
            node.observers.append(self._observe)

    def _observe(self, node: DiskNode, instruction: do.Instruction) -> None:
        if isinstance(instruction, do.RemoveFiles):
            self._leaving[node.name].update(instruction.lfns)

    def check(self) -> None:
        """Looks at the disk for what is visible, and at why something no longer is."""
        for node in self.touched():
            shown = self._shown[node.name]
            if self._lives.get(node.name) != node.boot_epoch:
                self._lives[node.name] = node.boot_epoch
                shown.clear()
                self._leaving[node.name].clear()
            visible = {one.lfn for one in node.node.pool.held()}
            for lfn in visible:
                if lfn not in node.disk.files and lfn not in node.spoilt:
                    raise self.broken(f"{node.name} shows {lfn}, which is not on its disk", lfn)
            for lfn in shown.keys() - visible:
                if lfn not in self._leaving[node.name]:
                    raise self.broken(f"{node.name} no longer shows {lfn}, for no reason", lfn)
                del shown[lfn]
            for lfn in visible - shown.keys():
                shown[lfn] = self.world.now_s
                self._leaving[node.name].discard(lfn)
        if self.is_head_touched and self.world.rng.random() < 0.02:
            self._check_head()

    def _check_head(self) -> None:
        """What servers in touch have shown for a while, the head can name a holder of."""
        head = self.site.head
        if self.world.now_s < head.awake_since_s + TOLD_S:
            return  # It has yet to read what it was told meanwhile.
        up = {
            one.address.node
            for one in head.head.nodes(head.now_s())
            if one.connection is not None and one.state.name == "UP"
        }
        for node in self.site.nodes:
            if not node.alive or node.is_frozen or node.name not in up:
                continue
            if not node.link.is_quiet or node.link.joined_since_s > self.world.now_s - TOLD_S:
                continue
            for lfn, since_s in self._shown[node.name].items():
                is_told = since_s < self.world.now_s - TOLD_S and node.node.is_visible(lfn)
                if is_told and head.head.choose_reader(lfn) is None:
                    raise self.broken(f"{node.name} has {lfn}, and nobody is sent there", lfn)

    def check_at_peace(self) -> None:
        """Every replica is known, and every file that clients were told is kept is there."""
        head, clients = self.site.head, self.clients
        held: dict[str, set[str]] = defaultdict(set)
        for node in self.site.nodes:
            for lfn, file in node.disk.files.items():
                if node.node.is_visible(lfn):
                    held[lfn].add(node.name)
                    if not is_right(node, lfn, file.content):
                        raise self.broken(f"{lfn} on {node.name} is {file.content}", lfn)
        for lfn in sorted({*self.site.archive.tapes, *held}):
            address = head.head.choose_reader(lfn)
            if (address is None) == bool(held.get(lfn)):
                raise self.broken(f"the index is wrong about {lfn}: {address}, {held[lfn]}", lfn)
        for (name, lfn), content in clients.kept.items():
            file, tape = self.site.named(name).disk.files.get(lfn), self.site.archive.find(lfn)
            is_there = content in {
                file.content if file is not None else None,
                tape.content if tape is not None else None,
            }
            if (name, lfn) not in clients.changing and not is_there:
                raise self.broken(f"{lfn}, written by a client, is lost: {file}", lfn)
        for lfn in clients.directories:
            if not head.head.is_directory(lfn):
                raise self.broken(f"the directory {lfn} is lost", lfn)


class VisibleOnlyWhenSafe(Promise):
    """A replica is visible only when verified and synced.

    Its bytes are the archive's or a client's, all of them, and they, its name and its row
    would survive a power cut. (A row may be missing where the disk refused to write it.)
    """

    number = 8

    def check(self) -> None:
        """Looks at what the disk would keep."""
        for node in self.touched():
            for replica in node.node.pool.everything():
                lfn = replica.lfn
                file = node.disk.files.get(lfn)
                if replica.standing is not Standing.HELD or file is None:
                    continue
                if node.node.is_moving(lfn):
                    continue
                if not node.disk.is_synced(lfn) and not node.is_unsure(lfn):
                    raise self.broken(f"{lfn} on {node.name} is visible, and not synced", lfn)
                if not is_right(node, lfn, file.content):
                    raise self.broken(f"{lfn} on {node.name} is {file.content}", lfn)
                if replica.size_bytes != file.size_bytes:
                    raise self.broken(f"{lfn} on {node.name} has another size than it says", lfn)
