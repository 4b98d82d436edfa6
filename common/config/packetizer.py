"""`[packetizer]`: the work node."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from common.config.table import (
    AbsolutePath,
    ListenAddress,
    PeerAddress,
    PositiveCount,
    PositiveDuration,
    PositiveSize,
    Table,
)
from common.units import DurationS, Percent, parse_duration, parse_percent, parse_size


class PacketizerConfig(Table):
    """The work node: which worker does which part of which file."""

    listen: ListenAddress = Field(
        "127.0.0.1:1214",
        description="Where its gRPC door opens for clients and workers. The default serves this "
        'machine only; a site of several machines writes `"0.0.0.0:1214"`.',
    )
    state: AbsolutePath = Field(
        description="The directory of its database: sessions, their commits and results. On a "
        "local disk."
    )
    redirector: PeerAddress = Field(
        description="The redirector's address. Default: `[redirector]` listen of the same file."
    )
    advertise: PeerAddress | None = Field(
        None,
        description="The address others reach it at, if that is not where it listens. Default: "
        "the address it listens at, with the machine's host name for a wildcard one.",
    )
    packet_time: PositiveDuration = Field(
        parse_duration("2s"),
        description="How long a worker should need for one packet, at its measured rate: long "
        "against the cost of handing one out, short against the wait for the last worker.",
    )
    commit: PositiveDuration = Field(
        parse_duration("1s"),
        description="How long a worker holds results back before it commits them; what a lost "
        "worker has not committed is done again by others.",
    )
    lease: PositiveDuration = Field(
        parse_duration("30s"),
        description="How long a worker may be silent before its packets are given to others.",
    )
    heartbeat: PositiveDuration = Field(
        parse_duration("1s"),
        description="How often a worker at work on a long packet says that it is alive.",
    )
    locality_wait: DurationS = Field(
        parse_duration("3s"),
        description="How long a packet whose file is on another host is kept back while workers "
        "near its file may still come for it; 0 to hand it to whoever asks.",
    )
    window: Percent = Field(
        parse_percent("50%"),
        description="The share of the pools' available space that one session may stage ahead.",
    )
    attempts: PositiveCount = Field(
        3, description="How often a packet is tried, on several workers, before it is named as bad."
    )
    history: PositiveDuration = Field(
        parse_duration("30d"), description="How long ended sessions and their results are kept."
    )
    max_result: PositiveSize = Field(
        parse_size("256MB"),
        description="The largest result a worker may commit: histograms fit, event lists belong "
        "into files.",
    )

    @model_validator(mode="after")
    def _times_are_in_order(self) -> Self:
        if self.heartbeat >= self.lease:
            raise ValueError(
                f"heartbeat ({self.heartbeat:g} s) must be shorter than lease ({self.lease:g} s)"
            )
        return self
