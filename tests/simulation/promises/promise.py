"""What every promise's check has in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from tests.simulation.broken import PromiseBroken

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.simulation.cluster.disk_node import DiskNode
    from tests.simulation.laboratory import Laboratory


class Promise:
    """One promise of design.md, by its number there."""

    number: ClassVar[int]

    def __init__(self, laboratory: Laboratory) -> None:
        self.laboratory = laboratory
        self.world = laboratory.world
        self.site = laboratory.site
        self.clients = laboratory.clients

    def check(self) -> None:
        """After every step."""

    def check_at_peace(self) -> None:
        """When all has ended."""

    def broken(self, how: str, about: str = "") -> PromiseBroken:
        """What to raise."""
        return PromiseBroken(self.number, how, about)

    def touched(self) -> Iterator[DiskNode]:
        """The living data servers that the step has touched."""
        for node in self.site.nodes:
            if node.alive and node.name in self.world.touched:
                yield node

    @property
    def is_head_touched(self) -> bool:
        """Whether something has happened to the head, and it is alive."""
        return self.site.head.alive and self.site.head.name in self.world.touched
