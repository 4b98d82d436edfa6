"""Promise 12: one file has one name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.simulation.promises.promise import Promise
from tests.simulation.spelling import canonical

if TYPE_CHECKING:
    from tests.simulation.laboratory import Laboratory


class OneName(Promise):
    """One file has one name: spelling variants (`//`, `/./`, `%2F`) meet in one key, and
    nothing leaves the pool (`..`, links).

    Clients spell names in many ways; whatever servers keep is spelt in one. (How URLs are
    decoded, and that links do not lead out, is for tests of doors and of real disks.)
    """

    number = 12

    def __init__(self, laboratory: Laboratory) -> None:
        super().__init__(laboratory)
        self._checked: set[str] = set()

    def check(self) -> None:
        """Looks at what servers hold, and at requests that are new."""
        for node in self.touched():
            for replica in node.node.pool.everything():
                self._look(replica.lfn, f"{node.name}'s pool")
            for lfn in node.disk.files:
                self._look(lfn, f"{node.name}'s disk")
        if self.is_head_touched:
            requests = self.site.head.database.request_files
            for request_id in requests.keys() - self._checked:
                self._checked.add(request_id)
                for lfn in requests[request_id]:
                    self._look(lfn, request_id)

    def _look(self, lfn: str, where: str) -> None:
        if canonical(lfn) != lfn:
            raise self.broken(f"{where} has {lfn}, which is {canonical(lfn)}", lfn)
