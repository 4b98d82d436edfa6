"""A redirector with a root:// door, and data servers of a few lines that serve root://, too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.support.fake_node import FakeNode

if TYPE_CHECKING:
    from tests.support.head_site import HeadSite

#: More of a redirector's configuration: a door, and where its clients may write.
DOOR = """root_listen = "127.0.0.1:0"
[root]
writable = ["/store/user"]
"""


def node_of(site: HeadSite, name: str, port: int = 0, **more: Any) -> FakeNode:
    """A data server that clients are sent to; nobody is there."""
    return FakeNode(site.address, name, root_address=f"127.0.0.1:{port or 2001}", **more)
