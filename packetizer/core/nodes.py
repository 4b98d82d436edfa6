"""The data servers, as far as work is concerned: where they stand, and whether they are up."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class NodeSeen:
    """A data server as the redirector tells of it."""

    name: str
    host: str  # label: workers with the same one read its files from the disk itself
    rack: str = ""
    site: str = ""
    up: bool = True


class Node:
    """A data server. There is one object per name, and everybody holds that one."""

    __slots__ = ("host", "name", "rack", "site", "up")

    def __init__(self, name: str) -> None:
        self.name = name
        self.host = ""
        self.rack = ""
        self.site = ""
        self.up = True

    def __repr__(self) -> str:
        return f"<node {self.name} at {self.host or '?'}{'' if self.up else ', not up'}>"


class Nodes:
    """Every data server ever heard of; sites have a thousand of them at most."""

    def __init__(self) -> None:
        self._by_name: dict[str, Node] = {}
        self._hosts: set[str] = set()
        #: Changes when labels do: whatever was derived from them is out of date.
        self.version = 0

    def node(self, name: str) -> Node:
        """The node of that name; one that is new has no labels yet."""
        node = self._by_name.get(name)
        if node is None:
            node = self._by_name[name] = Node(name)
        return node

    def seen(self, seen: NodeSeen) -> bool:
        """Takes over what was heard; returns whether the node has come up by it."""
        node = self.node(seen.name)
        labels = (seen.host, seen.rack, seen.site)
        if labels != (node.host, node.rack, node.site):
            node.host, node.rack, node.site = labels
            self._hosts = {each.host for each in self._by_name.values()}
            self.version += 1
        came_up = seen.up and not node.up
        node.up = seen.up
        return came_up

    def has_host(self, host: str) -> bool:
        """Whether a data server stands on this host."""
        return host in self._hosts
