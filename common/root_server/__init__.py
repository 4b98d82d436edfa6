"""Serving root:// over sockets: what the redirector's and the data servers' doors share.

    listener     takes connections in, bounds their number, and ends those that sleep
    connection   one client's socket: requests in, answers out, neither without bound
    sessions     how clients find their sessions again
    sender       sends down a socket, by the event loop or by a thread
    outbox       what is still to be sent down a connection, files among it
    from_cache   sending what is in memory or in the page cache
    from_disk    sending what a disk may have to be waited for
    threads      the threads that do
    parts        parts of files that are to be sent, and the files they are of
    room         room for what is going to be sent
    answers      what both servers tell alike: errors of ours, how they are configured
    hints        what clients say behind a name: where they have been, what they will write
    owners       names of users and groups, as listings show them

The wire format itself is `xroot`'s; what is answered is the door's.
"""

from common.root_server.answers import CHECKSUMS, RootError, configuration, error_code, statistics
from common.root_server.connection import Client, Connection
from common.root_server.listener import Door, DoorLimits, Listener
from common.root_server.owners import group_name, own_names, user_name
from common.root_server.parts import FilePart, FileParts, OnePart

__all__ = [
    "CHECKSUMS",
    "Client",
    "Connection",
    "Door",
    "DoorLimits",
    "FilePart",
    "FileParts",
    "Listener",
    "OnePart",
    "RootError",
    "configuration",
    "error_code",
    "group_name",
    "own_names",
    "statistics",
    "user_name",
]
