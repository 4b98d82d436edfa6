"""What all commands that talk to a site's archive have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from common.command import CommandSpec, Credentials

if TYPE_CHECKING:
    from collections.abc import Sequence

    from common.config.mss import MssConfig
    from common.names import NameMap


def recalls_of(owner: str) -> str:
    """The mark of an owner's commands that bring files: others may be given their work."""
    return f"{owner}/recalls"


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteCommands:
    """The settings of every run. `owner` marks its processes, `recalls` those that
    bring files, or remove them: they end with the lease."""

    names: NameMap
    owner: str
    output_limit_bytes: int
    passes: Sequence[str]
    credentials: Credentials

    @property
    def recalls(self) -> str:
        """Marks the processes that bring files, see `recalls_of`."""
        return recalls_of(self.owner)

    @classmethod
    def of(cls, config: MssConfig, names: NameMap, owner: str) -> SiteCommands:
        """As `[mss]` says."""
        return cls(
            names=names,
            owner=owner,
            output_limit_bytes=config.output_limit,
            passes=config.pass_environment,
            credentials=config.credentials(),
        )

    def spec(self, argv: Sequence[str], deadline_s: float, **others: Any) -> CommandSpec:
        """One run; `others` are further fields of CommandSpec."""
        settings: dict[str, Any] = {
            "output_limit_bytes": self.output_limit_bytes,
            "owner": self.owner,
            "passes": self.passes,
            "credentials": self.credentials,
        }
        return CommandSpec(argv=argv, deadline_s=deadline_s, **{**settings, **others})
