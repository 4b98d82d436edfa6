"""Which client stands where: its address, against those of the machines with data servers."""

from __future__ import annotations

import asyncio
import functools
import ipaddress
import socket
from typing import TYPE_CHECKING

from common.address import split_address

if TYPE_CHECKING:
    from redirector.core.model import NodeAddress


class Nearness:
    """The host labels of machines by their IP addresses, as far as they are known."""

    def __init__(self) -> None:
        self._hosts: dict[str, str] = {}
        self._asked: set[tuple[str, str]] = set()
        self._asking: set[asyncio.Task[None]] = set()
        self._here = socket.gethostname()

    def host_of(self, peer: str) -> str:
        """The host label of a client at this address; "" if it is on no data server's machine."""
        found = self._hosts.get(peer)
        if found is not None:
            return found
        return self._here if _is_loopback(peer) else ""

    def learn(self, address: NodeAddress) -> None:
        """Finds out, in the background, which addresses a data server's machine has."""
        key = (address.host, address.root_address)
        if not address.root_address or key in self._asked:
            return
        self._asked.add(key)
        task = asyncio.create_task(self._resolve(address), name="resolve a node's name")
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    async def _resolve(self, address: NodeAddress) -> None:
        host, port = split_address(address.root_address)
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
        except OSError:
            # A name that cannot be resolved here is a pity, and no more.
            self._asked.discard((address.host, address.root_address))
            return
        for *_, where in found:
            if not _is_loopback(str(where[0])):
                self._hosts[str(where[0])] = address.host


@functools.lru_cache(maxsize=4096)
def _is_loopback(peer: str) -> bool:
    try:
        return ipaddress.ip_address(peer.partition("%")[0]).is_loopback
    except ValueError:
        return False
