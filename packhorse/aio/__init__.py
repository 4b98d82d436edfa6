"""The Python API, asynchronous: every word of Packhorse as a method.

`connect` gives an `AsyncSite`; `packhorse.connect` gives its blocking twin, which
is made of this one. All names may be logical names or URLs whose path is one.
Whatever goes wrong is a `common.errors.PackhorseError`.
"""

from __future__ import annotations

from packhorse.aio.datasets import AsyncDatasets
from packhorse.aio.replica import AsyncReplica
from packhorse.aio.sessions import AsyncSessions
from packhorse.aio.site import AsyncSite, connect
from packhorse.aio.staging import AsyncStaging

__all__ = [
    "AsyncDatasets",
    "AsyncReplica",
    "AsyncSessions",
    "AsyncSite",
    "AsyncStaging",
    "connect",
]
