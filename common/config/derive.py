"""Defaults that are taken from elsewhere in the same file.

They are put into the raw tables before these are checked, so that they pass the
same checks as what was written, and `config show` can tell where they come from.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

from common.address import callable_address
from common.config.dataserver import DataServerConfig
from common.config.redirector import RedirectorConfig

if TYPE_CHECKING:
    from common.config.lines import KeyPath
    from common.config.places import Places

_DATA_LISTEN = DataServerConfig.model_fields["listen"].default


def fill_in(raw: dict[str, Any], nodes: dict[KeyPath, dict[str, Any]], places: Places) -> None:
    """Fills in names, the redirector's address and the exports where they are not given."""
    redirector = raw.get("redirector")
    if isinstance(redirector, dict):
        prefixes = _prefixes(raw)
        if prefixes and redirector.setdefault("exports", prefixes) is prefixes:
            places.derived["redirector", "exports"] = "the prefixes of mss.names"
    for path, node in nodes.items():
        if "name" not in node:
            named = len(path) == 2
            node["name"] = path[1] if named else socket.gethostname().partition(".")[0]
            places.derived[(*path, "name")] = (
                "the name of its table" if named else "this machine's host name"
            )
        if "host" not in node:
            places.derived[(*path, "host")] = "this machine's host name"
        if "root_listen" not in node:
            host = str(node.get("listen", _DATA_LISTEN)).rpartition(":")[0]
            node["root_listen"] = f"{host}:0"
            places.derived[(*path, "root_listen")] = "any free port where listen is"
    packetizer = raw.get("packetizer")
    clients = dict(nodes)
    if isinstance(packetizer, dict):
        clients["packetizer",] = packetizer
    if isinstance(redirector, dict):
        listen = redirector.get("listen", RedirectorConfig.model_fields["listen"].default)
        for path, client in clients.items():
            if "redirector" not in client and isinstance(listen, str):
                client["redirector"] = callable_address(listen)
                places.derived[(*path, "redirector")] = "redirector.listen"


def _prefixes(raw: dict[str, Any]) -> list[str]:
    """The prefixes of the name rules, as far as these can be read."""
    mss = raw.get("mss")
    names = mss.get("names") if isinstance(mss, dict) else None
    if not isinstance(names, list):
        return []
    prefixes = [rule.get("prefix") for rule in names if isinstance(rule, dict)]
    return [prefix for prefix in prefixes if isinstance(prefix, str)]
