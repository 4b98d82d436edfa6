"""`[root]`: what all root:// doors of the site have in common."""

from __future__ import annotations

from pydantic import Field

from common.config.table import (
    Count,
    Export,
    PositiveCount,
    PositiveDuration,
    Table,
)
from common.units import DurationS, parse_duration


class RootConfig(Table):
    """The root:// doors, for every XRootD client: what they allow, and how much of it."""

    writable: list[Export] = Field(
        [],
        description="The directories in which clients may write, rename and remove files. What is "
        "written is never purged while the archive does not have it, see `docs/writing.md`.",
    )
    open_deadline: PositiveDuration = Field(
        parse_duration("6h"),
        description="How long a recall goes on that an open of a file in the archive has started. "
        "Clients give up sooner (after 30 minutes by default) and may open again.",
    )
    prepare_pin: DurationS = Field(
        0.0,
        description="How long files staged by `prepare` are kept from being purged, or until they "
        "are evicted; 0: not at all.",
    )
    max_connections: PositiveCount = Field(
        4096,
        description="The most connections a door has at a time; one more is closed at once, unless one "
        "that has not logged in can make way.",
    )
    max_requests: PositiveCount = Field(
        512,
        description="The most requests of one connection that are worked on at a time; the next "
        "ones are not read before one of them is answered.",
    )
    max_open_files: Count = Field(
        4096, description="The most files one connection may have open; 0: any number."
    )
    idle_timeout: PositiveDuration = Field(
        parse_duration("1h30m"),
        description="A connection that neither asks nor takes anything for this long is closed; "
        "waiting for a stage is not idle.",
    )
