"""`[dataserver]` or `[dataserver.NAME]`: a disk node."""

from __future__ import annotations

import socket
from typing import Literal, Self

from pydantic import Field, model_validator

from common.config.table import (
    AbsolutePath,
    Command,
    Count,
    Label,
    LabelOrNone,
    ListenAddress,
    PeerAddress,
    PositiveCount,
    PositiveDuration,
    PositiveSize,
    RootUrl,
    Table,
)
from common.units import Percent, SizeBytes, parse_percent, parse_size, write_percent

PurgePolicyName = Literal["lru", "lru-by-size", "done-first"]


class DataServerConfig(Table):
    """A disk node: one pool, its bytes, its purge, its stage commands."""

    name: Label = Field(
        description="The node's name, unique in the site. Default: NAME of `[dataserver.NAME]`, "
        "or this machine's host name."
    )
    pool: AbsolutePath = Field(
        description="The directory that holds the replicas. It must exist, so that a disk that is "
        "not mounted is noticed; one pool belongs to one data server."
    )
    quota: PositiveSize = Field(
        description="The most bytes its replicas, and those on their way, may take: a hard promise."
    )
    listen: ListenAddress = Field(
        "127.0.0.1:0",
        description="Where its gRPC door opens; port 0 takes any free one. The default serves this "
        'machine only; a site of several machines writes `"0.0.0.0:0"`.',
    )
    advertise: PeerAddress | None = Field(
        None,
        description="The address others reach it at, if that is not where it listens. Default: "
        "the address it listens at, with the machine's host name for a wildcard one.",
    )
    root_listen: ListenAddress = Field(
        "127.0.0.1:0",
        description="Where its root:// door opens, to which the redirector's sends clients. Default: "
        "any free port where `listen` is.",
    )
    root_advertise: PeerAddress | None = Field(
        None,
        description="The address clients reach that door at, if that is not where it listens. "
        "Default: the address it listens at, with the machine's host name for a wildcard one.",
    )
    serve: RootUrl | None = Field(
        None,
        description="Where a stock XRootD server serves this pool's directory; the data server opens "
        "no root:// door of its own then. See `docs/root-protocol.md`.",
    )
    redirector: PeerAddress = Field(
        description="The redirector's address. Default: `[redirector]` listen of the same file."
    )
    host: Label = Field(
        default_factory=socket.gethostname,
        description="Its host label: workers and clients with the same one read its files by path. "
        "Default: this machine's host name.",
    )
    rack: LabelOrNone = Field(
        "", description="A wider label: workers of the same rack come next. Default: none."
    )
    site: LabelOrNone = Field(
        "", description="A still wider label, for sites of several places. Default: none."
    )
    high_watermark: Percent = Field(
        parse_percent("95%"),
        description="Purging starts when used bytes pass this share of the quota, or files this "
        "share of `max_files`.",
    )
    low_watermark: Percent = Field(
        parse_percent("90%"),
        description="Purging stops when what passed its high watermark is down to this share; the "
        "gap between the two is what a purge frees at a time.",
    )
    max_files: Count = Field(
        0,
        description="The most replicas it may hold, for file systems short of inodes; 0: any number.",
    )
    slots: PositiveCount = Field(
        4,
        description="How many recalls it runs at a time: about as many as keep its disk and the "
        "archive's drives busy.",
    )
    store_slots: PositiveCount = Field(
        2,
        description="How many files it stores in the archive at a time, beside its recalls.",
    )
    purge_policy: PurgePolicyName = Field(
        "lru",
        description="Which replicas go first: the longest unused (`lru`), those that take most room "
        "for longest (`lru-by-size`), or those that sessions have done with, then the longest unused "
        "(`done-first`). See `docs/purge.md`.",
    )
    access_log: SizeBytes = Field(
        parse_size("64MB"),
        description="How much is kept, beside the catalogue, of what was wanted of this pool, for "
        "`packhorse purge replay`; some 100 bytes for each use of a file. 0 for none.",
    )
    purgecmd: Command | None = Field(
        None,
        description="A command that may rank, veto or add candidates before each purge: JSON lines "
        "in, verdicts out. See `docs/purge.md`. Default: `purge_policy` decides alone.",
    )
    checksum: Literal["adler32", "crc32c", "md5", "none"] = Field(
        "adler32",
        description="What is computed for a replica when the archive gave no checksum; adler32 is "
        'what most archives and XRootD have. `"none"` to save the time.',
    )
    scrub_rate: SizeBytes = Field(
        parse_size("10MB"),
        description="How many bytes a second are read to verify replicas again, in the background; 0 "
        "for none. Only those whose checksum is known can be verified.",
    )
    scrub_interval: PositiveDuration = Field(
        30 * 86400.0,
        description="How often every replica is verified again, if `scrub_rate` is enough for that.",
    )
    inspect: bool = Field(
        True,
        description="Whether files are opened once after staging, to learn their trees and entries. "
        "Without it, files cannot be cut into packets of entries.",
    )
    drain: bool = Field(
        False, description="Start as draining: serve what it holds, but take no new recalls."
    )

    @model_validator(mode="after")
    def _watermarks_are_in_order(self) -> Self:
        if not self.low_watermark < self.high_watermark:
            raise ValueError(
                f"low_watermark ({write_percent(self.low_watermark)}) must be below "
                f"high_watermark ({write_percent(self.high_watermark)})"
            )
        return self
