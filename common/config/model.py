"""Everything that may stand in a site's TOML file."""

from __future__ import annotations

from pydantic import Field

from common.config.dataserver import DataServerConfig
from common.config.mss import MssConfig, NameRuleConfig
from common.config.packetizer import PacketizerConfig
from common.config.redirector import GroupConfig, RedirectorConfig, ShareConfig
from common.config.root import RootConfig
from common.config.table import Table
from common.names import NameMap

__all__ = [
    "DataServerConfig",
    "GroupConfig",
    "MssConfig",
    "NameRuleConfig",
    "PacketizerConfig",
    "RedirectorConfig",
    "RootConfig",
    "ShareConfig",
    "SiteConfig",
    "Table",
]


class SiteConfig(Table):
    """One file for all roles: each role reads its own table, and `[mss]`.

    A file may hold some of the roles only; what is not there is None or empty.
    A file of clients, or of a packetizer alone, needs no `[mss]`; asking for
    `mss` then is a bug, since `load` demands it wherever a role uses it.
    """

    archive: MssConfig | None = Field(None, alias="mss", description="The archive.")
    redirector: RedirectorConfig | None = Field(None, description="The head node.")
    dataservers: dict[str, DataServerConfig] = Field(
        {}, description="Disk nodes, by the NAME of their tables."
    )
    packetizer: PacketizerConfig | None = Field(None, description="The work node.")
    root: RootConfig = Field(
        default_factory=lambda: RootConfig.model_validate({}), description="The root:// doors."
    )

    @property
    def mss(self) -> MssConfig:
        """The archive, which every file with a redirector or a data server has."""
        assert self.archive is not None, "load() demands [mss] for every role that uses it"
        return self.archive

    def name_map(self) -> NameMap:
        """What the site exports, and what its archive calls it."""
        exports = self.redirector.exports if self.redirector else self.mss.prefixes()
        return NameMap(self.mss.name_rules(), exports)
