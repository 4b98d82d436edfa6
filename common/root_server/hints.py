"""What clients say behind a name (`?…`) about where they have been and what they will do."""

from __future__ import annotations

from typing import Final

from xroot.texts import cgi_values

#: What our redirects add to a name, and clients bring back: the nodes they were sent to.
#: Their own `tried` names hosts only, and a host may have several data servers.
VIA: Final = "ph.via"
#: What a data server adds when it sends a client back: the node that does not have the file.
GONE: Final = "ph.gone"
#: How large a file that is going to be written will be.
SIZE: Final = "oss.asize"


def tried(cgi: str) -> tuple[str, ...]:
    """The nodes that a client was sent to for this name, and came back from."""
    if "tried=" not in cgi and VIA not in cgi:
        return ()
    values = cgi_values(cgi)
    # A client that only got lost on its way, and tried nobody, is sent there again.
    if "tried" not in values and "triedrc" not in values and GONE not in values:
        return ()
    return tuple(part for part in values.get(VIA, "").split(",") if part)


def sent_to(nodes: str) -> str:
    """What is added to a name to say which nodes a client was sent to."""
    return f"{VIA}={nodes}"


def sent_back(cgi: str, node: str) -> str:
    """What is added to a name that a node does not have, on its way back to the redirector."""
    return f"{GONE}={node}&" + sent_to(cgi_values(cgi).get(VIA, node))


def announced_bytes(cgi: str) -> int:
    """The size a client announced for what it writes; 0 if it did not, or nonsense."""
    size = cgi_values(cgi).get(SIZE, "")
    return int(size) if size.isascii() and size.isdigit() and len(size) < 19 else 0
