"""Mistakes that only show when several tables are looked at together."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

from common.address import split_address
from common.config.places import Problem, dotted
from common.names import normalise_prefix

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from common.config.dataserver import DataServerConfig
    from common.config.lines import KeyPath
    from common.config.mss import MssConfig
    from common.config.packetizer import PacketizerConfig
    from common.config.redirector import RedirectorConfig

    Nodes = Mapping[KeyPath, DataServerConfig]


def cross_check(
    mss: MssConfig | None,
    redirector: RedirectorConfig | None,
    nodes: Nodes,
    packetizer: PacketizerConfig | None,
) -> Iterator[Problem]:
    """Every mistake in how the tables stand to one another; None where there is none to look at."""
    yield from _nodes_apart(nodes)
    states: dict[KeyPath, Path] = {}
    doors: dict[KeyPath, str] = {}
    if redirector is not None:
        states["redirector", "state"] = redirector.state
        doors["redirector", "listen"] = redirector.listen
        if redirector.root_listen is not None:
            doors["redirector", "root_listen"] = redirector.root_listen
    if packetizer is not None:
        states["packetizer", "state"] = packetizer.state
        doors["packetizer", "listen"] = packetizer.listen
    yield from _directories_apart(states, nodes)
    yield from _doors_apart(doors, nodes)
    if mss is not None and redirector is not None:
        yield from _exports_mapped(redirector, mss)
    if redirector is not None:
        yield from _groups_exported(redirector)


def _nodes_apart(nodes: Nodes) -> Iterator[Problem]:
    """No two data servers may bear one name, or share a pool on one host."""
    for (other_path, other), (path, node) in combinations(nodes.items(), 2):
        table = f"[{dotted(other_path)}]"
        if node.name == other.name:
            yield Problem((*path, "name"), f'"{node.name}" is the name of {table} already')
        if node.host == other.host and _nested(node.pool, other.pool):
            yield Problem(
                (*path, "pool"),
                f"{node.pool} is the pool of {table} already (on two machines, give each its host)"
                if node.pool == other.pool
                else f"{node.pool} and {other.pool}, the pool of {table}, lie inside one another",
            )


def _directories_apart(states: Mapping[KeyPath, Path], nodes: Nodes) -> Iterator[Problem]:
    """A server's database must lie neither in a pool nor in another server's directory."""
    pools = {(*path, "pool"): node.pool for path, node in nodes.items()}
    pairs = [*combinations(states.items(), 2)]
    pairs += [(pool, state) for pool in pools.items() for state in states.items()]
    for (other_path, other), (path, state) in pairs:
        if _nested(state, other):
            yield Problem(
                path, f"{state} and {other}, {dotted(other_path)}, lie inside one another"
            )


def _doors_apart(doors: Mapping[KeyPath, str], nodes: Nodes) -> Iterator[Problem]:
    """No two servers of one machine may open one door.

    Data servers that stand elsewhere have another host label, so only those
    of one label are compared with one another.
    """
    for (other_path, other), (path, listen) in combinations(doors.items(), 2):
        if listen == other and split_address(listen)[1] != 0:
            yield Problem(path, f"{listen} is {dotted(other_path)} already")
    opened: dict[tuple[str, str], str] = {}
    for path, node in nodes.items():
        for key, listen in (("listen", node.listen), ("root_listen", node.root_listen)):
            if split_address(listen)[1] == 0:
                continue
            taken = opened.setdefault((node.host, listen), dotted((*path, key)))
            if taken != dotted((*path, key)):
                yield Problem((*path, key), f"{listen} is {taken} already")


def _exports_mapped(redirector: RedirectorConfig, mss: MssConfig) -> Iterator[Problem]:
    """What is exported must have an archive name. Regex rules may cover anything."""
    if any(rule.regex is not None for rule in mss.names):
        return
    prefixes = [normalise_prefix(prefix) for prefix in mss.prefixes()]
    for index, export in enumerate(redirector.exports):
        directory = normalise_prefix(export)
        if not any(directory.startswith(p) or p.startswith(directory) for p in prefixes):
            yield Problem(
                ("redirector", "exports", index), f'no rule of mss.names is about "{export}"'
            )


def _groups_exported(redirector: RedirectorConfig) -> Iterator[Problem]:
    """A group's directory in which no file can be is misspelt."""
    exports = [normalise_prefix(export) for export in redirector.exports]
    for name, group in redirector.groups.items():
        for index, path in enumerate(group.paths):
            directory = normalise_prefix(path)
            if not any(directory.startswith(e) or e.startswith(directory) for e in exports):
                yield Problem(
                    ("redirector", "groups", name, "paths", index),
                    f"nothing is exported there; the exports are {', '.join(redirector.exports)}",
                )


def _nested(one: Path, other: Path) -> bool:
    return one == other or one in other.parents or other in one.parents
