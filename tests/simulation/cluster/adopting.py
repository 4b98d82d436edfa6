"""What a start finds on the disk, as `dataserver.adopt` sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dataserver.core import events as ev
from dataserver.core.replica import Found
from tests.simulation.cluster.disk import DiskError, Row
from tests.simulation.cluster.recall_steps import expected_of

if TYPE_CHECKING:
    from tests.simulation.cluster.disk import SimFile
    from tests.simulation.cluster.disk_node import DiskNode

CHECK_S = 0.3


class Adopting:
    """Files with a row that describes them are replicas; others are checked first."""

    def __init__(self, node: DiskNode) -> None:
        """Compares files and rows; rows without a file are deleted."""
        self.found: list[Found] = []
        self._node = node
        self._unarchived: list[SimFile] = []
        self._suspects: list[tuple[SimFile, Row | None]] = []
        now_s, disk = node.now_s(), node.disk
        for lfn, file in disk.files.items():
            row = disk.rows.get(lfn)
            if row is not None and (row.size_bytes, row.content) == (file.size_bytes, file.content):
                self.found.append(Found(lfn, file.size_bytes, now_s, archived=row.archived))
                if not row.archived and not row.sent:
                    self._unarchived.append(file)
            else:
                self.found.append(Found(lfn, file.size_bytes, now_s, checked=False, archived=False))
                self._suspects.append((file, row))
        for lfn in [lfn for lfn in disk.rows if lfn not in disk.files]:
            del disk.rows[lfn]

    def begin(self) -> None:
        """Checks the suspects, in the background."""
        for file, row in self._suspects:
            self._node.later(
                self._node.delay_s(CHECK_S),
                lambda file=file, row=row: self._check(file, row),  # type: ignore[misc]
            )

        for file in self._unarchived:
            self._node.later(self._node.delay_s(CHECK_S), lambda file=file: self._ask(file))  # type: ignore[misc]

    def _ask(self, file: SimFile) -> None:
        """The archive may have got the very file meanwhile, from whoever."""
        node, lfn = self._node, file.lfn
        tape, row = node.archive.find(lfn), node.row_of(lfn)
        if node.archive.is_down or tape is None or row is None or node.disk.files.get(lfn) != file:
            return
        if tape.tells_checksum and tape.content == file.content:
            try:
                node.disk.commit(lfn, Row(file.size_bytes, file.content, archived=True))
            except DiskError as error:
                node.tell(f"that the archive has {lfn} cannot be remembered: {error}")
            node.handle(ev.Checked(lfn, archived=True))

    def _check(self, file: SimFile, row: Row | None) -> None:
        node, lfn = self._node, file.lfn
        tape = node.archive.find(lfn)
        size_bytes, content = expected_of(tape)
        if row is not None and row.archived:
            size_bytes = size_bytes if size_bytes is not None else row.size_bytes
            content = content if content is not None else row.content
        differs = file.size_bytes != (size_bytes if size_bytes is not None else file.size_bytes)
        differs |= file.content != (content if content is not None else file.content)
        if differs and (row is None or row.archived):
            node.spoilt.add(lfn)
            node.handle(ev.Lost(lfn, "damaged", f"it is {file.content}, {content} was expected"))
            return
        archived = tape is not None and not differs
        try:
            node.disk.commit(lfn, Row(file.size_bytes, file.content, archived))
        except DiskError as error:
            node.tell(f"adopted {lfn} cannot be remembered: {error}")
        node.effect("an adopted file got its row")
        node.tell(f"adopts {lfn}")
        node.handle(ev.Checked(lfn, archived))
