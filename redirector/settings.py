"""The head's settings, out of the configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

from redirector.core.queue import ArchiveLimit, Limits, Weights
from redirector.core.settings import HeadSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from common.config.model import MssConfig, RedirectorConfig
    from common.config.redirector import ShareConfig
    from common.names import NameMap, NameRule


def settings_of(config: RedirectorConfig, mss: MssConfig, names: NameMap) -> HeadSettings:
    """What the configuration says; the others have their defaults."""
    return HeadSettings(
        heartbeat_s=config.heartbeat,
        suspect_after_s=config.suspect_after,
        lost_after_s=config.lost_after,
        attempts=config.attempts,
        backoff_s=config.backoff,
        backoff_max_s=config.backoff_max,
        request_deadline_s=config.request_deadline,
        assumed_size_bytes=config.assumed_size,
        priority_step_s=config.priority_step,
        weights=Weights(_weights(config.activities), _weights(config.owners)),
        limits=_limits(config, mss, names),
        hint_wait_s=config.hint_wait if mss.hintcmd is not None else 0.0,
    )


def _weights(shares: Mapping[str, ShareConfig]) -> dict[str, float]:
    return {name: share.weight for name, share in shares.items()}


def _limits(config: RedirectorConfig, mss: MssConfig, names: NameMap) -> Limits:
    limits = Limits(recalls=mss.limit, drives=mss.drives, volume_s=config.volume_time)
    if not any(rule.limit for rule in mss.names):
        return limits
    numbers: dict[NameRule, int] = {}
    archives = [ArchiveLimit("where no rule says")]
    for written in mss.names:
        rule = written.rule()
        numbers[rule] = len(archives)
        archives.append(ArchiveLimit(rule.prefix or f"regex {rule.regex}", written.limit))

    def archive_of(lfn: str) -> int:
        for rule in names.rules:
            if rule.archive_name(lfn) is not None:
                return numbers[rule]
        return 0

    return Limits(limits.recalls, limits.drives, tuple(archives), archive_of, limits.volume_s)
