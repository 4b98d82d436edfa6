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


#: A data server of which several files in a row did not open is let alone for so long.
_REST_S = 2.0
#: After this long, its files are to blame after all.
_BLAMED_S = 60.0


class Node:
    """A data server. There is one object per name, and everybody holds that one.

    The redirector notices only after some seconds that a data server has died. Until
    then every file on it fails to open; that must not be taken for the files' fault.
    So a node of which several different files failed, and none was read since, is
    itself to blame.
    """

    __slots__ = (
        "_failed",
        "_failing_since_s",
        "host",
        "name",
        "rack",
        "rests_until_s",
        "site",
        "up",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.host = ""
        self.rack = ""
        self.site = ""
        self.up = True
        self.rests_until_s = 0.0
        self._failed: set[str] = set()
        self._failing_since_s = 0.0

    def serves(self, now_s: float) -> bool:
        """Whether files may be read from it now."""
        return self.up and now_s >= self.rests_until_s

    def did_not_open(self, lfn: str, now_s: float) -> bool:
        """One of its files could not be read; returns whether the file is to blame."""
        if not self._failed:
            self._failing_since_s = now_s
        self._failed.add(lfn)
        if not self.up:
            return False
        if len(self._failed) > 1 and now_s < self._failing_since_s + _BLAMED_S:
            self.rests_until_s = now_s + _REST_S
            return False
        return True

    def was_read(self, since_s: float) -> None:
        """One of its files was read, some time after `since_s`: perhaps it lives."""
        if self._failed and since_s > self._failing_since_s:
            self._failed.clear()
            self.rests_until_s = 0.0

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
