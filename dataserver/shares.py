"""The groups of the site's configuration, as far as they have a share of every pool."""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.names import normalise_prefix
from dataserver.core.groups import Groups, GroupShare

if TYPE_CHECKING:
    from collections.abc import Mapping

    from common.config.model import GroupConfig
    from dataserver.core.replica import Limits


def groups_of(config: Mapping[str, GroupConfig], limits: Limits) -> Groups:
    """Who has which share of a pool with these limits."""
    shares = [
        GroupShare(name, tuple(normalise_prefix(path) for path in group.paths), group.share)
        for name, group in config.items()
        if group.share is not None
    ]
    return Groups(shares, limits.low_bytes)
