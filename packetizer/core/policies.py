"""The policies a packetizer works by, and the standard ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from packetizer.core.how_much import ByTime, Fixed
from packetizer.core.where import DoneTogether
from packetizer.core.window import ShareOfSpace

if TYPE_CHECKING:
    from collections.abc import Callable

    from packetizer.core.events import SessionSpec
    from packetizer.core.how_much import HowMuch
    from packetizer.core.nodes import Nodes
    from packetizer.core.where import Where
    from packetizer.core.window import Window


@dataclass(frozen=True, slots=True)
class Policies:
    """Where, how much, and what to stage next. Each can be replaced alone."""

    where: Where
    how_much: Callable[[SessionSpec], HowMuch]
    window: Window
    #: What a packet is taken to cost as long as nothing was measured.
    packet_time_s: float


def standard_policies(
    nodes: Nodes, *, packet_time_s: float, locality_wait_s: float, window: float
) -> Policies:
    """Nearest data first, packets by time, a share of the space; see the modules named so."""

    def how_much(spec: SessionSpec) -> HowMuch:
        return Fixed(spec.packet_entries) if spec.packet_entries else ByTime(packet_time_s)

    return Policies(
        DoneTogether(nodes, locality_wait_s), how_much, ShareOfSpace(window), packet_time_s
    )
