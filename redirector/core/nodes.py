"""All data servers: who they are, who is in touch, who is refused.

A node's messages count only if they come by its present connection. A node is
known by its name, and its pool by the pool's own identity: neither may be in
touch twice. A node that was known before the head started begins as SUSPECT, out
of touch since the start, and is *awaited*: until all such nodes are UP, or their
leases are over, their running recalls are not known and none may be started.
"""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from common import wording
from redirector.core.model import NodeRecord
from redirector.core.node import Node
from redirector.core.states import NodeState

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from redirector.core.events import NodeHello
    from redirector.core.settings import HeadSettings

#: How often the nodes' silence is measured.
_LIVENESS_S = 1.0


class Nodes:
    """The table of data servers."""

    def __init__(self, settings: HeadSettings, now_s: float) -> None:
        self.settings = settings
        self._by_name: dict[str, Node] = {}
        self._by_number: list[Node | None] = [None]
        self._by_connection: dict[int, Node] = {}
        # By number: the nodes in touch whose files are read by root://. Number 0 is none.
        self.readable: list[Node | None] = [None]
        self._awaited: set[str] = set()
        self._await_until_s = now_s + settings.lost_after_s
        self.site_rate = settings.assumed_rate
        self.places = 0  # how many recalls the nodes take in all
        self._largest_quota_bytes: int | None = None  # None: to be found anew
        self._checked_s = now_s

    def __iter__(self) -> Iterator[Node]:
        return iter(self._by_name.values())

    def get(self, name: str) -> Node | None:
        """The node of this name, if it was ever heard of."""
        return self._by_name.get(name)

    def numbered(self, number: int) -> Node:
        """The node that has this number in the index."""
        node = self._by_number[number]
        assert node is not None, f"node number {number} is forgotten"
        return node

    def connected_by(self, connection: int) -> Node | None:
        """The node whose present connection this is."""
        return self._by_connection.get(connection)

    # --- coming and going ---

    def restore(self, records: Iterable[NodeRecord], now_s: float) -> None:
        """Takes in the nodes known before a restart of the head."""
        for record in records:
            node = self._add(record, now_s)
            if node.state is not NodeState.DROPPED:
                self._awaited.add(node.name)

    def refusal(self, hello: NodeHello, now_s: float) -> str:
        """Why a node may not join; "" if it may."""
        name = hello.address.node
        if not name or not hello.pool_id:
            return "a data server needs a name, and its pool an identity"
        known = self._by_name.get(name)
        if known is not None and known.state is not NodeState.DROPPED:
            if known.pool_id != hello.pool_id:
                return (
                    f"a node named {name} with another pool was in touch "
                    f"{self._silence(known, now_s)} ago; give this one another name, or wait "
                    f"until that one is dropped, {wording.duration(self.settings.lost_after_s)} after "
                    "its last word"
                )
            if self._is_double(known, hello, now_s):
                return (
                    f"node {name} is connected from {known.address.address} and was heard "
                    f"{self._silence(known, now_s)} ago; it cannot join twice"
                )
        elif known is not None and known.pool_id != hello.pool_id:
            return (
                f"node {name} was here with another pool before; is its disk mounted? If that pool "
                f"is gone for good, say so: packhorse forget {name}"
            )
        for node in self._by_name.values():
            same_pool = node.pool_id == hello.pool_id and node is not known
            if same_pool and node.state is not NodeState.DROPPED:
                return (
                    f"the pool of node {name} is in use by node {node.name} "
                    f"({node.address.address or 'known before the restart'}), heard of "
                    f"{self._silence(node, now_s)} ago; one pool cannot join twice"
                )
        return ""

    def admit(self, hello: NodeHello, now_s: float) -> Node:
        """The node of a hello that was not refused, now connected by it and JOINING."""
        node = self._by_name.get(hello.address.node)
        if node is None:
            node = self._add(NodeRecord(hello.address.node, hello.pool_id), now_s)
        if node.connection is not None:
            del self._by_connection[node.connection]
        node.greet(hello, now_s)
        self.readable[node.number] = node if node.address.root_address else None
        self.quotas_changed()
        self._count_places()
        self._by_connection[hello.connection] = node
        return node

    def disconnect(self, node: Node) -> None:
        """Forgets a node's connection."""
        assert node.connection is not None
        del self._by_connection[node.connection]
        node.connection = None
        self.readable[node.number] = None

    def forget(self, node: Node) -> None:
        """Forgets a node that was dropped long ago."""
        assert node.state is NodeState.DROPPED
        del self._by_name[node.name]
        self._by_number[node.number] = None
        self.quotas_changed()

    # --- the hold-off after a restart ---

    def no_longer_await(self, node: Node) -> bool:
        """The node is UP or DROPPED; whether it was the last one awaited."""
        if node.name not in self._awaited:
            return False
        self._awaited.remove(node.name)
        return not self._awaited

    def awaited(self, now_s: float) -> list[str]:
        """The nodes without which no recall is started yet."""
        return sorted(self._awaited) if now_s < self._await_until_s else []

    @property
    def await_until_s(self) -> float | None:
        """When nobody is awaited any longer; None if that is so already."""
        return self._await_until_s if self._awaited else None

    def await_nobody(self) -> None:
        """The time for awaiting is over."""
        self._awaited.clear()

    # --- time ---

    @property
    def next_check_s(self) -> float:
        """When silence is measured next."""
        return self._checked_s + _LIVENESS_S

    def excuse_late_check(self, now_s: float) -> None:
        """Notes a check of silence. If it comes late, the head itself was not listening:
        what the nodes said meanwhile is still waiting to be read, so they are excused."""
        late_s = now_s - self.next_check_s
        if late_s > _LIVENESS_S:
            for node in self._by_name.values():
                node.last_heard_s = min(now_s, node.last_heard_s + late_s)
        self._checked_s = now_s

    def measure_site(self) -> None:
        """The median staging rate of the nodes that have measured theirs, and their places."""
        self._count_places()
        rates = [node.load.staging_rate for node in self._by_name.values()]
        measured = [rate for rate in rates if rate > 0]
        self.site_rate = median(measured) if measured else self.settings.assumed_rate

    # --- for choices ---

    def open(self, now_s: float) -> list[Node]:
        """The nodes that may get a recall now."""
        return [node for node in self._by_name.values() if node.open(now_s)]

    def usable(self) -> list[Node]:
        """The nodes that may get recalls, now or when they have fewer."""
        return [node for node in self._by_name.values() if node.usable]

    def largest_quota_bytes(self) -> int:
        """The most any known pool could hold; 0 while that is not known."""
        if self._awaited:
            return 0
        if self._largest_quota_bytes is None:
            quotas = [node.quota_bytes for node in self._by_name.values()]
            self._largest_quota_bytes = max(quotas, default=0)
        return self._largest_quota_bytes

    def quotas_changed(self) -> None:
        """Some node has another quota than before."""
        self._largest_quota_bytes = None

    def is_readable(self, node: Node) -> bool:
        """Whether a node is in touch and its files are read by root://."""
        return self.readable[node.number] is not None

    def reading_rank(self, number: int) -> float:
        """The lower, the better to read from: the load, with silent nodes last."""
        node = self.numbered(number)
        busy = node.load.cpu_percent + node.load.io_wait_percent
        return busy if node.state is NodeState.UP else busy + 1000.0

    def check(self) -> None:
        """Asserts that the table is consistent."""
        for name, node in self._by_name.items():
            assert node.name == name
            assert self._by_number[node.number] is node
            assert node.connection is None or self._by_connection[node.connection] is node
            node.check()
            readable = node.connection is not None and node.address.root_address
            assert self.readable[node.number] is (node if readable else None)
        connected = [node for node in self if node.connection is not None]
        assert len(connected) == len(self._by_connection)
        in_touch = [node.pool_id for node in self if node.state is not NodeState.DROPPED]
        assert len(in_touch) == len(set(in_touch)), "one pool has joined twice"
        assert all(name in self._by_name for name in self._awaited)

    # --- inside ---

    def _count_places(self) -> None:
        in_use = (node for node in self if node.state is not NodeState.DROPPED)
        self.places = sum(node.recall_places for node in in_use)

    def _add(self, record: NodeRecord, now_s: float) -> Node:
        node = Node(len(self._by_number), record, now_s)
        self._by_number.append(node)
        self.readable.append(None)
        self._by_name[node.name] = node
        return node

    def _is_double(self, known: Node, hello: NodeHello, now_s: float) -> bool:
        """Whether a second process says the hello while the first one is alive."""
        return (
            known.connection is not None
            and known.boot_epoch != hello.boot_epoch
            and now_s - known.last_heard_s < self.settings.suspect_after_s
        )

    def _silence(self, node: Node, now_s: float) -> str:
        return wording.duration(now_s - node.last_heard_s)
