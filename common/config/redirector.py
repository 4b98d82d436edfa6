"""`[redirector]`: the head node."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from common.config.table import (
    AbsolutePath,
    Export,
    Label,
    ListenAddress,
    PeerAddress,
    PositiveCount,
    PositiveDuration,
    PositiveNumber,
    PositiveSize,
    Table,
)
from common.names import normalise_prefix
from common.units import Percent, parse_duration, parse_size, write_percent


class GroupConfig(Table):
    """A group of users: how much it may register, and how much of every pool it may count on."""

    quota: PositiveSize | None = Field(
        None,
        description="The most bytes the group's datasets may add up to; a registration beyond it "
        "is refused.",
    )
    share: Percent | None = Field(
        None,
        description="The share of every pool's low watermark that its files may use before they are "
        "purged ahead of others'. What the groups leave is the share of files of no group. See "
        "`docs/purge.md`.",
    )
    paths: list[Export] = Field(
        [],
        description="The directories whose files are its own, for `share`. The longest path decides "
        "between groups.",
    )

    @model_validator(mode="after")
    def _share_is_of_something(self) -> Self:
        if self.share is not None and not self.paths:
            raise ValueError("share is given without paths: which files are the group's?")
        if self.paths and self.share is None:
            raise ValueError("paths are given without a share: what for?")
        return self


class ShareConfig(Table):
    """How much of the recalls an activity or an owner gets while others wait too."""

    weight: PositiveNumber = Field(
        description="Its part: twice as much as others gets a weight of 2. Those not named have 1."
    )


class RedirectorConfig(Table):
    """The head node: where every file is, and who stages the next one."""

    listen: ListenAddress = Field(
        "127.0.0.1:1213",
        description="Where its gRPC door opens. The default serves this machine only; a site of "
        'several machines writes `"0.0.0.0:1213"`.',
    )
    root_listen: ListenAddress | None = Field(
        None,
        description="Where its root:// door opens, for XRootD clients; their usual port is 1094, as "
        'in `"127.0.0.1:1094"`.',
    )
    root_advertise: PeerAddress | None = Field(
        None,
        description="The address clients reach that door at, if that is not where it listens. "
        "Default: the address it listens at, with the machine's host name for a wildcard one.",
    )
    state: AbsolutePath = Field(
        description="The directory of its database: stage requests, pins and datasets. On a local "
        "disk, and worth a backup."
    )
    exports: list[Export] = Field(
        min_length=1,
        description="The directories of the site's name space; names outside are refused. "
        "Default: the prefixes of `[mss]` names.",
    )
    heartbeat: PositiveDuration = Field(
        parse_duration("1s"),
        description="How often data servers report their load; the choice of a node is as fresh.",
    )
    suspect_after: PositiveDuration = Field(
        parse_duration("5s"),
        description="How long a data server may be silent before it gets no new recalls: a few "
        "heartbeats, so that one lost message does no harm.",
    )
    lost_after: PositiveDuration = Field(
        parse_duration("60s"),
        description="How long it may be silent before its recalls are given to others. This is the "
        "lease of every recall: the node itself stops them a little earlier.",
    )
    attempts: PositiveCount = Field(
        5, description="How often a recall is tried in all when it fails for transient reasons."
    )
    backoff: PositiveDuration = Field(
        parse_duration("2s"),
        description="The pause before the second attempt; it doubles with each one after that.",
    )
    backoff_max: PositiveDuration = Field(
        parse_duration("5m"), description="The longest pause between two attempts."
    )
    request_deadline: PositiveDuration = Field(
        parse_duration("7d"),
        description="How long a stage request may stay open before it fails, unless it asks for "
        "another time: every request ends.",
    )
    assumed_size: PositiveSize = Field(
        parse_size("2GB"),
        description="What is reserved for a file of unknown size until its size is known; near the "
        "site's usual file.",
    )
    groups: dict[Label, GroupConfig] = Field(
        {},
        description="`[redirector.groups.NAME]`: groups with a quota on registered bytes, a "
        "share of the pools, or both.",
    )
    activities: dict[Label, ShareConfig] = Field(
        {},
        description="`[redirector.activities.NAME]`: activities that get more or less than others. "
        "See `docs/staging.md`.",
    )
    owners: dict[Label, ShareConfig] = Field(
        {},
        description="`[redirector.owners.NAME]`: owners that get more or less than others of the same "
        "activity.",
    )
    priority_step: PositiveDuration = Field(
        parse_duration("1h"),
        description="What one step of a request's priority counts among its owner's recalls: as much as "
        "having waited for so long.",
    )
    volume_time: PositiveDuration = Field(
        parse_duration("1h"),
        description="How long a tape is read, at least, before it gives way to one that somebody waits for "
        "who had less: long against mounting it.",
    )
    hint_wait: PositiveDuration = Field(
        parse_duration("30s"),
        description="How long a recall is held back at most until it is known where the file lies on tape; "
        "only with a `hintcmd`.",
    )
    history: PositiveDuration = Field(
        parse_duration("7d"),
        description="How long ended requests and recalls are remembered for people to look at.",
    )

    @model_validator(mode="after")
    def _times_are_in_order(self) -> Self:
        if not self.heartbeat < self.suspect_after < self.lost_after:
            raise ValueError(
                "heartbeat, suspect_after and lost_after must grow in this order, but are "
                f"{self.heartbeat:g} s, {self.suspect_after:g} s and {self.lost_after:g} s"
            )
        return self

    @model_validator(mode="after")
    def _shares_fit_together(self) -> Self:
        shares = [group.share for group in self.groups.values() if group.share is not None]
        if sum(shares) > 1.0 + 1e-9:
            raise ValueError(
                f"the shares of the groups add up to {write_percent(sum(shares))}, "
                "more than there is"
            )
        owners: dict[str, str] = {}
        for name, group in self.groups.items():
            for path in group.paths:
                other = owners.setdefault(normalise_prefix(path), name)
                if other != name:
                    raise ValueError(f'"{path}" is a path of group {other} and of group {name}')
        return self

    @model_validator(mode="after")
    def _pauses_are_in_order(self) -> Self:
        if self.backoff > self.backoff_max:
            raise ValueError(
                f"backoff ({self.backoff:g} s) is over backoff_max ({self.backoff_max:g} s)"
            )
        return self
