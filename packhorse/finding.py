"""Which site a client means: by address, by configuration file, or by PACKHORSE_CONFIG."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from common.address import callable_address, split_address
from common.config.load import load
from common.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from common.config.model import SiteConfig

CONFIG_VARIABLE = "PACKHORSE_CONFIG"


@dataclass(frozen=True, slots=True)
class SiteAddress:
    """HOST:PORT of the redirector, and of the packetizer if the configuration tells it."""

    redirector: str
    packetizer: str = ""


def find_site(
    config: str | os.PathLike[str] | None = None,
    redirector: str = "",
    env: Mapping[str, str] = os.environ,
) -> SiteAddress:
    """The site's address; what is given goes before the environment.

    Raises UsageError if no site is named, ConfigError for a file with mistakes.
    """
    if redirector:
        try:
            split_address(redirector)
        except ConfigError as error:
            raise UsageError(error.message) from error
        return SiteAddress(redirector)
    path = config or env.get(CONFIG_VARIABLE)
    if not path:
        raise UsageError(
            "which site? Give its configuration file (--config), its redirector's address "
            f"(--redirector HOST:PORT), or set {CONFIG_VARIABLE}"
        )
    site = load(path, env).site
    return SiteAddress(_redirector_of(site, path), _packetizer_of(site))


def _redirector_of(site: SiteConfig, path: str | os.PathLike[str]) -> str:
    """Where the file's own redirector listens, else where its other roles look for one."""
    if site.redirector is not None:
        return callable_address(site.redirector.listen)
    if site.packetizer is not None:
        return site.packetizer.redirector
    for node in site.dataservers.values():
        return node.redirector
    raise ConfigError(
        f"{os.fspath(path)} does not tell where the redirector is ([redirector] listen)"
    )


def _packetizer_of(site: SiteConfig) -> str:
    if site.packetizer is None:
        return ""
    if site.packetizer.advertise:
        return site.packetizer.advertise
    _, port = split_address(site.packetizer.listen)
    return callable_address(site.packetizer.listen) if port else ""
