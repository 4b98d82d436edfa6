"""The host label: who has the same one shares a file system."""

from __future__ import annotations

import os
import socket


def host_label() -> str:
    """This machine's label: PACKHORSE_HOST, else its host name, as data servers have it."""
    return os.environ.get("PACKHORSE_HOST") or socket.gethostname()
